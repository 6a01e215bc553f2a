"""Every route of the table, from outside: who is let in, which bodies are refused and how, and never a 500."""

import asyncio
import inspect
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluicegate.config import Settings
from sluicegate.errors import Conflict, Forbidden, Invalid, NotFound, ParseError, Unavailable
from sluicegate.http.app import operations
from sluicegate.http.connections import ConnectionLimits
from sluicegate.http.events import EventStreams
from sluicegate.http.limits import MAX_BODY, Rate, RateLimits
from sluicegate.http.metrics import Metrics
from sluicegate.http.pages import Pages
from sluicegate.http.routing import Access, Operation
from sluicegate.ids import new_id
from sluicegate.session.caller import Grant
from sluicegate.session.service import Service
from tests.http.fakes import ADMIN, FakeService, Running, bearer, serve

TABLE = operations(Metrics(), list, EventStreams(), Pages(), open_server=False)
GUARDED = [operation for operation in TABLE if operation.access is Access.TOKEN]
WITH_BODY = [operation for operation in TABLE if operation.request is not None]


def named(operation: Operation) -> str:
    return operation.operation_id


def path_of(operation: Operation) -> str:
    path = operation.path.replace("{channel_id}", "lobby").replace("{path:.+}", "app.js")
    for name in ("session_id", "track_id", "subscription_id"):
        path = path.replace("{" + name + "}", new_id())
    return path


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Running]:
    async with serve() as running:
        yield running


async def problem(response: aiohttp.ClientResponse, status: int) -> dict[str, Any]:
    """The problem document of a refusal, checked for form."""
    text = await response.text()
    assert response.status == status, text
    assert response.content_type == "application/problem+json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    document = json.loads(text)
    assert document["status"] == status
    assert document["type"].startswith("urn:sluicegate:problem:")
    assert document["title"]
    assert document["detail"]
    return document


# Who is let in


@pytest.mark.parametrize("operation", GUARDED, ids=named)
async def test_without_a_token_every_guarded_call_is_401(server: Running, operation: Operation) -> None:
    async with server.client.request(operation.method, path_of(operation)) as response:
        await problem(response, 401)
        assert response.headers["WWW-Authenticate"].startswith('Bearer realm="sluicegate"')
    assert server.service.calls == []


@pytest.mark.parametrize("operation", GUARDED, ids=named)
async def test_a_foreign_token_is_401(server: Running, operation: Operation) -> None:
    headers = {"Authorization": "Bearer " + "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ."}
    async with server.client.request(operation.method, path_of(operation), headers=headers) as response:
        await problem(response, 401)
    assert server.service.calls == []


@pytest.mark.parametrize("operation", [one for one in GUARDED if one.grants], ids=named)
async def test_without_the_grant_it_is_403_before_anything_is_looked_up(server: Running, operation: Operation) -> None:
    others = [grant for grant in Grant if grant not in operation.grants and grant is not Grant.ADMIN]
    async with server.client.request(operation.method, path_of(operation), headers=bearer(*others)) as response:
        await problem(response, 403)
    assert server.service.calls == []


@pytest.mark.parametrize("operation", [one for one in GUARDED if not one.streams], ids=named)
async def test_the_token_in_the_query_counts_for_streams_only(server: Running, operation: Operation) -> None:
    token = ADMIN["Authorization"].removeprefix("Bearer ")
    async with server.client.request(operation.method, f"{path_of(operation)}?access_token={token}") as response:
        await problem(response, 401)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/docs", "/openapi.json"])
async def test_what_needs_no_token(server: Running, path: str) -> None:
    async with server.client.get(path) as response:
        assert response.status == 200
    async with server.client.head(path) as response:
        assert response.status == 200
        assert await response.read() == b""


async def test_without_a_secret_no_token_is_needed() -> None:
    async with serve(Settings()) as server:
        async with server.client.get("/sessions") as response:
            assert response.status == 200
        assert server.service.calls[0][1].is_admin


# Good calls


@pytest.mark.parametrize("operation", [one for one in GUARDED if not one.streams], ids=named)
async def test_a_good_call_answers_what_the_table_says(server: Running, operation: Operation) -> None:
    body = {"json": operation.example} if operation.request else {}
    async with server.client.request(operation.method, path_of(operation), headers=ADMIN, **body) as response:
        text = await response.read()
        assert response.status == operation.status, text
        if operation.response is not None:
            assert response.content_type == "application/json"
            msgspec.json.decode(text, type=operation.response)
        elif operation.status == 204:
            assert text == b""


