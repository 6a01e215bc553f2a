"""A track: what one session publishes, and how the plane is told of it."""

from dataclasses import dataclass, field, replace

from sluicegate.errors import Invalid
from sluicegate.ids import SubscriptionId, TrackId
from sluicegate.ortc.match import MIME_TYPES
from sluicegate.ortc.negotiate import PublishedMedia
from sluicegate.ortc.parameters import RtpEncodingParameters
from sluicegate.router.commands import TrackEncoding, TrackHandle, TrackMedia
from sluicegate.rtp.names import MediaKind
from sluicegate.session.layers import LayerOffer, offer_of
from sluicegate.session.names import Kind, PresetName, Source, SubscriptionType
from sluicegate.session.presets import EncodingShape, advise
from sluicegate.session.views import EncodingAdvice

UNDECLARED_BPS = {MediaKind.AUDIO: 510_000, MediaKind.VIDEO: 10_000_000}
"""What a publisher may send without having declared it: the most that Opus has (RFC 6716 §2), a screen in 4K."""
MOST_BPS = {MediaKind.AUDIO: 2_000_000, MediaKind.VIDEO: 40_000_000}
"""Nobody is believed more: stereo without compression, and four screens in 4K."""
LEAST_BPS = {MediaKind.AUDIO: 128_000, MediaKind.VIDEO: 800_000}
"""Whoever declares less may send this: headers and key frames weigh more there, and it hurts nobody."""
TOLERANCE = 1.5
"""Encoders overshoot, and headers, probes and retransmissions come on top. Lower: pictures break on a bad network.
Higher: with the second's worth that may come at once, a flood of a few seconds passes twice what was declared."""
ENTITLED = 2
"""What a token allows, so many times, is taken: more than is overlooked, so that `enforce_bitrates` sees it."""

_KINDS = {MediaKind.AUDIO: Kind.AUDIO, MediaKind.VIDEO: Kind.VIDEO}


@dataclass(frozen=True, slots=True)
class TrackTerms:
    """What the publisher asked for and may have; from it and the media follow the advice and the offer."""

    preset: PresetName | None = None
    max_bitrate_bps: int | None = None
    source: Source | None = None


@dataclass(slots=True, eq=False)
class Track:
    """One published track.

    `media` has its encodings from the lowest to the highest, which is what a spatial layer counts; `order` says where
    each of them stood in the request. `held` is the server's own pause, for a track that sends more than its
    publisher may.
    """

    track_id: TrackId
    handle: TrackHandle
    published: PublishedMedia
    media: TrackMedia
    order: tuple[int, ...]
    terms: TrackTerms
    paused: bool
    held: bool = False
    over_samples: int = 0
    subscriptions: set[SubscriptionId] = field(default_factory=set)
    _offer: LayerOffer | None = None

    @property
    def kind(self) -> Kind:
        return _KINDS[self.media.kind]

    @property
    def type(self) -> SubscriptionType:
        return SubscriptionType(self.published.type)

    @property
    def codec(self) -> str:
        """The codec's name as its MIME subtype has it, e.g. `VP8` or `opus`."""
        return MIME_TYPES[self.published.codec].partition("/")[2]

    @property
    def stopped(self) -> bool:
        """Whether nothing of it is forwarded."""
        return self.paused or self.held

    @property
    def is_speech(self) -> bool:
        """Whether it counts for who speaks: the sound of a shared screen does not."""
        return self.kind is Kind.AUDIO and self.terms.source is not Source.SCREEN_AUDIO

    def ssrcs(self) -> set[int]:
        """Every SSRC that the publisher announced for it."""
        return media_ssrcs(self.media)

    def advice(self) -> tuple[EncodingAdvice, ...]:
        """What the publisher is asked to send, in the order of its request."""
        ascending = advise(self.kind, self._shapes(), self.terms.preset, self.terms.max_bitrate_bps, self.terms.source)
        placed = sorted(zip(self.order, ascending, strict=True), key=lambda pair: pair[0])
        return tuple(advice for _, advice in placed)

    def change_preset(self, preset: PresetName | None) -> None:
        """Asks the publisher for something else from now on; advice and offer follow."""
        self.terms = replace(self.terms, preset=preset)
        self._offer = None

    def offer(self) -> LayerOffer:
        """What there is to choose from."""
        if self._offer is None:
            self._offer = offer_of(
                self.kind,
                self.type,
                self._shapes(),
                spatial_layers=self.published.spatial_layers,
                temporal_layers=self.published.temporal_layers,
                preset=self.terms.preset,
                source=self.terms.source,
            )
        return self._offer

    def _shapes(self) -> tuple[EncodingShape, ...]:
        return tuple(_shape(self.published.parameters.encodings[position]) for position in self.order)


