"""The event stream: a snapshot, then what happens, until the token ends, the client leaves or the server stops."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
from aiohttp import WSCloseCode, WSMsgType

from sluicegate.errors import NotFound
from sluicegate.http.events import EventStreams
from sluicegate.ids import ChannelId, SessionId, UserId, new_id
from sluicegate.session.caller import Grant
from sluicegate.session.events import SessionCreatedEvent, SpeakerChangedEvent
from sluicegate.session.names import SessionType
from tests.http.fakes import ADMIN, AT, NODE, bearer, serve, token

EVENTS = "/channels/lobby/events"
SSE = {**ADMIN, "Accept": "text/event-stream"}


def created(user: str = "ada", channel: str = "lobby") -> SessionCreatedEvent:
    return SessionCreatedEvent(
        event_id=new_id(),
        at=AT,
        node_id=NODE,
        channel_id=ChannelId(channel),
        user_id=UserId(user),
        session_id=SessionId(new_id()),
        session_type=SessionType.AUDIO,
    )


def large() -> SpeakerChangedEvent:
    """An event that fills a socket's buffers after a while."""
    return SpeakerChangedEvent(event_id="x" * 60_000, at=AT, node_id=NODE, channel_id=ChannelId("lobby"), track_id=None)


async def until(condition: Any) -> None:
    """Waits for what other tasks of this loop are about to do."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def next_message(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next event of an event stream, comments and `retry` left out."""
    async with asyncio.timeout(5):
        while True:
            block = await response.content.readuntil(b"\n\n")
            lines = block.decode().splitlines()
            data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
            if data:
                event = json.loads(data[0])
                assert f"id: {event['event_id']}" in lines
                return event


async def test_websocket_snapshot_first_then_events_of_this_channel() -> None:
    async with serve() as server:
        async with server.client.ws_connect(EVENTS, headers=ADMIN) as socket:
            first = await socket.receive_json(timeout=5)
            assert first["type"] == "snapshot"
            assert first["channel"]["channel_id"] == "lobby"
            server.service.bus.publish(created("ben", channel="elsewhere"))
            server.service.bus.publish(created("ada"))
            event = await socket.receive_json(timeout=5)
            assert (event["type"], event["user_id"], event["schema"]) == ("session.created", "ada", 1)
        await until(lambda: server.service.bus.watchers == 0)


async def test_event_stream_snapshot_first_then_events() -> None:
    async with serve(streams=EventStreams(heartbeat=0.02)) as server:
        async with server.client.get(EVENTS, headers=SSE) as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"
            assert response.headers["Cache-Control"] == "no-store"
            assert (await next_message(response))["type"] == "snapshot"
            server.service.bus.publish(created())
            assert (await next_message(response))["type"] == "session.created"
        # The next heartbeats find that nobody listens.
        await until(lambda: server.service.bus.watchers == 0)


