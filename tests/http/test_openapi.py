"""The document: valid, complete, and the same as what the server does."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate

from sluicegate.http.app import operations
from sluicegate.http.events import EventStreams
from sluicegate.http.metrics import Metrics
from sluicegate.http.openapi import build_document
from sluicegate.http.pages import Pages
from sluicegate.http.schemas import BodyDecoder
from tests.http.fakes import serve

TABLE = operations(Metrics(), list, EventStreams(), Pages(), open_server=False)
DOCUMENT = build_document(TABLE, open_server=False)

# The calls of the API, except those that other parts bring.
CALLS = """
POST /sessions
GET /sessions
GET /sessions/{}
PATCH /sessions/{}
DELETE /sessions/{}
POST /sessions/{}/connect
POST /sessions/{}/restart-ice
POST /sessions/{}/publish
PATCH /sessions/{}/tracks/{}
DELETE /sessions/{}/tracks/{}
POST /sessions/{}/subscribe
PATCH /sessions/{}/subscriptions/{}
DELETE /sessions/{}/subscriptions/{}
GET /sessions/{}/why
GET /sessions/{}/stats
GET /channels
GET /channels/{}
PUT /channels/{}/routes
GET /channels/{}/events
GET /healthz
GET /readyz
GET /metrics
GET /openapi.json
GET /docs
GET /
"""


def test_it_is_valid_openapi_3_1() -> None:
    validate(json.loads(msgspec.json.encode(DOCUMENT)))


def test_a_server_that_runs_open_says_that_no_call_needs_a_token() -> None:
    document = build_document(TABLE, open_server=True)
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["security"] in ([], [{}, {"token": []}])


def test_it_has_every_call_and_no_other() -> None:
    described = {
        f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path)}"
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
    }
    assert described == set(CALLS.strip().splitlines())


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    references = set(re.findall(r'"\$ref":"#/components/(\w+)/(\w+)"', msgspec.json.encode(DOCUMENT).decode()))
    for kind, name in references:
        assert name in DOCUMENT["components"][kind]
    for kind in ("schemas", "responses"):
        unused = set(DOCUMENT["components"][kind]) - {name for k, name in references if k == kind}
        assert unused == set()


def test_every_operation_is_named_once_and_says_what_it_may_refuse() -> None:
    seen = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in seen]
    assert len(names) == len(set(names))
    for operation in seen:
        assert operation["summary"]
        guarded = operation["security"] == [{"token": []}]
        assert ("401" in operation["responses"]) == guarded
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= set(operation["responses"])


@pytest.mark.parametrize("operation", [one for one in TABLE if one.request], ids=lambda one: one.operation_id)
def test_every_example_is_a_body_that_is_taken(operation: Any) -> None:
    assert operation.example is not None
    BodyDecoder(operation.request).decode(msgspec.json.encode(operation.example))


def test_webrtc_dictionaries_are_camel_case_and_the_envelope_is_not() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert "rtp_parameters" in schemas["Publish"]["properties"]
    assert {"mimeType", "clockRate", "payloadType"} <= set(schemas["RtpCodecParameters"]["properties"])
    assert "session_id" in schemas["SessionCreated"]["properties"]


def test_events_can_be_told_apart() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    kinds = [
        schemas[one["$ref"].rpartition("/")[2]]["properties"]["type"]["const"]
        for one in schemas["ChannelEvent"]["oneOf"]
    ]
    assert len(kinds) == len(set(kinds))
    assert {"snapshot", "session.created", "session.closed", "track.added", "speaker.changed"} <= set(kinds)


class Page(HTMLParser):
    """Collects what matters of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "style"
            if name in ("href", "src"):
                self.links.append(value or "")
            if name == "id":
                self.ids.add(value or "")


async def test_the_page_lists_every_call_and_loads_nothing() -> None:
    async with serve() as server:
        async with server.client.get("/docs") as response:
            text = await response.text()
            assert response.content_type == "text/html"
            assert "script-src" not in response.headers["Content-Security-Policy"]
            assert "style-src 'sha256-" in response.headers["Content-Security-Policy"]
        async with server.client.get("/openapi.json") as response:
            document = json.loads(await response.text())
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert [link for link in page.links if not link.startswith("#")] == ["/openapi.json"]
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    for path, methods in document["paths"].items():
        assert path in text
        for operation in methods.values():
            assert operation["operationId"] in page.ids
