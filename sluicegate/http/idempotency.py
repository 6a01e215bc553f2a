"""Idempotency-Key: a creating call that is sent again gets the answer of the first time, and creates nothing.

A key counts for one caller and one path. The same key with the same body gives the kept answer; with another body it is
refused (422). Calls with the same key that overlap on this node run one after the other, so that only the first creates
and the others get its answer. Only answers that created something are kept: a refusal created nothing, and trying again
is right.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sluicegate.cluster.idempotency import IdempotencyStore, StoredAnswer
from sluicegate.errors import Malformed

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Idempotency:
    """Runs creating calls once per key; the answers lie in `store`."""

    def __init__(self, store: IdempotencyStore) -> None:
        self._store = store
        # As many as there are calls with a key being served now.
        self._turns: dict[tuple[str, str], _Turn] = {}

    async def run(
        self, scope: str, key: str, body: bytes, create: Callable[[], Awaitable[StoredAnswer]]
    ) -> tuple[StoredAnswer, bool]:
        """The answer to a call with this key, and whether it is one that was given before.

        `scope` names the caller, the method and the path. Raises `Malformed` for a key that is none, `Invalid` for one
        that was used with another body, `Conflict` while another node serves it, and whatever `create` raises.
        """
        if not _KEY.fullmatch(key):
            raise Malformed("The Idempotency-Key must have 1 to 255 visible ASCII characters.")
        turn = self._turns.setdefault((scope, key), _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                return await self._run(scope, key, hashlib.sha256(body).digest(), create)
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[scope, key]

    async def _run(
        self, scope: str, key: str, fingerprint: bytes, create: Callable[[], Awaitable[StoredAnswer]]
    ) -> tuple[StoredAnswer, bool]:
        kept = await self._store.begin(scope, key, fingerprint)
        if kept is not None:
            return kept, True
        try:
            answer = await create()
        except BaseException:
            await self._store.abandon(scope, key)
            raise
        await self._store.finish(scope, key, answer)
        return answer, False
