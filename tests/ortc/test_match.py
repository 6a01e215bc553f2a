import pytest

from sluicegate.ortc.match import (
    H264Profile,
    MediaFormat,
    Role,
    UnsupportedFormat,
    codec_of,
    decoder_rank,
    integer,
    kind_of,
    read_format,
    red_parameters,
    red_payload_types,
    role_of,
)
from sluicegate.rtp.names import Codec, MediaKind


@pytest.mark.parametrize(
    ("value", "profile"),
    [
        ("42e01f", H264Profile.CONSTRAINED_BASELINE),
        ("42E034", H264Profile.CONSTRAINED_BASELINE),
        ("42c01f", H264Profile.CONSTRAINED_BASELINE),
        ("42f00b", H264Profile.CONSTRAINED_BASELINE),
        ("4d801f", H264Profile.CONSTRAINED_BASELINE),
        ("58c01f", H264Profile.CONSTRAINED_BASELINE),
        ("42001f", H264Profile.BASELINE),
        ("58801f", H264Profile.BASELINE),
        ("4d001f", H264Profile.MAIN),
        ("4d401f", H264Profile.MAIN),
        ("640034", H264Profile.HIGH),
        (640034, H264Profile.HIGH),
        ("640828", H264Profile.HIGH),
        ("640c1f", H264Profile.CONSTRAINED_HIGH),
        (None, H264Profile.CONSTRAINED_BASELINE),
    ],
)
def test_profiles_of_h264(value, profile):
    parameters = {} if value is None else {"profile-level-id": value}
    assert read_format(Codec.H264, parameters).profile == profile


@pytest.mark.parametrize("value", ["f4001f", "42e0", "42e01f0", "zzzzzz", "", "42e01f\n", 1, True, 4.2])
def test_what_is_no_profile_of_h264(value):
    with pytest.raises(UnsupportedFormat) as caught:
        read_format(Codec.H264, {"profile-level-id": value})
    assert caught.value.parameter == "profile-level-id"


@pytest.mark.parametrize(
    ("codec", "parameters", "wrong"),
    [
        (Codec.H264, {"packetization-mode": 2}, "packetization-mode"),
        (Codec.VP9, {"profile-id": 1}, "profile-id"),
        (Codec.VP9, {"profile-id": "x"}, "profile-id"),
        (Codec.AV1, {"profile": 1}, "profile"),
    ],
)
def test_formats_that_are_not_supported(codec, parameters, wrong):
    with pytest.raises(UnsupportedFormat) as caught:
        read_format(codec, parameters)
    assert caught.value.parameter == wrong


def test_absent_parameters_stand_for_their_default():
    assert read_format(Codec.VP9, {}) == read_format(Codec.VP9, {"profile-id": "0"})
    assert read_format(Codec.AV1, {}) == read_format(Codec.AV1, {"profile": 0, "level-idx": 5, "tier": 0})
    assert read_format(Codec.H264, {}).packetization_mode == 0


def h264(profile, mode=1):
    return MediaFormat(Codec.H264, profile, mode)


def test_a_decoder_of_a_higher_profile_plays_a_lower_one_but_not_the_other_way():
    baseline, main, high = (h264(getattr(H264Profile, name)) for name in ("CONSTRAINED_BASELINE", "MAIN", "HIGH"))
    assert decoder_rank(baseline, baseline) == 0
    assert 0 < decoder_rank(baseline, main) < decoder_rank(baseline, high)
    assert decoder_rank(main, high)
    assert decoder_rank(main, baseline) is None
    assert decoder_rank(high, main) is None
    assert decoder_rank(high, h264(H264Profile.CONSTRAINED_HIGH)) is None


def test_single_nal_streams_go_to_both_packetization_modes_the_same_first():
    baseline = H264Profile.CONSTRAINED_BASELINE
    assert decoder_rank(h264(baseline, 0), h264(baseline, 0)) == 0
    assert decoder_rank(h264(baseline, 0), h264(baseline, 1)) == 1
    assert decoder_rank(h264(baseline, 1), h264(baseline, 0)) is None
    # The mode costs a decoder nothing; the profile may cost it its hardware.
    assert decoder_rank(h264(baseline, 0), h264(baseline, 1)) < decoder_rank(
        h264(baseline, 0), h264(H264Profile.MAIN, 0)
    )


def test_other_codecs_must_be_the_same():
    assert decoder_rank(MediaFormat(Codec.VP9, 2), MediaFormat(Codec.VP9, 2)) == 0
    assert decoder_rank(MediaFormat(Codec.VP9, 2), MediaFormat(Codec.VP9, 0)) is None
    assert decoder_rank(MediaFormat(Codec.VP8), MediaFormat(Codec.VP9)) is None


@pytest.mark.parametrize(
    ("mime_type", "role"),
    [
        ("audio/OPUS", Role.MEDIA),
        ("VIDEO/vp8", Role.MEDIA),
        ("audio/red", Role.RED),
        ("video/red", Role.PASSED_OVER),
        ("video/rtx", Role.RTX),
        ("video/ulpfec", Role.PASSED_OVER),
        ("video/flexfec-03", Role.PASSED_OVER),
        ("audio/CN", Role.PASSED_OVER),
        ("audio/telephone-event", Role.PASSED_OVER),
        ("video/H265", Role.UNKNOWN),
        ("audio/PCMU", Role.UNKNOWN),
        ("video/opus", Role.UNKNOWN),
    ],
)
def test_roles(mime_type, role):
    assert role_of(mime_type) is role


def test_names_do_not_depend_on_case():
    assert codec_of("Video/h264") is Codec.H264
    assert kind_of("AUDIO/anything") is MediaKind.AUDIO
    assert kind_of("application/x") is None


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (96, 96),
        ("96", 96),
        (96.0, 96),
        (True, 1),
        ("-1", None),
        ("96\n", None),
        ("٩", None),
        ("9" * 5000, None),
        ("", None),
        (1.5, None),
        (float("nan"), None),
        (float("inf"), None),
        (None, None),
    ],
)
def test_numbers_of_format_parameters(value, number):
    assert integer(value) == number


def test_what_red_holds_is_read_from_key_or_value():
    assert red_payload_types(red_parameters(96)) == (96, 96)
    assert red_payload_types({"111/111": ""}) == (111, 111)
    assert red_payload_types({"111/111/63": None, "x": 1}) == (111, 111, 63)
    assert red_payload_types({"ptime": 20}) == ()
