"""Bodies that are odd, enormous or deep: rows 5 and 26 of section A. Each gets a 4xx that says why, and at once."""

import json
import time
from typing import Any

import pytest

from tests.support.api import Answer
from tests.support.dtls import Certificate
from tests.support.parameters import rtp_capabilities, rtp_parameters
from tests.support.rtc_client import ScriptedClient
from tests.support.server import ServerProcess

pytestmark = pytest.mark.usefixtures("innocent")

JSON = {"Content-Type": "application/json"}
LARGEST = 256 * 1024  # API.md, Conventions
GOOD = Certificate().fingerprint
FINGERPRINT = {"algorithm": "sha-256", "value": GOOD}


def check_refusal(answer: Answer, *statuses: int) -> dict[str, Any]:
    """A problem document (RFC 9457) of one of these statuses."""
    assert answer.status in statuses, (answer.status, answer.body[:300])
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == answer.status
    assert problem["title"] and problem["detail"]
    assert len(answer.body) < 16_384
    return problem


ODD_DTLS: dict[str, str] = {
    "no fingerprints": '{"dtls_parameters": {"role": "client", "fingerprints": []}}',
    "null fingerprints": '{"dtls_parameters": {"role": "client", "fingerprints": null}}',
    "fingerprints missing": '{"dtls_parameters": {"role": "client"}}',
    "null": '{"dtls_parameters": null}',
    "a list": '{"dtls_parameters": []}',
    "a number": '{"dtls_parameters": 1e999}',
    "NaN": '{"dtls_parameters": NaN}',
    "Infinity": '{"dtls_parameters": {"role": Infinity, "fingerprints": [{"algorithm": "sha-256", "value": -Infinity}]}}',
    "a fingerprint of null": '{"dtls_parameters": {"fingerprints": [null]}}',
    "a fingerprint of numbers": '{"dtls_parameters": {"fingerprints": [{"algorithm": 1, "value": 2}]}}',
    "an empty value": '{"dtls_parameters": {"fingerprints": [{"algorithm": "sha-256", "value": ""}]}}',
    "a short value": '{"dtls_parameters": {"fingerprints": [{"algorithm": "sha-256", "value": "AB:CD"}]}}',
    "a value that is no hex": json.dumps(
        {"dtls_parameters": {"fingerprints": [{"algorithm": "sha-256", "value": "zz" + GOOD[2:]}]}}
    ),
    "a value with a newline": json.dumps(
        {"dtls_parameters": {"fingerprints": [{"algorithm": "sha-256", "value": GOOD + "\n"}]}}
    ),
    "an algorithm that is broken": json.dumps(
        {"dtls_parameters": {"fingerprints": [{"algorithm": "md5", "value": ":".join(["AB"] * 16)}]}}
    ),
    "sha-1 alone": json.dumps(
        {"dtls_parameters": {"fingerprints": [{"algorithm": "sha-1", "value": ":".join(["AB"] * 20)}]}}
    ),
    "an unknown role": json.dumps({"dtls_parameters": {"role": "boss", "fingerprints": [FINGERPRINT]}}),
    "17 fingerprints": json.dumps({"dtls_parameters": {"fingerprints": [FINGERPRINT] * 17}}),
    "100,000 fingerprints": '{"dtls_parameters": {"fingerprints": [' + ",".join(["{}"] * 80_000) + "]}}",
    "a short password": json.dumps(
        {
            "dtls_parameters": {"fingerprints": [FINGERPRINT]},
            "ice_parameters": {"usernameFragment": "abcd", "password": "x"},
        }
    ),
    "a fragment with a colon": json.dumps(
        {
            "dtls_parameters": {"fingerprints": [FINGERPRINT]},
            "ice_parameters": {"usernameFragment": "ab:cd", "password": "x" * 22},
        }
    ),
    "depth 10,000 of lists": "[" * 10_000 + "]" * 10_000,
    "depth 10,000 of objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "depth 10,000 within": '{"dtls_parameters": ' + "[" * 10_000 + "]" * 10_000 + "}",
    "depth without an end": "[" * 100_000,
    "nothing": "",
    "a word": "hello",
    "a string": '"hello"',
    "two documents": "{}{}",
    "a comma too many": '{"dtls_parameters": {},}',
    "a long integer": '{"dtls_parameters": ' + "9" * 10_000 + "}",
    "a long exponent": '{"dtls_parameters": 1e' + "9" * 1000 + "}",
    "a lone surrogate": '{"dtls_parameters": "\\ud800"}',
    "a NUL": '{"dtls_parameters": "\\u0000"}',
    "a key of 100 kB": '{"' + "k" * 100_000 + '": 1}',
    "one key 10,000 times": "{" + ",".join(['"dtls_parameters": null'] * 10_000) + "}",
}
ODD_BYTES: dict[str, bytes] = {
    "not UTF-8": b'{"dtls_parameters": "\xff\xfe"}',
    "UTF-16": '{"dtls_parameters": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"dtls_parameters": 1}',
    "all bytes": bytes(range(256)),
    "NUL bytes": bytes(1000),
}


