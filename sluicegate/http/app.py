"""The application: the table of operations, and what every request passes on its way in and out.

From outside in: log and metrics → problems (every refusal becomes RFC 9457) → origin, preflight, OPTIONS → the
operation.
"""

import re
import time
from collections.abc import Callable, Iterable

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sluicegate import clock
from sluicegate.cluster.idempotency import IdempotencyStore, ProcessIdempotencyStore
from sluicegate.config import Settings, is_loopback
from sluicegate.errors import ApiError, ParseError
from sluicegate.http import channels, events, sessions
from sluicegate.http.access_log import MAX_PATH, AccessLog, printable
from sluicegate.http.auth import Authenticator
from sluicegate.http.events import EventStreams
from sluicegate.http.idempotency import Idempotency
from sluicegate.http.limits import BODY_TIMEOUT, DEFAULT_LIMITS, RateLimiter, RateLimits
from sluicegate.http.metrics import Metrics, Sample
from sluicegate.http.openapi import Description
from sluicegate.http.operations import Operations, Ready
from sluicegate.http.pages import Pages
from sluicegate.http.problems import from_http_exception, from_parse_error, plain_problem, response_to
from sluicegate.http.routing import Doors, Operation, address_of, register
from sluicegate.http.security import OriginPolicy
from sluicegate.session.service import Service

log = structlog.get_logger("sluicegate.http")


UNMATCHED = "unmatched"
CLIENT_LEFT = 499  # the status of a request whose client went away before its answer, as nginx counts it


def build_app(
    *,
    service: Service,
    settings: Settings,
    metrics: Metrics,
    ready: Ready,
    answers: IdempotencyStore | None = None,
    limits: RateLimits = DEFAULT_LIMITS,
    pages: Pages | None = None,
    streams: EventStreams | None = None,
    body_timeout: float = BODY_TIMEOUT,
    monotonic: Callable[[], float] = clock.monotonic,
) -> web.Application:
    """The whole HTTP side. Serve it by `connections.ApiRunner`, which bounds what aiohttp does not.

    `ready` says what `/readyz` reports; `answers` keeps those of calls with an `Idempotency-Key` (this process without
    one). Shutting the application down ends its event streams.
    """
    # `is None`, for stores and tables that are empty count as false.
    streams = EventStreams() if streams is None else streams
    pages = Pages() if pages is None else pages
    answers = ProcessIdempotencyStore(monotonic) if answers is None else answers
    limiter = RateLimiter(limits)
    doors = Doors(
        service=service,
        authenticator=Authenticator(settings.api_secret),
        limiter=limiter,
        idempotency=Idempotency(answers),
        clock=monotonic,
        body_timeout=body_timeout,
    )
    table = operations(metrics, ready, streams, pages, open_server=settings.api_secret is None)
    policy = OriginPolicy(
        settings.cors_origins,
        guard=settings.api_secret is None,
        check_host=settings.api_secret is None and is_loopback(settings.host),
    )
    app = web.Application(
        middlewares=[_observer(table, metrics), _translator(), _guard(policy, limiter, monotonic)],
    )
    app.on_response_prepare.append(policy.add_headers)
    register(app, table, doors)

    async def end_streams(_: web.Application) -> None:
        streams.close()

    app.on_shutdown.append(end_streams)
    metrics.add_source(lambda: [Sample("event_streams", len(streams))])
    metrics.add_source(lambda: [Sample("ready", float(ok), {"check": name}) for name, ok, _ in ready()])
    return app


def operations(
    metrics: Metrics, ready: Ready, streams: EventStreams, pages: Pages, *, open_server: bool
) -> tuple[Operation, ...]:
    """The whole table; `open_server` only changes what the description says about tokens."""
    rows = (
        *sessions.OPERATIONS,
        *channels.OPERATIONS,
        *events.operations(streams),
        *Operations(ready, metrics).operations(),
        *pages.operations(),
    )
    return (*rows, *Description(rows, open_server=open_server).operations())


def _observer(table: Iterable[Operation], metrics: Metrics) -> Middleware:
    """Logs and counts every request."""
    by_route = {(operation.method, _canonical(operation.path)): operation for operation in table}
    access = AccessLog()

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        start = time.monotonic()
        status, size = CLIENT_LEFT, 0
        try:
            response = await handler(request)
            status, size = response.status, response.body_length or response.content_length or 0
            return response
        finally:
            now = time.monotonic()
            route = _route(request)
            operation = by_route.get(("GET" if request.method == "HEAD" else request.method, route))
            if operation is None or not operation.streams:
                metrics.observe_http(request.method, route, status, now - start)
            access.write(request, status, size, now - start, now, quiet=operation is not None and operation.quiet)

    return observe


def _translator() -> Middleware:
    """Turns whatever is raised into an answer."""

    @web.middleware
    async def translate(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return response_to(error)
        except ParseError as error:
            return response_to(from_parse_error(error))
        except web.HTTPException as error:
            return from_http_exception(error)
        except ConnectionError:
            raise  # the client has gone: there is nobody to answer
        except Exception:
            log.exception("request failed", method=request.method, path=printable(request.rel_url.raw_path, MAX_PATH))
            return plain_problem(500, "Internal error", "The server made a mistake; its log says which.")

    return translate


def _guard(policy: OriginPolicy, limiter: RateLimiter, monotonic: Callable[[], float]) -> Middleware:
    """Answers what is no call of the API: preflights, OPTIONS, paths that nothing lives at."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        preflight = policy.preflight(request)
        if preflight is not None:
            return preflight
        policy.check(request)
        refusal = request.match_info.http_exception
        if refusal is not None:
            limiter.check_address(address_of(request), monotonic())
            if isinstance(refusal, web.HTTPMethodNotAllowed) and request.method == "OPTIONS":
                allowed = sorted({*refusal.allowed_methods, "OPTIONS"})
                return web.Response(status=204, headers={"Allow": ", ".join(allowed)})
        return await handler(request)

    return guard


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return UNMATCHED if resource is None else resource.canonical


def _canonical(path: str) -> str:
    """A path as aiohttp names its resource: patterns of parameters left out."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)
