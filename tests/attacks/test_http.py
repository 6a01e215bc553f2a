"""HTTP as a weapon: rows 27, 33 and 39 of section A. (Slow clients, row 28, are in `test_silence`.)"""

import asyncio
import gzip
import importlib.metadata
import json
import time
import uuid
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.attacks.strangers import Drops
from tests.support.api import Api
from tests.support.rtc_client import ScriptedClient
from tests.support.server import SECRET, ServerProcess

pytestmark = pytest.mark.usefixtures("innocent")


@pytest.fixture(scope="module")
def protected(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server with tokens, and a page elsewhere that may call it."""
    return start_server(API_SECRET=SECRET, CORS_ORIGINS="https://app.example")


BODY = b'{"type":"audio","channel_id":"c","user_id":"u"}'


async def raw(server: ServerProcess, data: bytes, *, timeout: float = 10.0) -> bytes:
    """Bytes to the server's port, and all that comes back until it closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.environment["PORT"]))
    answer = b""
    try:
        writer.write(data)
        try:
            async with asyncio.timeout(timeout):
                while chunk := await asyncio.wait_for(reader.read(65536), 1.0):
                    answer += chunk
        except (TimeoutError, ConnectionError):
            pass
    finally:
        writer.close()
    return answer


def statuses(answer: bytes) -> list[int]:
    """Those of all responses in a stream of bytes."""
    return [int(line[9:12]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")]


def test_a27_the_library_is_one_that_has_the_fixes() -> None:
    """CVE-2025-69223 to 69230, CVE-2026-22815, CVE-2026-34516: fixed in aiohttp 3.13.4."""
    version = tuple(int(part) for part in importlib.metadata.version("aiohttp").split(".")[:3])
    assert version >= (3, 13, 4)
    (wanted,) = [line for line in importlib.metadata.requires("sluicegate") or () if line.startswith("aiohttp")]
    assert "3.14" in wanted


HEAD = b"Host: 127.0.0.1\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
FRAMINGS: dict[str, bytes] = {
    "both a length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + SMUGGLED,
    "a list of lengths": b"Content-Length: 5, 5\r\n\r\nhello" + SMUGGLED,
    "a signed length": b"Content-Length: +5\r\n\r\nhello" + SMUGGLED,
    "a negative length": b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "a hexadecimal length": b"Content-Length: 0x5\r\n\r\nhello" + SMUGGLED,
    "a length with an underscore": b"Content-Length: 1_0\r\n\r\n0123456789" + SMUGGLED,
    "a length of Arabic digits": "Content-Length: ٥\r\n\r\nhello".encode() + SMUGGLED,
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked not last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk size with 0x": b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk size beyond 64 bits": b"Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n"
    + SMUGGLED,
    "a chunk that is too long": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n" + SMUGGLED,
    "a space before the colon": b"Content-Length : 5\r\n\r\nhello" + SMUGGLED,
    "a folded header": b"X-A: b\r\n Content-Length: 5\r\n\r\n" + SMUGGLED,
    "a NUL in a header": b"X-A: b\0c\r\n\r\n" + SMUGGLED,
    "a bare carriage return": b"X-A: b\rX-B: c\r\n\r\n" + SMUGGLED,
    "a header without a colon": b"Nothing\r\n\r\n" + SMUGGLED,
    "an empty header name": b": x\r\n\r\n" + SMUGGLED,
    "two hosts": b"Host: evil.example\r\n\r\n" + SMUGGLED,
}


@pytest.mark.parametrize("name", FRAMINGS)
async def test_a27_a_request_that_two_servers_would_read_differently(server: ServerProcess, name: str) -> None:
    """Refused, or read so that the hidden request is never answered by itself; never a fault of the server's."""
    answer = await raw(server, b"POST /sessions HTTP/1.1\r\n" + HEAD + FRAMINGS[name])
    seen = statuses(answer)
    assert len(seen) <= 1 or name in ("a folded header", "two hosts", "chunked twice"), answer
    assert all(status < 500 for status in seen), answer
    assert 404 not in seen[:1]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("headers", b"".join(b"X-%d: y\r\n" % number for number in range(20_000))),
        ("one long header", b"X-Long: " + b"y" * 1_000_000 + b"\r\n"),
        ("a long name", b"x" * 1_000_000 + b": y\r\n"),
        ("cookies", b"".join(b"Cookie: a%d=b\r\n" % number for number in range(20_000))),
    ],
)
async def test_a27_a_flood_of_headers(
    server: ServerProcess, warm: int, name: str, head: bytes, record_property: Any
) -> None:
    await asyncio.gather(*[raw(server, b"GET /healthz HTTP/1.1\r\n" + HEAD + head + b"\r\n") for _ in range(5)])
    before = server.rss_bytes()  # once the buffers of so many connections have been there
    answers = await asyncio.gather(
        *[raw(server, b"GET /healthz HTTP/1.1\r\n" + HEAD + head + b"\r\n") for _ in range(5)]
    )
    assert all(status in (400, 431) for answer in answers for status in statuses(answer))
    grown = server.rss_bytes() - before
    record_property("measured", f"{name}: RSS {grown / 1e6:+.1f} MB")
    assert grown < 10 << 20


async def test_a27_a_long_request_line(server: ServerProcess) -> None:
    for target in (b"/" + b"a" * 1_000_000, b"/?" + b"a=b&" * 100_000, b"/" + b"%2e%2e/" * 1000 + b"etc/passwd"):
        seen = statuses(await raw(server, b"GET " + target + b" HTTP/1.1\r\n" + HEAD + b"\r\n"))
        assert all(status in (400, 404, 414) for status in seen), (target[:20], seen)


async def test_a27_a_flood_of_trailers(server: ServerProcess, warm: int, record_property: Any) -> None:
    head = (
        b"POST /sessions HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    body = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    trailers = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 100) for number in range(50_000)) + b"\r\n"
    await asyncio.gather(*[raw(server, head + body + trailers) for _ in range(3)])
    before = server.rss_bytes()
    answers = await asyncio.gather(*[raw(server, head + body + trailers) for _ in range(3)])
    assert all(status in (201, 400) for answer in answers for status in statuses(answer))
    grown = server.rss_bytes() - before
    record_property("measured", f"RSS {grown / 1e6:+.1f} MB")
    assert grown < 10 << 20


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-gzip"])
async def test_a27_compressed_bodies_are_refused(server: ServerProcess, encoding: str) -> None:
    """A bomb of 100 MB in 100 kB is never unpacked."""
    bomb = (
        zlib.compress(b" " * 100_000_000, 1)[:200_000] if encoding == "deflate" else gzip.compress(b" " * 10_000_000, 1)
    )
    before = server.rss_bytes()
    async with Api(server.url) as api:
        headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
        answer = await api.request("POST", "/sessions", data=bomb, headers=headers)
    assert answer.status == 415
    assert server.rss_bytes() - before < 10 << 20


async def test_a27_pipelined_requests_are_answered_in_turn(server: ServerProcess) -> None:
    answer = await raw(server, (b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n") * 200, timeout=3)
    assert statuses(answer)
    assert set(statuses(answer)) == {200}


async def test_a33_a_user_has_a_few_sessions(protected: ServerProcess, channel: str) -> None:
    """The seventeenth of one user is refused; another user's first is not."""
    async with Api(protected.url, protected.token("mallory", channel)) as mallory:
        for _ in range(16):
            await mallory.create_session(channel, "mallory")
        answer = await mallory.request(
            "POST", "/sessions", json={"type": "audio", "channel_id": channel, "user_id": "mallory"}
        )
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) >= 1
    async with Api(protected.url, protected.token("alice", channel)) as alice:
        assert (await alice.create_session(channel, "alice"))["session_id"]


async def test_a33_sessions_that_come_and_go_leave_nothing(server: ServerProcess, record_property: Any) -> None:
    """600 of them, a third with a track: descriptors, threads and memory stay."""

    async def churn(api: Api, count: int) -> None:
        async def one(number: int) -> None:
            channel = f"churn-{uuid.uuid4()}"
            session = await api.create_session(channel, f"user-{number}")
            path = f"/sessions/{session['session_id']}"
            if number % 3 == 0:
                body = {
                    "kind": "audio",
                    "rtp_parameters": {
                        "codecs": [{"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000, "channels": 2}],
                        "encodings": [{"ssrc": number + 1}],
                    },
                }
                await api.call("POST", path + "/publish", body)
            await api.call("DELETE", path)

        for start in range(0, count, 20):
            await asyncio.gather(*map(one, range(start, start + 20)))

    async with Api(server.url) as api:
        await churn(api, 200)
        before = server.open_files(), server.threads(), server.rss_bytes()
        await churn(api, 600)
        grown = server.rss_bytes() - before[2]
        record_property("measured", f"600 created and closed: RSS {grown / 1e6:+.1f} MB")
        assert server.open_files() <= before[0] + 2
        assert server.threads() == before[1]
        # The last 2,048 closed sessions are remembered with their decisions; a row of a table is used again.
        assert grown < 8 << 20


async def test_a33_connections_that_come_and_go_leave_nothing(server: ServerProcess, channel: str) -> None:
    """Whole ones, with DTLS and keys; half of them vanish without a goodbye, and are ended by the API."""

    async def one(number: int) -> None:
        client = ScriptedClient(server.url, channel, f"user-{number}", consent=False)
        await client.create()
        await client.connect()
        await client.publish("opus", ssrc=number + 1)
        await client.close()

    await asyncio.gather(*map(one, range(10)))
    before = server.open_files(), server.threads(), server.rss_bytes()
    for _ in range(10):
        await asyncio.gather(*map(one, range(10)))
    assert server.open_files() <= before[0] + 2
    assert server.threads() <= before[1] + 2
    assert server.rss_bytes() - before[2] < 8 << 20


# -- row 39: browsers that are made to call


FOREIGN = "https://evil.example"


async def test_a39_a_foreign_page_may_change_nothing(server: ServerProcess, channel: str) -> None:
    """An open server trusts whoever reaches it, but not a page of somebody else's in a browser that does."""
    async with ScriptedClient(server.url, channel, "victim") as victim:
        session = await victim.create()
        path = f"/sessions/{session['session_id']}"
        # What a page can send without a preflight: a simple request with a body that claims to be text.
        attempts = [
            ("POST", "/sessions", {"Origin": FOREIGN, "Content-Type": "text/plain"}),
            ("POST", "/sessions", {"Origin": FOREIGN, "Content-Type": "application/json"}),
            ("POST", "/sessions", {"Origin": "null", "Content-Type": "application/json"}),
            ("DELETE", path, {"Origin": FOREIGN}),
            ("POST", path + "/restart-ice", {"Origin": FOREIGN}),
            ("POST", path + "/restart-ice", {"Origin": server.url + ".evil.example"}),
        ]
        for method, target, headers in attempts:
            answer = await victim.api.request(method, target, headers=headers, data=BODY)
            assert answer.status in (403, 415), (headers, answer.status)
            assert "Access-Control-Allow-Origin" not in answer.headers
        preflight = {"Origin": FOREIGN, "Access-Control-Request-Method": "DELETE"}
        answer = await victim.api.request("OPTIONS", path, headers=preflight)
        assert answer.status == 403
        upgrade = {
            "Origin": FOREIGN,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        assert (await victim.api.request("GET", f"/channels/{channel}/events", headers=upgrade)).status == 403
        assert (await victim.api.request("GET", path)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8089", "127.0.0.1.evil.example", "localhost.evil.example"]
)
async def test_a39_a_name_that_was_made_to_point_here(server: ServerProcess, host: str) -> None:
    """DNS rebinding: the page's own name in Host."""
    for method, path in (("GET", "/sessions"), ("POST", "/sessions"), ("GET", "/metrics")):
        data = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        assert statuses(await raw(server, data.encode())) == [403]


async def test_a39_origins_that_are_listed_and_no_others(protected: ServerProcess, channel: str) -> None:
    """CORS with tokens: the listed origin is told so by name; never a wildcard, never with credentials."""
    async with Api(protected.url, protected.token("alice", channel)) as api:
        for origin, allowed in (("https://app.example", True), (FOREIGN, False), ("null", False)):
            answer = await api.request("GET", "/channels", headers={"Origin": origin})
            assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert "Origin" in answer.headers["Vary"]
            preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answer = await api.request("OPTIONS", "/sessions", headers=preflight)
            assert answer.status == (204 if allowed else 403)
    async with Api(protected.url, protected.token("alice", channel)) as api:
        assert (await api.request("GET", "/metrics")).status == 403
    async with Api(protected.url, protected.token("operator", grants=("admin",))) as api:
        assert (await api.request("GET", "/metrics")).status == 200


async def test_a39_every_answer_has_the_headers_that_browsers_obey(server: ServerProcess) -> None:
    async with Api(server.url) as api:
        for method, path in (
            ("GET", "/"),
            ("GET", "/healthz"),
            ("GET", "/nothing"),
            ("POST", "/sessions"),
            ("PUT", "/sessions"),
        ):
            answer = await api.request(method, path)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            assert headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["referrer-policy"] == "no-referrer"
            assert "aiohttp" not in headers.get("server", "").lower()
            assert "python" not in headers.get("server", "").lower()


# -- rates


async def test_a28_a_flood_of_calls_is_limited_by_token_and_by_address(protected: ServerProcess, channel: str) -> None:
    """One token that calls without pause, and one address that guesses tokens: 429, and others are served."""
    async with (
        Api(protected.url, protected.token("mallory", channel)) as mallory,
        Api(protected.url, "guess") as guesser,
        Api(protected.url, protected.token("alice", channel)) as alice,
    ):

        async def spam(api: Api, count: int) -> list[int]:
            return [(await api.request("GET", "/channels")).status for _ in range(count)]

        seen = await asyncio.gather(*[spam(mallory, 60) for _ in range(10)])
        assert 429 in {status for some in seen for status in some}
        guessed = await asyncio.gather(*[spam(guesser, 20) for _ in range(10)])
        found = {status for some in guessed for status in some}
        assert found == {401, 429}
        answer = await alice.request("GET", "/channels")
        assert answer.status == 200
        limited = await guesser.request("GET", "/channels")
        if limited.status == 429:
            assert int(limited.headers["Retry-After"]) >= 1


async def test_a28_a_flood_of_connections_keeps_nobody_out(
    server: ServerProcess, drops: Drops, record_property: Any
) -> None:
    """1,000 idle connections: the server answers as before, and closes them by itself."""
    port = int(server.environment["PORT"])
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for _ in range(20):  # no more at once than wait to be accepted
        opened += await asyncio.gather(*[asyncio.open_connection("127.0.0.1", port) for _ in range(50)])
    began = time.monotonic()
    async with Api(server.url) as api:
        waits = []
        for _ in range(20):
            asked = time.monotonic()
            assert (await api.request("GET", "/healthz")).status == 200
            waits.append(time.monotonic() - asked)
    ends = await asyncio.gather(*[asyncio.wait_for(reader.read(1), 20) for reader, _ in opened])
    took = time.monotonic() - began
    record_property("measured", f"healthz {sorted(waits)[10] * 1000:.1f} ms; closed within {took:.1f} s")
    assert set(ends) == {b""}
    for _, writer in opened:
        writer.close()
    assert json.loads(server.get("/healthz")[1])["status"] == "ok"
