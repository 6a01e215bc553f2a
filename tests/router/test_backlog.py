"""Whether a plane keeps up: how long what it receives may have waited, by a clock that the test sets."""

import pytest

from sluicegate.router.compilation import entry
from sluicegate.router.kernel import tick
from sluicegate.router.records import BATCH

from .harness import Bench

MS = 1000
FULL, LAST = BATCH, 1


@pytest.fixture
def judge():
    """Receive so many datagrams at a time (ms): whether video is held back then."""
    with Bench() as bench:
        start = int(bench.state.now)
        bench.state.emptied_at = bench.state.ended_at = start

        def received(at_ms: float, count: int) -> bool:
            bench.state.now = start + round(at_ms * MS)
            entry(tick.judge_backlog)(bench.plane.handle, count)
            return bool(bench.state.overrun)

        yield received


def test_a_plane_that_keeps_up(judge):
    assert not any(judge(at, FULL if at % 100 else LAST) for at in range(0, 2000, 10))


def test_a_line_that_grows_ends_video_until_it_is_worked_off(judge):
    """Full batches without end: late after 200 ms, held back 100 ms later; the first batch in time ends it."""
    held = [at for at in range(0, 350, 10) if judge(at, FULL)]
    assert held == [320, 330, 340]
    assert judge(350, LAST), "what emptied the socket had waited as well"
    assert not judge(360, FULL)


def test_turns_that_take_everything_but_last_too_long(judge):
    """Few packets and many receivers: no batch is full, and each has waited for the one before."""
    assert [judge(at, LAST) for at in (0, 220, 440, 660)] == [False, False, True, True]
    assert not judge(670, LAST)


def test_a_moment_in_which_the_machine_stood_still(judge):
    """What piled up is late, and is worked off in no time."""
    judge(0, LAST)
    assert not any(judge(250 + 4 * turn, FULL) for turn in range(20))
    assert not judge(331, LAST)
    assert not judge(332, FULL)


def test_an_empty_socket_is_no_line(judge):
    judge(0, FULL)
    assert not judge(500, 0)
    assert not judge(501, FULL)