async def test_a_handler_gets_what_was_asked(server: Running) -> None:
    async with server.client.get("/sessions?channel_id=lobby&user_id=null&cursor=c&limit=7", headers=ADMIN) as response:
        assert response.status == 200
    assert server.service.calls[0][2] == ("lobby", "null", "c", 7)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "limit=", "limit=1e3", "channel_id=a%20b", "user_id=", "cursor="]
)
async def test_a_wrong_query_is_422_and_names_the_parameter(server: Running, query: str) -> None:
    async with server.client.get(f"/sessions?{query}", headers=ADMIN) as response:
        document = await problem(response, 422)
        assert query.partition("=")[0] in document["detail"]


@pytest.mark.parametrize("channel", ["a%20b", "..%2f..%2fx", "%00", "x" * 300, "%E2%88%95", "a%0d%0ab", "lobby%0a"])
@pytest.mark.parametrize("call", [("GET", ""), ("PUT", "/routes"), ("GET", "/events")])
async def test_a_channel_id_that_is_none_is_422(server: Running, channel: str, call: tuple[str, str]) -> None:
    method, rest = call
    body = {"json": {}} if method == "PUT" else {}
    url = aiohttp.client.URL(f"http://127.0.0.1:{server.port}/channels/{channel}{rest}", encoded=True)
    async with server.client.request(method, url, headers=ADMIN, **body) as response:
        await problem(response, 422)


# Bodies


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
async def test_bodies_that_are_no_json_object_are_400(server: Running, operation: Operation) -> None:
    headers = {**ADMIN, "Content-Type": "application/json"}
    for body in (b"", b"{", b"[]", b"null", b'{"a":NaN}', b"[" * 10_000, b'{"a":' * 10_000, b'{"a":"\xff"}'):
        url = path_of(operation)
        async with server.client.request(operation.method, url, data=body, headers=headers) as response:
            await problem(response, 400)
    assert server.service.calls == []


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
async def test_a_body_of_the_wrong_kind_is_415(server: Running, operation: Operation) -> None:
    for kind in ("text/plain", "application/xml", "application/json; charset=utf-16", "application/sdp", "x", ";;"):
        headers = {**ADMIN, "Content-Type": kind}
        async with server.client.request(operation.method, path_of(operation), data=b"{}", headers=headers) as response:
            await problem(response, 415)
    headers = {**ADMIN, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with server.client.request(operation.method, path_of(operation), data=b"x", headers=headers) as response:
        await problem(response, 415)
    assert server.service.calls == []


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
async def test_wrong_types_are_422_with_a_pointer(server: Running, operation: Operation) -> None:
    fields = operation.request.__struct_encode_fields__
    for field in fields:
        body = {**operation.example, field: [[["wrong"]]]}
        async with server.client.request(operation.method, path_of(operation), json=body, headers=ADMIN) as response:
            document = await problem(response, 422)
            assert document["errors"][0]["pointer"].startswith(f"/{field}")
    assert server.service.calls == []


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("connect", {"dtls_parameters": {"role": "auto", "fingerprints": None}}, "/dtls_parameters/fingerprints"),
        ("connect", {"dtls_parameters": {"role": "auto", "fingerprints": [1]}}, "/dtls_parameters/fingerprints/0"),
        ("publish", {"kind": "audio", "rtp_parameters": {"codecs": [{}]}}, "/rtp_parameters/codecs/0/mimeType"),
        ("publish", {"kind": "smell", "rtp_parameters": {"codecs": []}}, "/kind"),
        ("subscribe", {"track_id": "", "rtp_capabilities": {"codecs": []}}, "/track_id"),
    ],
)
async def test_the_pointer_reaches_into_the_webrtc_dictionaries(
    server: Running, path: str, body: Any, pointer: str
) -> None:
    async with server.client.post(f"/sessions/{new_id()}/{path}", json=body, headers=ADMIN) as response:
        document = await problem(response, 422)
        assert document["errors"][0]["pointer"] == pointer


