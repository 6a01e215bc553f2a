"""The OpenAPI document against a real server: whatever schemathesis makes of it, the server answers as it says.

Bodies, queries and paths come from the document, good ones and bad ones. In half of the calls the ids are of a session,
a track and a subscription that exist, so that they get beyond "not found". Each answer must have a status, headers and
a body that the document names for that call, and none may be a 500.
"""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from sluicegate.http.app import operations
from sluicegate.http.events import EventStreams
from sluicegate.http.metrics import Metrics
from sluicegate.http.openapi import build_document
from sluicegate.http.pages import Pages
from tests.support.parameters import rtp_capabilities, rtp_parameters
from tests.support.server import SECRET, ServerProcess

CHANNEL = "described"
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def document(*, open_server: bool) -> Any:
    """What the server gives at `/openapi.json`, made here so that every call is a test of its own."""
    table = operations(Metrics(), list, EventStreams(), Pages(), open_server=open_server)
    return msgspec.json.decode(msgspec.json.encode(build_document(table, open_server=open_server)))


class Described:
    """A server, and things on it: two sessions that both publish, and one of which watches the other."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        token = server.token("tester", "*", grants=("admin",))
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.ids: dict[str, str] = {}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, self.server.url + path, json=body, headers=self.headers, timeout=30)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def existing(self) -> dict[str, str]:
        """Ids of things that exist; made anew when a call has deleted them."""
        path = f"/sessions/{self.ids.get('session_id')}"
        if self.ids and requests.get(self.server.url + path, headers=self.headers, timeout=30).status_code == 200:
            return self.ids
        watcher, publisher = self._join("ann"), self._join("ben")
        theirs, own = self._publish(publisher), self._publish(watcher)
        body = {"track_id": theirs, "rtp_capabilities": rtp_capabilities(("VP8",))}
        subscription = self.call("POST", f"/sessions/{watcher}/subscribe", body)["subscription_id"]
        self.ids = {"session_id": watcher, "track_id": own, "subscription_id": subscription, "channel_id": CHANNEL}
        return self.ids

    def _join(self, user: str) -> str:
        body = {"type": "video", "channel_id": CHANNEL, "user_id": user}
        return str(self.call("POST", "/sessions", body)["session_id"])

    def _publish(self, session: str) -> str:
        parameters = rtp_parameters("VP8", [{"ssrc": random.getrandbits(31)}], mid="0", cname="described")
        body = {"kind": "video", "rtp_parameters": parameters}
        return str(self.call("POST", f"/sessions/{session}/publish", body)["track_id"])


@pytest.fixture(scope="module", params=["open", "with tokens"])
def described(request: pytest.FixtureRequest, start_server: Callable[..., ServerProcess]) -> Described:
    secret = SECRET if request.param == "with tokens" else None
    return Described(start_server(API_SECRET=secret, MAX_SESSIONS=200))


schema = schemathesis.openapi.from_dict(document(open_server=True)).exclude(path="/channels/{channel_id}/events")
schema.config.phases.update(phases=["fuzzing"])


def test_the_document_is_what_the_server_gives(described: Described) -> None:
    expected = document(open_server="API_SECRET" not in described.server.environment)
    assert described.call("GET", "/openapi.json") == expected


@schema.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@schema.given(known=st.booleans())
def test_answers_are_as_described(case: schemathesis.Case, known: bool, described: Described) -> None:
    if known:
        existing = described.existing()
        case.path_parameters = {name: existing[name] for name in case.path_parameters or {}}
    headers = {**(case.headers or {}), **described.headers}
    case.call_and_validate(base_url=described.server.url, headers=headers, checks=CHECKS, timeout=30)
