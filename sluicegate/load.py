"""How loaded the packet planes are: the share of the time in which a plane's thread works, or waits to be let work.

Linux counts both for each thread (`/proc/self/task/N/schedstat`: nanoseconds on a core, nanoseconds runnable without
one). Their sum is what a packet sees as a busy server, whoever keeps it busy: our own work, neighbours on the same
cores, or too small a share of them. A machine whose cores are full of others' work is no overload as long as the
plane gets its turn at once. The reasons are in docs/decisions/0006-what-load-is.md.
"""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

NANOSECONDS = 1e9

INTERVAL = 1.0
"""Seconds between two looks, at least. The kernel books a wait when it ends: shorter intervals would cut it off."""


def read_busy(thread: int) -> float | None:
    """Seconds that a thread of this process has run or waited to run; None where the system does not say."""
    try:
        text = Path(f"/proc/self/task/{thread}/schedstat").read_text()
        ran, waited, _ = (int(field) for field in text.split())
    except (OSError, ValueError):
        return None
    return (ran + waited) / NANOSECONDS


class LoadMeter:
    """`threads` gives the ids of the threads that must not starve, which may differ from call to call."""

    def __init__(
        self,
        threads: Callable[[], Iterable[int]],
        *,
        busy: Callable[[int], float | None] = read_busy,
        process_time: Callable[[], float] = time.process_time,
    ) -> None:
        self._threads = threads
        self._busy = busy
        self._process_time = process_time
        self._at: float | None = None
        self._before: dict[int, float] = {}
        self._cpu = 0.0

    def read(self, now: float) -> float | None:
        """The busiest thread's share since the last look, 0–1; None the first time, and when that was just now.

        Where the system does not count waiting, the share of all cores that the process had.
        """
        elapsed = None if self._at is None else now - self._at
        if elapsed is not None and elapsed < INTERVAL:
            return None
        before, cpu = self._before, self._cpu
        found = {thread: self._busy(thread) for thread in self._threads()}
        self._before = {thread: busy for thread, busy in found.items() if busy is not None}
        self._cpu, self._at = self._process_time(), now
        if elapsed is None:
            return None
        shares = [(busy - before[thread]) / elapsed for thread, busy in self._before.items() if thread in before]
        share = max(shares, default=(self._cpu - cpu) / elapsed / (os.cpu_count() or 1))
        return min(max(share, 0.0), 1.0)
