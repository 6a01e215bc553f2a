"""Deadlines of many owners on one timer of the event loop."""

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

# Deadlines are rounded up to this, so that a thousand peers share their wake-ups. Lower: more wake-ups. Higher:
# repeated DTLS flights, the finest of our timers, leave late.
RESOLUTION = 0.02


@dataclass(order=True, slots=True)
class _Entry(Generic[T]):
    deadline: float
    number: int
    owner: T | None = field(compare=False)


class Timers(Generic[T]):
    """The earliest deadline of each owner, lazily: one that moves later costs nothing until the old one has come.

    `on_due(owner, now)` is called on the loop when an owner's deadline has come; it is then without one.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float], on_due: Callable[[T, float], None]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._on_due = on_due
        self._heap: list[_Entry[T]] = []
        self._entries: dict[T, _Entry[T]] = {}
        self._numbers = itertools.count()
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = math.inf

    def schedule(self, owner: T, deadline: float | None) -> None:
        """Make sure that `owner` is called no later than `deadline`, and perhaps once before."""
        if deadline is None:
            return
        rounded = math.ceil(deadline / RESOLUTION) * RESOLUTION
        entry = self._entries.get(owner)
        if entry is not None and entry.deadline <= rounded:
            return
        self.discard(owner)
        entry = self._entries[owner] = _Entry(rounded, next(self._numbers), owner)
        heapq.heappush(self._heap, entry)
        self._arm()

    def discard(self, owner: T) -> None:
        """Do not call `owner`. Its entry stays in the heap till its time, but no longer holds the owner."""
        entry = self._entries.pop(owner, None)
        if entry is not None:
            entry.owner = None

    def run_due(self, now: float) -> None:
        """Call whoever is due at `now`."""
        while self._heap and self._heap[0].deadline <= now:
            owner = heapq.heappop(self._heap).owner
            if owner is not None:
                del self._entries[owner]
                self._on_due(owner, now)

    def stop(self) -> None:
        """Call nobody any more."""
        self._heap.clear()
        self._entries.clear()
        self._disarm()

    def __len__(self) -> int:
        return len(self._entries)

    def _arm(self) -> None:
        if not self._heap or self._heap[0].deadline >= self._armed_for:
            return
        self._disarm()
        self._armed_for = self._heap[0].deadline
        self._handle = self._loop.call_later(max(0.0, self._armed_for - self._clock()), self._fire)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        self._armed_for = math.inf

    def _fire(self) -> None:
        self._handle = None
        self._armed_for = math.inf
        try:
            self.run_due(self._clock())
        finally:
            self._arm()
