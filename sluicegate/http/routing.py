"""The table of operations, and the one way that every call takes through it.

An `Operation` says all there is to say about a call: method, path, who may make it, what its body and query are, what
it answers. Routes, checks, idempotency, metrics and the OpenAPI document are all made from the table, so they cannot
differ.

A call goes: rate limit and token (401, 429) → grants (403) → size and kind of the body (413, 415) → body (400, 408) →
schema (422) → handler → answer.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec
from aiohttp import web

from sluicegate.cluster.idempotency import StoredAnswer
from sluicegate.errors import ApiError, FieldError, Forbidden, Invalid, Unauthorized
from sluicegate.http.auth import Authenticator, Identity
from sluicegate.http.idempotency import Idempotency
from sluicegate.http.limits import (
    BODY_TIMEOUT,
    Metered,
    Payer,
    RateLimiter,
    check_body_headers,
    check_media_type,
    read_body,
)
from sluicegate.http.problems import plain_problem, response_to
from sluicegate.http.schemas import BodyDecoder
from sluicegate.ids import valid_name
from sluicegate.session.caller import Caller, Grant
from sluicegate.session.service import Service

JSON = "application/json"
_INTEGER = re.compile(r"-?\d{1,9}", re.ASCII)


class Access(Enum):
    """Who may make a call, before anything is known about what it names."""

    HEALTH = "health"  # everyone, at any rate
    PUBLIC = "public"
    TOKEN = "token"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the API. `grants`: any of them is needed (`admin` always does); empty: any token."""

    method: str
    path: str
    operation_id: str
    summary: str
    handler: "Handler"
    tag: str
    access: Access = Access.TOKEN
    grants: frozenset[Grant] = frozenset()
    request: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    response: type[msgspec.Struct] | None = None
    status: int = 200
    media_type: str = JSON
    description: str = ""
    refusals: tuple[int, ...] = ()
    creates: bool = False
    streams: bool = False
    quiet: bool = False
    documented: bool = True
    location: Callable[[Any], str] | None = None
    example: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call that has passed every check: what a handler gets."""

    request: web.Request
    identity: Identity
    service: Service
    path: Mapping[str, str]
    body: Any = None
    query: Any = None

    @property
    def caller(self) -> Caller:
        return self.identity.caller


Handler = Callable[[Call], Awaitable[msgspec.Struct | web.StreamResponse | None]]


@dataclass(frozen=True, slots=True)
class Doors:
    """What stands in front of every call, and what it leads to. `clock` is monotonic."""

    service: Service
    authenticator: Authenticator
    limiter: RateLimiter
    idempotency: Idempotency
    clock: Callable[[], float] = time.monotonic
    body_timeout: float = BODY_TIMEOUT


@dataclass(frozen=True, slots=True)
class _Checks:
    """What is prepared once for an operation."""

    body: BodyDecoder[Any] | None
    integers: frozenset[str] = field(default_factory=frozenset)


def register(app: web.Application, operations: tuple[Operation, ...], doors: Doors) -> None:
    """Adds a route for each operation."""
    resources: dict[str, web.Resource] = {}
    for operation in operations:
        resource = resources.get(operation.path)
        if resource is None:
            resource = resources[operation.path] = app.router.add_resource(operation.path)
        handler = bind(operation, doors)
        methods = ["GET", "HEAD"] if operation.method == "GET" and not operation.streams else [operation.method]
        for method in methods:
            resource.add_route(method, handler, expect_handler=_expect)


def bind(operation: Operation, doors: Doors) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The aiohttp handler of one operation."""
    checks = _Checks(
        BodyDecoder(operation.request) if operation.request else None,
        _integer_fields(operation.query) if operation.query else frozenset(),
    )

    async def handle(request: web.Request) -> web.StreamResponse:
        identity, payer = _admit(operation, doors, request)
        work = Metered(answer(request, identity))
        try:
            return await work
        finally:
            if payer is not None and not operation.streams:  # a stream goes on as long as somebody listens
                payer.pay(work.seconds)

    async def answer(request: web.Request, identity: Identity) -> web.StreamResponse:
        _authorise(operation, identity.caller)
        path = _path(request)
        query = _query(operation, checks, request)
        raw, body = b"", None
        if checks.body is not None:
            check_body_headers(request)
            check_media_type(request, JSON)
            raw = await read_body(request, doors.body_timeout)
            body = checks.body.decode(raw)
        call = Call(request, identity, doors.service, path, body, query)
        key = request.headers.get("Idempotency-Key") if operation.creates else None
        if key is None:
            view = await operation.handler(call)
            return view if isinstance(view, web.StreamResponse) else _response(_encode(operation, view))
        scope = f"{identity.key} {operation.method} {request.path}"

        async def create() -> StoredAnswer:
            view = await operation.handler(call)
            assert not isinstance(view, web.StreamResponse), "a creating call answers with a view"
            return _encode(operation, view)

        stored, replayed = await doors.idempotency.run(scope, key, raw, create)
        response = _response(stored)
        if replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    return handle


