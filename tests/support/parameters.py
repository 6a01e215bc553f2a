"""The WebRTC dictionaries that a hand-written client puts into its requests, in the words of mediasoup-client."""

import secrets
from dataclasses import dataclass
from typing import Any

URI = {
    "mid": "urn:ietf:params:rtp-hdrext:sdes:mid",
    "rid": "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "repaired_rid": "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    "abs_send_time": "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "transport_cc": "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "audio_level": "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "video_orientation": "urn:3gpp:video-orientation",
    "playout_delay": "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    "dependency_descriptor": (
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
    ),
}

# The ids that this client uses unless told otherwise: not in the order of any browser, so that mapping shows.
EXTENSION_IDS = {
    "mid": 4,
    "rid": 10,
    "repaired_rid": 11,
    "abs_send_time": 2,
    "transport_cc": 3,
    "audio_level": 1,
    "video_orientation": 13,
    "playout_delay": 12,
    "dependency_descriptor": 8,
}
AUDIO_EXTENSIONS = ("mid", "abs_send_time", "transport_cc", "audio_level")
VIDEO_EXTENSIONS = tuple(name for name in EXTENSION_IDS if name != "audio_level")

VIDEO_FEEDBACK = [
    {"type": "nack"},
    {"type": "nack", "parameter": "pli"},
    {"type": "ccm", "parameter": "fir"},
    {"type": "goog-remb"},
    {"type": "transport-cc"},
]
AUDIO_FEEDBACK = [{"type": "nack"}, {"type": "transport-cc"}]


@dataclass(frozen=True, slots=True)
class CodecChoice:
    """A codec as this client would offer it."""

    kind: str
    mime_type: str
    payload_type: int
    clock_rate: int
    channels: int | None = None
    parameters: tuple[tuple[str, Any], ...] = ()
    rtx_payload_type: int | None = None


CODECS = {
    "opus": CodecChoice("audio", "audio/opus", 109, 48000, 2, (("minptime", 10), ("useinbandfec", 1))),
    "red": CodecChoice("audio", "audio/red", 63, 48000, 2, (("", "109/109"),)),
    "VP8": CodecChoice("video", "video/VP8", 120, 90000, rtx_payload_type=124),
    "VP9": CodecChoice("video", "video/VP9", 121, 90000, None, (("profile-id", 0),), 125),
    "VP9.2": CodecChoice("video", "video/VP9", 122, 90000, None, (("profile-id", 2),), 127),
    "H264": CodecChoice(
        "video",
        "video/H264",
        126,
        90000,
        None,
        (("level-asymmetry-allowed", 1), ("packetization-mode", 1), ("profile-level-id", "42e01f")),
        97,
    ),
    "AV1": CodecChoice("video", "video/AV1", 99, 90000, None, (), 100),
}


def rtp_capabilities(
    codecs: tuple[str, ...] = tuple(CODECS),
    *,
    payload_types: dict[str, int] | None = None,
    extensions: dict[str, int] | None = None,
    rtx: bool = True,
    feedback: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    """What this client can receive. `payload_types` by codec name ("VP8", "VP8/rtx"), `extensions` by name of `URI`."""
    chosen: list[dict[str, Any]] = []
    types = payload_types or {}
    for name in codecs:
        codec = CODECS[name]
        payload_type = types.get(name, codec.payload_type)
        entry: dict[str, Any] = {
            "kind": codec.kind,
            "mimeType": codec.mime_type,
            "preferredPayloadType": payload_type,
            "clockRate": codec.clock_rate,
            "parameters": dict(codec.parameters),
            "rtcpFeedback": feedback if feedback is not None else _feedback(codec.kind),
        }
        if codec.channels:
            entry["channels"] = codec.channels
        chosen.append(entry)
        if rtx and codec.rtx_payload_type is not None:
            chosen.append(
                {
                    "kind": codec.kind,
                    "mimeType": "video/rtx",
                    "preferredPayloadType": types.get(f"{name}/rtx", codec.rtx_payload_type),
                    "clockRate": codec.clock_rate,
                    "parameters": {"apt": payload_type},
                    "rtcpFeedback": [],
                }
            )
    ids = EXTENSION_IDS if extensions is None else extensions
    headers = [
        {"kind": kind, "uri": URI[name], "preferredId": number, "preferredEncrypt": False, "direction": "sendrecv"}
        for kind, wanted in (("audio", AUDIO_EXTENSIONS), ("video", VIDEO_EXTENSIONS))
        for name, number in ids.items()
        if name in wanted
    ]
    return {"codecs": chosen, "headerExtensions": headers}


def rtp_parameters(
    codec: str,
    encodings: list[dict[str, Any]],
    *,
    mid: str | None = "0",
    rtx: bool = True,
    red: bool = False,
    extensions: dict[str, int] | None = None,
    cname: str | None = None,
    feedback: list[dict[str, str]] | None = None,
    codec_parameters: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What this client is about to send. The caller writes `encodings`, such as `{"ssrc": 1, "rtx": {"ssrc": 2}}`."""
    chosen = CODECS[codec]
    codecs = [_codec_parameters(chosen, feedback, codec_parameters)]
    if red:
        codecs.append(_codec_parameters(CODECS["red"], [], None))
    if rtx and chosen.rtx_payload_type is not None:
        codecs.append(
            {
                "mimeType": "video/rtx",
                "payloadType": chosen.rtx_payload_type,
                "clockRate": chosen.clock_rate,
                "parameters": {"apt": chosen.payload_type},
                "rtcpFeedback": [],
            }
        )
    ids = extension_ids(chosen.kind) if extensions is None else extensions
    parameters: dict[str, Any] = {
        "codecs": codecs,
        "headerExtensions": [
            {"uri": URI[name], "id": number, "encrypt": False, "parameters": {}} for name, number in ids.items()
        ],
        "encodings": encodings,
        "rtcp": {"cname": cname or secrets.token_hex(4), "reducedSize": True, "mux": True},
    }
    if mid is not None:
        parameters["mid"] = mid
    return parameters


def extension_ids(kind: str) -> dict[str, int]:
    """This client's usual extensions for a kind of media."""
    wanted = AUDIO_EXTENSIONS if kind == "audio" else VIDEO_EXTENSIONS
    return {name: number for name, number in EXTENSION_IDS.items() if name in wanted}


def _codec_parameters(
    codec: CodecChoice, feedback: list[dict[str, str]] | None, parameters: dict[str, Any] | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "mimeType": codec.mime_type,
        "payloadType": codec.payload_type,
        "clockRate": codec.clock_rate,
        "parameters": dict(codec.parameters) | (parameters or {}),
        "rtcpFeedback": feedback if feedback is not None else _feedback(codec.kind),
    }
    if codec.channels:
        entry["channels"] = codec.channels
    return entry


def _feedback(kind: str) -> list[dict[str, str]]:
    return AUDIO_FEEDBACK if kind == "audio" else VIDEO_FEEDBACK
