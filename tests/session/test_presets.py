"""What publishers are asked to send."""

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.session.names import Kind, PresetName, Source
from sluicegate.session.presets import ORDER, VIDEO_PRESETS, EncodingShape, advise, exceeds, fits, lowest, scales

LOW, MEDIUM, HIGH, ULTRA = ORDER
ONE = (EncodingShape(ssrc=1),)
THREE = tuple(EncodingShape(ssrc=ssrc) for ssrc in (1, 2, 3))

shapes = st.lists(
    st.builds(
        EncodingShape,
        ssrc=st.integers(1, 99),
        scale=st.none() | st.floats(1, 16),
        max_bitrate_bps=st.none() | st.integers(1, 10**7),
    ),
    min_size=1,
    max_size=4,
).map(tuple)
presets = st.none() | st.sampled_from(PresetName)


def test_one_encoding_is_the_preset() -> None:
    (advice,) = advise(Kind.VIDEO, ONE, HIGH, None)
    assert (advice.max_width, advice.max_height, advice.max_framerate) == (1280, 720, 30)
    assert advice.max_bitrate_bps == 1_500_000


def test_lower_encodings_follow_by_halves_and_meet_the_table() -> None:
    advice = advise(Kind.VIDEO, THREE, HIGH, None)
    assert [item.max_height for item in advice] == [180, 360, 720]
    assert [item.max_bitrate_bps for item in advice] == [188_000, 530_000, 1_500_000]


def test_a_declared_scale_counts_and_a_declared_bitrate_is_never_raised() -> None:
    shapes = (EncodingShape(ssrc=1, scale=3.0, max_bitrate_bps=50_000), EncodingShape(ssrc=2, scale=1.0))
    advice = advise(Kind.VIDEO, shapes, ULTRA, None)
    assert [item.max_height for item in advice] == [360, 1080]
    assert [item.max_bitrate_bps for item in advice] == [50_000, 2_500_000]


def test_audio_presets() -> None:
    found = [advise(Kind.AUDIO, ONE, preset, None)[0] for preset in (LOW, MEDIUM, HIGH, ULTRA)]
    assert [item.max_bitrate_bps for item in found] == [16_000, 32_000, 64_000, 64_000]
    assert [item.channels for item in found] == [1, 1, 2, 2]


def test_without_a_preset_nothing_is_asked_for() -> None:
    (advice,) = advise(Kind.VIDEO, ONE, None, None)
    assert (advice.active, advice.max_bitrate_bps, advice.max_height) == (True, None, None)


def test_a_bitrate_cap_is_dealt_out_from_below() -> None:
    advice = advise(Kind.VIDEO, THREE, HIGH, 600_000)
    assert [(item.active, item.max_bitrate_bps) for item in advice] == [(True, 188_000), (True, 412_000), (False, 0)]


def test_a_screen_is_larger_than_a_camera() -> None:
    camera, screen = (
        [item.active for item in advise(Kind.VIDEO, THREE, None, 2_000_000, source)]
        for source in (Source.CAMERA, Source.SCREEN)
    )
    assert camera == [True, True, True]
    assert screen == [True, True, False]


@given(shapes, presets, st.integers(0, 10**7), st.sampled_from(Kind))
def test_a_bitrate_cap_holds(shapes: tuple[EncodingShape, ...], preset: PresetName, cap: int, kind: Kind) -> None:
    advice = advise(kind, shapes, preset, cap)
    assert sum(item.max_bitrate_bps or 0 for item in advice) <= cap
    assert advice[0].active
    assert [item.ssrc for item in advice] == [shape.ssrc for shape in shapes]


@given(shapes, st.sampled_from(PresetName))
def test_a_preset_holds(shapes: tuple[EncodingShape, ...], preset: PresetName) -> None:
    for item, shape in zip(advise(Kind.VIDEO, shapes, preset, None), shapes, strict=True):
        assert 1 <= (item.max_height or 0) <= VIDEO_PRESETS[preset].height
        assert (
            1 <= (item.max_bitrate_bps or 0) <= min(VIDEO_PRESETS[preset].bitrate_bps, shape.max_bitrate_bps or 10**9)
        )


@given(shapes)
def test_the_largest_encoding_has_scale_one(shapes: tuple[EncodingShape, ...]) -> None:
    assert min(scales(shapes)) == 1


def test_order() -> None:
    assert lowest(HIGH, None, MEDIUM) is MEDIUM
    assert lowest(None) is None
    assert exceeds(ULTRA, HIGH) and not exceeds(HIGH, HIGH) and not exceeds(ULTRA, None)
    assert not fits(ULTRA, Kind.AUDIO) and fits(ULTRA, Kind.VIDEO)
