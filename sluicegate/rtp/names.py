"""The field's names as small integers, so that compiled code and objects above it speak of the same things."""

from enum import IntEnum


class MediaKind(IntEnum):
    AUDIO = 0
    VIDEO = 1


class Codec(IntEnum):
    OPUS = 0
    VP8 = 1
    VP9 = 2
    H264 = 3
    AV1 = 4


class Extension(IntEnum):
    """Header extensions that the plane reads or writes (RFC 8285)."""

    MID = 0
    RID = 1
    REPAIRED_RID = 2
    ABS_SEND_TIME = 3
    TRANSPORT_CC = 4
    AUDIO_LEVEL = 5
    VIDEO_ORIENTATION = 6
    PLAYOUT_DELAY = 7
    DEPENDENCY_DESCRIPTOR = 8


EXTENSION_URIS: dict[Extension, str] = {
    Extension.MID: "urn:ietf:params:rtp-hdrext:sdes:mid",
    Extension.RID: "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    Extension.REPAIRED_RID: "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    Extension.ABS_SEND_TIME: "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    Extension.TRANSPORT_CC: "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    Extension.AUDIO_LEVEL: "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    Extension.VIDEO_ORIENTATION: "urn:3gpp:video-orientation",
    Extension.PLAYOUT_DELAY: "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    Extension.DEPENDENCY_DESCRIPTOR: (
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
    ),
}
