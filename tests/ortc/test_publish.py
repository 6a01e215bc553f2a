import pytest

from sluicegate.errors import Invalid
from sluicegate.ortc.checks import layers_of
from sluicegate.ortc.match import H264Profile
from sluicegate.rtp.names import EXTENSION_URIS, Codec, Extension, MediaKind
from tests.ortc.clients import MID, RID, opus, publish, video

OPUS = opus()["codecs"][0]
VP8, RTX = video()["codecs"]
BY_RID = [{"uri": MID, "id": 4}, {"uri": RID, "id": 10}]
THREE_RIDS = [{"rid": rid} for rid in ("r0", "r1", "r2")]


def red(**changes):
    return {"mimeType": "audio/red", "payloadType": 63, "clockRate": 48000, "channels": 2} | changes


def test_a_microphone():
    track = publish("audio", opus(mid="0", headerExtensions=[{"uri": MID, "id": 4}, {"uri": "urn:other", "id": 5}]))
    assert (track.kind, track.codec, track.type, track.clock_rate) == (MediaKind.AUDIO, Codec.OPUS, "simple", 48000)
    assert (track.mid, track.payload_types, track.rtx_payload_type) == ("0", (111,), None)
    assert track.extensions == {Extension.MID: 4}
    assert [encoding.ssrc for encoding in track.encodings] == [5]
    assert not track.nack
    assert track.media.mime_type == "audio/opus"


def test_a_camera_with_rtx_and_feedback():
    feedback = [("nack", ""), ("nack", "pli"), ("ccm", "fir"), ("goog-remb", ""), ("transport-cc", ""), ("ack", "x")]
    codec = VP8 | {"rtcpFeedback": [{"type": name, "parameter": parameter} for name, parameter in feedback]}
    send_time, transport_cc = (EXTENSION_URIS[key] for key in (Extension.ABS_SEND_TIME, Extension.TRANSPORT_CC))
    both = [{"uri": send_time, "id": 2}, {"uri": transport_cc, "id": 3}]

    track = publish("video", video(codecs=[codec, RTX], headerExtensions=both))
    assert (track.rtx_payload_type, track.encodings[0].rtx_ssrc) == (97, 6)
    assert (track.nack, track.pli, track.fir, track.transport_cc, track.remb) == (True, True, True, True, False)

    track = publish("video", video(codecs=[codec, RTX], headerExtensions=both[:1]))
    assert (track.transport_cc, track.remb) == (False, True)

    track = publish("video", video(codecs=[codec, RTX]))
    assert (track.nack, track.transport_cc, track.remb) == (True, False, False)


def test_an_rtx_ssrc_without_an_rtx_codec_is_of_no_use():
    assert publish("video", video(codecs=[VP8])).encodings[0].rtx_ssrc is None


def test_simulcast_by_rid():
    track = publish("video", video(encodings=THREE_RIDS, headerExtensions=BY_RID))
    assert track.type == "simulcast"
    assert [(encoding.ssrc, encoding.rid) for encoding in track.encodings] == [(None, "r0"), (None, "r1"), (None, "r2")]
    assert (track.spatial_layers, track.temporal_layers) == (3, 1)


def test_simulcast_by_ssrc_with_temporal_layers():
    encodings = [
        {"ssrc": 10 + n, "rtx": {"ssrc": 20 + n}, "scalabilityMode": "L1T3", "maxBitrate": 1e5} for n in range(2)
    ]
    track = publish("video", video(encodings=encodings))
    assert track.type == "simulcast"
    assert [(encoding.ssrc, encoding.rtx_ssrc) for encoding in track.encodings] == [(10, 20), (11, 21)]
    assert (track.spatial_layers, track.temporal_layers) == (2, 3)
    assert track.encodings[0].max_bitrate == 100_000


@pytest.mark.parametrize("mode", ["L3T3", "L3T3_KEY", "S3T3"])
def test_one_stream_with_spatial_layers_is_svc(mode):
    track = publish("video", video("video/VP9", encodings=[{"ssrc": 5, "scalabilityMode": mode}]))
    assert track.type == "svc"
    assert (track.spatial_layers, track.temporal_layers) == (3, 3)


def test_temporal_layers_alone_are_not_svc():
    track = publish("video", video("video/AV1", encodings=[{"ssrc": 5, "scalabilityMode": "L1T3"}]))
    assert (track.type, track.spatial_layers, track.temporal_layers) == ("simple", 1, 3)


