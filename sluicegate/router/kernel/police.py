"""Limits on what one peer has done for it."""

from typing import Any

from sluicegate.compiled import kernel

SECOND_US = 1_000_000
TRANSPORT_PACKETS = 5_000
"""Packets a second that one transport may send on average, and at once: what two videos of 20 Mbps need."""


@kernel
def police(row: Any, rate: int, cost: int, now: int) -> bool:
    """A token bucket that holds a second of `rate`, in the row of whom it bounds; False if this is too much."""
    if row.police_at == 0:
        row.police_at = now
        row.police_budget = rate
    elapsed = now - row.police_at
    if elapsed >= SECOND_US:
        row.police_at = now
        row.police_budget = rate
    earned = (now - row.police_at) * rate // SECOND_US
    row.police_at += earned * SECOND_US // rate  # what is not worth a whole unit yet is not lost
    row.police_budget = min(rate, row.police_budget + earned)
    if row.police_budget < cost:
        return False
    row.police_budget -= cost
    return True
