"""The choice of layers: the highest that every limit allows, and never nothing."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.router.commands import TOP_SPATIAL, TOP_TEMPORAL
from sluicegate.session.layers import (
    LayerCause,
    LayerChoice,
    LayerOffer,
    LayerWish,
    PreferenceLayerPolicy,
    SpatialLayer,
    offer_of,
)
from sluicegate.session.names import Kind, PresetName, Source, SubscriptionType
from sluicegate.session.presets import VIDEO_PRESETS, EncodingShape

CHOOSE = PreferenceLayerPolicy().choose
THREE = LayerOffer((SpatialLayer(180, 200_000), SpatialLayer(360, 500_000), SpatialLayer(720, 1_500_000)), 3)
ONE = LayerOffer((SpatialLayer(720, 1_500_000),), 3)

offers = st.lists(st.builds(SpatialLayer, st.integers(1, 2160), st.integers(1, 10**7)), min_size=1, max_size=4).flatmap(
    lambda layers: st.builds(
        LayerOffer,
        st.just(tuple(sorted(layers, key=lambda layer: (layer.height, layer.bitrate_bps)))),
        st.integers(1, 4),
        st.sampled_from([15, 24, 30, 60]),
    )
)
presets = st.none() | st.sampled_from(PresetName)
wishes = st.builds(
    LayerWish,
    preferred_spatial=st.none() | st.integers(0, 7),
    preferred_temporal=st.none() | st.integers(0, 7),
    preset=presets,
    max_preset=presets,
    max_bitrate_bps=st.none() | st.integers(0, 10**7),
    without_top=st.booleans(),
)


def test_without_a_wish_the_top() -> None:
    assert CHOOSE(LayerWish(), THREE) == LayerChoice(TOP_SPATIAL, TOP_TEMPORAL, LayerCause.TOP)


def test_preferences_are_followed() -> None:
    wish = LayerWish(preferred_spatial=1, preferred_temporal=0)
    assert CHOOSE(wish, THREE) == LayerChoice(1, 0, LayerCause.PREFERENCE)


def test_a_busy_node_keeps_the_top_back_where_it_was_wanted() -> None:
    assert CHOOSE(LayerWish(without_top=True), THREE) == LayerChoice(1, TOP_TEMPORAL, LayerCause.SERVER_CPU)
    lower = LayerWish(preferred_spatial=1, without_top=True)
    assert CHOOSE(lower, THREE) == LayerChoice(1, TOP_TEMPORAL, LayerCause.PREFERENCE)


def test_of_a_single_picture_size_a_busy_node_keeps_back_frames() -> None:
    assert CHOOSE(LayerWish(without_top=True), ONE) == LayerChoice(TOP_SPATIAL, 1, LayerCause.SERVER_CPU)
    plain = LayerOffer(ONE.spatial)
    assert CHOOSE(LayerWish(without_top=True), plain) == LayerChoice(TOP_SPATIAL, TOP_TEMPORAL, LayerCause.TOP)


def test_a_preset_caps_by_height() -> None:
    found = [CHOOSE(LayerWish(preset=preset), THREE) for preset in PresetName]
    assert [choice.spatial for choice in found] == [0, 1, TOP_SPATIAL, TOP_SPATIAL]
    assert found[0].cause is LayerCause.PRESET and found[3].cause is LayerCause.TOP


def test_a_preset_below_the_smallest_picture_caps_the_frame_rate() -> None:
    # 30 frames a second in three temporal layers: 7.5, 15, 30. `low` has 15.
    assert CHOOSE(LayerWish(preset=PresetName.LOW), ONE) == LayerChoice(0, 1, LayerCause.PRESET)


def test_entitlements_cap_by_height_and_by_bitrate() -> None:
    assert CHOOSE(LayerWish(max_preset=PresetName.MEDIUM), THREE) == LayerChoice(
        1, TOP_TEMPORAL, LayerCause.ENTITLEMENT
    )
    assert CHOOSE(LayerWish(max_bitrate_bps=600_000), THREE) == LayerChoice(1, TOP_TEMPORAL, LayerCause.ENTITLEMENT)


def test_the_cause_is_the_limit_that_binds() -> None:
    wish = LayerWish(preferred_spatial=0, preset=PresetName.MEDIUM, max_preset=PresetName.MEDIUM)
    assert CHOOSE(wish, THREE).cause is LayerCause.PREFERENCE


@given(wishes, offers)
def test_no_limit_is_exceeded(wish: LayerWish, offer: LayerOffer) -> None:
    choice = CHOOSE(wish, offer)
    assert 0 <= choice.spatial <= TOP_SPATIAL and 0 <= choice.temporal <= TOP_TEMPORAL
    layer = offer.spatial[min(choice.spatial, len(offer.spatial) - 1)]
    lowest = offer.spatial[0]
    if wish.preferred_spatial is not None:
        assert choice.spatial <= wish.preferred_spatial
    if wish.preferred_temporal is not None:
        assert choice.temporal <= wish.preferred_temporal
    for preset in (wish.preset, wish.max_preset):
        if preset is not None:
            assert layer.height <= max(lowest.height, VIDEO_PRESETS[preset].height)
    if wish.max_bitrate_bps is not None and layer is not lowest:
        assert layer.bitrate_bps <= wish.max_bitrate_bps


@given(wishes, offers)
def test_no_layer_is_given_away(wish: LayerWish, offer: LayerOffer) -> None:
    """Each spatial layer above the chosen one exceeds some limit."""
    choice = CHOOSE(wish, offer)
    for index in range(choice.spatial + 1, len(offer.spatial)):
        above = offer.spatial[index]
        assert (
            (wish.preferred_spatial is not None and index > wish.preferred_spatial)
            or any(
                preset is not None and above.height > VIDEO_PRESETS[preset].height
                for preset in (wish.preset, wish.max_preset)
            )
            or (wish.max_bitrate_bps is not None and above.bitrate_bps > wish.max_bitrate_bps)
            or (wish.without_top and index == len(offer.spatial) - 1)
        )


@given(wishes, offers, st.sampled_from(PresetName))
def test_a_further_limit_never_raises_the_choice(wish: LayerWish, offer: LayerOffer, preset: PresetName) -> None:
    free = LayerWish(wish.preferred_spatial, wish.preferred_temporal, None, wish.max_preset, wish.max_bitrate_bps)
    limited = LayerWish(wish.preferred_spatial, wish.preferred_temporal, preset, wish.max_preset, wish.max_bitrate_bps)
    assert CHOOSE(limited, offer).spatial <= CHOOSE(free, offer).spatial


@given(wishes, offers)
def test_a_busy_node_never_gives_more(wish: LayerWish, offer: LayerOffer) -> None:
    busy, idle = [CHOOSE(replace(wish, without_top=busy), offer) for busy in (True, False)]
    assert (busy.spatial, busy.temporal) <= (idle.spatial, TOP_TEMPORAL)
    assert (busy.cause is LayerCause.SERVER_CPU) <= (busy != idle)


def test_layers_that_nobody_announced_stay_in_reach() -> None:
    assert CHOOSE(LayerWish(preferred_spatial=0), ONE) == LayerChoice(0, TOP_TEMPORAL, LayerCause.PREFERENCE)
    assert CHOOSE(LayerWish(), ONE).spatial == TOP_SPATIAL


def offered(layering: SubscriptionType, count: int, **more: object) -> LayerOffer:
    shapes = tuple(EncodingShape() for _ in range(1 if layering is SubscriptionType.SVC else count))
    terms = {"spatial_layers": count, "temporal_layers": 3, "preset": None, "source": None} | more
    return offer_of(Kind.VIDEO, layering, shapes, **terms)  # type: ignore[arg-type]


def test_simulcast_and_svc_offer_the_same_ladder() -> None:
    simulcast, svc = offered(SubscriptionType.SIMULCAST, 3), offered(SubscriptionType.SVC, 3)
    assert simulcast == svc
    assert [layer.height for layer in simulcast.spatial] == [180, 360, 720]


def test_the_publisher_s_preset_and_source_are_the_top() -> None:
    assert offered(SubscriptionType.SIMULCAST, 2, preset=PresetName.MEDIUM).spatial[-1].height == 360
    assert offered(SubscriptionType.SIMULCAST, 2, source=Source.SCREEN).spatial[-1].height == 1080
