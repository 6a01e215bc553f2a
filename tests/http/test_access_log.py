"""The log: one printable line a request, no token in it, and not too many of them."""

from structlog.testing import capture_logs

from sluicegate.http.access_log import LineLimiter, printable
from sluicegate.session.caller import Grant
from tests.http.fakes import ADMIN, serve, token


def test_a_flood_is_counted_not_written() -> None:
    limiter = LineLimiter(per_second=10)
    written = [limiter.admit(0.0) for _ in range(1000)]
    assert written == [0] * 10 + [None] * 990
    assert limiter.admit(1.0) == 990
    assert limiter.admit(1.0) == 0


def test_control_characters_are_escaped_and_long_text_is_cut() -> None:
    assert printable("/a\r\nb\x1b[31m", 100) == "/a\\r\\nb\\x1b[31m"
    assert printable("é\u2028", 100) == "\\xe9\\u2028"
    assert len(printable("x" * 1000, 100)) == 101


async def test_a_line_has_the_path_and_never_the_query() -> None:
    secret = token(Grant.JOIN)
    with capture_logs() as lines:
        async with serve() as server:
            async with server.client.get(f"/channels/lobby/events?access_token={secret}") as response:
                assert response.status == 406
            async with server.client.delete("/sessions/x", headers=ADMIN) as response:
                assert response.status == 204
            async with server.client.get("/healthz") as response:
                assert response.status == 200
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["path"], line["status"], line["log_level"]) for line in requests] == [
        ("/channels/lobby/events", 406, "info"),
        ("/sessions/x", 204, "info"),
        ("/healthz", 200, "debug"),
    ]
    assert secret not in str(lines)
    assert "127.0.0.1" not in str(lines)


async def test_refusals_are_few_in_the_log() -> None:
    with capture_logs() as lines:
        async with serve() as server:
            for _ in range(60):
                async with server.client.get("/nothing%0d%0ahere%1b[31m") as response:
                    assert response.status == 404
    assert len(lines) <= 20  # two windows of ten at most
    assert all(str(line["path"]).isprintable() for line in lines)