def test_a_mode_that_the_codec_does_not_have_counts_only_what_it_has():
    track = publish("video", video("video/VP8", encodings=[{"ssrc": 5, "scalabilityMode": "L3T3"}]))
    assert (track.type, track.spatial_layers, track.temporal_layers) == ("simple", 1, 3)


@pytest.mark.parametrize(
    ("mode", "layers"),
    [
        ("L1T3", (1, 3)),
        ("L3T3_KEY", (3, 3)),
        ("S2T1", (2, 1)),
        ("L2T2h", (2, 2)),
        ("L3T2_KEY_SHIFT", (3, 2)),
        ("L0T1", None),
        ("L1T1\n", None),
        ("T3", None),
        ("L1T", None),
        ("", None),
    ],
)
def test_scalability_modes(mode, layers):
    assert layers_of(mode) == layers


@pytest.mark.parametrize("codecs", [[OPUS, red()], [red(), OPUS]])
@pytest.mark.parametrize("holds", [{"111/111": ""}, {"": "111/111"}, {}])
def test_red_goes_beside_opus_and_comes_second(codecs, holds):
    codecs = [codec | {"parameters": holds} if codec["mimeType"] == "audio/red" else codec for codec in codecs]
    assert publish("audio", opus(codecs=codecs)).payload_types == (111, 63)


def test_what_we_do_not_carry_is_passed_over():
    others = [
        {"mimeType": "video/red", "payloadType": 118, "clockRate": 90000},
        {"mimeType": "video/rtx", "payloadType": 119, "clockRate": 90000, "parameters": {"apt": 118}},
        {"mimeType": "video/ulpfec", "payloadType": 120, "clockRate": 90000},
        {"mimeType": "video/flexfec-03", "payloadType": 49, "clockRate": 90000},
    ]
    track = publish("video", video(codecs=[*others, VP8, RTX]))
    assert (track.payload_types, track.rtx_payload_type) == ((96,), 97)
    events = {"mimeType": "audio/telephone-event", "payloadType": 101, "clockRate": 8000, "channels": 1}
    assert publish("audio", opus(codecs=[OPUS, events])).payload_types == (111,)


def test_constrained_high_is_a_part_of_high():
    track = publish("video", video("video/H264", {"profile-level-id": "640c1f", "packetization-mode": "1"}))
    assert (track.format.profile, track.format.packetization_mode) == (H264Profile.CONSTRAINED_HIGH, 1)


