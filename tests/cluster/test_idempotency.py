"""The same key and body give the same answer; nothing else does."""

import pytest

from sluicegate.cluster.idempotency import KEPT_SECONDS, ProcessIdempotencyStore, StoredAnswer
from sluicegate.errors import Conflict, Invalid

ANSWER = StoredAnswer(201, b"{}")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def finished(store: ProcessIdempotencyStore, key: str, scope: str = "ann POST /sessions") -> None:
    assert await store.begin(scope, key, b"body") is None
    await store.finish(scope, key, ANSWER)


async def test_a_finished_call_is_answered_again_for_a_day() -> None:
    clock = Clock()
    store = ProcessIdempotencyStore(clock)
    await finished(store, "k")
    clock.now = KEPT_SECONDS - 1
    assert await store.begin("ann POST /sessions", "k", b"body") == ANSWER
    clock.now = KEPT_SECONDS
    assert await store.begin("ann POST /sessions", "k", b"body") is None


async def test_another_scope_is_another_key() -> None:
    store = ProcessIdempotencyStore(Clock())
    await finished(store, "k")
    assert await store.begin("ben POST /sessions", "k", b"body") is None


async def test_another_body_is_refused() -> None:
    store = ProcessIdempotencyStore(Clock())
    await finished(store, "k")
    with pytest.raises(Invalid):
        await store.begin("ann POST /sessions", "k", b"other")


async def test_a_call_under_way_conflicts() -> None:
    store = ProcessIdempotencyStore(Clock())
    assert await store.begin("s", "k", b"body") is None
    with pytest.raises(Conflict):
        await store.begin("s", "k", b"body")


async def test_a_call_that_failed_may_be_tried_again() -> None:
    store = ProcessIdempotencyStore(Clock())
    await store.begin("s", "k", b"body")
    await store.abandon("s", "k")
    assert await store.begin("s", "k", b"other") is None


async def test_a_full_store_forgets_the_oldest() -> None:
    store = ProcessIdempotencyStore(Clock(), max_answers=3)
    for number in range(5):
        await finished(store, str(number))
    assert len(store) == 3
    assert await store.begin("ann POST /sessions", "4", b"body") == ANSWER
    assert await store.begin("ann POST /sessions", "1", b"body") is None


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_has_a_length(key: str) -> None:
    with pytest.raises(Invalid):
        await ProcessIdempotencyStore(Clock()).begin("s", key, b"")