def address_of(request: web.Request) -> str:
    """The address at the other end of the TCP connection."""
    return request.remote or ""


def _admit(operation: Operation, doors: Doors, request: web.Request) -> tuple[Identity, Payer | None]:
    """Who calls, and who pays for it: nobody for health checks and what an admin asks."""
    if operation.access is Access.HEALTH:
        return Identity(_NOBODY), None
    now, address = doors.clock(), address_of(request)
    if operation.access is Access.PUBLIC:
        return Identity(_NOBODY), doors.limiter.check_address(address, now)
    try:
        identity = doors.authenticator.identify(request, token_in_query=operation.streams)
    except Unauthorized:
        doors.limiter.check_failure(address, now)
        raise
    if doors.authenticator.open:
        return identity, doors.limiter.check_address(address, now)
    if identity.caller.is_admin:
        return identity, None
    return identity, doors.limiter.check_token(identity.key, now)


_NOBODY = Caller.nobody()


def _authorise(operation: Operation, caller: Caller) -> None:
    if operation.grants and not any(caller.may(grant) for grant in operation.grants):
        needed = " or ".join(sorted(grant.value for grant in operation.grants))
        raise Forbidden(f"The token does not grant {needed}.")


def _path(request: web.Request) -> Mapping[str, str]:
    path = request.match_info
    channel_id = path.get("channel_id")
    if channel_id is not None and not valid_name(channel_id):
        raise Invalid("The channel id in the path must have 1 to 128 of A–Z a–z 0–9 . _ : -")
    return path


def _query(operation: Operation, checks: _Checks, request: web.Request) -> Any:
    if operation.query is None:
        return None
    values: dict[str, Any] = {}
    for name in operation.query.__struct_encode_fields__:
        text = request.query.get(name)
        if text is not None:
            values[name] = int(text) if name in checks.integers and _INTEGER.fullmatch(text) else text
    try:
        return msgspec.convert(values, operation.query)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).rstrip("`").partition(" - at `$.")
        raise Invalid(f"Query parameter {path}: {detail}.", errors=(FieldError("", f"{path}: {detail}"),)) from None


def _integer_fields(query: type[msgspec.Struct]) -> frozenset[str]:
    _, components = msgspec.json.schema_components([query])
    properties = components[query.__name__]["properties"]
    return frozenset(name for name, schema in properties.items() if schema.get("type") == "integer")


def _encode(operation: Operation, answer: msgspec.Struct | None) -> StoredAnswer:
    body = b"" if answer is None else msgspec.json.encode(answer)
    location = operation.location(answer) if operation.location else None
    return StoredAnswer(operation.status, body, operation.media_type, location)


def _response(answer: StoredAnswer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body or None)
    if answer.body:
        response.content_type = answer.content_type
    if answer.location is not None:
        response.headers["Location"] = answer.location
    return response


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Expect: 100-continue (RFC 9110 §10.1.1): refuses by the head, so that a body too large is never sent."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return plain_problem(417, "Expectation failed", "Only Expect: 100-continue is understood.")
    try:
        check_body_headers(request)
    except ApiError as error:
        return response_to(error)
    if request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The writer counts this as the answer having begun, which it has not.
        request.writer.output_size = 0
    return None
