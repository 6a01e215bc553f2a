"""The negotiation with real clients at both ends: captured dictionaries of browsers, and pymediasoup itself."""

import json

import pytest
import sdp_transform
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from pymediasoup import AiortcHandler, Device
from pymediasoup import ortc as client
from pymediasoup import rtp_parameters as theirs
from pymediasoup.handlers.sdp.common_utils import extractRtpCapabilities
from pymediasoup.models.transport import DtlsParameters, IceParameters
from pymediasoup.sctp_parameters import SctpCapabilities

from sluicegate.ortc.negotiate import can_consume, negotiate_publish
from sluicegate.rtp.names import Codec, Extension, MediaKind
from tests.ortc.clients import (
    CAPTURES,
    capabilities,
    capture,
    device,
    parameters,
    plain,
    published,
    router_capabilities,
    subscribe,
)

TRACKS = [(name, what) for name in CAPTURES for what in capture(name)["published"]]


@pytest.mark.parametrize(("name", "what"), TRACKS)
@pytest.mark.parametrize("other", CAPTURES)
def test_what_a_browser_publishes_another_gets_if_it_knows_the_codec(name, what, other):
    track = published(name, what)
    known = {codec.mime_type for codec in device(other).codecs}
    if track.media.mime_type not in known or (other == "firefox_153" and what == "VP9 profile 2"):
        assert not can_consume(track, device(other))
        return
    sent = subscribe(track, device(other))
    model = theirs.RtpParameters.model_validate(plain(sent.rtp_parameters))
    client.validateAndNormalizeRtpParameters(model)
    assert sent.nack == (track.kind is MediaKind.VIDEO or other == "chromium_156")
    assert sent.transport_cc == (track.kind is MediaKind.VIDEO)
    assert (sent.rtx_payload_type is not None) == (track.kind is MediaKind.VIDEO)
    offered = {codec.preferred_payload_type for codec in device(other).codecs}
    assert {codec.payload_type for codec in sent.rtp_parameters.codecs} <= offered


@pytest.mark.parametrize(
    ("what", "codec", "type_", "layers"),
    [
        ("opus", Codec.OPUS, "simple", (1, 1)),
        ("VP8", Codec.VP8, "simple", (1, 1)),
        ("VP8 simulcast", Codec.VP8, "simulcast", (3, 3)),
        ("VP9 SVC", Codec.VP9, "svc", (3, 3)),
        ("VP9 simulcast", Codec.VP9, "simulcast", (3, 3)),
        ("H264 mode 0", Codec.H264, "simple", (1, 1)),
        ("AV1 SVC", Codec.AV1, "svc", (3, 3)),
    ],
)
def test_what_chromium_publishes(what, codec, type_, layers):
    track = published("chromium_156", what)
    assert (track.codec, track.type, (track.spatial_layers, track.temporal_layers)) == (codec, type_, layers)
    assert track.transport_cc
    assert not track.remb
    assert track.extensions[Extension.MID] == 4
    if type_ == "simulcast":
        assert [encoding.rid for encoding in track.encodings] == ["r0", "r1", "r2"]
        assert {Extension.RID, Extension.REPAIRED_RID} <= track.extensions.keys()


def test_stereo_of_a_publisher_reaches_the_answer_of_a_subscriber():
    sent = subscribe(published("chromium_156", "opus stereo"), device("chromium_156"))
    assert sent.rtp_parameters.codecs[0].parameters["sprop-stereo"] == 1


class Browser:
    """What pymediasoup's Device asks of a handler, answered from a browser's captured offer."""

    name = "captured"

    def __init__(self, offer):
        self._offer = offer

    async def getNativeRtpCapabilities(self):
        return extractRtpCapabilities(sdp_transform.parse("\r\n".join(self._offer) + "\r\n"))

    async def getNativeSctpCapabilities(self):
        return SctpCapabilities.model_validate({"numStreams": {"OS": 1024, "MIS": 1024}})

    async def close(self):
        pass


