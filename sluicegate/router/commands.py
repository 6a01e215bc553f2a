"""What the control plane may tell the packet plane.

Every command is a value. The plane's thread applies commands in the order of their submission, between two batches of
packets, so a handle may be allocated again as soon as the command that frees it has been submitted.
"""

from dataclasses import dataclass, field
from typing import NewType

from sluicegate.rtp.names import Codec, Extension, MediaKind
from sluicegate.rtp.srtp import SrtpKeys

TransportHandle = NewType("TransportHandle", int)
TrackHandle = NewType("TrackHandle", int)
SendHandle = NewType("SendHandle", int)

Address = tuple[str, int]
"""Numeric host and port."""

TOP_SPATIAL = 3
TOP_TEMPORAL = 7


@dataclass(frozen=True, slots=True)
class TrackEncoding:
    """One received stream of a track: known by SSRC, or found by its rid when its first packet arrives."""

    ssrc: int | None = None
    rtx_ssrc: int | None = None
    rid: str | None = None


@dataclass(frozen=True, slots=True)
class TrackMedia:
    """What a publisher sends for one track. `payload_types` lists its media formats (RTX apart) in order; more than
    `limit_bps`, retransmissions included, is dropped, beyond a second's worth at once."""

    kind: MediaKind
    codec: Codec
    clock_rate: int
    payload_types: tuple[int, ...]
    encodings: tuple[TrackEncoding, ...]
    rtx_payload_type: int | None = None
    mid: str | None = None
    extensions: dict[Extension, int] | None = None
    nack: bool = False
    pli: bool = False
    fir: bool = False
    transport_cc: bool = False
    remb: bool = False
    limit_bps: int | None = None


@dataclass(frozen=True, slots=True)
class SendMedia:
    """What a subscriber is sent. `payload_types` stands beside the track's: None where it does not take that format.

    `spatial` and `temporal` are the layers wanted; where there are fewer, the top one is meant.
    """

    ssrc: int
    payload_types: tuple[int | None, ...]
    mid: str
    cname: str
    rtx_ssrc: int | None = None
    rtx_payload_type: int | None = None
    extensions: dict[Extension, int] | None = None
    nack: bool = False
    transport_cc: bool = False
    remb: bool = False
    spatial: int = TOP_SPATIAL
    temporal: int = TOP_TEMPORAL


@dataclass(frozen=True, slots=True)
class AddTransport:
    transport: TransportHandle


@dataclass(frozen=True, slots=True)
class BindAddress:
    """Packets from `address` belong to `transport` from now on."""

    transport: TransportHandle
    address: Address


@dataclass(frozen=True, slots=True)
class UnbindAddress:
    transport: TransportHandle
    address: Address


@dataclass(frozen=True, slots=True)
class SetDestination:
    """Where the transport's packets go; None stops all sending."""

    transport: TransportHandle
    address: Address | None


@dataclass(frozen=True, slots=True)
class AnswerChecks:
    """Checks with this username from where the transport sends to change nothing: the plane may answer them, signed
    with `password`. An empty username takes that back."""

    transport: TransportHandle
    username: bytes = b""
    password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class InstallKeys:
    """The SRTP keys of a finished, verified handshake. The plane owns the sessions made of them."""

    transport: TransportHandle
    keys: SrtpKeys


@dataclass(frozen=True, slots=True)
class RemoveTransport:
    """Frees the transport; its tracks and subscriptions must have been removed before."""

    transport: TransportHandle


@dataclass(frozen=True, slots=True)
class AddTrack:
    track: TrackHandle
    transport: TransportHandle
    media: TrackMedia
    paused: bool = False


@dataclass(frozen=True, slots=True)
class PauseTrack:
    track: TrackHandle
    paused: bool


@dataclass(frozen=True, slots=True)
class RemoveTrack:
    """Frees the track; its subscriptions must have been removed before."""

    track: TrackHandle


@dataclass(frozen=True, slots=True)
class AddSubscription:
    """One send stream: `track` as `transport` receives it.

    `sequence_number` and `timestamp` are the first that are sent; the plane
    draws them where they are None (RFC 3550 §5.1 wants them random).
    """

    send: SendHandle
    transport: TransportHandle
    track: TrackHandle
    media: SendMedia
    paused: bool = False
    sequence_number: int | None = None
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class PauseSubscription:
    send: SendHandle
    paused: bool


@dataclass(frozen=True, slots=True)
class SelectLayers:
    """The layers that a simulcast or SVC subscription should have; taken up where the codec allows."""

    send: SendHandle
    spatial: int
    temporal: int


@dataclass(frozen=True, slots=True)
class RemoveSubscription:
    send: SendHandle


@dataclass(frozen=True, slots=True)
class RequestKeyFrame:
    track: TrackHandle


Command = (
    AddTransport
    | BindAddress
    | UnbindAddress
    | SetDestination
    | AnswerChecks
    | InstallKeys
    | RemoveTransport
    | AddTrack
    | PauseTrack
    | RemoveTrack
    | AddSubscription
    | PauseSubscription
    | SelectLayers
    | RemoveSubscription
    | RequestKeyFrame
)
