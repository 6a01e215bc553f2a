"""One line for each request, and no more than a log can bear.

The line has method, path, status, duration and bytes; never the query (which may hold a token), a header, a body or an
address. What was refused (400 and above) is logged at most `LOGGED_PER_SECOND` times a second, with the number of lines
left out, so that a flood of rubbish cannot fill a disk. What is read all the time (pages, health, metrics) is logged at
debug.
"""

import structlog
from aiohttp import web

log = structlog.get_logger("sluicegate.http.access")

# Lower: a single page that fails ten calls at once is not seen whole. Higher: a flood costs megabytes an hour.
LOGGED_PER_SECOND = 10

MAX_PATH = 200


class LineLimiter:
    """Lets through `per_second` lines a second and counts the rest. Time is an argument."""

    def __init__(self, per_second: int = LOGGED_PER_SECOND) -> None:
        self._per_second = per_second
        self._window = float("-inf")
        self._used = 0
        self._suppressed = 0

    def admit(self, now: float) -> int | None:
        """The number of lines left out before this one, or None if this one is left out too."""
        if now - self._window >= 1:
            self._window, self._used = now, 0
        if self._used >= self._per_second:
            self._suppressed += 1
            return None
        self._used += 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


class AccessLog:
    """Writes the lines; made once for an application."""

    def __init__(self) -> None:
        self._refusals = LineLimiter()

    def write(self, request: web.Request, status: int, size: int, seconds: float, now: float, quiet: bool) -> None:
        """One answered request; `quiet` where neither a good answer nor "not yet" (503 of `/readyz`) is news."""
        fields = {
            "method": printable(request.method, 16),
            "path": printable(request.rel_url.raw_path, MAX_PATH),
            "status": status,
            "ms": round(seconds * 1000, 1),
            "bytes": size,
        }
        if status < 400 or (quiet and status == 503):
            (log.debug if quiet else log.info)("request", **fields)
            return
        suppressed = self._refusals.admit(now)
        if suppressed is not None:
            log.info("request", **fields, **({"suppressed": suppressed} if suppressed else {}))


def printable(text: str, longest: int) -> str:
    """`text` on one line: cut, and with everything outside printable ASCII escaped."""
    cut = text if len(text) <= longest else text[:longest] + "…"
    return "".join(c if " " <= c <= "~" or c == "…" else c.encode("unicode_escape").decode() for c in cut)
