import pytest

from sluicegate.errors import Invalid
from sluicegate.ortc.negotiate import can_consume
from sluicegate.ortc.parameters import RtpCapabilities
from sluicegate.rtp.names import EXTENSION_URIS, Extension
from tests.ortc.clients import MID, RID, capabilities, entry, opus, plain, publish, subscribe, video

URI = EXTENSION_URIS
ALL_FEEDBACK = [
    {"type": "goog-remb"},
    {"type": "transport-cc"},
    {"type": "ccm", "parameter": "fir"},
    {"type": "nack"},
    {"type": "nack", "parameter": "pli"},
    {"type": "rrtr"},
]
VP8 = entry("video/VP8", 120, rtcpFeedback=ALL_FEEDBACK)
VP8_RTX = entry("video/rtx", 121, {"apt": 120})
EXTENSIONS = [
    {"kind": kind, "uri": uri, "preferredId": number, "direction": "sendrecv"}
    for number, uri in enumerate(URI.values(), 1)
    for kind in ("audio", "video")
]


def receiver(*codecs, extensions=EXTENSIONS):
    return capabilities({"codecs": codecs, "headerExtensions": extensions})


def test_a_subscriber_gets_the_track_by_its_own_numbers():
    sent = subscribe(publish("video", video()), receiver(entry("video/AV1", 35), VP8, VP8_RTX))
    assert (sent.payload_types, sent.rtx_payload_type, sent.ssrc, sent.rtx_ssrc) == ((120,), 121, 1111, 2222)
    assert sent.extensions == {
        Extension.MID: 1,
        Extension.ABS_SEND_TIME: 4,
        Extension.TRANSPORT_CC: 5,
        Extension.VIDEO_ORIENTATION: 7,
        Extension.PLAYOUT_DELAY: 8,
    }
    assert (sent.nack, sent.transport_cc, sent.remb) == (True, True, False)
    assert plain(sent.rtp_parameters) == {
        "mid": "7",
        "codecs": [
            {
                "mimeType": "video/VP8",
                "payloadType": 120,
                "clockRate": 90000,
                "parameters": {},
                "rtcpFeedback": [
                    {"type": "nack", "parameter": ""},
                    {"type": "nack", "parameter": "pli"},
                    {"type": "ccm", "parameter": "fir"},
                    {"type": "transport-cc", "parameter": ""},
                ],
            },
            {
                "mimeType": "video/rtx",
                "payloadType": 121,
                "clockRate": 90000,
                "parameters": {"apt": 120},
                "rtcpFeedback": [],
            },
        ],
        "headerExtensions": [
            {"uri": URI[extension], "id": number, "encrypt": False, "parameters": {}}
            for extension, number in sent.extensions.items()
        ],
        "encodings": [{"ssrc": 1111, "rtx": {"ssrc": 2222}}],
        "rtcp": {"cname": "the publisher", "reducedSize": True, "mux": True},
    }


def test_without_rtx_nothing_changes_from_one_sending_to_the_next():
    sent = subscribe(publish("video", video()), receiver(VP8, entry("video/rtx", 121, {"apt": 99})))
    assert (sent.rtx_payload_type, sent.rtx_ssrc) == (None, None)
    assert Extension.TRANSPORT_CC not in sent.extensions
    assert Extension.ABS_SEND_TIME not in sent.extensions
    assert (sent.nack, sent.transport_cc, sent.remb) == (True, False, False)
    assert {feedback.type for feedback in sent.rtp_parameters.codecs[0].rtcp_feedback} == {"nack", "ccm"}
    assert sent.rtp_parameters.encodings[0].rtx is None


def test_audio_never_has_rtx():
    codecs = entry("audio/opus", 111, rtcpFeedback=ALL_FEEDBACK), entry("audio/rtx", 112, {"apt": 111})
    sent = subscribe(publish("audio", opus()), receiver(*codecs))
    assert sent.rtx_payload_type is None
    assert sent.extensions == {Extension.MID: 1, Extension.AUDIO_LEVEL: 6}
    assert (sent.nack, sent.transport_cc, sent.remb) == (True, False, False)
    assert sent.rtp_parameters.codecs[0].channels == 2


