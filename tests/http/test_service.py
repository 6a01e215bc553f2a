"""HTTP with the real service behind it: a call from its first request to its end, and what strangers get to see."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluicegate.http import examples
from sluicegate.http.app import operations
from sluicegate.http.events import EventStreams
from sluicegate.http.metrics import Metrics
from sluicegate.http.pages import Pages
from sluicegate.http.routing import Operation
from sluicegate.ids import new_id
from sluicegate.ortc.capabilities import ROUTER_CAPABILITIES
from sluicegate.session.caller import Grant
from tests.http.fakes import ADMIN, Running, bearer, serve
from tests.session.fakes import FakeSettings, Node

TABLE = operations(Metrics(), list, EventStreams(), Pages(), open_server=False)
SERVED = [one for one in TABLE if one.grants and not one.streams and one.operation_id != "metrics"]
MEMBER = (Grant.JOIN, Grant.PUBLISH, Grant.SUBSCRIBE)
ADA, BEN = bearer(*MEMBER, user_id="ada"), bearer(*MEMBER, user_id="ben")
ELSEWHERE = bearer(*MEMBER, user_id="ada", channel_id="elsewhere")
CAPABILITIES = json.loads(msgspec.json.encode(ROUTER_CAPABILITIES))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Running]:
    async with serve(service=Node().service) as running:
        yield running


async def call(
    server: Running, method: str, path: str, headers: dict[str, str], body: Any = None
) -> tuple[int, dict[str, Any]]:
    """The status and the document of an answer."""
    more = {} if body is None else {"json": body}
    async with server.client.request(method, path, headers=headers, **more) as response:
        text = await response.text()
        return response.status, json.loads(text) if text else {}


async def join(server: Running, headers: dict[str, str], user_id: str = "ada", channel_id: str = "lobby") -> str:
    body = {"type": "video", "channel_id": channel_id, "user_id": user_id}
    status, created = await call(server, "POST", "/sessions", headers, body)
    assert status == 201, created
    return created["session_id"]


async def speak(server: Running, headers: dict[str, str], session: str) -> str:
    status, published = await call(server, "POST", f"/sessions/{session}/publish", headers, examples.PUBLISH)
    assert status == 201, published
    return published["track_id"]


async def test_a_call_from_its_first_request_to_its_end(server: Running) -> None:
    ada = await join(server, ADA)
    path = f"/sessions/{ada}"
    assert (await call(server, "POST", f"{path}/connect", ADA, examples.CONNECT))[0] == 204
    assert (await call(server, "POST", f"{path}/connect", ADA, examples.CONNECT))[0] == 409
    track = await speak(server, ADA, ada)
    ben = await join(server, BEN, "ben")
    wish = {"track_id": track, "rtp_capabilities": CAPABILITIES}
    status, subscription = await call(server, "POST", f"/sessions/{ben}/subscribe", BEN, wish)
    assert status == 201
    assert subscription["rtp_parameters"]["codecs"][0]["mimeType"] == "audio/opus"
    part = f"/sessions/{ben}/subscriptions/{subscription['subscription_id']}"
    assert (await call(server, "PATCH", part, BEN, {"paused": True}))[1]["paused"] is True
    assert (await call(server, "PATCH", f"{path}/tracks/{track}", ADA, {"paused": True}))[1]["paused"] is True
    assert (await call(server, "POST", f"{path}/restart-ice", ADA))[0] == 200
    assert (await call(server, "PATCH", path, ADA, {"metadata": {"name": "Ada"}}))[1]["metadata"] == {"name": "Ada"}
    for reading in ("", "/why", "/stats"):
        assert (await call(server, "GET", path + reading, ADA))[0] == 200
    status, channel = await call(server, "GET", "/channels/lobby", BEN)
    assert {one["user_id"] for one in channel["members"]} == {"ada", "ben"}
    assert len((await call(server, "GET", "/channels", ADA))[1]["channels"]) == 1
    gains = {"default": 1, "gains": [{"listener": "ben", "speaker": "ada", "gain": 0}]}
    assert (await call(server, "PUT", "/channels/lobby/routes", ADMIN, gains))[0] == 200
    assert (await call(server, "DELETE", part, BEN))[0] == 204
    assert (await call(server, "DELETE", f"{path}/tracks/{track}", ADA))[0] == 204
    for _ in range(2):
        assert (await call(server, "DELETE", path, ADA))[0] == 204
    assert (await call(server, "GET", path, ADA))[0] == 404
    assert (await call(server, "GET", f"{path}/why", ADA))[1]["closed_reason"] == "deleted"


async def test_a_stranger_learns_nothing_and_changes_nothing(server: Running) -> None:
    ada = await join(server, ADA)
    track = await speak(server, ADA, ada)
    ben = await join(server, BEN, "ben")
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PATCH", "", {"metadata": {}}),
        ("DELETE", "", None),
        ("GET", "/why", None),
        ("GET", "/stats", None),
        ("POST", "/restart-ice", None),
        ("POST", "/connect", examples.CONNECT),
        ("POST", "/publish", examples.PUBLISH),
        ("POST", "/subscribe", {"track_id": track, "rtp_capabilities": CAPABILITIES}),
        ("PATCH", f"/tracks/{track}", {"paused": True}),
        ("DELETE", f"/tracks/{track}", None),
        ("PATCH", f"/subscriptions/{new_id()}", {"paused": True}),
        ("DELETE", f"/subscriptions/{new_id()}", None),
    ]
    for method, rest, body in calls:
        for headers in (BEN, ELSEWHERE):
            existing = await call(server, method, f"/sessions/{ada}{rest}", headers, body)
            invented = await call(server, method, f"/sessions/{new_id()}{rest}", headers, body)
            assert existing == invented  # word for word
            assert existing[0] == 404
    status, seen = await call(server, "GET", f"/sessions/{ada}", ADA)
    assert (status, [one["paused"] for one in seen["tracks"]]) == (200, [False])
    assert (await call(server, "DELETE", f"/sessions/{ben}/tracks/{track}", BEN))[0] == 404


async def test_a_track_of_another_channel_cannot_be_subscribed_to(server: Running) -> None:
    track = await speak(server, ADA, await join(server, ADA))
    session = await join(server, ELSEWHERE, channel_id="elsewhere")
    answers = [
        await call(
            server,
            "POST",
            f"/sessions/{session}/subscribe",
            ELSEWHERE,
            {"track_id": name, "rtp_capabilities": CAPABILITIES},
        )
        for name in (track, new_id())
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


async def test_another_channel_cannot_be_seen(server: Running) -> None:
    await join(server, ADA)
    assert await call(server, "GET", "/channels/lobby", ELSEWHERE) == await call(
        server, "GET", "/channels/nowhere", ELSEWHERE
    )
    assert (await call(server, "GET", "/channels", ELSEWHERE))[1] == {"channels": []}
    async with server.client.get(
        "/channels/lobby/events", headers={**ELSEWHERE, "Accept": "text/event-stream"}
    ) as response:
        assert response.status == 404


async def test_nobody_joins_as_somebody_else(server: Running) -> None:
    for changes in ({"user_id": "ben"}, {"channel_id": "elsewhere"}):
        body = {"type": "audio", "channel_id": "lobby", "user_id": "ada", **changes}
        status, problem = await call(server, "POST", "/sessions", ADA, body)
        assert status == 403
        assert problem["errors"][0]["pointer"] == f"/{next(iter(changes))}"


async def test_a_full_server_says_when_to_come_back() -> None:
    async with serve(service=Node(FakeSettings(max_sessions=1)).service) as server:
        await join(server, ADA)
        body = {"type": "video", "channel_id": "lobby", "user_id": "ben"}
        async with server.client.post("/sessions", json=body, headers=BEN) as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("operation", SERVED, ids=lambda one: one.operation_id)
@pytest.mark.parametrize("grant", list(Grant))
async def test_the_table_and_the_service_agree_on_grants(operation: Operation, grant: Grant) -> None:
    """The same call with the table's grants taken out meets the same refusal, now by the service."""
    path = operation.path.replace("{channel_id}", "lobby")
    for name in ("session_id", "track_id", "subscription_id"):
        path = path.replace("{" + name + "}", new_id())
    allowed = grant in operation.grants or grant is Grant.ADMIN
    node = Node()
    async with serve(service=node.service) as server:
        status, _ = await call(server, operation.method, path, bearer(grant), operation.example)
        assert (status == 403) is not allowed
    with pytest.MonkeyPatch.context() as patch:
        bare = tuple(replace(one, grants=frozenset()) for one in TABLE)
        patch.setattr("sluicegate.http.app.operations", lambda *_, **__: bare)
        # Handlers of the rows that are bound to their own metrics and pages serve just as well here.
        async with serve(service=node.service) as server:
            status, _ = await call(server, operation.method, path, bearer(grant), operation.example)
            assert (status == 403) is not allowed