async def test_a_declared_huge_body_is_refused_by_its_head(server: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: {ADMIN['Authorization']}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n"
    writer.write(head.encode())
    start = time.monotonic()
    status = await asyncio.wait_for(reader.readline(), 5)
    assert b" 413 " in status
    assert time.monotonic() - start < 5  # it did not wait for the body
    writer.close()


async def test_expect_100_continue_is_answered_before_a_body_that_is_too_large(server: Running) -> None:
    for length, expected in ((MAX_BODY + 1, b" 413 "), (2, b" 100 ")):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: {ADMIN['Authorization']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        writer.write(head.encode())
        assert expected in await asyncio.wait_for(reader.readline(), 5)
        if expected == b" 100 ":
            writer.write(b"{}")
            await reader.readline()
            assert b" 422 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()


@pytest.mark.parametrize("path", ["/sessions", "/nothing"])
async def test_another_expectation_is_417(server: Running, path: str) -> None:
    headers = {**ADMIN, "Expect": "miracles"}
    async with server.client.post(path, json={}, headers=headers) as response:
        await problem(response, 417)


async def test_a_chunked_huge_body_is_refused_on_the_way(server: Running) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 65536
            yield b" " * 65536

    headers = {**ADMIN, "Content-Type": "application/json"}
    try:
        async with server.client.post("/sessions", data=chunks(), headers=headers) as response:
            await problem(response, 413)
            assert response.headers["Connection"] == "close"
    except aiohttp.ClientConnectionError:
        pass  # the rest of the body met a closed connection before the answer was read
    assert server.service.calls == []
    assert sent < 1000 * 65536


async def test_a_body_as_large_as_allowed_is_read(server: Running) -> None:
    body = json.dumps({"type": "audio"}).encode()
    headers = {**ADMIN, "Content-Type": "application/json"}
    async with server.client.post("/sessions", data=body.ljust(MAX_BODY), headers=headers) as response:
        await problem(response, 422)
    async with server.client.post("/sessions", data=body.ljust(MAX_BODY + 1), headers=headers) as response:
        await problem(response, 413)


async def test_a_body_that_does_not_come_is_408() -> None:
    async with serve(body_timeout=0.05, connections=ConnectionLimits(lingering_time=0.05)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: {ADMIN['Authorization']}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{{".encode())
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 5)
        await asyncio.wait_for(reader.read(), 5)  # and the connection ends
        writer.close()


async def test_a_broken_chunk_is_400(server: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: {ADMIN['Authorization']}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode())
    assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)
    writer.close()


# Refusals of the service, and of aiohttp


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("There is no such session."), 404),
        (Conflict("It is connected already."), 409),
        (Invalid("Not a codec.", pointer="/rtp_parameters/codecs/0"), 422),
        (Forbidden("No."), 403),
        (Unavailable("Full.", retry_after=0.2), 503),
        (ParseError("Not a fingerprint."), 422),
    ],
)
async def test_the_service_refuses_by_raising(server: Running, error: Exception, status: int) -> None:
    server.service.raises = error
    async with server.client.get(f"/sessions/{new_id()}", headers=ADMIN) as response:
        document = await problem(response, status)
        assert document["detail"] == str(error)
        assert response.headers.get("Retry-After") == ("1" if status == 503 else None)
        pointers = [field["pointer"] for field in document.get("errors", [])]
        assert pointers == [field.pointer for field in getattr(error, "errors", ())]


async def test_a_mistake_of_ours_is_a_problem_too_and_says_nothing_about_itself(server: Running) -> None:
    server.service.raises = RuntimeError("secret detail")
    async with server.client.get(f"/sessions/{new_id()}", headers=ADMIN) as response:
        document = await problem(response, 500)
        assert "secret detail" not in json.dumps(document)


