import json

import msgspec
import pytest
from pymediasoup import rtp_parameters as theirs

from sluicegate.ortc import parameters as ours
from sluicegate.ortc.parameters import (
    DtlsParameters,
    IceCandidate,
    IceParameters,
    IceServer,
    RtcpFeedback,
    RtpCapabilities,
    RtpCodecParameters,
    RtpEncodingParameters,
    RtpHeaderExtension,
    RtpParameters,
)
from tests.ortc.clients import opus, parameters, plain, video


def decode(value, struct):
    return msgspec.json.decode(json.dumps(value), type=struct)


def test_null_is_taken_as_absent():
    codec = {"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000}
    nulls = {"channels": None, "parameters": None, "rtcpFeedback": None}
    read = decode(
        {
            "mid": None,
            "msid": None,
            "codecs": [codec | nulls],
            "headerExtensions": None,
            "encodings": [dict.fromkeys(("ssrc", "rid", "rtx", "dtx", "scalabilityMode", "maxBitrate", "active"))],
            "rtcp": None,
        },
        RtpParameters,
    )
    assert read == RtpParameters(
        codecs=(RtpCodecParameters("audio/opus", 111, 48000),), encodings=(RtpEncodingParameters(),)
    )
    assert read.header_extensions == ()
    assert read.rtcp.reduced_size
    assert read.encodings[0].active


def test_null_within_is_taken_as_absent():
    assert decode({"type": "nack", "parameter": None}, RtcpFeedback) == RtcpFeedback("nack")
    read = decode(
        {"uri": "u", "preferredId": 1, "kind": None, "preferredEncrypt": None, "direction": None}, RtpHeaderExtension
    )
    assert (read.kind, read.preferred_encrypt, read.direction) == (None, False, "sendrecv")
    assert decode({"codecs": None, "headerExtensions": None}, RtpCapabilities) == RtpCapabilities()


def test_a_required_key_is_not_satisfied_by_null():
    with pytest.raises(msgspec.ValidationError, match=r"\$\.codecs"):
        decode({"codecs": None}, RtpParameters)


def test_what_is_none_is_left_out_and_what_is_empty_is_written():
    assert plain(parameters(opus())) == {
        "codecs": [
            {
                "mimeType": "audio/opus",
                "payloadType": 111,
                "clockRate": 48000,
                "channels": 2,
                "parameters": {},
                "rtcpFeedback": [],
            }
        ],
        "headerExtensions": [],
        "encodings": [{"ssrc": 5}],
        "rtcp": {"reducedSize": True, "mux": True},
    }


def test_unknown_keys_are_passed_over():
    assert parameters(opus(networkPriority="high", later={"a": [1]})) == parameters(opus())


def test_defaults_are_not_shared():
    first, second = RtpCodecParameters("audio/opus", 96, 48000), RtpCodecParameters("audio/opus", 96, 48000)
    assert first.parameters is not second.parameters


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (video(encodings=[{"ssrc": 2**32}]), "$.encodings[0].ssrc"),
        (video(encodings=[{"ssrc": -1}]), "$.encodings[0].ssrc"),
        (video(encodings=[{"ssrc": 0}]), "$.encodings[0].ssrc"),
        (video(encodings=[{"ssrc": 1.5}]), "$.encodings[0].ssrc"),
        (video(encodings=[{"ssrc": 1, "rtx": {}}]), "$.encodings[0].rtx"),
        (video(encodings=[{"ssrc": 1, "maxBitrate": -1}]), "$.encodings[0].maxBitrate"),
        (video(encodings=[{"ssrc": 1, "maxBitrate": 1e300}]), "$.encodings[0].maxBitrate"),
        (video(encodings=[{"ssrc": 1}] * 33), "$.encodings"),
        (opus(codecs=[opus()["codecs"][0]] * 33), "$.codecs"),
        (opus(codecs=[opus()["codecs"][0] | {"payloadType": 128}]), "$.codecs[0].payloadType"),
        (opus(codecs=[opus()["codecs"][0] | {"mimeType": "opus"}]), "$.codecs[0].mimeType"),
        (opus(codecs=[opus()["codecs"][0] | {"mimeType": "audio/opus\n"}]), "$.codecs[0].mimeType"),
        (opus(codecs=[opus()["codecs"][0] | {"parameters": {"a": {"b": 1}}}]), "$.codecs[0].parameters[...]"),
        (
            opus(codecs=[opus()["codecs"][0] | {"parameters": {f"a{n}": 1 for n in range(33)}}]),
            "$.codecs[0].parameters",
        ),
        (opus(headerExtensions=[{"uri": "u", "id": 0}]), "$.headerExtensions[0].id"),
        (opus(headerExtensions=[{"uri": "u", "id": 256}]), "$.headerExtensions[0].id"),
        (opus(headerExtensions=[{"uri": "u" * 256, "id": 1}]), "$.headerExtensions[0].uri"),
        (opus(mid="m" * 256), "$.mid"),
        (opus(rtcp={"cname": "a\r\nb"}), "$.rtcp.cname"),
        (opus(rtcp=[]), "$.rtcp"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_path(value, path):
    with pytest.raises(msgspec.ValidationError) as caught:
        parameters(value)
    assert f"at `{path}`" in str(caught.value)


# A subscriber's client builds SDP of these: a line feed would begin a line of the publisher's choice, `;` a parameter.
@pytest.mark.parametrize("text", ["1\r\na=candidate:x", "1\n", "1;x-google-start-bitrate=9", "\x1b[2J", "é", "\x00"])
def test_format_parameters_cannot_end_their_line(text):
    for hostile in ({"useinbandfec": text}, {text: 1}):
        with pytest.raises(msgspec.ValidationError):
            parameters(opus(codecs=[opus()["codecs"][0] | {"parameters": hostile}]))


def test_what_browsers_put_into_format_parameters_is_taken():
    known = {
        "111/111": "",
        "0-15": None,
        "sprop-parameter-sets": "Z0IAH5WoFAFuQA==,aM48gA==",
        "": "96/96",
        "stereo": True,
        "ptime": 20.5,
    }
    read = parameters(opus(codecs=[opus()["codecs"][0] | {"parameters": known}]))
    assert read.codecs[0].parameters == known


@pytest.mark.parametrize(
    ("value", "struct"),
    [
        ({"fingerprints": []}, DtlsParameters),
        ({"fingerprints": None}, DtlsParameters),
        ({"role": "auto"}, DtlsParameters),
        ({"fingerprints": [{"algorithm": "sha-256"}]}, DtlsParameters),
        ({"fingerprints": [{"algorithm": "sha-256", "value": "AA"}] * 17}, DtlsParameters),
        ({"fingerprints": [{"algorithm": "sha-256", "value": "AA"}], "role": "boss"}, DtlsParameters),
        ({"usernameFragment": "abc", "password": "x" * 22}, IceParameters),
        ({"usernameFragment": "abcd", "password": "x" * 21}, IceParameters),
        ({"usernameFragment": "ab:d", "password": "x" * 22}, IceParameters),
    ],
)
def test_transport_dictionaries_have_bounds(value, struct):
    with pytest.raises(msgspec.ValidationError):
        decode(value, struct)


def test_transport_dictionaries_are_those_of_the_clients():
    dtls = decode({"role": "client", "fingerprints": [{"algorithm": "sha-256", "value": "AB:CD"}]}, DtlsParameters)
    assert plain(dtls) == {"role": "client", "fingerprints": [{"algorithm": "sha-256", "value": "AB:CD"}]}
    assert decode({"fingerprints": plain(dtls)["fingerprints"]}, DtlsParameters).role == "auto"
    assert plain(IceParameters("abcd", "x" * 22, ice_lite=True)) == {
        "usernameFragment": "abcd",
        "password": "x" * 22,
        "iceLite": True,
    }
    candidate = IceCandidate("f", 1, "192.0.2.1", "192.0.2.1", "udp", 50000, "host")
    assert plain(candidate) == {
        "foundation": "f",
        "priority": 1,
        "ip": "192.0.2.1",
        "address": "192.0.2.1",
        "protocol": "udp",
        "port": 50000,
        "type": "host",
    }
    assert plain(IceServer(("stun:192.0.2.1",))) == {"urls": ["stun:192.0.2.1"]}


def test_what_pymediasoup_writes_is_read():
    model = theirs.RtpParameters(
        mid="0",
        codecs=[theirs.RtpCodecParameters(mimeType="audio/opus", payloadType=96, clockRate=48000, channels=2)],
        encodings=[theirs.RtpEncodingParameters(ssrc=1), theirs.RtpEncodingParameters(rtx=theirs.RTX(ssrc=2))],
        headerExtensions=[theirs.RtpHeaderExtensionParameters(uri="u", id=1, encrypt=None, parameters=None)],
        rtcp=theirs.RtcpParameters(cname="c"),
    )
    read = parameters(model.model_dump())
    assert read.encodings[1].rtx == ours.RtxParameters(2)
    assert read.rtcp.mux


def test_json_schemas_can_be_made_of_all():
    structs = [value for value in vars(ours).values() if isinstance(value, type) and issubclass(value, ours.Dictionary)]
    _, components = msgspec.json.schema_components(structs)
    assert "preferredPayloadType" in components["RtpCodecCapability"]["properties"]
    json.dumps(components)