async def test_a05_odd_dtls_parameters(server: ServerProcess, channel: str) -> None:
    """mediasoup's worker died of an empty list (#537); here all get a 4xx, and the session can still be connected."""
    async with ScriptedClient(server.url, channel, "mallory") as mallory:
        await mallory.create()
        path = f"/sessions/{mallory.session_id}/connect"
        for name, body in {**{k: v.encode() for k, v in ODD_DTLS.items()}, **ODD_BYTES}.items():
            answer = await mallory.api.request("POST", path, data=body, headers=JSON)
            assert 400 <= answer.status < 500, (name, answer.status)
            check_refusal(answer, 400, 422)
        await mallory.connect()
        assert mallory.keys is not None


CALLS = ("/sessions", "/sessions/{session}/connect", "/sessions/{session}/publish", "/sessions/{session}/subscribe")


@pytest.mark.parametrize("path", CALLS)
async def test_a05_odd_json_for_every_call(server: ServerProcess, channel: str, path: str) -> None:
    async with ScriptedClient(server.url, channel, "mallory") as mallory:
        await mallory.create()
        target = path.format(session=mallory.session_id)
        for body in [*(one.encode() for one in ODD_DTLS.values()), *ODD_BYTES.values()]:
            answer = await mallory.api.request("POST", target, data=body, headers=JSON)
            check_refusal(answer, 400, 422)


def replaced(value: Any, strange: Any) -> list[Any]:
    """Copies of a JSON value, each with one of its parts replaced."""
    copies = [strange]
    if isinstance(value, dict):
        for key, inner in value.items():
            copies += [{**value, key: other} for other in replaced(inner, strange)]
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            copies += [[*value[:index], other, *value[index + 1 :]] for other in replaced(inner, strange)]
    return copies


STRANGE = [None, True, -1, 1 << 40, 1.5, "", "x" * 5000, "\r\n\x1b[2J", [], {}, [[]], {"": {}}]


async def test_a05_every_field_of_a_publish_with_every_wrong_type(server: ServerProcess, channel: str) -> None:
    """Where a part may be absent or is not looked at, the call goes through; nothing is ever a fault of the
    server's."""
    async with ScriptedClient(server.url, channel, "mallory") as mallory:
        await mallory.create()
        parameters = rtp_parameters("VP8", [{"ssrc": 1, "rtx": {"ssrc": 2}}], extensions={"mid": 4})
        body = {"kind": "video", "rtp_parameters": parameters, "preset": "low", "paused": False}
        published = 0
        for strange in STRANGE:
            for changed in replaced(body, strange)[1:]:
                answer = await mallory.api.request("POST", f"/sessions/{mallory.session_id}/publish", json=changed)
                assert answer.status in (201, 422), (answer.status, answer.body[:300], changed)
                if answer.status == 201:
                    published += 1
                    track = answer.json()["track_id"]
                    await mallory.api.call("DELETE", f"/sessions/{mallory.session_id}/tracks/{track}")
        assert published > 0


