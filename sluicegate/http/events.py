"""`GET /channels/{id}/events`: what happens in a channel, as it happens, by WebSocket or `text/event-stream`.

Both carry the same JSON objects, one a message; the first is a `snapshot`. A watcher that reads too slowly loses the
oldest events and is told so (`events.dropped`); one that stops reading for `SEND_TIMEOUT` is cut off. A stream ends
when its token does (WebSocket code 1008) and when the server stops (1001); the client then comes back, with a new token
where it needs one, and gets a new snapshot.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec
import structlog
from aiohttp import WSCloseCode, web

from sluicegate.errors import TooManyRequests
from sluicegate.http.auth import Identity
from sluicegate.http.channels import CHANNEL, JOIN, TAG
from sluicegate.http.limits import Rate, TokenBuckets
from sluicegate.http.problems import NotAcceptable
from sluicegate.http.routing import Call, Operation
from sluicegate.session.ports import Watcher
from sluicegate.session.service import ChannelWatch

log = structlog.get_logger("sluicegate.http.events")

T = TypeVar("T", str, bytes)

# Lower: traffic for nothing. Higher: proxies cut quiet streams (nginx after 60 s), and the dead are kept for longer.
HEARTBEAT = 20.0

# Lower: a phone that changes networks is cut off. Higher: more is held for one that is gone.
SEND_TIMEOUT = 10.0

# A person has one stream for each open page. Higher: one token holds more of the server's watchers.
MAX_STREAMS_PER_CALLER = 32

# A watcher has nothing to say, but libraries may ping in messages of their own. Higher: a chatty client costs the loop.
MESSAGES = Rate(per_second=5, burst=50)
MAX_MESSAGE = 4096

# The longest that a stream lasts: timers stay in range.
LONGEST = 365 * 86400.0

# When an EventSource comes back, ms. Lower: a restart of the server is a rush. Higher: a page is blind for longer.
RETRY_MS = 2000


class EventStreams:
    """Every open stream. `wall` gives Unix seconds, against which tokens end."""

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        heartbeat: float = HEARTBEAT,
        send_timeout: float = SEND_TIMEOUT,
        max_per_caller: int = MAX_STREAMS_PER_CALLER,
    ) -> None:
        self._wall = wall
        self._heartbeat = heartbeat
        self._send_timeout = send_timeout
        self._max_per_caller = max_per_caller
        self._watchers: set[Watcher] = set()
        self._by_caller: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._watchers)

    def close(self) -> None:
        """Ends every stream after what is queued for it."""
        for watcher in list(self._watchers):
            watcher.close()

    async def serve(self, call: Call) -> web.StreamResponse:
        """The handler: one stream, from its snapshot to its end."""
        websocket = web.WebSocketResponse(
            heartbeat=self._heartbeat, timeout=2.0, max_msg_size=MAX_MESSAGE, compress=False
        )
        by_websocket = websocket.can_prepare(call.request).ok
        if not by_websocket and not _takes_event_stream(call.request):
            raise NotAcceptable("Ask with Upgrade: websocket, or with Accept: text/event-stream.")
        with self._place(call.identity):
            watch = await call.service.watch_channel(call.caller, call.path["channel_id"])
            self._watchers.add(watch.watcher)
            try:
                if by_websocket:
                    return await self._serve_websocket(call, watch, websocket)
                return await self._serve_event_stream(call, watch)
            finally:
                self._watchers.discard(watch.watcher)
                watch.watcher.close()

    @contextmanager
    def _place(self, identity: Identity) -> Iterator[None]:
        """Counts the streams of a caller who is not an admin."""
        if identity.caller.is_admin:
            yield
            return
        count = self._by_caller.get(identity.key, 0)
        if count >= self._max_per_caller:
            raise TooManyRequests(f"This token has {count} event streams open already.", retry_after=10)
        self._by_caller[identity.key] = count + 1
        try:
            yield
        finally:
            self._by_caller[identity.key] -= 1
            if not self._by_caller[identity.key]:
                del self._by_caller[identity.key]

    def _remaining(self, identity: Identity) -> float:
        if identity.expires_at is None:
            return LONGEST
        return min(LONGEST, max(0.0, identity.expires_at - self._wall()))

    async def _serve_websocket(
        self, call: Call, watch: ChannelWatch, websocket: web.WebSocketResponse
    ) -> web.StreamResponse:
        await websocket.prepare(call.request)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._feed_websocket(call, watch, websocket))
                await _read(websocket)
                watch.watcher.close()  # which ends the feed
        except* Exception:
            log.exception("event stream failed")
            _abort(call.request)
        return websocket

    async def _feed_websocket(self, call: Call, watch: ChannelWatch, websocket: web.WebSocketResponse) -> None:
        code, reason = WSCloseCode.GOING_AWAY, b"the server stops"
        try:
            try:
                async with asyncio.timeout(self._remaining(call.identity)):
                    await self._send(call, websocket.send_str, msgspec.json.encode(watch.snapshot).decode())
                    async for event in watch.watcher:
                        await self._send(call, websocket.send_str, msgspec.json.encode(event).decode())
            except TimeoutError:
                code, reason = WSCloseCode.POLICY_VIOLATION, b"the token has expired"
            async with asyncio.timeout(self._send_timeout):
                await websocket.close(code=code, message=reason)
        except TimeoutError:
            _abort(call.request)
        except ConnectionError:
            pass  # the other side has gone, which `_read` sees too

    async def _serve_event_stream(self, call: Call, watch: ChannelWatch) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(call.request)
        try:
            async with asyncio.timeout(self._remaining(call.identity)):
                await self._send(call, response.write, b"retry: %d\n" % RETRY_MS)
                message: bytes | None = _message(watch.snapshot.event_id, msgspec.json.encode(watch.snapshot))
                while message is not None:
                    await self._send(call, response.write, message)
                    message = await self._next_message(watch.watcher)
        except (TimeoutError, ConnectionError):
            response.force_close()
        except Exception:
            log.exception("event stream failed")
            _abort(call.request)
        return response

    async def _next_message(self, watcher: Watcher) -> bytes | None:
        """The next event, or a comment when none comes for a while; None at the end."""
        try:
            async with asyncio.timeout(self._heartbeat):
                event = await watcher.next_event()
        except TimeoutError:
            return b": nothing happens\n\n"
        return None if event is None else _message(event.event_id, msgspec.json.encode(event))

    async def _send(self, call: Call, send: Callable[[T], Awaitable[None]], data: T) -> None:
        """Sends, or cuts off a client that does not read."""
        try:
            async with asyncio.timeout(self._send_timeout):
                await send(data)
        except TimeoutError:
            _abort(call.request)
            raise ConnectionResetError("the client does not read") from None


async def _read(websocket: web.WebSocketResponse) -> None:
    """Until the socket is closed, by either side."""
    allowed = TokenBuckets(MESSAGES, capacity=1)
    async for _ in websocket:
        if allowed.take("", time.monotonic()):
            await websocket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too many messages")


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _message(event_id: str, data: bytes) -> bytes:
    # No `event:` line, so that EventSource.onmessage gets them all; the object says its type itself.
    return b"id: " + event_id.encode() + b"\ndata: " + data + b"\n\n"


def _takes_event_stream(request: web.Request) -> bool:
    ranges = ",".join(request.headers.getall("Accept", ())).split(",")
    return any(one.partition(";")[0].strip().lower() == "text/event-stream" for one in ranges)


def operations(streams: EventStreams) -> tuple[Operation, ...]:
    """The row of the table."""
    return (
        Operation(
            method="GET",
            path=CHANNEL + "/events",
            operation_id="channelEvents",
            summary="What happens in a channel, as it happens",
            description="A WebSocket, or `text/event-stream` by `Accept`. Each message is one JSON object with a "
            "`type`; the first is `snapshot`. The token may stand in the query as `access_token`, since browsers "
            "cannot set headers here.",
            handler=streams.serve,
            tag=TAG,
            grants=JOIN,
            media_type="text/event-stream",
            refusals=(404, 406, 422, 503),
            streams=True,
            quiet=True,
        ),
    )