# Whatever comes

NUMBERS = st.sampled_from(
    [0, -1, 1, 255, 256, 65535, 65536, 2**31, 2**32, 2**53, 2**63, 2**64, 10**30, 0.5, 1e300, -1e300]
)
ODD = st.none() | st.booleans() | NUMBERS | st.text(max_size=12) | st.sampled_from(["[]", "{}", "[{}]"]).map(json.loads)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything inside."""
    found = [path] if path else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in entries:
        found += places(child, (*path, key))
    return found


@st.composite
def damaged(draw: st.DrawFn, example: dict[str, Any]) -> dict[str, Any]:
    """The example with one to three values, anywhere inside, replaced or taken out."""
    body = json.loads(json.dumps(example))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(places(body)))
        target = body
        for key in parents:
            target = target[key]
        if draw(st.booleans()) or len(target) == 1:
            target[last] = draw(ODD)
        else:
            del target[last]
    return body


PATCHES = {
    "paused": True,
    "preset": "low",
    "preferred_layers": {"spatial": 1, "temporal": 2},
    "priority": 3,
    "volume": 1,
}
BODIES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "POST",
        "/sessions",
        {**examples.CREATE_SESSION, "audio_processing": {"agc": True}, "preset": "high", "region": "eu"},
    ),
    ("POST", "/sessions/{session}/connect", examples.CONNECT),
    ("POST", "/sessions/{session}/publish", examples.PUBLISH),
    ("POST", "/sessions/{session}/subscribe", {"rtp_capabilities": CAPABILITIES, "track_id": "mix", "priority": 1}),
    ("PATCH", "/sessions/{session}", {"metadata": {"a": 1}, "audio_processing": {"vad": True}}),
    ("PATCH", "/sessions/{session}/tracks/{track}", {"paused": True, "preset": "low"}),
    ("PATCH", "/sessions/{session}/subscriptions/{subscription}", PATCHES),
    ("PUT", "/channels/lobby/routes", examples.ROUTES),
]


@pytest.mark.parametrize(("method", "path", "example"), BODIES, ids=[f"{method} {path}" for method, path, _ in BODIES])
def test_no_damaged_body_is_ever_a_500(method: str, path: str, example: dict[str, Any]) -> None:
    """On a running call, so that what passes the schema reaches the domain."""
    with asyncio.Runner() as runner:
        context = serve(service=Node().service)
        server = runner.run(_enter(context))
        names = runner.run(_call_between_two(server))
        target = path.format(**names)

        @settings(max_examples=60, suppress_health_check=list(HealthCheck))
        @given(damaged({**example, "track_id": names["track"]} if "subscribe" in path else example))
        def attack(body: Any) -> None:
            status, answer = runner.run(call(server, method, target, ADMIN, body))
            assert status < 500 or status == 503, answer

        attack()
        runner.run(context.__aexit__(None, None, None))


async def _call_between_two(server: Running) -> dict[str, str]:
    ada = await join(server, ADA)
    track = await speak(server, ADA, ada)
    wish = {"track_id": track, "rtp_capabilities": CAPABILITIES}
    ben = await join(server, BEN, "ben")
    _, subscription = await call(server, "POST", f"/sessions/{ben}/subscribe", BEN, wish)
    await call(server, "POST", f"/sessions/{ada}/subscribe", ADA, wish)
    session = ben if subscription else ada
    return {"session": session, "track": track, "subscription": subscription["subscription_id"]}


async def _enter(context: Any) -> Running:
    return await context.__aenter__()