def test_remb_where_transport_cc_is_not_known():
    extensions = [entry for entry in EXTENSIONS if entry["uri"] != URI[Extension.TRANSPORT_CC]]
    sent = subscribe(publish("video", video()), receiver(VP8, VP8_RTX, extensions=extensions))
    assert (sent.transport_cc, sent.remb) == (False, True)


def test_feedback_that_the_subscriber_does_not_name_is_not_used():
    sent = subscribe(publish("video", video()), receiver(entry("video/VP8", 120), VP8_RTX))
    assert (sent.nack, sent.transport_cc, sent.remb) == (False, False, False)


def test_only_extensions_that_the_plane_can_write_for_this_kind_and_direction():
    extensions = [
        {"kind": "audio", "uri": MID, "preferredId": 1},
        {"kind": "video", "uri": RID, "preferredId": 2},
        {"uri": URI[Extension.ABS_SEND_TIME], "preferredId": 15},
        {"kind": "video", "uri": URI[Extension.TRANSPORT_CC], "preferredId": 5, "direction": "sendonly"},
        {"kind": "", "uri": URI[Extension.VIDEO_ORIENTATION], "preferredId": 6, "direction": "recvonly"},
        {"kind": "video", "uri": URI[Extension.PLAYOUT_DELAY], "preferredId": 6},
        {"kind": "video", "uri": "urn:other", "preferredId": 7},
        {"kind": "video", "uri": MID, "preferredId": 8, "preferredEncrypt": True},
        {"kind": "video", "uri": MID, "preferredId": 14},
        {"kind": "video", "uri": MID, "preferredId": 13},
    ]
    sent = subscribe(publish("video", video()), receiver(VP8, VP8_RTX, extensions=extensions))
    assert sent.extensions == {Extension.VIDEO_ORIENTATION: 6, Extension.MID: 14}


def test_the_dependency_descriptor_is_promised_only_where_the_publisher_sends_it():
    described = video(headerExtensions=[{"uri": URI[Extension.DEPENDENCY_DESCRIPTOR], "id": 12}])
    sent = subscribe(publish("video", described), receiver(VP8, VP8_RTX))
    assert sent.extensions[Extension.DEPENDENCY_DESCRIPTOR] == 9
    assert Extension.DEPENDENCY_DESCRIPTOR not in subscribe(publish("video", video()), receiver(VP8)).extensions


RED_TRACK = opus(
    codecs=[
        *opus()["codecs"],
        {"mimeType": "audio/red", "payloadType": 63, "clockRate": 48000, "channels": 2, "parameters": {"111/111": ""}},
    ]
)


def test_red_goes_to_those_who_take_it():
    track = publish("audio", RED_TRACK)
    # A device leaves the numbers of its browser in the parameters of RED; ours are the subscriber's.
    sent = subscribe(track, receiver(entry("audio/opus", 96), entry("audio/red", 97, {"111/111": ""})))
    assert sent.payload_types == (96, 97)
    assert sent.rtp_parameters.codecs[1].parameters == {"": "96/96"}

    sent = subscribe(track, receiver(entry("audio/opus", 96)))
    assert sent.payload_types == (96, None)
    assert len(sent.rtp_parameters.codecs) == 1


def test_a_track_without_red_does_not_offer_it():
    sent = subscribe(publish("audio", opus()), receiver(entry("audio/opus", 96), entry("audio/red", 97)))
    assert sent.payload_types == (96,)
    assert [codec.mime_type for codec in sent.rtp_parameters.codecs] == ["audio/opus"]


def test_the_publishers_format_parameters_reach_the_subscriber_as_text_and_numbers():
    own = {"sprop-stereo": 1, "useinbandfec": True, "usedtx": False, "minptime": 10, "cbr": None}
    track = publish("audio", opus(codecs=[opus()["codecs"][0] | {"parameters": own}]))
    sent = subscribe(track, receiver(entry("audio/opus", 96, {"stereo": 0})))
    assert sent.rtp_parameters.codecs[0].parameters == {
        "sprop-stereo": 1,
        "useinbandfec": 1,
        "usedtx": 0,
        "minptime": 10,
        "cbr": "",
    }


