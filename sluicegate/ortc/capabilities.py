"""What this server carries: the `rtp_capabilities` that every session answer holds.

A client's device intersects this list with its own: the order is our order of preference, the payload types and
header extension ids are those by which a subscriber will know what we send. Directions are ours: `recvonly` is what a
client may send but never gets.
"""

from sluicegate.ortc.match import MIME_TYPES, RED_MIME_TYPE, RTX_MIME_TYPE, red_parameters
from sluicegate.ortc.parameters import (
    Direction,
    KindName,
    RtcpFeedback,
    RtpCapabilities,
    RtpCodecCapability,
    RtpHeaderExtension,
)
from sluicegate.rtp.names import EXTENSION_URIS, Codec, Extension, MediaKind

NACK = RtcpFeedback("nack")
PLI = RtcpFeedback("nack", "pli")
FIR = RtcpFeedback("ccm", "fir")
REMB = RtcpFeedback("goog-remb")
TRANSPORT_CC = RtcpFeedback("transport-cc")

AUDIO_FEEDBACK = (NACK, TRANSPORT_CC)
VIDEO_FEEDBACK = (NACK, PLI, FIR, REMB, TRANSPORT_CC)

# From 96 up. The list ends before 127, which clients give to their probation stream, and needs none of the lower
# dynamic ones (35–63); 64–95 would be taken for RTCP (RFC 5761 §4).
_FIRST_PAYLOAD_TYPE = 96

# The level is the highest (5.2): forwarding has no limit of its own, and a client that compares levels takes the
# lower of the two.
_VIDEO_FORMATS: tuple[tuple[Codec, dict[str, str | int]], ...] = (
    (Codec.VP8, {}),
    (Codec.VP9, {"profile-id": 0}),
    (Codec.VP9, {"profile-id": 2}),
    *(
        (Codec.H264, {"level-asymmetry-allowed": 1, "packetization-mode": mode, "profile-level-id": profile})
        for profile in ("42e034", "4d0034", "640034")
        for mode in (1, 0)
    ),
    (Codec.AV1, {"profile": 0}),
)

# Ids below 15 fit the one-byte form (RFC 8285 §4.2). Send time and transport-cc go only where there is RTX: audio has
# none, and a packet that is sent again under its own number must stay the same, bit for bit, or SRTP would encrypt
# two texts with one key stream.
_HEADER_EXTENSIONS: tuple[tuple[Extension, int, tuple[KindName, ...], Direction], ...] = (
    (Extension.MID, 1, ("audio", "video"), "sendrecv"),
    (Extension.RID, 2, ("video",), "recvonly"),
    (Extension.REPAIRED_RID, 3, ("video",), "recvonly"),
    (Extension.ABS_SEND_TIME, 4, ("audio",), "recvonly"),
    (Extension.ABS_SEND_TIME, 4, ("video",), "sendrecv"),
    (Extension.TRANSPORT_CC, 5, ("audio",), "recvonly"),
    (Extension.TRANSPORT_CC, 5, ("video",), "sendrecv"),
    (Extension.AUDIO_LEVEL, 6, ("audio",), "sendrecv"),
    (Extension.VIDEO_ORIENTATION, 7, ("video",), "sendrecv"),
    (Extension.PLAYOUT_DELAY, 8, ("video",), "sendrecv"),
    (Extension.DEPENDENCY_DESCRIPTOR, 9, ("video",), "sendrecv"),
)


def feedback_for(kind: MediaKind) -> tuple[RtcpFeedback, ...]:
    """The RTCP feedback that we give and take for media of a kind."""
    return AUDIO_FEEDBACK if kind is MediaKind.AUDIO else VIDEO_FEEDBACK


def _audio_codecs() -> list[RtpCodecCapability]:
    opus, red = _FIRST_PAYLOAD_TYPE, _FIRST_PAYLOAD_TYPE + 1
    # Opus comes first, so that a client which takes the first codec does not choose RED.
    return [
        RtpCodecCapability(
            "audio", MIME_TYPES[Codec.OPUS], opus, 48000, 2, {"minptime": 10, "useinbandfec": 1}, AUDIO_FEEDBACK
        ),
        RtpCodecCapability("audio", RED_MIME_TYPE, red, 48000, 2, dict(red_parameters(opus))),
    ]


def _video_codecs(payload_type: int) -> list[RtpCodecCapability]:
    codecs = []
    for codec, parameters in _VIDEO_FORMATS:
        codecs += [
            RtpCodecCapability("video", MIME_TYPES[codec], payload_type, 90000, None, dict(parameters), VIDEO_FEEDBACK),
            RtpCodecCapability("video", RTX_MIME_TYPE, payload_type + 1, 90000, None, {"apt": payload_type}),
        ]
        payload_type += 2
    return codecs


def _router_capabilities() -> RtpCapabilities:
    audio = _audio_codecs()
    return RtpCapabilities(
        codecs=(*audio, *_video_codecs(_FIRST_PAYLOAD_TYPE + len(audio))),
        header_extensions=tuple(
            RtpHeaderExtension(kind=kind, uri=EXTENSION_URIS[extension], preferred_id=number, direction=direction)
            for extension, number, kinds, direction in _HEADER_EXTENSIONS
            for kind in kinds
        ),
    )


ROUTER_CAPABILITIES: RtpCapabilities = _router_capabilities()
