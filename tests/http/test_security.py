"""What browsers are told, and which of them are believed."""

from typing import Any

import pytest

from sluicegate.config import Settings
from sluicegate.http.security import host_name, page_policy
from tests.http.fakes import ADMIN, SECRET, serve

BODY = {"type": "audio", "channel_id": "lobby", "user_id": "ada"}
FRIEND = "https://app.example"
FOE = "https://evil.example"


async def test_every_answer_carries_the_security_headers() -> None:
    async with serve() as server:
        for path in ("/", "/healthz", "/nothing", "/sessions", "/docs", "/openapi.json"):
            async with server.client.get(path) as response:
                headers = response.headers
                assert headers["X-Content-Type-Options"] == "nosniff"
                assert headers["Referrer-Policy"] == "no-referrer"
                assert headers["X-Frame-Options"] == "DENY"
                assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
                assert "camera=(self)" in headers["Permissions-Policy"]
                assert "microphone=(self)" in headers["Permissions-Policy"]
                assert "display-capture=(self)" in headers["Permissions-Policy"]
                assert headers["Server"] == "sluicegate"
                assert "Access-Control-Allow-Origin" not in headers


async def test_the_page_may_use_its_own_scripts_sockets_and_media_only() -> None:
    async with serve() as server, server.client.get("/") as response:
        policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert f"connect-src 'self' ws://127.0.0.1:{server.port} wss://127.0.0.1:{server.port};" in policy
    assert "media-src 'self' blob: mediastream:" in policy
    assert "unsafe" not in policy


def test_a_host_that_is_none_never_gets_into_a_policy() -> None:
    for host in ("a b", "x; script-src *", "x\r\ny", "[::1", "a/b", "", "*"):
        assert host not in page_policy(host) or host == ""
        assert "ws:" not in page_policy(host)
    assert "ws://[::1]:8089" in page_policy("[::1]:8089")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:8089", "localhost"),
        ("LOCALHOST.", "localhost"),
        ("[::1]:8089", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("a@b", None),
        ("[x]", None),
        ("a:b:c", None),
        ("", None),
    ],
)
def test_the_name_in_a_host_header(host: str, name: str | None) -> None:
    assert host_name(host) == name


# CORS


def with_cors(*origins: str) -> Settings:
    return Settings(api_secret=SECRET, cors_origins=origins)


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


async def test_a_listed_origin_may_call() -> None:
    async with serve(with_cors(FRIEND)) as server:
        async with server.client.options("/sessions", headers={"Origin": FRIEND, **PREFLIGHT}) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == FRIEND
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
            assert "Idempotency-Key" in response.headers["Access-Control-Allow-Headers"]
            assert "Origin" in response.headers["Vary"]
        async with server.client.post("/sessions", json=BODY, headers={**ADMIN, "Origin": FRIEND}) as response:
            assert response.status == 201
            assert response.headers["Access-Control-Allow-Origin"] == FRIEND
            assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]
        async with server.client.get("/sessions", headers={"Origin": FRIEND}) as response:
            assert response.status == 401  # a page can read why it was refused
            assert response.headers["Access-Control-Allow-Origin"] == FRIEND


@pytest.mark.parametrize("origin", [FOE, "null", "http://app.example", FRIEND + ".evil.example", FRIEND + ":8443"])
async def test_an_origin_that_is_not_listed_gets_nothing(origin: str) -> None:
    async with serve(with_cors(FRIEND)) as server:
        async with server.client.options("/sessions", headers={"Origin": origin, **PREFLIGHT}) as response:
            assert response.status == 403
            assert "Access-Control-Allow-Origin" not in response.headers
        async with server.client.get("/healthz", headers={"Origin": origin}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
            assert "Origin" in response.headers["Vary"]  # so that no cache gives a friend's answer to a foe


async def test_a_wildcard_never_comes_with_credentials() -> None:
    async with serve(with_cors("*")) as server:
        for method, headers in (("OPTIONS", PREFLIGHT), ("GET", {})):
            async with server.client.request(method, "/healthz", headers={"Origin": FOE, **headers}) as response:
                assert response.headers["Access-Control-Allow-Origin"] == "*"
                assert "Access-Control-Allow-Credentials" not in response.headers


# A server that runs open


async def post(server: Any, **headers: str) -> int:
    async with server.client.post("/sessions", json=BODY, headers=headers) as response:
        return response.status


async def test_a_foreign_page_cannot_change_an_open_server() -> None:
    async with serve(Settings()) as server:
        own = f"http://127.0.0.1:{server.port}"
        assert await post(server) == 201  # no browser
        assert await post(server, Origin=own) == 201
        for origin in (FOE, "null", "http://127.0.0.1:1", "http://localhost", own.replace("127.0.0.1", "127.0.0.2")):
            assert await post(server, Origin=origin) == 403
        assert len(server.service.calls) == 2


async def test_a_foreign_page_cannot_listen_on_an_open_server() -> None:
    async with serve(Settings()) as server:
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        upgrade |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": FOE}
        async with server.client.get("/channels/lobby/events", headers=upgrade) as response:
            assert response.status == 403
        assert server.service.calls == []


async def test_a_listed_origin_may_change_an_open_server() -> None:
    async with serve(Settings(cors_origins=(FRIEND,))) as server:
        assert await post(server, Origin=FRIEND) == 201
        assert await post(server, Origin=FOE) == 403


async def test_our_own_page_is_known_behind_a_proxy_that_renames_the_host() -> None:
    async with serve(Settings()) as server:
        assert await post(server, Origin="http://localhost:1234", **{"Sec-Fetch-Site": "same-origin"}) == 201
        assert await post(server, Origin="http://localhost:1234", **{"Sec-Fetch-Site": "cross-site"}) == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8089", 201),
        ("app.localhost", 201),
        ("127.0.0.1:8089", 201),
        ("[::1]:8089", 201),
        ("192.0.2.1", 201),
        ("app.example", 201),  # the host of a listed origin
        ("rebound.evil.example", 403),
        ("localhost.evil.example", 403),
        ("a b", 403),
    ],
)
async def test_an_open_server_on_loopback_serves_its_own_names_only(host: str, status: int) -> None:
    async with serve(Settings(cors_origins=(FRIEND,))) as server:
        assert await post(server, Host=host) == status


async def test_with_tokens_hosts_and_origins_do_not_matter() -> None:
    async with serve() as server:
        assert await post(server, Host="voice.example", Origin="https://elsewhere.example", **ADMIN) == 201


async def test_an_open_server_beyond_loopback_goes_by_any_name() -> None:
    async with serve(Settings(host="0.0.0.0", allow_anonymous=True)) as server:
        assert await post(server, Host="voice.lan") == 201
        assert await post(server, Host="voice.lan", Origin=FOE) == 403
        assert await post(server, Host="voice.lan", Origin="http://voice.lan") == 201