def router():
    return theirs.RtpCapabilities.model_validate(router_capabilities())


async def load(name):
    loaded = Device(lambda: Browser(capture(name)["offer"]))
    await loaded.load(router())
    return loaded, client.getExtendedRtpCapabilities(
        await Browser(capture(name)["offer"]).getNativeRtpCapabilities(), router()
    )


@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize("other", CAPTURES)
async def test_every_codec_that_two_devices_share_goes_from_one_to_the_other(name, other):
    sender, extended = await load(name)
    receiver, extended_receiver = await load(other)
    assert sender.canProduce("audio")
    assert sender.canProduce("video")
    played = set()
    for codec in extended.codecs:
        if codec.mimeType == "audio/red":
            continue
        offered = client.getSendingRtpParameters(codec.kind, extended).model_copy(deep=True)
        wanted = theirs.RtpCodecCapability(
            kind=codec.kind,
            mimeType=codec.mimeType,
            clockRate=codec.clockRate,
            channels=codec.channels,
            parameters=codec.localParameters,
        )
        offered.codecs = client.reduceCodecs(offered.codecs, wanted)
        offered.encodings = [theirs.RtpEncodingParameters(ssrc=1000)]
        track = negotiate_publish(MediaKind[codec.kind.upper()], parameters(json.loads(offered.model_dump_json())))
        takes = capabilities(json.loads(receiver.rtpCapabilities.model_dump_json()))
        if not can_consume(track, takes):
            continue
        model = theirs.RtpParameters.model_validate(plain(subscribe(track, takes).rtp_parameters))
        assert client.canReceive(model, extended_receiver)
        client.generateProbatorRtpParameters(model)
        played.add(track.format.codec)
    assert played >= {Codec.OPUS, Codec.VP8, Codec.VP9, Codec.AV1}
    assert (Codec.H264 in played) == (name == other == "chromium_156")


REMOTE = {
    "iceParameters": IceParameters(usernameFragment="abcdefgh", password="p" * 24, iceLite=True),
    "iceCandidates": [],
    "dtlsParameters": DtlsParameters(fingerprints=[{"algorithm": "sha-256", "value": ":".join(["AA"] * 32)}]),
    "sctpParameters": None,
}


@pytest.mark.parametrize("kind", ["audio", "video"])
async def test_pymediasoup_produces_and_consumes_over_its_own_handler(kind):
    source = AudioStreamTrack() if kind == "audio" else VideoStreamTrack()
    sender, receiver = Device(AiortcHandler.createFactory(tracks=[source])), Device(AiortcHandler.createFactory())
    await sender.load(router())
    await receiver.load(router())
    outgoing, incoming = sender.createSendTransport(id="1", **REMOTE), receiver.createRecvTransport(id="2", **REMOTE)
    tracks = []
    for transport in (outgoing, incoming):
        transport.on("connect", _accept)

    @outgoing.on("produce")
    async def on_produce(kind, rtp_parameters, _app_data):
        sent = json.loads(rtp_parameters.model_dump_json())
        tracks.append(negotiate_publish(MediaKind[kind.upper()], parameters(sent)))
        return "track"

    try:
        await outgoing.produce(track=source, stopTracks=False)
        takes = capabilities(json.loads(receiver.rtpCapabilities.model_dump_json()))
        model = theirs.RtpParameters.model_validate(plain(subscribe(tracks[0], takes).rtp_parameters))
        consumer = await incoming.consume(id="c", producerId="track", kind=kind, rtpParameters=model)
        assert consumer.track.kind == kind
        assert tracks[0].codec is (Codec.OPUS if kind == "audio" else Codec.VP8)
        # aiortc knows no transport-cc; its video goes by REMB.
        assert (tracks[0].transport_cc, tracks[0].remb) == (False, kind == "video")
    finally:
        await outgoing.close()
        await incoming.close()
        source.stop()


async def _accept(*_args, **_kwargs):
    return None
