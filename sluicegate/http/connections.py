"""Bounds on TCP connections: how many, and how long one may take to say what it wants.

aiohttp closes a connection that stays idle, but has no limit for a request head that arrives a byte at a time
(slowloris), nor for the number of connections. `ApiRunner` serves an application by connections that have these bounds:

- a head must be complete `head_timeout` after its first byte, and the first one `head_timeout` after the connection was
  made;
- an answer must be taken `answer_timeout` after it was ready;
- when `max_connections` are open, a new one closes the one that has waited longest without a request; if none waits,
  the new one is closed. So slow and idle clients never keep out one that has something to say.

What is not HTTP gets a problem document and at most `LOGGED_PER_SECOND` lines in the log.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

from sluicegate.http.access_log import LineLimiter, printable
from sluicegate.http.problems import from_http_exception, plain_problem
from sluicegate.http.security import API_HEADERS, SERVER

log = structlog.get_logger("sluicegate.http")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The bounds; seconds, bytes and counts."""

    # Each costs a file descriptor and about 20 KB; 1000 sessions with an event stream each, and as many again.
    max_connections: int = 4096
    # Lower: a phone waking its radio is cut off. Higher: slow clients hold connections longer.
    head_timeout: float = 5.0
    # For who asks and does not read. Lower: a phone on a bad network does not get the page's largest file (230 KB).
    # Higher: such connections hold their places longer, and answering counts as work, for which nobody gives way.
    answer_timeout: float = 30.0
    # Between two requests. Lower: pollers connect anew each time. Higher: proxies' pools fill the table.
    keepalive_timeout: float = 30.0
    # A token has about 300 bytes, at most 4 KiB, and may stand in the request line.
    max_line_size: int = 8190
    max_field_size: int = 8190
    # Browsers send about 20.
    max_headers: int = 64
    # After an early refusal the rest of the body is read and thrown away for so long, so that the answer arrives before
    # the reset.
    lingering_time: float = 1.0


DEFAULT_LIMITS = ConnectionLimits()


# Descriptors that are not for connections: plane sockets, files, uploads, the registry, the bus. Lower: at the limit
# `accept` fails, and nobody gets in for a second. Higher: fewer clients where the limit is low (1024 by default).
RESERVED_DESCRIPTORS = 256


def within_descriptors(max_connections: int) -> int:
    """At most as many connections as the process may open descriptors (RLIMIT_NOFILE), less those for other things."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return max_connections
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return max_connections
    return min(max_connections, max(soft - RESERVED_DESCRIPTORS, soft // 2))


class ConnectionTable:
    """Every open connection, and those that wait for a request, longest first."""

    def __init__(self, max_connections: int) -> None:
        self._max = max_connections
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}
        self.refused = 0

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: "Connection") -> bool:
        """Makes room for `connection`; False when there is none."""
        if len(self._open) >= self._max:
            self.refused += 1
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.forget(oldest)
            oldest.force_close()
        self._open.add(connection)
        return True

    def waits(self, connection: "Connection") -> None:
        """`connection` has nothing to do until a request arrives."""
        if connection in self._open:
            self._waiting[connection] = None

    def works(self, connection: "Connection") -> None:
        """`connection` has a request to answer."""
        self._waiting.pop(connection, None)

    def forget(self, connection: "Connection") -> None:
        """`connection` is closed."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)