async def test_a_quiet_event_stream_beats() -> None:
    streams = EventStreams(heartbeat=0.02)
    async with serve(streams=streams) as server, server.client.get(EVENTS, headers=SSE) as response:
        await next_message(response)
        async with asyncio.timeout(5):
            assert (await response.content.readuntil(b"\n\n")).startswith(b":")


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/*", ""])
async def test_neither_form_is_406(accept: str) -> None:
    async with serve() as server:
        async with server.client.get(EVENTS, headers={**ADMIN, "Accept": accept}) as response:
            assert response.status == 406
        assert server.service.calls == []


async def test_the_token_may_stand_in_the_query() -> None:
    async with serve() as server:
        async with server.client.ws_connect(f"{EVENTS}?access_token={token(Grant.JOIN)}") as socket:
            assert (await socket.receive_json(timeout=5))["type"] == "snapshot"
        for bad in ("", "?access_token=", "?access_token=x"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await server.client.ws_connect(EVENTS + bad)
            assert caught.value.status == 401


async def test_a_refusal_of_the_service_comes_instead_of_a_stream() -> None:
    async with serve() as server:
        server.service.raises = NotFound("There is no such channel.")
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await server.client.ws_connect(EVENTS, headers=ADMIN)
        assert caught.value.status == 404
        async with server.client.get(EVENTS, headers=SSE) as response:
            assert response.status == 404
            assert response.content_type == "application/problem+json"


async def test_a_stream_ends_with_its_token() -> None:
    # By this clock every token has 50 ms left.
    streams = EventStreams(wall=lambda: time.time() + 59.95)
    short = bearer(Grant.JOIN, lifetime=60)
    async with serve(streams=streams) as server:
        async with server.client.ws_connect(EVENTS, headers=short) as socket:
            assert (await socket.receive_json(timeout=5))["type"] == "snapshot"
            end = await socket.receive(timeout=5)
            assert (end.type, end.data, end.extra) == (WSMsgType.CLOSE, 1008, "the token has expired")
        async with server.client.get(EVENTS, headers={**short, "Accept": "text/event-stream"}) as response:
            await next_message(response)
            async with asyncio.timeout(5):
                await response.content.read()
        await until(lambda: server.service.bus.watchers == 0)
        assert len(streams) == 0


async def test_streams_end_when_the_server_stops() -> None:
    async with serve() as server:
        socket = await server.client.ws_connect(EVENTS, headers=ADMIN)
        response = await server.client.get(EVENTS, headers=SSE)
        await socket.receive_json(timeout=5)
        await next_message(response)
        stopping = asyncio.create_task(server.runner.cleanup())
        end = await socket.receive(timeout=5)
        assert (end.type, end.data) == (WSMsgType.CLOSE, WSCloseCode.GOING_AWAY)
        async with asyncio.timeout(5):
            assert await response.content.read() == b""
            await stopping
        await socket.close()
        assert server.service.bus.watchers == 0


async def test_a_watcher_that_is_too_slow_is_told_what_it_lost() -> None:
    async with serve() as server, server.client.ws_connect(EVENTS, headers=ADMIN) as socket:
        await socket.receive_json(timeout=5)
        for _ in range(20):  # the fake's queue holds 8
            server.service.bus.publish(created())
        event = await socket.receive_json(timeout=5)
        assert (event["type"], event["dropped"]) == ("events.dropped", 12)
        assert (await socket.receive_json(timeout=5))["type"] == "session.created"


@pytest.mark.parametrize("websocket", [True, False])
async def test_a_client_that_does_not_read_is_cut_off(websocket: bool) -> None:
    async with serve(streams=EventStreams(send_timeout=0.1)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**10)
        writer.transport.pause_reading()
        head = f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: {ADMIN['Authorization']}\r\n"
        if websocket:
            head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        else:
            head += "Accept: text/event-stream\r\n\r\n"
        writer.write(head.encode())
        await until(lambda: server.service.bus.watchers == 1)
        async with asyncio.timeout(10):
            while server.service.bus.watchers:
                server.service.bus.publish(large())
                await asyncio.sleep(0.001)
        writer.close()


async def test_a_client_that_talks_too_much_is_cut_off() -> None:
    async with serve() as server:
        async with server.client.ws_connect(EVENTS, headers=ADMIN) as socket:
            await socket.receive_json(timeout=5)
            for _ in range(60):
                await socket.send_str("ping")
            end = await socket.receive(timeout=5)
            assert (end.type, end.data) == (WSMsgType.CLOSE, WSCloseCode.POLICY_VIOLATION)
        await until(lambda: server.service.bus.watchers == 0)


async def test_a_large_message_from_a_client_ends_the_stream() -> None:
    async with serve() as server:
        async with server.client.ws_connect(EVENTS, headers=ADMIN) as socket:
            await socket.receive_json(timeout=5)
            await socket.send_bytes(b"x" * 100_000)
            end = await socket.receive(timeout=5)
            assert (end.type, end.data) == (WSMsgType.CLOSE, WSCloseCode.MESSAGE_TOO_BIG)
        await until(lambda: server.service.bus.watchers == 0)


async def test_a_token_may_open_so_many_streams_and_no_more() -> None:
    async with serve(streams=EventStreams(max_per_caller=2)) as server:
        ada = bearer(Grant.JOIN)
        sockets = [await server.client.ws_connect(EVENTS, headers=ada) for _ in range(2)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await server.client.ws_connect(EVENTS, headers=ada)
        assert caught.value.status == 429
        other = await server.client.ws_connect(EVENTS, headers=bearer(Grant.JOIN, user_id="ben"))
        await sockets[0].close()
        await until(lambda: server.service.bus.watchers == 2)
        again = await server.client.ws_connect(EVENTS, headers=ada)
        for socket in (again, other, sockets[1]):
            await socket.close()


async def test_a_client_that_vanishes_leaves_nothing_behind() -> None:
    async with serve() as server:
        socket = await server.client.ws_connect(EVENTS, headers=ADMIN)
        await socket.receive_json(timeout=5)
        assert server.service.bus.watchers == 1
        socket._response.connection.transport.abort()
        await until(lambda: server.service.bus.watchers == 0)
