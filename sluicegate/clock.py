"""Clocks. What decides anything is monotonic; wall time is only for people and for NTP fields."""

import time
from datetime import UTC, datetime

NTP_EPOCH_OFFSET = 2_208_988_800  # seconds from 1900 to 1970 (RFC 5905 §6)


def monotonic() -> float:
    """Monotonic time in float seconds: the `now` argument of everything sans-IO."""
    return time.monotonic()


def wall() -> float:
    """Wall time in float Unix seconds."""
    return time.time()


def rfc3339(wall: float | None = None) -> str:
    """Wall time (Unix seconds; the present without one) as RFC 3339 text in UTC with milliseconds."""
    moment = datetime.fromtimestamp(time.time() if wall is None else wall, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