def ascending_order(encodings: tuple[RtpEncodingParameters, ...]) -> tuple[int, ...]:
    """The positions of the encodings from the lowest picture to the highest.

    Publishers list them so; where every scale is said and says otherwise, the scales count.
    """
    positions = range(len(encodings))
    scales = [encoding.scale_resolution_down_by for encoding in encodings]
    if any(scale is None for scale in scales):
        return tuple(positions)
    return tuple(sorted(positions, key=lambda position: -(scales[position] or 1.0)))


def track_media(published: PublishedMedia, order: tuple[int, ...], allowed_bps: int | None) -> TrackMedia:
    """The plane's view of what was negotiated; `allowed_bps` is what the publisher's token allows."""
    encodings = tuple(
        TrackEncoding(encoding.ssrc, encoding.rtx_ssrc, encoding.rid)
        for encoding in (published.encodings[position] for position in order)
    )
    return TrackMedia(
        kind=published.kind,
        codec=published.codec,
        clock_rate=published.clock_rate,
        payload_types=published.payload_types,
        encodings=encodings,
        rtx_payload_type=published.rtx_payload_type,
        mid=published.mid,
        extensions=dict(published.extensions),
        nack=published.nack,
        pli=published.pli,
        fir=published.fir,
        transport_cc=published.transport_cc,
        remb=published.remb,
        limit_bps=_limit(published, allowed_bps),
    )


def _limit(published: PublishedMedia, allowed_bps: int | None) -> int:
    """The most that the plane takes of a track: so much more than its encodings' `maxBitrate` together, where all say
    one, within bounds."""
    kind = published.kind
    said = [encoding.max_bitrate for encoding in published.parameters.encodings]
    declared = sum(int(one) for one in said if one) if all(said) else UNDECLARED_BPS[kind]
    if kind is MediaKind.AUDIO and len(published.payload_types) > 1:  # RED sends everything twice
        declared *= 2
    most = TOLERANCE * min(declared, MOST_BPS[kind])
    if allowed_bps is not None:
        most = min(most, ENTITLED * allowed_bps)
    return int(max(most, TOLERANCE * LEAST_BPS[kind]))


def media_ssrcs(media: TrackMedia) -> set[int]:
    """Every SSRC that the media names."""
    named = (ssrc for encoding in media.encodings for ssrc in (encoding.ssrc, encoding.rtx_ssrc))
    return {ssrc for ssrc in named if ssrc is not None}


def check_streams(published: PublishedMedia, taken: set[int], mids: set[str], rids: set[str]) -> None:
    """Raises `Invalid` unless every stream of the new track can be told from all others of its session.

    `taken`: SSRCs that arrive on the session or are sent to it; `mids`: of its tracks; `rids`: of its tracks that
    have no MID.
    """
    seen = set(taken)
    for index, encoding in enumerate(published.encodings):
        pointer = f"/encodings/{index}"
        for ssrc, where in ((encoding.ssrc, "/ssrc"), (encoding.rtx_ssrc, "/rtx/ssrc")):
            if ssrc is None:
                continue
            if ssrc in seen:
                raise Invalid(f"SSRC {ssrc} is in use on this session already.", pointer=pointer + where)
            seen.add(ssrc)
        if encoding.rid is not None and published.mid is None and encoding.rid in rids:
            raise Invalid(
                f"RID {encoding.rid} is in use on this session, and no MID tells them apart.", pointer=pointer + "/rid"
            )
    if published.mid is not None and published.mid in mids:
        raise Invalid(f"MID {published.mid} is in use on this session already.", pointer="/mid")


def _shape(encoding: RtpEncodingParameters) -> EncodingShape:
    scale = encoding.scale_resolution_down_by
    return EncodingShape(
        ssrc=encoding.ssrc,
        rid=encoding.rid,
        scale=scale if scale is not None and scale >= 1 else None,
        max_bitrate_bps=int(encoding.max_bitrate) if encoding.max_bitrate else None,
    )
