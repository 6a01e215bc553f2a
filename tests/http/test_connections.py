"""Connections: slow heads, crowds of them, and what is not HTTP."""

import asyncio
import contextlib
import resource

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from sluicegate.http.connections import ConnectionLimits, within_descriptors
from tests.http.fakes import ADMIN, Running, serve

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def connect(server: Running) -> Pair:
    return await asyncio.open_connection("127.0.0.1", server.port)


async def answer(pair: Pair) -> int:
    """The status of the next answer, whose body is skipped."""
    async with asyncio.timeout(5):
        head = await pair[0].readuntil(b"\r\n\r\n")
        for line in head.splitlines():
            if line.lower().startswith(b"content-length:"):
                await pair[0].readexactly(int(line.split(b":")[1]))
        return int(head.split()[1])


async def is_closed(pair: Pair) -> bool:
    """Whether the server ends the connection, soon."""
    try:
        async with asyncio.timeout(5):
            while await pair[0].read(4096):
                pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with serve(connections=ConnectionLimits(head_timeout=0.05)) as server:
        pair = await connect(server)
        assert await is_closed(pair)
        assert server.runner.open_connections == 0


async def test_who_does_not_take_an_answer_is_cut_off() -> None:
    async with serve(connections=ConnectionLimits(answer_timeout=0.3)) as server:
        reader, writer = await connect(server)
        reader._limit = 1  # type: ignore[attr-defined]
        writer.write(b"GET /web/vendor/mediasoup-client.js HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
        async with asyncio.timeout(5):
            while server.runner.open_connections:
                await asyncio.sleep(0.05)


async def test_a_head_that_comes_a_byte_at_a_time_is_cut_off() -> None:
    async with serve(connections=ConnectionLimits(head_timeout=0.2)) as server:
        reader, writer = await connect(server)
        loop = asyncio.get_running_loop()
        start = loop.time()
        with contextlib.suppress(ConnectionError):
            for byte in b"GET /healthz HTTP/1.1\r\nX-Slow: " + b"y" * 1000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)
                if reader.at_eof():
                    break
        assert reader.at_eof() or writer.transport.is_closing()
        assert loop.time() - start < 5


async def test_the_second_head_of_a_connection_has_a_deadline_too() -> None:
    async with serve(connections=ConnectionLimits(head_timeout=0.1, keepalive_timeout=60)) as server:
        pair = await connect(server)
        pair[1].write(HEALTH)
        assert await answer(pair) == 200
        await asyncio.sleep(0.2)  # idle between requests is no slow head
        pair[1].write(HEALTH)
        assert await answer(pair) == 200
        pair[1].write(b"GET /hea")
        assert await is_closed(pair)


async def test_an_idle_connection_is_closed_in_the_end() -> None:
    async with serve(connections=ConnectionLimits(head_timeout=60, keepalive_timeout=0.05)) as server:
        pair = await connect(server)
        pair[1].write(HEALTH)
        assert await answer(pair) == 200
        assert await is_closed(pair)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serve(connections=ConnectionLimits(head_timeout=0.2)) as server:
        pair = await connect(server)
        pair[1].write(HEALTH + HEALTH + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" + HEALTH[:10])
        assert [await answer(pair) for _ in range(3)] == [200, 200, 404]
        pair[1].write(HEALTH[10:])
        assert await answer(pair) == 200


async def test_slow_clients_never_keep_out_one_that_has_something_to_say() -> None:
    async with serve(connections=ConnectionLimits(max_connections=20, head_timeout=60)) as server:
        slow = []
        for _ in range(60):
            pair = await connect(server)
            pair[1].write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
            slow.append(pair)
        pair = await connect(server)
        pair[1].write(HEALTH)
        assert await answer(pair) == 200
        assert server.runner.open_connections <= 20
        assert await is_closed(slow[0])  # the oldest had to go
        for _, writer in slow:
            writer.close()


async def test_when_all_connections_work_a_new_one_is_closed() -> None:
    async with serve(connections=ConnectionLimits(max_connections=2)) as server:
        sockets = [await server.client.ws_connect("/channels/lobby/events", headers=ADMIN) for _ in range(2)]
        pair = await connect(server)
        assert await is_closed(pair)
        assert server.runner.open_connections == 2
        for socket in sockets:
            assert (await socket.receive_json(timeout=5))["type"] == "snapshot"
            await socket.close()
        async with server.client.get("/healthz") as response:
            assert response.status == 200


def test_connections_leave_descriptors_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {1024: 768, 256: 128, 100_000: 4096, resource.RLIM_INFINITY: 4096}
    for soft, expected in limits.items():
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert within_descriptors(4096) == expected


async def test_the_table_is_empty_when_everyone_has_left() -> None:
    async with serve() as server:
        for _ in range(50):
            pair = await connect(server)
            pair[1].write(HEALTH)
            await answer(pair)
            pair[1].close()
        async with asyncio.timeout(5):
            while server.runner.open_connections:
                await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS ClientHello
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
    ],
)
async def test_what_is_not_http_is_a_problem_and_ends_the_connection(data: bytes) -> None:
    async with serve() as server:
        reader, writer = await connect(server)
        writer.write(data)
        async with asyncio.timeout(5):
            received = await reader.read()
        assert received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
        assert b"application/problem+json" in received
        assert b"X-Content-Type-Options: nosniff" in received
        assert b"aiohttp" not in received
        writer.close()
        async with server.client.get("/healthz") as response:
            assert response.status == 200


async def test_rubbish_does_not_fill_the_log() -> None:
    with capture_logs() as lines:
        async with serve() as server:
            for _ in range(100):
                reader, writer = await connect(server)
                writer.write(b"\x1b[31m rubbish\r\n\r\n")
                async with asyncio.timeout(5):
                    await reader.read()
                writer.close()
    assert len(lines) <= 30
    assert all(line["event"] == "not http" and line["detail"].isprintable() for line in lines)


def test_any_bytes_are_answered_or_dropped_never_a_500() -> None:
    prefix = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"

    async def attack(server: Running, data: bytes) -> bytes:
        reader, writer = await connect(server)
        writer.write(data)
        writer.write_eof()
        received = b""
        with contextlib.suppress(ConnectionResetError):  # dropped before all was read
            async with asyncio.timeout(5):
                received = await reader.read()
        writer.close()
        return received

    with asyncio.Runner() as runner:
        context = serve(connections=ConnectionLimits(head_timeout=0.05, keepalive_timeout=0.05, lingering_time=0.01))
        server = runner.run(_enter(context))

        @settings(max_examples=60, suppress_health_check=list(HealthCheck))
        @given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: prefix + tail + b"\r\n\r\n"))
        def examples(data: bytes) -> None:
            received = runner.run(attack(server, data))
            assert b" 500 " not in received.split(b"\r\n")[0]

        examples()
        runner.run(context.__aexit__(None, None, None))


async def _enter(context: contextlib.AbstractAsyncContextManager[Running]) -> Running:
    return await context.__aenter__()
