"""What the packet plane tells the control plane, and the figures it keeps.

Figures are msgspec's structures: each of thousands of streams makes one every second, in a quarter of the time of a
dataclass.
"""

from dataclasses import dataclass

import msgspec

from sluicegate.router.commands import SendHandle, TrackHandle


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """The first packet of a track's encoding, or the first after its SSRC changed."""

    track: TrackHandle
    encoding: int
    ssrc: int


@dataclass(frozen=True, slots=True)
class LayersChanged:
    """What a subscription is sent from now on; −1 is nothing."""

    send: SendHandle
    spatial: int
    temporal: int


@dataclass(frozen=True, slots=True)
class ByeReceived:
    """A publisher said goodbye to one of its streams (RFC 3550 §6.6)."""

    track: TrackHandle
    encoding: int


PlaneEvent = StreamStarted | LayersChanged | ByeReceived


class TransportStatistics(msgspec.Struct, frozen=True):
    """Totals since the transport was added. `rtt` in seconds; rates in bits per second; None where nothing is known."""

    packets_received: int
    bytes_received: int
    packets_sent: int
    bytes_sent: int
    last_receive: float
    rtt: float | None
    available_outgoing_bps: int | None
    authentication_failures: int
    replays: int


class ReceiveStatistics(msgspec.Struct, frozen=True):
    """One encoding of a track. `jitter` in seconds; `fraction_lost` 0–1 over the last report interval.

    `audio_level_sum` adds the RFC 6464 levels (0 loud, 127 silent) of `audio_level_count` packets.
    """

    ssrc: int | None
    rid: str | None
    packets: int
    bytes: int
    packets_lost: int
    fraction_lost: float
    jitter: float
    nacks: int
    plis: int
    retransmissions: int
    duplicates: int
    key_frames: int
    frames: int
    spatial_layers: int
    temporal_layers: int
    last_packet: float
    audio_level_sum: int
    audio_level_count: int


class SendStatistics(msgspec.Struct, frozen=True):
    """One subscription. `packets_lost`, `fraction_lost`, `jitter` and `rtt` are what its receiver reports."""

    ssrc: int
    packets: int
    bytes: int
    frames: int
    nacks: int
    plis: int
    retransmissions: int
    packets_lost: int
    fraction_lost: float
    jitter: float
    rtt: float | None
    spatial: int
    temporal: int
