"""The body of every call, as Structs that validate it and that the OpenAPI document is made of.

The envelope is snake_case; the WebRTC dictionaries inside are mediasoup-client's, camelCase. Fields that a Struct
does not know are ignored, so that a newer client can talk to an older server. In a PATCH an absent field (`UNSET`)
stays as it is, and null puts it back to its default.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from sluicegate.ids import NAME_PATTERN
from sluicegate.ortc.parameters import DtlsParameters, IceParameters, RtpCapabilities, RtpParameters
from sluicegate.session.names import AudioMode, Kind, PresetName, SessionType, Source

MAX_METADATA_BYTES = 4096
MAX_GAINS = 4096

# A pattern's `$` also matches before a final line feed, which must get into nobody's log: hence the lookahead.
_END = r"(?!\n)"

Name = Annotated[str, Meta(pattern=NAME_PATTERN + _END, max_length=128, description="1–128 of `A–Z a–z 0–9 . _ : -`.")]
NameOrAny = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z0-9._:-]{1,128}|\*)$" + _END, max_length=128, description="A user id, or `*` for everybody."
    ),
]
TrackReference = Annotated[
    str,
    Meta(
        min_length=1, max_length=64, description="A track of the same channel, or `mix` for the channel's mixed audio."
    ),
]
Priority = Annotated[int, Meta(ge=1, le=255, description="Who gets bandwidth first: 255 before 1.")]
Gain = Annotated[float, Meta(ge=0, le=2, description="0 is silence, 1 leaves the level as it is.")]
Layer = Annotated[int, Meta(ge=0, le=7, description="0 is the lowest; where there are fewer, the top one is meant.")]
Metadata = Annotated[
    dict[str, Any], Meta(description="The caller's own JSON object, at most 4 KiB; members of the channel see it.")
]


class Request(Struct, frozen=True, kw_only=True):
    """Base of every body."""


class AudioProcessing(Request, frozen=True, kw_only=True):
    """What the server does to this session's microphone before mixing it; off where nothing is said."""

    agc: bool = False
    noise_suppression: bool = False
    echo_cancellation: bool = False
    vad: bool = False


class CreateSession(Request, frozen=True, kw_only=True):
    """Opens a session: one WebRTC transport of one user in one channel."""

    type: SessionType
    channel_id: Name
    user_id: Name
    preset: PresetName | None = None
    region: Name | None = None
    audio_processing: AudioProcessing | None = None
    metadata: Metadata | None = None


class Connect(Request, frozen=True, kw_only=True):
    """The client's DTLS fingerprints, and its ICE parameters where it has them already."""

    dtls_parameters: DtlsParameters
    ice_parameters: IceParameters | None = None


class Publish(Request, frozen=True, kw_only=True):
    """Publishes one track. An audio session publishes audio only; `source` and `preset` must fit `kind`."""

    kind: Kind
    rtp_parameters: RtpParameters
    preset: PresetName | None = None
    source: Source | None = None
    paused: bool = False


class TrackPatch(Request, frozen=True, kw_only=True):
    """Changes a published track."""

    paused: bool | UnsetType = UNSET
    preset: PresetName | None | UnsetType = UNSET


class PreferredLayers(Request, frozen=True, kw_only=True):
    """The layers that a subscriber would like; without `temporal` the highest frame rate."""

    spatial: Layer
    temporal: Layer | None = None


class Subscribe(Request, frozen=True, kw_only=True):
    """Subscribes to a track of the same channel."""

    track_id: TrackReference
    rtp_capabilities: RtpCapabilities
    paused: bool = False
    preset: PresetName | None = None
    priority: Priority = 1
    mode: AudioMode | None = None


class SubscriptionPatch(Request, frozen=True, kw_only=True):
    """Changes a subscription. `volume` is for the mix only."""

    paused: bool | UnsetType = UNSET
    preset: PresetName | None | UnsetType = UNSET
    preferred_layers: PreferredLayers | None | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    mode: AudioMode | UnsetType = UNSET
    volume: Gain | UnsetType = UNSET


class SessionPatch(Request, frozen=True, kw_only=True):
    """Changes a session."""

    audio_processing: AudioProcessing | None | UnsetType = UNSET
    metadata: Metadata | None | UnsetType = UNSET


class RouteGain(Request, frozen=True, kw_only=True):
    """How loud `listener` hears `speaker`. A pair beats `listener` to `*`, that `*` to `speaker`, that the default."""

    listener: NameOrAny
    speaker: NameOrAny
    gain: Gain


class Routes(Request, frozen=True, kw_only=True):
    """Who hears whom, and how loud. Forwarded audio cannot be scaled: there 0 mutes, and any other gain counts as 1."""

    default: Gain = 1.0
    gains: Annotated[tuple[RouteGain, ...], Meta(max_length=MAX_GAINS)] = ()