@pytest.mark.parametrize(
    ("what", "body"),
    [
        (
            "codecs",
            {
                "kind": "video",
                "rtp_parameters": {"codecs": [{"mimeType": "video/VP8", "payloadType": 96, "clockRate": 90000}] * 2500},
            },
        ),
        ("encodings", {"kind": "video", "rtp_parameters": {"codecs": [], "encodings": [{"ssrc": 1}] * 10_000}}),
        (
            "extensions",
            {"kind": "video", "rtp_parameters": {"codecs": [], "headerExtensions": [{"uri": "u", "id": 1}] * 8_000}},
        ),
        (
            "parameters",
            {
                "kind": "video",
                "rtp_parameters": {
                    "codecs": [
                        {
                            "mimeType": "video/VP8",
                            "payloadType": 96,
                            "clockRate": 90000,
                            "parameters": {f"k{n}": 1 for n in range(10_000)},
                        }
                    ]
                },
            },
        ),
        ("candidates", {"ice_candidates": [{"ip": "127.0.0.1", "port": 1}] * 5_000}),
        (
            "feedback",
            {
                "kind": "video",
                "rtp_parameters": {
                    "codecs": [
                        {
                            "mimeType": "video/VP8",
                            "payloadType": 96,
                            "clockRate": 90000,
                            "rtcpFeedback": [{"type": "nack"}] * 10_000,
                        }
                    ]
                },
            },
        ),
    ],
)
async def test_a26_ten_thousand_of_anything(
    server: ServerProcess, channel: str, what: str, body: Any, record_property: Any
) -> None:
    """Refused, in a time that does not show."""
    async with ScriptedClient(server.url, channel, "mallory") as mallory:
        await mallory.create()
        times = []
        for _ in range(5):
            data = json.dumps(body, separators=(",", ":")).encode()
            assert len(data) <= LARGEST, what
            began = time.monotonic()
            answer = await mallory.api.request(
                "POST", f"/sessions/{mallory.session_id}/publish", data=data, headers=JSON
            )
            times.append(time.monotonic() - began)
            check_refusal(answer, 400, 422)
        record_property("measured", f"{what}: {min(times) * 1000:.1f} ms")
        assert min(times) < 0.05


async def test_a26_capabilities_of_ten_thousand_codecs(server: ServerProcess, channel: str) -> None:
    async with ScriptedClient(server.url, channel, "mallory") as mallory:
        await mallory.create()
        published = await mallory.publish("VP8", ssrc=1)
        capabilities = rtp_capabilities(("VP8",))
        capabilities["codecs"] = capabilities["codecs"][:1] * 500
        body = {"track_id": published.track_id, "rtp_capabilities": capabilities}
        answer = await mallory.api.request("POST", f"/sessions/{mallory.session_id}/subscribe", json=body)
        check_refusal(answer, 422)


@pytest.mark.parametrize("size", [LARGEST + 1, 1 << 20, 20 << 20])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a26_a_body_that_is_too_large(
    server: ServerProcess, channel: str, size: int, chunked: bool, record_property: Any
) -> None:
    """413 at the head where that says it, else as soon as it is; never the memory for it."""
    async with ScriptedClient(server.url, channel, "mallory") as mallory:
        await mallory.create()
        before = server.rss_bytes()

        async def stream() -> Any:
            for _ in range(0, size, 16_384):
                yield b" " * 16_384

        times = []
        for _ in range(3):
            began = time.monotonic()
            data = stream() if chunked else b" " * size
            try:
                answer = await mallory.api.request("POST", "/sessions", data=data, headers=JSON)
            except OSError:  # the connection was closed while we were still sending
                continue
            times.append(time.monotonic() - began)
            check_refusal(answer, 413)
        assert server.rss_bytes() - before < 10 << 20
        if times:
            record_property("measured", f"{size} bytes: {min(times) * 1000:.1f} ms")
            if size <= 1 << 20:  # longer ones measure how fast they are thrown away
                assert min(times) < 0.05
        assert (await mallory.api.request("GET", "/healthz")).status == 200


async def test_a26_metadata_has_a_bound(server: ServerProcess, channel: str) -> None:
    """What a member attaches to itself is shown to all the others."""
    async with ScriptedClient(server.url, channel, "mallory") as mallory:
        await mallory.create()
        for metadata in ({"k": "x" * 5000}, {str(n): n for n in range(2000)}, {"k": ["\u2028"] * 1000}):
            answer = await mallory.api.request("PATCH", f"/sessions/{mallory.session_id}", json={"metadata": metadata})
            check_refusal(answer, 422)
