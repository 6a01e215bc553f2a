"""The OpenAPI 3.1 document, made from the table of operations and the Structs that validate and answer.

Nothing in it is written by hand that the code decides: paths, parameters, schemas, statuses and grants come from the
same rows that make the routes. `Description` adds `GET /openapi.json` and `GET /docs` to a table.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any, get_args

import msgspec
from aiohttp import web

from sluicegate import __version__
from sluicegate.http.docs import DocsPage
from sluicegate.http.limits import MAX_BODY
from sluicegate.http.problems import CONTENT_TYPE, Problem, ProblemError
from sluicegate.http.routing import JSON, Access, Call, Operation
from sluicegate.ids import NAME_PATTERN
from sluicegate.session.events import AnyEvent

TAG = "Operations"
REF = "#/components/schemas/{name}"

INTRODUCTION = f"""Voice and video in channels: a selective forwarding unit with a mixer.

JSON in, JSON out; the envelope is snake_case, and the WebRTC dictionaries inside it are mediasoup-client's, camelCase.
Bodies have at most {MAX_BODY // 1024} KiB. Errors are RFC 9457 problems, whose `errors[].pointer` is a JSON pointer
into the body. Every creating call takes an `Idempotency-Key`. A server without `API_SECRET` takes every call without a
token.
"""

MEANINGS: Mapping[int, str] = {
    400: "The body or a header is malformed.",
    401: "There is no token, or not a good one.",
    403: "The token does not grant this, or the page's origin may not call.",
    404: "There is nothing of this name that the token reaches.",
    406: "The answer does not exist in a form that the caller takes.",
    408: "The body did not arrive in time.",
    409: "The state does not allow it.",
    413: f"The body is longer than {MAX_BODY // 1024} KiB.",
    415: "The body is of another media type, or compressed.",
    422: "Well-formed, but invalid; `errors` says where.",
    429: "Too many calls.",
    503: "The server is full, draining or not ready.",
}

_IDS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "session_id": ("The session.", {"type": "string", "format": "uuid"}),
    "track_id": ("A track of this session.", {"type": "string", "format": "uuid"}),
    "subscription_id": ("A subscription of this session.", {"type": "string", "format": "uuid"}),
    "channel_id": ("The channel.", {"type": "string", "pattern": NAME_PATTERN, "maxLength": 128}),
}


class Description:
    """The document and its page, made when first asked for (some 50 ms). `open_server`: no call needs a token."""

    def __init__(self, operations: Iterable[Operation], *, open_server: bool) -> None:
        self._table = (*operations, *self.operations())
        self._open_server = open_server

    @cached_property
    def _document(self) -> dict[str, Any]:
        return build_document(self._table, open_server=self._open_server)

    @cached_property
    def _body(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self._document), indent=1)

    @cached_property
    def _page(self) -> DocsPage:
        return DocsPage(self._document)

    async def openapi(self, call: Call) -> web.StreamResponse:
        return web.Response(body=self._body, content_type=JSON)

    async def docs(self, call: Call) -> web.StreamResponse:
        headers = {"Content-Security-Policy": self._page.policy, "Content-Type": "text/html; charset=utf-8"}
        return web.Response(body=self._page.body, headers=headers)

    def operations(self) -> tuple[Operation, ...]:
        """Rows of the table."""
        return (
            Operation(
                method="GET",
                path="/openapi.json",
                operation_id="openapi",
                summary="This description, for machines",
                handler=self.openapi,
                tag=TAG,
                access=Access.PUBLIC,
                quiet=True,
            ),
            Operation(
                method="GET",
                path="/docs",
                operation_id="docs",
                summary="This description, for people",
                handler=self.docs,
                tag=TAG,
                access=Access.PUBLIC,
                media_type="text/html",
                quiet=True,
            ),
        )


def build_document(operations: Iterable[Operation], *, open_server: bool) -> dict[str, Any]:
    """The OpenAPI document of these operations, as plain data."""
    table = [operation for operation in operations if operation.documented]
    paths: dict[str, dict[str, Any]] = {}
    for operation in table:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, open_server)
    statuses = sorted({status for operation in table for status in refusals(operation)})
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "Sluicegate",
            "version": __version__,
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in table)],
        "paths": paths,
        "components": {
            "schemas": _schemas(table),
            "responses": {f"Problem{status}": _problem_response(status) for status in statuses},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def refusals(operation: Operation) -> tuple[int, ...]:
    """Every status of 400 and above that the operation may answer with."""
    statuses = set(operation.refusals)
    if operation.access is not Access.HEALTH:
        statuses |= {403, 429}
    if operation.access is Access.TOKEN:
        statuses.add(401)
    if operation.request is not None:
        statuses |= {400, 408, 413, 415, 422}
    if "{channel_id}" in operation.path:
        statuses.add(422)
    return tuple(sorted(statuses))


def _operation(operation: Operation, open_server: bool) -> dict[str, Any]:
    security: list[dict[str, list[str]]] = [{}, {"token": []}] if open_server else [{"token": []}]
    described: dict[str, Any] = {
        "operationId": operation.operation_id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": security if operation.access is Access.TOKEN else [],
        "responses": _responses(operation),
    }
    description = " ".join(filter(None, (operation.description, _grants(operation))))
    if description:
        described["description"] = description
    parameters = _parameters(operation)
    if parameters:
        described["parameters"] = parameters
    if operation.request is not None:
        content: dict[str, Any] = {"schema": {"$ref": REF.format(name=operation.request.__name__)}}
        if operation.example is not None:
            content["example"] = operation.example
        described["requestBody"] = {"required": True, "content": {JSON: content}}
    return described


def _grants(operation: Operation) -> str:
    if not operation.grants:
        return ""
    names = " or ".join(f"`{grant.value}`" for grant in sorted(operation.grants))
    return f"Needs the grant {names}."


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters = []
    for name in [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]:
        description, schema = _IDS[name]
        parameters.append({"name": name, "in": "path", "required": True, "description": description, "schema": schema})
    if operation.query is not None:
        _, components = msgspec.json.schema_components([operation.query], ref_template=REF)
        for name, schema in components[operation.query.__name__]["properties"].items():
            parameters.append(_query_parameter(name, dict(schema)))
    if operation.creates:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same key and body give the same answer for 24 h, and create nothing again.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            }
        )
    if operation.streams:
        parameters.append(_query_parameter("access_token", {"type": "string", "description": "The token."}))
    return parameters


def _query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    description = schema.pop("description", "")
    if schema.get("default", ...) is None:
        del schema["default"]
    # A query cannot hold null: absent is what stands for it.
    choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        schema = {**choices[0], **schema}
        schema.pop("description", None)
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _responses(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase}
    if operation.streams:
        events = {"$ref": REF.format(name="ChannelEvent")}
        answer["content"] = {operation.media_type: {"schema": {"type": "string"}, "x-event-schema": events}}
    elif operation.response is not None:
        answer["content"] = {operation.media_type: {"schema": {"$ref": REF.format(name=operation.response.__name__)}}}
    elif operation.status != 204:
        answer["content"] = {
            operation.media_type: {"schema": {} if operation.media_type == JSON else {"type": "string"}}
        }
    headers: dict[str, Any] = {}
    if operation.location is not None:
        headers["Location"] = {"description": "Where it is.", "schema": {"type": "string"}}
    if operation.creates:
        headers["Idempotency-Replayed"] = {
            "description": "`true` when this answer was given before.",
            "schema": {"type": "string", "enum": ["true"]},
        }
    if headers:
        answer["headers"] = headers
    responses: dict[str, Any] = {str(operation.status): answer}
    if operation.streams:
        responses["101"] = {"description": "Switching to WebSocket; each message is a ChannelEvent."}
    for status in refusals(operation):
        responses[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
    return responses


def _problem_response(status: int) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": MEANINGS[status],
        "content": {CONTENT_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}},
    }
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
    if status == 401:
        response["headers"] = {"WWW-Authenticate": {"description": "RFC 6750.", "schema": {"type": "string"}}}
    return response


def _schemas(table: Iterable[Operation]) -> dict[str, Any]:
    structs: dict[type, None] = {Problem: None, ProblemError: None}
    for operation in table:
        structs.update({struct: None for struct in (operation.request, operation.response) if struct is not None})
    events = get_args(AnyEvent)
    _, components = msgspec.json.schema_components([*structs, *events], ref_template=REF)
    for event in events:
        # Each kind of event has its name, so that a reader can tell them apart.
        components[event.__name__]["properties"]["type"] = {"const": event.__dataclass_fields__["type"].default}
        components[event.__name__]["required"] = sorted({*components[event.__name__].get("required", ()), "type"})
    components["ChannelEvent"] = {
        "description": "One message of a channel's event stream.",
        "oneOf": [{"$ref": REF.format(name=event.__name__)} for event in events],
    }
    return dict(sorted(components.items()))
