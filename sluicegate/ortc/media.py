"""What a negotiation comes to: a track as the plane receives it, and as it sends it to one subscriber."""

from dataclasses import dataclass
from typing import Literal

from sluicegate.ortc.match import MediaFormat
from sluicegate.ortc.parameters import RtpCodecParameters, RtpParameters
from sluicegate.rtp.names import Codec, Extension, MediaKind

# One stream without layers to choose from; several streams of different quality; one stream that holds several
# qualities.
TrackType = Literal["simple", "simulcast", "svc"]


@dataclass(frozen=True, slots=True)
class PublishedEncoding:
    """One RTP stream of a published track: found by `ssrc`, or by the track's mid and `rid` until its SSRC is known.

    The layers are those inside the stream, which can be dropped one by one; `spatial_layers` is 1 in a simulcast.
    `max_bitrate` is in bits per second.
    """

    ssrc: int | None
    rtx_ssrc: int | None
    rid: str | None
    spatial_layers: int
    temporal_layers: int
    max_bitrate: int | None


@dataclass(frozen=True, slots=True)
class PublishedMedia:
    """A track as the plane will receive it. `parameters` is what the publisher sent, checked.

    `payload_types` begins with the codec's own; that of RED around it comes second, if there is one. The booleans say
    which feedback the publisher takes from us; of `transport_cc` and `remb` at most one is set.
    """

    kind: MediaKind
    format: MediaFormat
    type: TrackType
    clock_rate: int
    mid: str | None
    payload_types: tuple[int, ...]
    rtx_payload_type: int | None
    encodings: tuple[PublishedEncoding, ...]
    extensions: dict[Extension, int]
    nack: bool
    pli: bool
    fir: bool
    transport_cc: bool
    remb: bool
    parameters: RtpParameters

    @property
    def codec(self) -> Codec:
        return self.format.codec

    @property
    def media(self) -> RtpCodecParameters:
        """The dictionary of the codec itself, among those of `parameters`."""
        own = self.payload_types[0]
        return next(codec for codec in self.parameters.codecs if codec.payload_type == own)

    @property
    def spatial_layers(self) -> int:
        """How many spatial layers a subscriber may choose from: encodings of a simulcast, layers of an SVC stream."""
        return len(self.encodings) if self.type == "simulcast" else self.encodings[0].spatial_layers

    @property
    def temporal_layers(self) -> int:
        """How many temporal layers a subscriber may choose from, in the encoding that has most."""
        return max(encoding.temporal_layers for encoding in self.encodings)


@dataclass(frozen=True, slots=True)
class SubscribedMedia:
    """A track as one subscriber gets it; `rtp_parameters` is for the client, the rest for the plane.

    `payload_types` stands beside `PublishedMedia.payload_types`: None where the subscriber does not take that format.
    `rtx_ssrc` is None without RTX. Of `transport_cc` and `remb` at most one is set: the feedback that tells of the
    path.
    """

    rtp_parameters: RtpParameters
    type: TrackType
    ssrc: int
    rtx_ssrc: int | None
    payload_types: tuple[int | None, ...]
    rtx_payload_type: int | None
    extensions: dict[Extension, int]
    nack: bool
    transport_cc: bool
    remb: bool