class Connection(RequestHandler):
    """aiohttp's connection with a deadline for request heads and a place in the table."""

    __slots__ = (
        "_answer_timeout",
        "_head_timeout",
        "_head_timer",
        "_refusals",
        "_refused",
        "_table",
        "_waits_for_head",
    )

    def __init__(
        self,
        manager: Server,
        *,
        table: ConnectionTable,
        refusals: LineLimiter,
        head_timeout: float,
        answer_timeout: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(manager, **kwargs)
        self._table = table
        self._refusals = refusals
        self._head_timeout = head_timeout
        self._answer_timeout = answer_timeout
        self._head_timer: asyncio.TimerHandle | None = None
        self._waits_for_head = False
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._table.admit(self):
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
            return
        super().connection_made(transport)
        self._start_waiting()
        self._start_head_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        self._table.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        before = self._request_count
        super().data_received(data)
        self._forget_refused_bytes()
        if self._request_count != before:
            self._stop_waiting()
        elif data and self._waits_for_head and self._head_timer is None:
            self._start_head_timer()

    def _forget_refused_bytes(self) -> None:
        """What follows bytes that are no HTTP is not looked at, and what they raised does not keep them.

        The frames of a traceback hold what was read, a quarter of a megabyte each time, until the garbage collector
        comes by, which is seldom.
        """
        error = getattr(self._messages[-1][0], "exc", None) if self._messages else None
        if isinstance(error, BaseException):
            self._refused = True
            error.__traceback__ = error.__context__ = error.__cause__ = None

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        try:
            async with asyncio.timeout(self._answer_timeout):
                result = await super().finish_response(request, resp, start_time)
        except TimeoutError:  # it does not read
            if self.transport is not None:
                self.transport.abort()
            return resp, True
        if not self._messages and self.transport is not None:
            self._start_waiting()
        return result

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is not HTTP (400), or to what no middleware caught (500, with the exception in the
        log)."""
        if status >= 500:
            log.error("request failed outside its handler", exc_info=exc)
        elif (suppressed := self._refusals.admit(self._loop.time())) is not None:
            log.info("not http", detail=printable(message or str(exc), 200), suppressed=suppressed)
        if request.writer.output_size > 0:
            raise ConnectionError("An answer has begun already.")
        if status >= 500:
            response = plain_problem(status, "Internal error", "The server made a mistake; its log says which.")
        else:
            response = plain_problem(status, "Malformed request", "This is not an HTTP request that the server reads.")
        response.headers.update({**API_HEADERS, "Server": SERVER})
        response.force_close()
        return response

    def _start_waiting(self) -> None:
        self._waits_for_head = True
        self._table.waits(self)

    def _stop_waiting(self) -> None:
        self._waits_for_head = False
        self._table.works(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _start_head_timer(self) -> None:
        self._head_timer = self._loop.call_later(self._head_timeout, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._waits_for_head:
            self.force_close()


def _translated(plain: Server) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """The handler of `plain`; what aiohttp refuses before any middleware (Expect on an unknown path) becomes a problem
    too."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await plain.request_handler(request)
        except web.HTTPException as error:
            return from_http_exception(error)

    return handle


class ConnectionServer(Server):
    """Makes a `Connection` for each that the listening socket accepts."""

    def __init__(self, plain: Server, limits: ConnectionLimits, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_translated(plain), request_factory=plain.request_factory, loop=loop)
        self.table = ConnectionTable(within_descriptors(limits.max_connections))
        self._refusals = LineLimiter()
        self._limits = limits
        self._event_loop = loop

    def __call__(self) -> RequestHandler:
        limits = self._limits
        return Connection(
            self,
            table=self.table,
            refusals=self._refusals,
            head_timeout=limits.head_timeout,
            answer_timeout=limits.answer_timeout,
            loop=self._event_loop,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=limits.keepalive_timeout,
            lingering_time=limits.lingering_time,
            max_field_size=limits.max_field_size,
            max_headers=limits.max_headers,
            max_line_size=limits.max_line_size,
        )


class ApiRunner(web.AppRunner):
    """`web.AppRunner` whose connections are bounded. Use it with `web.TCPSite(runner, host, port)`."""

    def __init__(
        self,
        app: web.Application,
        *,
        limits: ConnectionLimits = DEFAULT_LIMITS,
        shutdown_timeout: float = 5.0,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._limits = limits

    async def _make_server(self) -> Server:
        plain = await super()._make_server()
        return ConnectionServer(plain, self._limits, asyncio.get_running_loop())

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self.server.table) if isinstance(self.server, ConnectionServer) else 0
