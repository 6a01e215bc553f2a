"""Many deadlines on one timer: who is called, when, and what is left behind."""

import asyncio
import gc
import weakref

from sluicegate.transport.timers import RESOLUTION, Timers
from tests.transport.fakes import Clock


class FakeLoop:
    """The one method that `Timers` uses."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, object, FakeHandle]] = []

    def call_later(self, delay, callback):
        handle = FakeHandle()
        self.calls.append((delay, callback, handle))
        return handle

    @property
    def armed(self) -> list[float]:
        return [delay for delay, _, handle in self.calls if not handle.cancelled]


class FakeHandle:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def make(clock: Clock):
    called: list[tuple[object, float]] = []
    loop = FakeLoop()
    timers: Timers = Timers(loop, clock, lambda owner, now: called.append((owner, now)))
    return timers, loop, called


def test_owners_are_called_when_they_are_due_and_once():
    clock = Clock(0.0)
    timers, _, called = make(clock)
    timers.schedule("late", 2.0)
    timers.schedule("early", 1.0)
    timers.schedule("never", None)
    timers.run_due(0.99)
    assert called == []
    timers.run_due(1.0 + RESOLUTION)
    assert [owner for owner, _ in called] == ["early"]
    timers.run_due(10.0)
    timers.run_due(20.0)
    assert [owner for owner, _ in called] == ["early", "late"]
    assert len(timers) == 0


def test_an_earlier_deadline_replaces_a_later_and_a_later_waits_for_the_earlier():
    timers, _, called = make(Clock(0.0))
    timers.schedule("owner", 5.0)
    timers.schedule("owner", 1.0)
    timers.schedule("owner", 3.0)
    timers.run_due(2.0)
    assert len(called) == 1
    timers.run_due(10.0)
    assert len(called) == 1


def test_a_discarded_owner_is_not_called_and_not_kept():
    class Owner:
        pass

    timers, _, called = make(Clock(0.0))
    owner = Owner()
    reference = weakref.ref(owner)
    timers.schedule(owner, 5.0)
    timers.schedule(owner, 1.0)
    timers.discard(owner)
    timers.discard(owner)
    del owner
    gc.collect()
    assert reference() is None
    timers.run_due(10.0)
    assert called == []


def test_one_timer_of_the_loop_serves_a_thousand_owners():
    timers, loop, called = make(Clock(0.0))
    for number in range(1000):
        timers.schedule(number, 10.0 + number * 0.000_01)
    assert len(loop.armed) == 1
    timers.schedule("soon", 0.5)
    assert len(loop.armed) == 1
    assert loop.armed[0] <= 0.5 + RESOLUTION
    timers.run_due(11.0)
    assert len(called) == 1001


def test_an_owner_may_be_scheduled_again_while_it_is_called():
    clock = Clock(0.0)
    loop = FakeLoop()
    called = []

    def again(owner, now):
        called.append(now)
        timers.schedule(owner, now + 1.0)

    timers: Timers = Timers(loop, clock, again)
    timers.schedule("owner", 1.0)
    for step in range(1, 50):
        timers.run_due(step * 0.1)
    assert 3 <= len(called) <= 5
    assert len(loop.armed) >= 1


async def test_the_loop_calls_when_the_time_has_come():
    loop = asyncio.get_running_loop()
    called = asyncio.Event()
    timers: Timers = Timers(loop, loop.time, lambda owner, now: called.set())
    timers.schedule("owner", loop.time() + 0.01)
    await asyncio.wait_for(called.wait(), 5)
    timers.schedule("owner", loop.time() + 0.01)
    called.clear()
    timers.stop()
    await asyncio.sleep(0.06)
    assert not called.is_set()