@pytest.mark.parametrize(
    "path", ["/nothing", "/sessions/", "/whip/lobby", "/whep/lobby/x", "/recordings", "/channels/lobby/recording/start"]
)
async def test_an_unknown_path_is_404(server: Running, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        async with server.client.request(method, path) as response:
            await problem(response, 404)


async def test_a_wrong_method_is_405_and_options_says_which_are_right(server: Running) -> None:
    async with server.client.put("/sessions") as response:
        await problem(response, 405)
        assert response.headers["Allow"] == "GET,HEAD,POST"
    async with server.client.options("/sessions") as response:
        assert response.status == 204
        assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


async def test_readiness_names_what_is_missing(server: Running) -> None:
    server.ready[:] = [("plane", True, "compiled"), ("nats", False, "no connection")]
    async with server.client.get("/readyz") as response:
        document = await problem(response, 503)
        assert document["detail"] == "Not ready: nats."
        assert {"name": "nats", "ok": False, "detail": "no connection"} in document["checks"]
        assert response.headers["Retry-After"] == "1"


# Rates


async def test_a_token_that_calls_too_often_is_429_and_an_admin_never() -> None:
    limits = RateLimits(by_token=Rate(1, 3))
    async with serve(limits=limits, monotonic=lambda: 0.0) as server:
        statuses = []
        for _ in range(5):
            async with server.client.get("/channels", headers=bearer(Grant.JOIN)) as response:
                statuses.append(response.status)
                if response.status == 429:
                    await problem(response, 429)
                    assert response.headers["Retry-After"] == "1"
        assert statuses == [200, 200, 200, 429, 429]
        async with server.client.get("/channels", headers=bearer(Grant.JOIN, user_id="ben")) as response:
            assert response.status == 200
        for _ in range(10):
            async with server.client.get("/channels", headers=ADMIN) as response:
                assert response.status == 200


async def test_an_address_that_has_no_token_is_limited_and_health_never() -> None:
    limits = RateLimits(by_address=Rate(1, 3), failures=Rate(1, 2))
    async with serve(limits=limits, monotonic=lambda: 0.0) as server:
        for path, expected in (
            ("/", [200, 200, 200, 429]),
            ("/nothing", [429]),
            ("/channels", [401, 401, 429]),
            ("/healthz", [200] * 10),
            ("/readyz", [200] * 10),
        ):
            statuses = []
            for _ in expected:
                async with server.client.get(path) as response:
                    statuses.append(response.status)
            assert statuses == expected, path
        async with server.client.get("/channels", headers=bearer(Grant.JOIN)) as response:
            assert response.status == 200  # a good token from the same address


# Whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


def mutated(operation: Operation) -> st.SearchStrategy[Any]:
    """The example with some fields replaced by anything."""
    fields = st.sampled_from(operation.request.__struct_encode_fields__)
    return st.dictionaries(fields, JSON, max_size=3).map(lambda changes: {**operation.example, **changes})


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
def test_no_body_is_ever_a_500(operation: Operation) -> None:
    """One server for all examples, on a loop of its own that Hypothesis drives."""
    with asyncio.Runner() as runner:
        context = serve()
        server = runner.run(enter(context))

        @settings(max_examples=30, suppress_health_check=list(HealthCheck))
        @given(mutated(operation) | JSON)
        def attack(body: Any) -> None:
            try:
                data = json.dumps(body).encode()  # with Infinity where there is one
            except UnicodeEncodeError:
                return
            status = runner.run(send(server, operation, data))
            assert status < 500

        attack()
        runner.run(context.__aexit__(None, None, None))


async def enter(context: Any) -> Running:
    return await context.__aenter__()


async def send(server: Running, operation: Operation, data: bytes) -> int:
    headers = {**ADMIN, "Content-Type": "application/json"}
    async with server.client.request(operation.method, path_of(operation), data=data, headers=headers) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize(
    "target",
    [
        "/sessions/%ff%fe",
        "/sessions/%00",
        "/sessions/" + "x" * 7000,
        "/sessions/a%2Fb",
        "/sessions/../../etc/passwd",
        "/channels/%2e%2e/events",
        "/sessions?limit=%ff",
        "/sessions?limit=1&limit=2",
        "/sessions?" + "a=b&" * 1500,
        "*",
        "http://other.example/sessions",
        "//other.example/sessions",
        "/%",
        "/%zz",
        "/sessions#x",
        "/\u00e9",
    ],
)
async def test_no_target_is_ever_a_500(server: Running, target: str) -> None:
    for method in ("GET", "OPTIONS", "BREW"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: {ADMIN['Authorization']}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode("latin-1"))
        status = int((await asyncio.wait_for(reader.readline(), 5)).split()[1])
        assert status < 500
        writer.close()


def test_the_fake_has_the_calls_of_the_service() -> None:
    for name, method in inspect.getmembers(FakeService, inspect.iscoroutinefunction):
        real = inspect.signature(getattr(Service, name))
        assert list(inspect.signature(method).parameters) == list(real.parameters), name
