"""What the server writes: rows 31 and 35 of section A. No secret in it, no line that somebody else wrote, and no
flood."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.attacks.strangers import Stranger, client_hello, flood
from tests.support import ice
from tests.support.api import Api, ApiFailure
from tests.support.rtc_client import ScriptedClient
from tests.support.server import SECRET, ServerProcess
from tests.support.sources import AudioSource

TURN = "turn-secret-that-must-stay-secret"


@pytest.fixture(scope="module")
def talkative(start_server: Callable[..., ServerProcess]) -> Iterator[ServerProcess]:
    """A server that says all that it ever says."""
    yield start_server(
        API_SECRET=SECRET, LOG_LEVEL="debug", LOG_FORMAT="json", TURN_URL="turn:turn.example:3478", TURN_SECRET=TURN
    )


def lines(server: ServerProcess) -> list[str]:
    """The log, without the two sentences for whoever started it."""
    return [line for line in server.log().splitlines() if line.startswith("{")]


async def test_a31_no_secret_is_written(talkative: ServerProcess, channel: str) -> None:
    """Every step of a call, and every way to fail with a token, at debug: then the log is searched for what it must
    not hold."""
    token = talkative.token("alice", channel)
    assert token is not None
    secrets = {"token": token, "signature": token.rsplit(".", 1)[1], "API_SECRET": SECRET, "TURN_SECRET": TURN}
    async with ScriptedClient(talkative.url, channel, "alice", token=token) as alice:
        session = await alice.create(metadata={"note": "private-note"})
        await alice.connect()
        published = await alice.publish("opus", ssrc=1)
        for packet in AudioSource(ssrc=1, payload_type=published.payload_type).next_frame():
            alice.send_rtp(packet)
        await alice.restart_ice()
        await alice.check()
        secrets |= {
            "ICE password": session["ice_parameters"]["password"],
            "ICE password after a restart": alice.credentials.remote_password,
            "its own ICE password": alice.credentials.local_password,
            "TURN credential": session["ice_servers"][0]["credential"],
            "metadata": "private-note",
        }
        assert alice.keys is not None
        secrets |= {"SRTP key": alice.keys.send.hex(), "SRTP key of the other way": alice.keys.receive.hex()}
        secrets["address"] = f"127.0.0.1:{alice.address[1]}"
        secrets["port"] = f'"{alice.address[1]}"'
        async with alice.api.events(channel, access_token=token) as socket:
            await socket.receive_json()
        for path in (
            f"/sessions?access_token={token}",
            f"/nothing/{token}?access_token={token}"[:150] + f"?access_token={token}",
        ):
            await alice.api.request("GET", path, headers={"X-Token": token})
        broken = token[:-3] + "abc"
        async with Api(talkative.url, broken) as mallory:
            assert (await mallory.request("GET", "/channels")).status == 401
        secrets["a token that was refused"] = broken
    written = talkative.log()
    assert "/connect" in written
    found = [name for name, secret in secrets.items() if secret in written]
    # The start of a token may stand in a path that somebody put it into; the signature must not.
    assert [name for name in found if name != "token"] == []
    assert token not in written


async def test_a31_turn_credentials_end_by_themselves(talkative: ServerProcess, channel: str) -> None:
    async with Api(talkative.url, talkative.token("alice", channel)) as api:
        session = await api.create_session(channel, "alice")
    (turn,) = session["ice_servers"]
    expiry, _, user = turn["username"].partition(":")
    assert user == "alice"
    assert time.time() < int(expiry) <= time.time() + 3600 + 5
    assert turn["credential"] != TURN


@pytest.mark.parametrize(
    "environment",
    [
        {"API_SECRET": "secret"},
        {"API_SECRET": "x" * 31},
        {"HOST": "0.0.0.0"},
        {"HOST": "::"},
        {"TURN_URL": "turn:turn.example:3478"},
        {"TURN_URL": "turn:turn.example:3478", "TURN_USERNAME": "user"},
    ],
)
def test_a31_weak_or_missing_secrets_stop_the_server_from_starting(environment: dict[str, str]) -> None:
    with pytest.raises(RuntimeError) as failure:
        ServerProcess(ANNOUNCED_ADDRESSES=None if "HOST" in environment else "127.0.0.1", **environment)
    assert "ended with" in str(failure.value)
    assert "Traceback" not in str(failure.value)
    for value in environment.values():
        if len(value) == 31:
            assert value not in str(failure.value)


INJECTED = [
    "a\r\nb",
    "a\nb",
    "\x1b[2J\x1b[31m",
    "a\0b",
    "a\u2028b",
    "x" * 10_000,
    "a b",
    "../../etc/passwd",
    "a\tb",
    "\u202eabc",
]


async def test_a35_ids_and_names_write_no_lines(talkative: ServerProcess, channel: str) -> None:
    """Refused, and what is said of it stands on one line, shortened and escaped."""
    async with Api(talkative.url, talkative.token("admin", grants=("admin",))) as api:
        session = await api.create_session(channel, "alice")
        path = f"/sessions/{session['session_id']}"
        for text in INJECTED:
            for body in (
                {"type": "audio", "channel_id": text, "user_id": "u"},
                {"type": "audio", "channel_id": "c", "user_id": text},
                {"type": text, "channel_id": "c", "user_id": "u"},
                {"type": "audio", "channel_id": "c", "user_id": "u", "region": text},
            ):
                with pytest.raises(ApiFailure) as failure:
                    await api.call("POST", "/sessions", body)
                assert failure.value.status == 422
                assert len(json.dumps(failure.value.problem)) < 4000
            codec: dict[str, Any] = {"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000, "channels": 2}
            for parameters in (
                {"mid": text, "codecs": [codec], "encodings": [{"ssrc": 1}]},
                {"codecs": [{**codec, "mimeType": text}], "encodings": [{"ssrc": 1}]},
                {"codecs": [codec], "encodings": [{"rid": text}], "mid": "0"},
                {"codecs": [codec], "encodings": [{"ssrc": 1}], "rtcp": {"cname": text}, "mid": "a\r"},
            ):
                answer = await api.request(
                    "POST", path + "/publish", json={"kind": "audio", "rtp_parameters": parameters}
                )
                assert answer.status == 422, (text, parameters)
            for header in ("Idempotency-Key", "User-Agent"):
                safe = re.sub(r"[^ -~]", "", text)[:4000] or "x"
                await api.request("POST", "/sessions", json={}, headers={header: safe})
        for raw_path in ("/a%0d%0ab", "/%1b%5b2J", "/" + "x" * 5000, "/sessions/%00", "/sessions/a%0Ab"):
            await api.request("GET", raw_path)
    for line in lines(talkative):
        json.loads(line)
        assert len(line) < 4000
        assert re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", line) is None
    # The only lines that are no JSON objects are the server's own words to whoever started it.
    plain = [line for line in talkative.log().splitlines() if not line.startswith("{")]
    assert [line for line in plain if not line.startswith(("Sluicegate is ready", "compiling "))] == []
    assert len(plain) <= 2


async def test_a35_bad_packets_and_requests_do_not_fill_the_log(
    start_server: Callable[..., ServerProcess], channel: str, record_property: Any
) -> None:
    """10,000 bad packets of every kind, and 1,000 bad requests: at most ten lines a second."""
    server = start_server(LOG_FORMAT="json")
    async with ScriptedClient.joined(server.url, channel, "mallory") as mallory:
        before, began = len(lines(server)), time.monotonic()
        hello = client_hello()
        bad = bytes(ice.binding_request(ice.IceCredentials("AAAAAAAA", "x" * 32)))
        packets = [
            bad,
            hello,
            b"\x80\x60" + bytes(30),
            b"\x80\xc8" + bytes(30),
            b"\xff" * 40,
            b"",
            b"\x16\xfe\xfd" + bytes(30),
        ]
        with Stranger(server.media_address) as stranger:

            def send(number: int) -> None:
                stranger.send(packets[number % len(packets)])
                mallory.send_raw(packets[number % len(packets)])

            await flood(send, 5000, 4000)

        async def refuse() -> None:
            for number in range(100):
                await mallory.api.request("GET", f"/nothing/{number}")

        await asyncio.gather(*[refuse() for _ in range(10)])
        took = time.monotonic() - began
        written = len(lines(server)) - before
        record_property("measured", f"{written} lines in {took:.1f} s")
        assert written <= 10 * (took + 2)
    for line in lines(server):
        json.loads(line)
