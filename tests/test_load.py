"""The share of time in which a thread works or waits for a core."""

import os
import sys
import threading

import pytest

from sluicegate.load import LoadMeter, read_busy

PLANES = (11, 12)


def meter(*looks: dict[int, float | None], cpu: tuple[float, ...] = (0.0, 0.0, 0.0)) -> LoadMeter:
    """One that sees, look by look, so many busy seconds of each thread; and so much processor time."""
    remaining, spent = iter(looks), iter(cpu)
    seen: dict[int, float | None] = {}

    def threads() -> tuple[int, ...]:
        seen.clear()
        seen.update(next(remaining))
        return tuple(seen)

    return LoadMeter(threads, busy=seen.__getitem__, process_time=lambda: next(spent))


def test_the_busiest_thread_counts() -> None:
    made = meter({11: 5.0, 12: 8.0}, {11: 5.2, 12: 9.0})
    assert made.read(100.0) is None
    assert made.read(102.0) == pytest.approx(0.5)


def test_within_a_second_nothing_is_measured() -> None:
    made = meter({11: 0.0}, {11: 1.5})
    assert made.read(100.0) is None
    assert made.read(100.9) is None
    assert made.read(102.0) == pytest.approx(0.75)


def test_a_thread_that_has_just_begun_says_nothing_yet() -> None:
    made = meter({11: 1.0}, {11: 1.1, 12: 50.0}, {11: 1.2, 12: 50.5})
    assert [made.read(at) for at in (0.0, 1.0, 2.0)] == [None, pytest.approx(0.1), pytest.approx(0.5)]


def test_a_wait_that_is_booked_late_is_no_more_than_all() -> None:
    made = meter({11: 0.0}, {11: 3.0})
    made.read(0.0)
    assert made.read(1.0) == 1.0


def test_where_waiting_is_not_counted_the_process_s_share_stands_in() -> None:
    made = meter({11: None}, {11: None}, cpu=(0.0, 1.0))
    made.read(0.0)
    assert made.read(2.0) == pytest.approx(0.5 / (os.cpu_count() or 1))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts how long a thread waits")
def test_the_system_counts_a_thread_that_works() -> None:
    own = threading.get_native_id()
    before = read_busy(own)
    sum(range(300_000))
    after = read_busy(own)
    assert before is not None and after is not None and after > before


def test_of_a_thread_that_is_gone_nothing_is_known() -> None:
    assert read_busy(2**31 - 1) is None
