"""The clients against a peer that passes for a server, which forwards each stream on another SSRC."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from tests.support import ice
from tests.support.api import ApiFailure
from tests.support.clients import CLIENTS, join
from tests.support.feedback import FeedbackOptions
from tests.support.mini_server import MiniServer
from tests.support.parameters import rtp_capabilities
from tests.support.payloads import read_mark
from tests.support.relay import Link, Relay
from tests.support.rtc_client import ScriptedClient, candidate_address
from tests.support.rtcp_packet import Nack, Pli, ReceiverReport, SenderReport, SourceDescription
from tests.support.sources import AudioSource, VideoSource


@pytest.fixture
async def mini() -> AsyncIterator[MiniServer]:
    async with MiniServer.running() as server:
        yield server


@pytest.mark.parametrize("profile", ["SRTP_AEAD_AES_128_GCM", "SRTP_AEAD_AES_256_GCM", "SRTP_AES128_CM_SHA1_80"])
async def test_media_goes_out_and_comes_back(mini: MiniServer, profile: str) -> None:
    async with ScriptedClient.joined(mini.url, "room", "alice", profiles=(profile,)) as client:
        published = await client.publish("VP8", ssrc=1000)
        subscription = await client.subscribe(published.track_id, rtp_capabilities(("VP8",)))
        source = VideoSource(ssrc=1000, payload_type=published.payload_type, packets_per_frame=3)
        for frame in source.frames(5):
            for packet in frame:
                client.send_rtp(packet)
        await client.until(lambda: len(client.rtp(subscription.ssrc)) == 15)
        received = client.media(subscription)
        assert [read_mark(packet.payload) for packet in received] == [(1000, ordinal) for ordinal in range(15)]
        transport_cc = [int.from_bytes(packet.extensions[3]) for packet in received]
        assert transport_cc == list(range(15))
        assert client.keys is not None
        assert client.keys.profile == profile
    assert mini.sessions[client.session_id].deleted


async def test_the_client_can_be_the_dtls_server(mini: MiniServer) -> None:
    async with ScriptedClient(mini.url, "room", "alice", dtls_role="server") as client:
        await client.create()
        await client.signal_connect()
        await client.open()
        await client.check()
        await client.handshake()
        assert client.keys is not None


async def test_playing_answers_feedback_and_reports(mini: MiniServer) -> None:
    async with ScriptedClient.joined(mini.url, "room", "alice") as client:
        published = await client.publish("VP8", ssrc=1000, rtx_ssrc=1001)
        video = VideoSource(ssrc=1000, payload_type=published.payload_type, packets_per_frame=1, sequence_number=10)
        audio = AudioSource(ssrc=2000, payload_type=109)

        async def complain() -> None:
            await client.until(lambda: video.frames_sent > 3)
            mini.sessions[client.session_id].send_rtcp(Pli(1, 1000), Nack(1, 1000, (10,)))

        asking = asyncio.create_task(complain())
        player = await client.play(video, audio, seconds=0.5, lose=lambda packet: packet.sequence_number == 10)
        await asking
        assert (player.lost, player.nacked, player.key_frames_asked) == (1, 1, 1)
        assert len(video.keys) == 2
        assert 14 <= video.frames_sent <= 16
        assert 24 <= audio.packets_sent <= 26
        rtcp = mini.sessions[client.session_id].rtcp
        reports = [packet for packet in rtcp if isinstance(packet, SenderReport)]
        assert {report.ssrc for report in reports} == {1000, 2000}
        assert SourceDescription({1000: "alice"}) in rtcp


async def test_feedback_is_sent_when_wanted(mini: MiniServer) -> None:
    options = FeedbackOptions(nack=True, reports=True, transport_cc=True)
    async with ScriptedClient.joined(mini.url, "room", "alice", feedback=options) as client:
        session = mini.sessions[client.session_id]
        session.lose = {2, 3}
        published = await client.publish("VP8", ssrc=1000)
        subscription = await client.subscribe(published.track_id)
        source = VideoSource(ssrc=1000, payload_type=published.payload_type, sequence_number=65534)
        await client.play(source, seconds=0.3)
        await client.until(lambda: {type(packet).__name__ for packet in session.rtcp} >= {"Nack", "TransportFeedback"})
        nack = next(packet for packet in session.rtcp if isinstance(packet, Nack))
        assert nack.lost == (0, 1)
        assert client.gaps(subscription) == 2
        await client.until(lambda: any(isinstance(packet, ReceiverReport) for packet in session.rtcp))


async def test_a_bent_check_goes_unanswered(mini: MiniServer) -> None:
    async with ScriptedClient(mini.url, "room", "alice") as client:
        await client.create()
        await client.open()
        with pytest.raises(TimeoutError):
            await client.check(password="wrong", timeout=0.3)
        await client.check()
        await client.rebind()
        answer = await client.check()
        assert answer.attributes["XOR-MAPPED-ADDRESS"] == client.address


async def test_a_problem_is_an_exception_with_pointers(mini: MiniServer) -> None:
    async with ScriptedClient.joined(mini.url, "room", "alice") as client:
        with pytest.raises(ApiFailure) as failure:
            await client.publish("VP8", encodings=[])
        assert failure.value.status == 422
        assert failure.value.pointers == ["/rtp_parameters/encodings"]


def test_a_check_without_integrity_has_none() -> None:
    message = ice.binding_request(ice.IceCredentials("a", "b"), integrity=False, fingerprint=False)
    assert "MESSAGE-INTEGRITY" not in message.attributes
    assert ice.parse(bytes(message)) is not None


@pytest.mark.parametrize("codec", ["VP8", "VP9", "H264", "AV1"])
@pytest.mark.parametrize("packets", [1, 3])
def test_every_packet_of_every_codec_carries_its_mark(codec: str, packets: int) -> None:
    source = VideoSource(codec=codec, ssrc=7, payload_type=99, packets_per_frame=packets, temporal_ids=(0, 2, 1, 2))
    sent = [packet for frame in source.frames(6) for packet in frame]
    assert [read_mark(packet.payload) for packet in sent] == [(7, ordinal) for ordinal in range(6 * packets)]
    assert sum(packet.marker for packet in sent) == 6
    assert source.keys == [0]


@pytest.mark.parametrize("library", list(CLIENTS))
async def test_real_clients_send_and_measure(mini: MiniServer, library: str) -> None:
    async with join(library, mini.url, "room", "alice") as alice, join(library, mini.url, "room", "bob") as bob:
        audio = await alice.publish_audio(600)
        video = await alice.publish_video()
        meters = await bob.subscribe_all()
        assert set(meters) == {audio, video}
        await meters[audio].until(frames=50)
        await meters[video].until(frames=10)
        assert meters[audio].frequency() == pytest.approx(600, abs=6)
        assert (np.diff(meters[video].counters) >= 1).all()
        assert await alice.subscribe_all() == {}
    assert all(session.deleted for session in mini.sessions.values())


async def test_a_client_behind_a_relay_loses_what_the_relay_drops(mini: MiniServer) -> None:
    async with ScriptedClient(mini.url, "room", "alice") as client:
        session = await client.create()
        with Relay(candidate_address(session["ice_candidates"][0])) as relay:
            port = relay.open(up=Link(loss=0.2, only=("rtp",)), down=Link(delay=0.02))
            client.media_address = port.address
            await client.connect()
            published = await client.publish("VP8", ssrc=1000)
            subscription = await client.subscribe(published.track_id)
            source = VideoSource(ssrc=1000, payload_type=published.payload_type)
            await client.play(source, seconds=0.5, reports=False)
            passed = source.packets_sent - port.counts().up.lost
            await client.until(lambda: len(client.media(subscription)) == passed)
            assert 0 < client.gaps(subscription) <= port.counts().up.lost
