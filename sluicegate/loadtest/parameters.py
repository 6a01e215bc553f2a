"""The WebRTC dictionaries of a load client, in the words of mediasoup-client: Opus and VP8 as Chromium offers them."""

from typing import Any

from sluicegate.loadtest.plan import Feedback
from sluicegate.rtp.names import EXTENSION_URIS, Extension, MediaKind

OPUS, VP8, VP8_RTX = 111, 96, 97
MID, ABS_SEND_TIME, TRANSPORT_CC, AUDIO_LEVEL = 4, 2, 3, 1
"""Header extension ids, those of Chromium."""


def extensions(kind: MediaKind, feedback: Feedback) -> dict[Extension, int]:
    """Extension ids of one kind of media. Transport-wide numbers go only where feedback about them is given."""
    chosen = {Extension.MID: MID, Extension.ABS_SEND_TIME: ABS_SEND_TIME}
    if feedback is Feedback.TRANSPORT_CC:
        chosen[Extension.TRANSPORT_CC] = TRANSPORT_CC
    if kind is MediaKind.AUDIO:
        chosen[Extension.AUDIO_LEVEL] = AUDIO_LEVEL
    return chosen


def codecs(kind: MediaKind, feedback: Feedback, *, capability: bool) -> list[dict[str, Any]]:
    """The codecs of one kind, as `RtpCodecCapability` or as `RtpCodecParameters`."""
    rates = [{"type": "transport-cc"}] if feedback is Feedback.TRANSPORT_CC else []
    if kind is MediaKind.AUDIO:
        opus = {"mimeType": "audio/opus", "clockRate": 48000, "channels": 2, "rtcpFeedback": rates}
        entries = [{**opus, "payloadType": OPUS, "parameters": {"minptime": 10, "useinbandfec": 1}}]
    else:
        repair = [{"type": "nack"}, {"type": "nack", "parameter": "pli"}, {"type": "ccm", "parameter": "fir"}, *rates]
        vp8 = {"mimeType": "video/VP8", "clockRate": 90000, "rtcpFeedback": repair}
        rtx = {"mimeType": "video/rtx", "clockRate": 90000, "rtcpFeedback": []}
        entries = [
            {**vp8, "payloadType": VP8, "parameters": {}},
            {**rtx, "payloadType": VP8_RTX, "parameters": {"apt": VP8}},
        ]
    if capability:
        for entry in entries:
            entry["kind"] = kind.name.lower()
            entry["preferredPayloadType"] = entry.pop("payloadType")
    return entries


def rtp_capabilities(feedback: Feedback) -> dict[str, Any]:
    """What a load client can receive."""
    return {
        "codecs": [entry for kind in MediaKind for entry in codecs(kind, feedback, capability=True)],
        "headerExtensions": [
            {"kind": kind.name.lower(), "uri": EXTENSION_URIS[extension], "preferredId": number}
            for kind in MediaKind
            for extension, number in extensions(kind, feedback).items()
        ],
    }


def rtp_parameters(
    kind: MediaKind,
    feedback: Feedback,
    *,
    mid: str,
    ssrc: int,
    rtx_ssrc: int,
    cname: str,
    max_bitrate_bps: int | None = None,
) -> dict[str, Any]:
    """What a load client is about to send."""
    encoding: dict[str, Any] = {"ssrc": ssrc}
    if kind is MediaKind.VIDEO:
        encoding["rtx"] = {"ssrc": rtx_ssrc}
    if max_bitrate_bps is not None:
        encoding["maxBitrate"] = max_bitrate_bps
    return {
        "mid": mid,
        "codecs": codecs(kind, feedback, capability=False),
        "headerExtensions": [
            {"uri": EXTENSION_URIS[extension], "id": number} for extension, number in extensions(kind, feedback).items()
        ],
        "encodings": [encoding],
        "rtcp": {"cname": cname, "reducedSize": True, "mux": True},
    }