@pytest.mark.parametrize(
    ("kind", "value", "pointer"),
    [
        ("audio", opus(codecs=[]), "/codecs"),
        ("audio", opus(codecs=[OPUS | {"mimeType": "audio/PCMU"}]), "/codecs/0/mimeType"),
        ("video", video(codecs=[VP8 | {"mimeType": "video/H265"}]), "/codecs/0/mimeType"),
        ("audio", opus(codecs=[OPUS | {"mimeType": "application/opus"}]), "/codecs/0/mimeType"),
        ("video", opus(), "/codecs/0/mimeType"),
        ("audio", video(), "/codecs/0/mimeType"),
        ("video", video(codecs=[VP8, RTX | {"payloadType": 96}]), "/codecs/1/payloadType"),
        ("video", video(codecs=[VP8 | {"payloadType": 64}]), "/codecs/0/payloadType"),
        ("video", video(codecs=[VP8 | {"payloadType": 95}]), "/codecs/0/payloadType"),
        ("video", video(codecs=[VP8, RTX | {"parameters": {"apt": 98}}]), "/codecs/1/parameters/apt"),
        ("video", video(codecs=[VP8, RTX | {"parameters": {}}]), "/codecs/1/parameters/apt"),
        ("video", video(codecs=[VP8, RTX | {"parameters": {"apt": "x"}}]), "/codecs/1/parameters/apt"),
        ("video", video(codecs=[VP8, RTX | {"parameters": {"apt": 97}}]), "/codecs/1/parameters/apt"),
        ("video", video(codecs=[VP8, RTX, RTX | {"payloadType": 98}]), "/codecs/2/parameters/apt"),
        ("video", video(codecs=[RTX | {"parameters": {"apt": 97}}]), "/codecs"),
        ("video", video(codecs=[VP8, VP8 | {"mimeType": "video/VP9", "payloadType": 98}]), "/codecs/1/mimeType"),
        ("audio", opus(codecs=[OPUS | {"clockRate": 16000}]), "/codecs/0/clockRate"),
        ("audio", opus(codecs=[OPUS | {"channels": 1}]), "/codecs/0/channels"),
        ("audio", opus(codecs=[red()]), "/codecs"),
        ("audio", opus(codecs=[OPUS, red(parameters={"0/0": ""})]), "/codecs/1/parameters"),
        ("audio", opus(codecs=[OPUS, red(), red(payloadType=62)]), "/codecs/2/mimeType"),
        ("video", video("video/VP9", {"profile-id": 1}), "/codecs/0/parameters/profile-id"),
        ("video", video("video/AV1", {"profile": 2}), "/codecs/0/parameters/profile"),
        ("video", video("video/H264", {"profile-level-id": "f4001f"}), "/codecs/0/parameters/profile-level-id"),
        ("video", video("video/H264", {"profile-level-id": "42001f"}), "/codecs/0/parameters/profile-level-id"),
        ("video", video("video/H264", {"packetization-mode": 2}), "/codecs/0/parameters/packetization-mode"),
        ("video", video(encodings=[]), "/encodings"),
        ("video", video(encodings=[{"ssrc": n} for n in range(1, 6)]), "/encodings"),
        ("audio", opus(encodings=[{"ssrc": 1}, {"ssrc": 2}]), "/encodings"),
        ("video", video(encodings=[{}]), "/encodings/0"),
        ("video", video(encodings=[{"ssrc": 1}, {}]), "/encodings/1"),
        ("video", video(encodings=THREE_RIDS, headerExtensions=BY_RID, mid=None), "/encodings/0"),
        ("video", video(encodings=THREE_RIDS, headerExtensions=BY_RID[:1]), "/headerExtensions"),
        ("video", video(encodings=THREE_RIDS, headerExtensions=BY_RID[1:]), "/headerExtensions"),
        ("video", video(encodings=[{"ssrc": 1}, {"ssrc": 1}]), "/encodings/1/ssrc"),
        ("video", video(encodings=[{"ssrc": 1, "rtx": {"ssrc": 1}}]), "/encodings/0/rtx/ssrc"),
        ("video", video(encodings=[{"ssrc": 1, "rtx": {"ssrc": 2}}, {"ssrc": 2}]), "/encodings/1/ssrc"),
        ("video", video(encodings=[{"ssrc": 1, "rid": "a"}, {"ssrc": 2, "rid": "a"}]), "/encodings/1/rid"),
        ("video", video(encodings=[{"ssrc": 1, "rid": "~r0"}]), "/encodings/0/rid"),
        ("video", video(encodings=[{"ssrc": 1, "rid": ""}]), "/encodings/0/rid"),
        ("video", video(encodings=[{"ssrc": 1, "rid": "r" * 17}]), "/encodings/0/rid"),
        ("video", video(encodings=[{"ssrc": 1, "rid": "r\n"}]), "/encodings/0/rid"),
        ("video", video(encodings=[{"ssrc": 1, "codecPayloadType": 97}]), "/encodings/0/codecPayloadType"),
        ("video", video(encodings=[{"ssrc": 1, "scalabilityMode": "best"}]), "/encodings/0/scalabilityMode"),
        ("video", video(encodings=[{"ssrc": 1, "scalabilityMode": "L5T1"}]), "/encodings/0/scalabilityMode"),
        ("video", video(encodings=[{"ssrc": 1, "scalabilityMode": "L1T9"}]), "/encodings/0/scalabilityMode"),
        ("video", video(mid=""), "/mid"),
        ("video", video(mid="m" * 17), "/mid"),
        ("video", video(mid="a b"), "/mid"),
        ("video", video(mid="a\n"), "/mid"),
        ("video", video(rtcp={"mux": False}), "/rtcp/mux"),
        ("video", video(headerExtensions=[{"uri": MID, "id": 1}, {"uri": "u", "id": 1}]), "/headerExtensions/1/id"),
        ("video", video(headerExtensions=[{"uri": MID, "id": 1}, {"uri": MID, "id": 2}]), "/headerExtensions/1/uri"),
        ("video", video(headerExtensions=[{"uri": MID, "id": 1, "encrypt": True}]), "/headerExtensions/0/encrypt"),
    ],
)
def test_what_cannot_be_published_is_refused_with_a_pointer(kind, value, pointer):
    with pytest.raises(Invalid) as caught:
        publish(kind, value)
    assert [error.pointer for error in caught.value.errors] == [pointer]


def test_the_refusal_can_be_moved_under_the_body_that_holds_it():
    with pytest.raises(Invalid) as caught:
        publish("video", video(encodings=[]))
    assert caught.value.below("/rtp_parameters").errors[0].pointer == "/rtp_parameters/encodings"
