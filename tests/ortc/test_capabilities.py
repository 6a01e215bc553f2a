from collections import defaultdict

from pymediasoup import ortc as client
from pymediasoup import rtp_parameters as theirs

from sluicegate.ortc.capabilities import ROUTER_CAPABILITIES
from sluicegate.ortc.match import H264Profile, codec_of, read_format
from sluicegate.rtp.names import EXTENSION_URIS, Codec, Extension
from tests.ortc.clients import router_capabilities

CODECS = ROUTER_CAPABILITIES.codecs
EXTENSIONS = ROUTER_CAPABILITIES.header_extensions


def test_payload_types_are_dynamic_and_unique():
    payload_types = [codec.preferred_payload_type for codec in CODECS]
    assert len(set(payload_types)) == len(payload_types)
    # 127 is what clients give to the probation stream of a receiving transport.
    assert all(96 <= payload_type <= 126 for payload_type in payload_types)


def test_every_codec_of_the_product_is_there():
    formats = {
        read_format(codec, entry.parameters) for entry in CODECS if (codec := codec_of(entry.mime_type)) is not None
    }
    assert {found.codec for found in formats} == set(Codec)
    assert {found.profile for found in formats if found.codec is Codec.VP9} == {0, 2}
    assert {(found.profile, found.packetization_mode) for found in formats if found.codec is Codec.H264} == {
        (profile, mode)
        for profile in (H264Profile.CONSTRAINED_BASELINE, H264Profile.MAIN, H264Profile.HIGH)
        for mode in (0, 1)
    }
    assert any(entry.mime_type == "audio/red" for entry in CODECS)


def test_every_video_codec_has_rtx_of_its_own():
    repaired = [entry.parameters["apt"] for entry in CODECS if entry.mime_type == "video/rtx"]
    video = [entry.preferred_payload_type for entry in CODECS if entry.kind == "video" and codec_of(entry.mime_type)]
    assert repaired == video


def test_a_client_that_takes_the_first_audio_codec_takes_opus():
    assert next(entry for entry in CODECS if entry.kind == "audio").mime_type == "audio/opus"


def test_an_extension_has_one_id_in_all_kinds():
    ids = defaultdict(set)
    for entry in EXTENSIONS:
        ids[entry.uri].add(entry.preferred_id)
    assert set(ids) == set(EXTENSION_URIS.values())
    assert all(len(found) == 1 for found in ids.values())
    assert sorted(found.pop() for found in ids.values()) == list(range(1, 10))


def test_what_we_never_send_is_offered_for_receiving_only():
    receive_only = {(entry.kind, entry.uri) for entry in EXTENSIONS if entry.direction == "recvonly"}
    assert receive_only == {
        ("video", EXTENSION_URIS[Extension.RID]),
        ("video", EXTENSION_URIS[Extension.REPAIRED_RID]),
        ("audio", EXTENSION_URIS[Extension.ABS_SEND_TIME]),
        ("audio", EXTENSION_URIS[Extension.TRANSPORT_CC]),
    }


def test_pymediasoup_finds_them_valid():
    client.validateAndNormalizeRtpCapabilities(theirs.RtpCapabilities.model_validate(router_capabilities()))


def test_they_are_written_as_clients_read_them():
    opus, red, vp8, rtx = router_capabilities()["codecs"][:4]
    assert opus == {
        "kind": "audio",
        "mimeType": "audio/opus",
        "preferredPayloadType": 96,
        "clockRate": 48000,
        "channels": 2,
        "parameters": {"minptime": 10, "useinbandfec": 1},
        "rtcpFeedback": [{"type": "nack", "parameter": ""}, {"type": "transport-cc", "parameter": ""}],
    }
    assert red["parameters"] == {"": "96/96"}
    assert "channels" not in vp8
    assert vp8["rtcpFeedback"] == [
        {"type": "nack", "parameter": ""},
        {"type": "nack", "parameter": "pli"},
        {"type": "ccm", "parameter": "fir"},
        {"type": "goog-remb", "parameter": ""},
        {"type": "transport-cc", "parameter": ""},
    ]
    assert rtx["parameters"] == {"apt": vp8["preferredPayloadType"]}
    assert rtx["rtcpFeedback"] == []
