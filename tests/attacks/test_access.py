"""Tokens of nobody, of others, and ids that were guessed: rows 29 and 30 of section A, on every route that there is."""

import base64
import itertools
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest

from sluicegate.ids import new_id
from tests.support.api import Answer, Api
from tests.support.rtc_client import ScriptedClient
from tests.support.server import SECRET, ServerProcess

PUBLIC = {"/", "/healthz", "/readyz", "/docs", "/openapi.json"}
METHODS = ("get", "post", "put", "patch", "delete")
NAMES = {"session_id": "session", "track_id": "track", "subscription_id": "subscription", "channel_id": "channel"}


@pytest.fixture(scope="module")
def guarded(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server with API_SECRET."""
    return start_server(API_SECRET=SECRET)


def operations(server: ServerProcess) -> list[tuple[str, str]]:
    """Every method and path of the server's own description that is not for everybody."""
    document = json.loads(server.get("/openapi.json")[1])
    found = []
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item and item[method].get("security") != [] and path not in PUBLIC:
                found.append((method.upper(), path))
    return found


@asynccontextmanager
async def victim(server: ServerProcess, channel: str) -> AsyncIterator[dict[str, str]]:
    """Bob in his channel, with a track and a subscription; the values for the parameters of paths."""
    async with (
        ScriptedClient(server.url, channel, "bob", token=server.token("bob", channel)) as bob,
        ScriptedClient(server.url, channel, "carol", token=server.token("carol", channel)) as carol,
    ):
        await bob.create()
        await carol.create()
        theirs = await carol.publish("opus", ssrc=1)
        own = await bob.publish("opus", ssrc=2)
        subscribed = await bob.subscribe(theirs.track_id)
        yield {
            "session_id": bob.session_id,
            "track_id": own.track_id,
            "subscription_id": subscribed.subscription_id,
            "channel_id": channel,
        }


def filled(path: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        path = path.replace("{" + name + "}", value)
    assert "{" not in path, path
    return path


async def asked(server: ServerProcess, method: str, path: str, token: str | None, **options: Any) -> Answer:
    async with Api(server.url, token) as api:
        body = {} if method in ("POST", "PUT", "PATCH") else None
        return await api.request(method, path, json=body, **options)


def signed(claims: dict[str, Any], secret: str = SECRET, **options: Any) -> str:
    return jwt.encode(claims, secret, **options)


def bad_tokens(channel: str) -> dict[str, str]:
    """Tokens that are none."""
    good = {"sub": "bob", "channel_id": channel, "exp": int(time.time()) + 600, "grants": ["admin"]}
    body = base64.urlsafe_b64encode(json.dumps(good).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    real = signed(good)
    return {
        "of another secret": signed(good, "x" * 40),
        "expired": signed({**good, "exp": int(time.time()) - 3600}),
        "without an end": signed({key: value for key, value in good.items() if key != "exp"}),
        "not yet": signed({**good, "nbf": int(time.time()) + 3600}),
        "alg none": f"{none}.{body}.",
        "alg none with a signature": f"{none}.{body}.{real.rsplit('.', 1)[1]}",
        "alg HS512": signed(good, algorithm="HS512"),
        "signature cut": real[:-2],
        "signature empty": real.rsplit(".", 1)[0] + ".",
        "claims changed": f"{real.split('.')[0]}.{body[:-4]}AAAA.{real.split('.')[2]}",
        "grants of another type": signed({**good, "grants": "admin"}),
        "a grant that is none": signed({**good, "grants": ["root"]}),
        "a user id with a newline": signed({**good, "sub": "bob\n"}),
        "a channel of another type": signed({**good, "channel_id": ["*"]}),
        "a cap of another type": signed({**good, "max_tracks": "many"}),
        "garbage": "garbage",
        "two dots": "..",
        "long": "a" * 5000,
        "a NUL": "a%00b",
    }


def test_a29_there_are_routes_to_guard(guarded: ServerProcess) -> None:
    found = operations(guarded)
    assert len(found) >= 18
    assert ("DELETE", "/sessions/{session_id}") in found


async def test_a29_no_route_is_open_to_those_without_a_token(guarded: ServerProcess, channel: str) -> None:
    async with victim(guarded, channel) as values:
        for method, path in operations(guarded):
            answer = await asked(guarded, method, filled(path, values), None)
            assert answer.status == 401, (method, path, answer.status)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            for secret in values.values():
                assert secret.encode() not in answer.body


async def test_a29_a_token_that_is_none_opens_nothing(guarded: ServerProcess, channel: str) -> None:
    """Each kind on some routes: an address that keeps trying is limited, which is another refusal."""
    async with victim(guarded, channel) as values:
        routes = itertools.cycle(operations(guarded))
        for name, token in bad_tokens(channel).items():
            for _ in range(3):
                method, path = next(routes)
                answer = await asked(guarded, method, filled(path, values), token)
                assert answer.status in (401, 429), (name, method, path, answer.status)
        for path in (f"/channels/{channel}/events", f"/sessions/{values['session_id']}"):
            answer = await asked(guarded, "GET", path + "?access_token=" + bad_tokens(channel)["alg none"], None)
            assert answer.status in (401, 429)


async def test_a29_a_good_token_in_the_query_is_taken_where_browsers_need_it_alone(
    guarded: ServerProcess, channel: str
) -> None:
    """A token in a URL ends in logs and referrers."""
    async with victim(guarded, channel) as values:
        token = guarded.token("bob", channel)
        answer = await asked(guarded, "GET", f"/sessions/{values['session_id']}?access_token={token}", None)
        assert answer.status in (401, 429)


@pytest.mark.parametrize("foreign", ["another user", "another channel", "another user and channel"])
async def test_a29_what_is_anothers_looks_as_if_it_were_not_there(
    guarded: ServerProcess, channel: str, foreign: str
) -> None:
    """Nobody may read, close or count the session of another; and an id that exists is refused in the words of one that
    does not."""
    user = "bob" if foreign == "another channel" else "mallory"
    own = channel if foreign == "another user" else "elsewhere"
    token = guarded.token(user, own)
    async with victim(guarded, channel) as values:
        guessed = {name: str(uuid.uuid4()) for name in values}
        for method, path in operations(guarded):
            if "{session_id}" not in path and "{channel_id}" not in path:
                continue
            if "{session_id}" not in path and foreign == "another user":
                continue  # the channel is theirs too
            real = await asked(guarded, method, filled(path, values), token)
            absent = await asked(guarded, method, filled(path, guessed), token)
            assert real.status in (403, 404, 406, 415, 422), (method, path, real.status)
            assert real.status == absent.status, (method, path)
            assert real.body == absent.body, (method, path)
        bob = await asked(guarded, "GET", f"/sessions/{values['session_id']}", guarded.token("bob", channel))
        assert bob.status == 200


async def test_a29_valid_bodies_do_not_get_further(guarded: ServerProcess, channel: str) -> None:
    """With bodies that pass the schema: no track of another channel, no session in it, no name of another."""
    token = guarded.token("mallory", "elsewhere")
    async with (
        victim(guarded, channel) as values,
        ScriptedClient(guarded.url, "elsewhere", "mallory", token=token) as mallory,
    ):
        await mallory.create()
        body = {"track_id": values["track_id"], "rtp_capabilities": {"codecs": [], "headerExtensions": []}}
        real = await mallory.api.request("POST", f"/sessions/{mallory.session_id}/subscribe", json=body)
        absent = await mallory.api.request(
            "POST", f"/sessions/{mallory.session_id}/subscribe", json={**body, "track_id": str(uuid.uuid4())}
        )
        assert real.status == absent.status == 404
        assert real.body == absent.body
        for session in (
            {"channel_id": channel, "user_id": "mallory"},
            {"channel_id": "elsewhere", "user_id": "bob"},
            {"channel_id": channel, "user_id": "bob"},
        ):
            answer = await mallory.api.request("POST", "/sessions", json={"type": "audio", **session})
            assert answer.status == 403
        for method, suffix, patch in (
            ("PATCH", "", {"metadata": {"a": 1}}),
            ("POST", "/restart-ice", None),
            ("PATCH", f"/tracks/{values['track_id']}", {"paused": True}),
            ("PATCH", f"/subscriptions/{values['subscription_id']}", {"paused": True}),
            ("DELETE", f"/subscriptions/{values['subscription_id']}", None),
            ("DELETE", "", None),
        ):
            answer = await mallory.api.request(method, f"/sessions/{values['session_id']}{suffix}", json=patch)
            assert answer.status == 404, (method, suffix, answer.status)
        # Its own session does not lend it the tracks and subscriptions of others either.
        for method, suffix, patch in (
            ("DELETE", f"/tracks/{values['track_id']}", None),
            ("PATCH", f"/subscriptions/{values['subscription_id']}", {"paused": True}),
        ):
            answer = await mallory.api.request(method, f"/sessions/{mallory.session_id}{suffix}", json=patch)
            assert answer.status == 404


async def test_a29_each_grant_opens_its_own_calls(guarded: ServerProcess, channel: str) -> None:
    """join alone neither publishes nor subscribes; publish alone does not join; only admin lists and measures."""

    async def status(grants: tuple[str, ...], method: str, path: str, body: Any = None) -> int:
        async with Api(guarded.url, guarded.token("bob", channel, grants)) as api:
            return (await api.request(method, path, json=body)).status

    async with victim(guarded, channel) as values:
        session = f"/sessions/{values['session_id']}"
        assert await status(("join",), "GET", session) == 200
        assert await status(("publish", "subscribe", "record"), "GET", session) == 403
        assert await status(("join", "subscribe"), "POST", session + "/publish", {}) == 403
        assert await status(("join", "publish"), "POST", session + "/subscribe", {}) == 403
        for path in ("/sessions", "/metrics"):
            assert await status(("join", "publish", "subscribe", "record"), "GET", path) == 403
            assert await status(("admin",), "GET", path) == 200
        assert await status(("join",), "PUT", f"/channels/{channel}/routes", {"default": 1, "gains": []}) == 403
        assert await status((), "GET", session) == 403


async def test_a29_caps_of_a_token_hold(guarded: ServerProcess, channel: str) -> None:
    token = guarded.token("bob", channel, max_tracks=1, max_preset="low")
    async with ScriptedClient(guarded.url, channel, "bob", token=token) as bob:
        await bob.create()
        await bob.publish("opus", ssrc=1)
        body = {"kind": "audio", "rtp_parameters": {"codecs": []}}
        answer = await bob.api.request("POST", f"/sessions/{bob.session_id}/publish", json=body)
        assert answer.status == 403
        body = {"type": "video", "channel_id": channel, "user_id": "bob", "preset": "ultra"}
        assert (await bob.api.request("POST", "/sessions", json=body)).status == 403


def test_a30_ten_thousand_ids() -> None:
    """The generator of all ids: UUID4 of the system's random source, none twice, in no order."""
    ids = [new_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    parsed = [uuid.UUID(one) for one in ids]
    assert all(one.version == 4 for one in parsed)
    assert sum(a < b for a, b in itertools.pairwise(ids)) in range(4700, 5300)
    bits = Counter(place for one in parsed for place, digit in enumerate(f"{one.int:0128b}") if digit == "1")
    assert sum(4700 < bits[place] < 5300 for place in range(128)) == 122
