"""Real clients' dictionaries, and short ways to make others.

`data/*.json` were captured from mediasoup-client in the browser that the file names: the browser's own offer, the
device's capabilities after `device.load(ROUTER_CAPABILITIES)`, and what `produce()` of each kind handed over to be
published.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from sluicegate.ortc.capabilities import ROUTER_CAPABILITIES
from sluicegate.ortc.negotiate import PublishedMedia, SubscribedMedia, negotiate_publish, negotiate_subscribe
from sluicegate.ortc.parameters import RtpCapabilities, RtpParameters
from sluicegate.rtp.names import EXTENSION_URIS, Extension, MediaKind

CAPTURES = ("chromium_156", "firefox_153")
MID, RID = EXTENSION_URIS[Extension.MID], EXTENSION_URIS[Extension.RID]


@cache
def capture(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "data" / f"{name}.json").read_text())


def parameters(value: Any) -> RtpParameters:
    return msgspec.json.decode(json.dumps(value), type=RtpParameters)


def capabilities(value: Any) -> RtpCapabilities:
    return msgspec.json.decode(json.dumps(value), type=RtpCapabilities)


def plain(value: msgspec.Struct) -> Any:
    """A struct as a client gets it over HTTP."""
    return json.loads(msgspec.json.encode(value))


def router_capabilities() -> dict[str, Any]:
    return plain(ROUTER_CAPABILITIES)


def device(name: str) -> RtpCapabilities:
    return capabilities(capture(name)["device"])


def published(name: str, what: str) -> PublishedMedia:
    found = capture(name)["published"][what]
    return negotiate_publish(MediaKind[found["kind"].upper()], parameters(found["rtpParameters"]))


def publish(kind: str, value: dict[str, Any]) -> PublishedMedia:
    return negotiate_publish(MediaKind[kind.upper()], parameters(value))


def subscribe(track: PublishedMedia, to: RtpCapabilities) -> SubscribedMedia:
    return negotiate_subscribe(track, to, mid="7", ssrc=1111, rtx_ssrc=2222, cname="the publisher")


def opus(**changes: Any) -> dict[str, Any]:
    """The rtp_parameters of a microphone."""
    codec = {"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000, "channels": 2}
    return {"codecs": [codec], "encodings": [{"ssrc": 5}]} | changes


def video(mime_type: str = "video/VP8", format: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The rtp_parameters of a camera, with RTX."""
    codec = {"mimeType": mime_type, "payloadType": 96, "clockRate": 90000, "parameters": format or {}}
    rtx = {"mimeType": "video/rtx", "payloadType": 97, "clockRate": 90000, "parameters": {"apt": 96}}
    return {"mid": "1", "codecs": [codec, rtx], "encodings": [{"ssrc": 5, "rtx": {"ssrc": 6}}]} | changes


def entry(mime_type: str, payload_type: int, format: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """One codec of a subscriber's capabilities."""
    kind = mime_type.partition("/")[0]
    audio = {"clockRate": 48000, "channels": 2} if kind == "audio" else {"clockRate": 90000}
    common = {"kind": kind, "mimeType": mime_type, "preferredPayloadType": payload_type, "parameters": format or {}}
    return common | audio | changes
