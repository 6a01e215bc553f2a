"""The plane's clock."""

from sluicegate.compiled import i64, kernel
from sluicegate.router.native import call
from sluicegate.router.tables import Tables

CLOCK_MONOTONIC = 1


@kernel
def read_clock(t: Tables) -> int:
    """Monotonic microseconds."""
    call(t.native[0].clock_gettime, CLOCK_MONOTONIC, t.pointers[0].time, 0, 0, 0)
    return i64(t.time[0] * 1_000_000 + t.time[1] // 1000)
