"""The words of the API as enums: what a session, a track and a subscription may be."""

from enum import StrEnum


class SessionType(StrEnum):
    """What a session carries: `audio` only audio; `video` pictures and the sound that goes with them."""

    AUDIO = "audio"
    VIDEO = "video"


class Kind(StrEnum):
    """The kind of a track."""

    AUDIO = "audio"
    VIDEO = "video"


class Source(StrEnum):
    """Where a track comes from on the publisher's side."""

    MICROPHONE = "microphone"
    CAMERA = "camera"
    SCREEN = "screen"
    SCREEN_AUDIO = "screen_audio"


class AudioMode(StrEnum):
    """How audio reaches a subscriber: each speaker forwarded, the loudest few, or one mix."""

    FORWARD = "forward"
    TOP = "top"
    MIX = "mix"


class PresetName(StrEnum):
    """A step of quality; `ultra` exists for video only."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    ULTRA = "ultra"


class SubscriptionType(StrEnum):
    """How what is forwarded is layered: one stream, several to choose from, layers in one stream, or a mix."""

    SIMPLE = "simple"
    SIMULCAST = "simulcast"
    SVC = "svc"
    MIX = "mix"


class SessionState(StrEnum):
    """ICE and DTLS of a session in one word."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    CLOSED = "closed"


class Direction(StrEnum):
    """Seen from the server: `incoming` is published by the session, `outgoing` is forwarded to it."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class DegradationCause(StrEnum):
    """Why a session has less quality than it could have."""

    PUBLISHER_UPLINK = "publisher_uplink"
    SUBSCRIBER_DOWNLINK = "subscriber_downlink"
    SERVER_CPU = "server_cpu"
    ENTITLEMENT = "entitlement"
    LAYER_MISSING = "layer_missing"


class QualityMetric(StrEnum):
    """The figure that shows a degradation."""

    LOSS = "loss"
    RTT = "rtt"
    JITTER = "jitter"
    BANDWIDTH = "bandwidth"
    CPU = "cpu"


SOURCE_KINDS: dict[Source, Kind] = {
    Source.MICROPHONE: Kind.AUDIO,
    Source.SCREEN_AUDIO: Kind.AUDIO,
    Source.CAMERA: Kind.VIDEO,
    Source.SCREEN: Kind.VIDEO,
}
