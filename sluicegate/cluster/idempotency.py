"""Answers kept for callers that repeat themselves (`Idempotency-Key`; draft-ietf-httpapi-idempotency-key-header).

The same key with the same body gives the same answer for 24 hours; with another body it is refused (422), and while
the first call is still being served a second one is told to come back (409). A first call that fails keeps nothing,
so it may be tried again.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sluicegate.errors import Conflict, Invalid

KEPT_SECONDS = 24 * 3600.0
# An answer of POST /sessions is about 4 KB: this bounds the store to some 40 MB. When it is full the oldest answer
# goes.
MAX_ANSWERS = 10_000
MAX_KEY_LENGTH = 255


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An HTTP answer as it was given."""

    status: int
    body: bytes
    content_type: str = "application/json"
    location: str | None = None


class IdempotencyStore(Protocol):
    """`begin` first; when it gives nothing, serve the call, then `finish` or `abandon`.

    `scope` tells callers and calls apart (user, channel, method and path): a key means something only within it.
    `fingerprint` is a digest of the body.
    """

    async def begin(self, scope: str, key: str, fingerprint: bytes) -> StoredAnswer | None: ...

    async def finish(self, scope: str, key: str, answer: StoredAnswer) -> None: ...

    async def abandon(self, scope: str, key: str) -> None: ...


@dataclass(slots=True)
class _Entry:
    fingerprint: bytes
    since: float
    answer: StoredAnswer | None = None


class ProcessIdempotencyStore:
    """The store of one process. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float], *, max_answers: int = MAX_ANSWERS) -> None:
        self._clock = clock
        self._max_answers = max_answers
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def begin(self, scope: str, key: str, fingerprint: bytes) -> StoredAnswer | None:
        """The answer that was given before, or None: then the call is the caller's to serve.

        Raises `Invalid` for a key that is empty, too long or was used with another body, `Conflict` while the call is
        being served.
        """
        if not 0 < len(key) <= MAX_KEY_LENGTH:
            raise Invalid(f"Idempotency-Key must have 1–{MAX_KEY_LENGTH} characters.")
        now = self._clock()
        self._expire(now)
        entry = self._entries.get((scope, key))
        if entry is None:
            self._entries[scope, key] = _Entry(fingerprint, now)
            if len(self._entries) > self._max_answers:
                self._entries.popitem(last=False)
            return None
        if entry.fingerprint != fingerprint:
            raise Invalid("This Idempotency-Key was used with another body.")
        if entry.answer is None:
            raise Conflict("A call with this Idempotency-Key is being served.", retry_after=1)
        return entry.answer

    async def finish(self, scope: str, key: str, answer: StoredAnswer) -> None:
        """Keeps the answer, for 24 hours from `begin`."""
        entry = self._entries.get((scope, key))
        if entry is not None:
            entry.answer = answer

    async def abandon(self, scope: str, key: str) -> None:
        """Forgets a call that came to nothing."""
        self._entries.pop((scope, key), None)

    def _expire(self, now: float) -> None:
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if now - oldest.since < KEPT_SECONDS:
                return
            self._entries.popitem(last=False)