def h264(payload_type, profile, mode):
    return entry("video/H264", payload_type, {"profile-level-id": profile, "packetization-mode": mode})


def test_h264_takes_the_nearest_profile_and_mode_in_the_subscribers_words():
    track = publish(
        "video",
        video("video/H264", {"profile-level-id": "42e01f", "packetization-mode": 0, "sprop-parameter-sets": "Z=="}),
    )
    codecs = h264(100, "640c1f", 1), h264(101, "42c034", 1), h264(102, "4d0032", 0), h264(103, "42e028", 0)
    sent = subscribe(track, receiver(*codecs))
    assert sent.payload_types == (103,)
    sent = subscribe(track, receiver(*codecs[:3]))
    assert sent.payload_types == (101,)
    assert sent.rtp_parameters.codecs[0].parameters == {
        "profile-level-id": "42c034",
        "packetization-mode": 1,
        "sprop-parameter-sets": "Z==",
    }
    assert subscribe(track, receiver(*codecs[:1])).payload_types == (100,)


@pytest.mark.parametrize(
    ("track", "codecs"),
    [
        (video(), []),
        (video(), [entry("video/VP9", 98)]),
        (video(), [entry("video/VP8", 72)]),
        (video(), [entry("video/VP8", 96, clockRate=8000)]),
        (video("video/VP9", {"profile-id": 2}), [entry("video/VP9", 98), entry("video/VP9", 99, {"profile-id": 1})]),
        (video("video/AV1"), [entry("video/AV1", 98, {"profile": 1})]),
        (video("video/H264", {"packetization-mode": 1}), [h264(98, "42e01f", 0)]),
        (video("video/H264", {"profile-level-id": "640034"}), [h264(98, "42e01f", 1), h264(99, "nonsense", 1)]),
        (opus(), [entry("audio/opus", 96, channels=1)]),
    ],
)
def test_a_subscriber_that_cannot_play_the_track(track, codecs):
    published = publish("audio" if track["codecs"][0]["mimeType"] == "audio/opus" else "video", track)
    assert not can_consume(published, receiver(*codecs))
    with pytest.raises(Invalid) as caught:
        subscribe(published, receiver(*codecs))
    assert caught.value.errors[0].pointer == "/codecs"


def test_a_subscriber_without_capabilities():
    assert not can_consume(publish("video", video()), RtpCapabilities())


def test_can_consume():
    assert can_consume(publish("video", video()), receiver(VP8))


def test_simulcast_is_one_stream_with_layers_to_choose_from():
    encodings = [{"ssrc": n, "scalabilityMode": "L1T3"} for n in (1, 2, 3)]
    sent = subscribe(publish("video", video(encodings=encodings)), receiver(VP8, VP8_RTX))
    assert sent.type == "simulcast"
    assert [plain(encoding) for encoding in sent.rtp_parameters.encodings] == [
        {"ssrc": 1111, "rtx": {"ssrc": 2222}, "scalabilityMode": "L3T3"}
    ]


def test_svc_keeps_its_mode():
    track = publish("video", video("video/VP9", encodings=[{"ssrc": 1, "scalabilityMode": "L3T3_KEY"}]))
    sent = subscribe(track, receiver(entry("video/VP9", 98)))
    assert (sent.type, sent.rtp_parameters.encodings[0].scalability_mode) == ("svc", "L3T3_KEY")


def test_rtx_under_the_payload_type_of_its_codec_is_no_rtx():
    assert subscribe(publish("video", video()), receiver(VP8, entry("video/rtx", 120, {"apt": 120}))).rtx_ssrc is None
    assert subscribe(publish("video", video()), receiver(VP8, entry("video/rtx", 80, {"apt": 120}))).rtx_ssrc is None
    assert subscribe(publish("video", video()), receiver(VP8, entry("video/rtx", 9, {"apt": "120"}))).rtx_ssrc == 2222
