"""Every answer of the API as a Struct: what is encoded to the caller, and what the OpenAPI document is made of.

Times are RFC 3339 where they say when and seconds where they say how long; rates are bits per second.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from sluicegate.ortc.parameters import (
    DtlsParameters,
    IceCandidate,
    IceParameters,
    IceServer,
    RtpCapabilities,
    RtpParameters,
)
from sluicegate.session.names import (
    AudioMode,
    DegradationCause,
    Direction,
    Kind,
    PresetName,
    SessionState,
    SessionType,
    Source,
    SubscriptionType,
)
from sluicegate.session.requests import AudioProcessing, PreferredLayers, RouteGain

Moment = Annotated[str, Meta(description="RFC 3339, UTC.")]
Seconds = Annotated[float, Meta(description="Seconds.")]
Bps = Annotated[int, Meta(description="Bits per second.")]


class View(Struct, frozen=True, kw_only=True):
    """Base of every answer."""


# Sessions


class SessionCreated(View, frozen=True, kw_only=True):
    """A new session, with all that a client needs to connect to it before `expires_at`."""

    session_id: str
    type: SessionType
    channel_id: str
    user_id: str
    node_id: str
    ice_servers: tuple[IceServer, ...]
    ice_parameters: IceParameters
    ice_candidates: tuple[IceCandidate, ...]
    dtls_parameters: DtlsParameters
    rtp_capabilities: RtpCapabilities
    expires_at: Moment


class IceRestarted(View, frozen=True, kw_only=True):
    """Fresh ICE credentials; media keeps flowing on the old path until the new one is nominated."""

    ice_parameters: IceParameters
    ice_candidates: tuple[IceCandidate, ...]


class EncodingAdvice(View, frozen=True, kw_only=True):
    """What the publisher is asked to send at most for one encoding; where `active` is false, nothing at all."""

    ssrc: int | None = None
    rid: str | None = None
    active: bool = True
    max_bitrate_bps: Bps | None = None
    max_width: int | None = None
    max_height: int | None = None
    max_framerate: int | None = None
    channels: int | None = None


class TrackPublished(View, frozen=True, kw_only=True):
    """A new track, and what its publisher should send, one entry for each encoding in the order of the request."""

    track_id: str
    kind: Kind
    encodings: tuple[EncodingAdvice, ...]


class TrackView(View, frozen=True, kw_only=True):
    """A track as its channel sees it."""

    track_id: str
    kind: Kind
    type: SubscriptionType
    codec: str
    session_id: str
    user_id: str
    paused: bool
    source: Source | None = None
    preset: PresetName | None = None


class TrackUpdated(TrackView, frozen=True, kw_only=True):
    """A track after a change, with what its publisher should send now."""

    encodings: tuple[EncodingAdvice, ...]


class Layers(View, frozen=True, kw_only=True):
    """A choice of layers; 0 is the lowest."""

    spatial: int
    temporal: int


class SubscriptionCreated(View, frozen=True, kw_only=True):
    """A new subscription, and the parameters with which its stream will arrive."""

    subscription_id: str
    track_id: str
    kind: Kind
    type: SubscriptionType
    rtp_parameters: RtpParameters
    paused: bool
    track_paused: bool


class SubscriptionView(View, frozen=True, kw_only=True):
    """A subscription. `layers` is what is sent now (null: nothing), `target_layers` what the server aims at."""

    subscription_id: str
    track_id: str
    kind: Kind
    type: SubscriptionType
    mid: str
    paused: bool
    track_paused: bool
    muted_by_route: bool
    priority: int
    layers: Layers | None = None
    target_layers: Layers | None = None
    preferred_layers: PreferredLayers | None = None
    preset: PresetName | None = None
    mode: AudioMode | None = None


class SessionSummary(View, frozen=True, kw_only=True):
    """A session in a list."""

    session_id: str
    type: SessionType
    channel_id: str
    user_id: str
    node_id: str
    state: SessionState
    created_at: Moment


class SessionView(SessionSummary, frozen=True, kw_only=True):
    """A session: the state of ICE and DTLS, its tracks and its subscriptions."""

    ice_state: str
    dtls_state: str
    tracks: tuple[TrackView, ...]
    subscriptions: tuple[SubscriptionView, ...]
    preset: PresetName | None = None
    region: str | None = None
    audio_processing: AudioProcessing | None = None
    metadata: dict[str, Any] | None = None


class SessionPage(View, frozen=True, kw_only=True):
    """Some sessions, oldest first; `next_cursor` fetches more, null: there are no more."""

    sessions: tuple[SessionSummary, ...]
    next_cursor: str | None = None


# Why


class TimelineEntry(View, frozen=True, kw_only=True):
    """One decision: when, what it was about, on which estimate (bits per second), and which layers came of it."""

    at: Moment
    cause: str
    detail: str | None = None
    estimate: Bps | None = None
    track_id: str | None = None
    subscription_id: str | None = None
    layers: Layers | None = None
    probes: int = 0


class WhyView(View, frozen=True, kw_only=True):
    """The latest decisions about a session, oldest first; a closed session can be asked for a while."""

    session_id: str
    state: SessionState
    closed_reason: str | None = None
    entries: tuple[TimelineEntry, ...] = ()


# Statistics


class AvailableBitrate(View, frozen=True, kw_only=True):
    """What the path is believed to carry, as the server sees it; null: not known."""

    incoming: Bps | None = None
    outgoing: Bps | None = None


class Quality(View, frozen=True, kw_only=True):
    """How good it is: `score` 0–10, `mos` 1–4.5 (ITU-T G.107, simplified), and what limits it (null: nothing)."""

    score: Annotated[int, Meta(ge=0, le=10)]
    mos: Annotated[float, Meta(ge=1, le=5)]
    limitation: DegradationCause | None = None


class LayerStats(View, frozen=True, kw_only=True):
    """One stream of a track: an encoding that arrives, or the layer that is sent now."""

    spatial: int
    temporal: int
    bitrate: Bps
    ssrc: int | None = None
    rid: str | None = None
    frames_per_second: float | None = None


class TrackStats(View, frozen=True, kw_only=True):
    """Figures of one published track (`incoming`) or of one that is forwarded to the session (`outgoing`)."""

    track_id: str
    kind: Kind
    direction: Direction
    codec: str
    bitrate: Bps
    packets_sent: int
    packets_received: int
    packets_lost: int
    fraction_lost: Annotated[float, Meta(ge=0, le=1)]
    jitter: Seconds
    rtt: Seconds | None
    nacks: int
    plis: int
    retransmissions: int
    layers: tuple[LayerStats, ...]
    frames_per_second: float | None
    score: Annotated[int, Meta(ge=0, le=10)]
    subscription_id: str | None = None


class StatsView(View, frozen=True, kw_only=True):
    """Figures of a session. Rates are measured over the last second or two, never since the start."""

    session_id: str
    duration: Seconds
    state: SessionState
    rtt: Seconds | None
    available_bitrate: AvailableBitrate
    quality: Quality
    tracks: tuple[TrackStats, ...]


# Channels


class MemberView(View, frozen=True, kw_only=True):
    """A user who has at least one session in the channel."""

    user_id: str
    joined_at: Moment
    sessions: tuple[str, ...]
    metadata: dict[str, Any] | None = None


class ActiveSpeaker(View, frozen=True, kw_only=True):
    """Who dominates the conversation, and by which track."""

    user_id: str
    track_id: str


class ChannelRecording(View, frozen=True, kw_only=True):
    """The recording that runs."""

    recording_id: str
    mode: str
    started_at: Moment


class ChannelView(View, frozen=True, kw_only=True):
    """A channel: members, tracks, who speaks, what is recorded, and where it lives."""

    channel_id: str
    node_id: str
    created_at: Moment
    members: tuple[MemberView, ...]
    tracks: tuple[TrackView, ...]
    active_speaker: ActiveSpeaker | None = None
    recording: ChannelRecording | None = None


class ChannelList(View, frozen=True, kw_only=True):
    """The channels that the caller may see."""

    channels: tuple[ChannelView, ...]


class RoutesView(View, frozen=True, kw_only=True):
    """The routes in effect."""

    channel_id: str
    default: float
    gains: tuple[RouteGain, ...]
