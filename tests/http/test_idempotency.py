"""Idempotency-Key: once per key, whatever overlaps, repeats or fails."""

import asyncio

import pytest

from sluicegate.cluster.idempotency import ProcessIdempotencyStore, StoredAnswer
from sluicegate.errors import Conflict, Invalid, Malformed
from sluicegate.http.idempotency import Idempotency
from sluicegate.session.caller import Grant
from tests.http.fakes import bearer, serve

BODY = {"type": "audio", "channel_id": "lobby", "user_id": "ada"}


class Counter:
    """A creating call that counts how often it ran; `gate` holds it."""

    def __init__(self) -> None:
        self.runs = 0
        self.gate = asyncio.Event()
        self.fails = False

    async def __call__(self) -> StoredAnswer:
        self.runs += 1
        run = self.runs
        await self.gate.wait()
        if self.fails:
            raise Conflict("no")
        return StoredAnswer(201, b"%d" % run)


def make() -> tuple[Idempotency, Counter]:
    counter = Counter()
    counter.gate.set()
    return Idempotency(ProcessIdempotencyStore(lambda: 0.0)), counter


async def test_a_repeated_call_gets_the_first_answer() -> None:
    idempotency, create = make()
    first = await idempotency.run("a", "key", b"body", create)
    again = await idempotency.run("a", "key", b"body", create)
    assert (first[0].body, first[1]) == (b"1", False)
    assert (again[0].body, again[1]) == (b"1", True)
    assert create.runs == 1


async def test_another_body_is_refused_and_another_scope_is_another_call() -> None:
    idempotency, create = make()
    await idempotency.run("a", "key", b"body", create)
    with pytest.raises(Invalid):
        await idempotency.run("a", "key", b"other", create)
    assert (await idempotency.run("b", "key", b"other", create))[1] is False
    assert create.runs == 2


async def test_overlapping_calls_wait_for_the_first() -> None:
    idempotency, create = make()
    create.gate.clear()
    tasks = [asyncio.create_task(idempotency.run("a", "key", b"body", create)) for _ in range(5)]
    await asyncio.sleep(0)
    create.gate.set()
    answers = await asyncio.gather(*tasks)
    assert create.runs == 1
    assert {answer.body for answer, _ in answers} == {b"1"}
    assert sorted(replayed for _, replayed in answers) == [False, True, True, True, True]


async def test_a_failure_is_not_kept_and_the_next_in_line_tries() -> None:
    idempotency, create = make()
    create.fails = True
    with pytest.raises(Conflict):
        await idempotency.run("a", "key", b"body", create)
    create.fails = False
    assert (await idempotency.run("a", "key", b"body", create))[0].body == b"2"


async def test_a_cancelled_call_leaves_nothing_behind() -> None:
    idempotency, create = make()
    create.gate.clear()
    task = asyncio.create_task(idempotency.run("a", "key", b"body", create))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    create.gate.set()
    assert (await idempotency.run("a", "key", b"body", create))[0].body == b"2"
    assert not idempotency._turns


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ключ", "a\nb"])
async def test_a_key_that_is_none_is_malformed(key: str) -> None:
    idempotency, create = make()
    with pytest.raises(Malformed):
        await idempotency.run("a", key, b"body", create)


async def test_over_http_the_session_is_made_once() -> None:
    async with serve() as server:
        headers = {**bearer(Grant.JOIN), "Idempotency-Key": "k1"}
        answers = []
        for _ in range(3):
            async with server.client.post("/sessions", json=BODY, headers=headers) as response:
                assert response.status == 201
                answers.append((await response.json(), response.headers.get("Idempotency-Replayed")))
                assert response.headers["Location"] == f"/sessions/{answers[0][0]['session_id']}"
        assert answers[0][0] == answers[1][0] == answers[2][0]
        assert [replayed for _, replayed in answers] == [None, "true", "true"]
        assert len(server.service.calls) == 1
        async with server.client.post("/sessions", json={**BODY, "type": "video"}, headers=headers) as response:
            assert response.status == 422


async def test_over_http_another_user_has_other_keys() -> None:
    async with serve() as server:
        for user in ("ada", "ben"):
            headers = {**bearer(Grant.JOIN, user_id=user), "Idempotency-Key": "k1"}
            async with server.client.post("/sessions", json=BODY, headers=headers) as response:
                assert response.status == 201
                assert "Idempotency-Replayed" not in response.headers
        assert len(server.service.calls) == 2
