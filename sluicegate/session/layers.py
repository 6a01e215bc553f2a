"""Which layers a subscription is sent: the choice, as pure code.

A `LayerPolicy` is given what a subscriber may and wants to have (`LayerWish`) and what its track offers
(`LayerOffer`), and chooses. `PreferenceLayerPolicy` follows preferences, presets and entitlements; a policy that also
looks at bandwidth takes its place. What a track offers is what its publisher announced; the plane falls back to what
really arrives.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sluicegate.router.commands import TOP_SPATIAL, TOP_TEMPORAL
from sluicegate.session.names import Kind, PresetName, Source, SubscriptionType
from sluicegate.session.presets import VIDEO_PRESETS, EncodingShape, nominal_preset, scaled_bitrate, scales


class LayerCause(StrEnum):
    """What decided a choice."""

    TOP = "top"
    PREFERENCE = "preference"
    PRESET = "preset"
    ENTITLEMENT = "entitlement"
    SERVER_CPU = "server_cpu"


@dataclass(frozen=True, slots=True)
class SpatialLayer:
    """One spatial layer as it is expected: lines, and bits per second with all that it needs below it."""

    height: int
    bitrate_bps: int


@dataclass(frozen=True, slots=True)
class LayerOffer:
    """What a track has: spatial layers (or encodings), lowest first; temporal layers, 1 where not known."""

    spatial: tuple[SpatialLayer, ...]
    temporal_layers: int = 1
    framerate: int = 30


@dataclass(frozen=True, slots=True)
class LayerWish:
    """What a subscriber wants (`preferred_*`, `preset`) and may have (`max_*`); None: no limit.

    `without_top`: the node is too busy for the top layer.
    """

    preferred_spatial: int | None = None
    preferred_temporal: int | None = None
    preset: PresetName | None = None
    max_preset: PresetName | None = None
    max_bitrate_bps: int | None = None
    priority: int = 1
    without_top: bool = False


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """Targets for the plane. `TOP_SPATIAL` and `TOP_TEMPORAL` mean whatever is highest."""

    spatial: int = TOP_SPATIAL
    temporal: int = TOP_TEMPORAL
    cause: LayerCause = LayerCause.TOP


class LayerPolicy(Protocol):
    """Chooses layers for one subscription."""

    def choose(self, wish: LayerWish, offer: LayerOffer) -> LayerChoice: ...


class PreferenceLayerPolicy:
    """The highest layers that the wish allows, without a thought of bandwidth."""

    def choose(self, wish: LayerWish, offer: LayerOffer) -> LayerChoice:
        """Never above any limit, but the lowest spatial layer is always allowed: something is better than nothing."""
        refusals = [_refusal(index, layer, wish) for index, layer in enumerate(offer.spatial)]
        if wish.without_top and len(offer.spatial) > 1 and refusals[-1] is None:
            refusals[-1] = LayerCause.SERVER_CPU
        best = max((index for index, refusal in enumerate(refusals) if refusal is None), default=0)
        above = refusals[best + 1] if best + 1 < len(refusals) else None
        spatial, cause = best, refusals[best] or above
        if cause is None:
            # Nothing keeps the top away. There may be layers that nobody announced: it has a number only if wished so.
            spatial = TOP_SPATIAL if wish.preferred_spatial is None else min(wish.preferred_spatial, TOP_SPATIAL)
            cause = LayerCause.TOP if spatial == TOP_SPATIAL else LayerCause.PREFERENCE
        temporal = TOP_TEMPORAL
        for limit_cause, limit in _temporal_limits(wish, offer, offer.spatial[best]):
            if limit is not None and limit < temporal:
                temporal, cause = limit, cause if cause is not LayerCause.TOP else limit_cause
        return LayerChoice(spatial, temporal, cause)


def _refusal(index: int, layer: SpatialLayer, wish: LayerWish) -> LayerCause | None:
    """What keeps a spatial layer from the subscriber; None: nothing."""
    if wish.preferred_spatial is not None and index > wish.preferred_spatial:
        return LayerCause.PREFERENCE
    if wish.preset is not None and layer.height > VIDEO_PRESETS[wish.preset].height:
        return LayerCause.PRESET
    if wish.max_preset is not None and layer.height > VIDEO_PRESETS[wish.max_preset].height:
        return LayerCause.ENTITLEMENT
    if wish.max_bitrate_bps is not None and layer.bitrate_bps > wish.max_bitrate_bps:
        return LayerCause.ENTITLEMENT
    return None


def _temporal_limits(
    wish: LayerWish, offer: LayerOffer, layer: SpatialLayer
) -> tuple[tuple[LayerCause, int | None], ...]:
    return (
        (LayerCause.PREFERENCE, wish.preferred_temporal),
        (LayerCause.PRESET, _slow_enough(wish.preset, offer, layer)),
        (LayerCause.ENTITLEMENT, _slow_enough(wish.max_preset, offer, layer)),
        (LayerCause.SERVER_CPU, _below_top(wish, offer)),
    )


def _below_top(wish: LayerWish, offer: LayerOffer) -> int | None:
    """Where there is one picture size only, the frame rate is what can be given up; None: no limit."""
    if not wish.without_top or len(offer.spatial) > 1 or offer.temporal_layers < 2:
        return None
    return offer.temporal_layers - 2


def _slow_enough(preset: PresetName | None, offer: LayerOffer, layer: SpatialLayer) -> int | None:
    """Where even the lowest picture is larger than the preset's, its frame rate at least is kept to; None: no limit."""
    if preset is None or layer.height <= VIDEO_PRESETS[preset].height:
        return None
    rates = [offer.framerate / 2 ** (offer.temporal_layers - 1 - index) for index in range(offer.temporal_layers)]
    temporal = max((index for index, rate in enumerate(rates) if rate <= VIDEO_PRESETS[preset].framerate), default=0)
    return temporal if temporal < offer.temporal_layers - 1 else None


def offer_of(
    kind: Kind,
    layering: SubscriptionType,
    shapes: tuple[EncodingShape, ...],
    *,
    spatial_layers: int,
    temporal_layers: int,
    preset: PresetName | None,
    source: Source | None,
) -> LayerOffer:
    """What a track is expected to offer, from what its publisher announced and was asked for.

    Sizes on the wire are not known in advance: the top layer counts as the publisher's preset, or as usual for its
    source.
    """
    if kind is Kind.AUDIO:
        return LayerOffer((SpatialLayer(0, 0),))
    top = nominal_preset(source) if preset is None else VIDEO_PRESETS[preset]
    if layering is SubscriptionType.SVC:
        steps = tuple(2.0 ** (spatial_layers - 1 - index) for index in range(max(1, spatial_layers)))
        declared: tuple[int | None, ...] = (None,) * (len(steps) - 1) + (shapes[0].max_bitrate_bps,)
    else:
        steps = scales(shapes)
        declared = tuple(shape.max_bitrate_bps for shape in shapes)
    layers = tuple(
        SpatialLayer(round(top.height / step), said or scaled_bitrate(top.bitrate_bps, step))
        for step, said in zip(steps, declared, strict=True)
    )
    return LayerOffer(layers, max(1, temporal_layers), top.framerate)
