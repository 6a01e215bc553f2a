"""A publisher's SSRC changes in mid-stream (hold, another device, replaceTrack): its subscribers see one stream."""

import asyncio

from tests.behaviour.descriptors import pictures
from tests.behaviour.scene import PATIENCE, arrived, assert_contiguous, ordinals, origins, people, send, timestamp_steps
from tests.support.parameters import EXTENSION_IDS
from tests.support.rtcp_packet import Pli
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

MID = EXTENSION_IDS["mid"]


async def test_a_picture_goes_on_under_a_new_ssrc(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2, mid="camera")
        subscription = await bob.subscribe(published.track_id)
        extensions = {MID: b"camera"}
        before = VideoSource(ssrc=1, payload_type=120, extensions=extensions, picture_id=100)
        after = VideoSource(ssrc=99, payload_type=120, extensions=extensions, picture_id=5, sequence_number=40000)
        await send(alice, before, 5)
        await arrived(bob, subscription, 15)
        await send(alice, after, 5)
        received = await arrived(bob, subscription, 30)
        assert origins(received) == [1] * 15 + [99] * 15
        assert ordinals(received) == [*range(15), *range(15)]
        assert {packet.ssrc for packet in received} == {subscription.ssrc}
        assert_contiguous(received)
        assert min(timestamp_steps(received)) >= 0
        assert timestamp_steps(received)[14] < 90000 * 10  # as long as the change took, not a leap of the new clock
        assert [picture.picture_id for picture in pictures(received)] == list(range(100, 110))
        # From now on the new one is asked for key frames.
        alice.rtcp_log.clear()
        bob.send_rtcp(Pli(bob.ssrc, subscription.ssrc))
        await alice.until(lambda: alice.rtcp(Pli), PATIENCE)
        assert {pli.media_ssrc for pli in alice.rtcp(Pli)} == {99}


async def test_a_new_ssrc_without_a_key_frame_is_asked_for_one(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2, mid="camera")
        subscription = await bob.subscribe(published.track_id)
        extensions = {MID: b"camera"}
        before = VideoSource(ssrc=1, payload_type=120, extensions=extensions)
        after = VideoSource(ssrc=99, payload_type=120, extensions=extensions)
        after.next_frame()  # its key frame went to somebody else
        await send(alice, before, 5)
        await arrived(bob, subscription, 15)
        await alice.play(after, seconds=1.5)
        received = await arrived(bob, subscription, 30)
        second = [packet for packet in received if origins([packet]) == [99]]
        assert len(after.keys) > 1
        assert ordinals(second)[0] == 3 * after.keys[1]
        assert_contiguous(received)


async def test_sound_goes_on_under_a_new_ssrc_and_yet_another(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("opus", ssrc=1, mid="voice")
        subscription = await bob.subscribe(published.track_id)
        sources = [AudioSource(ssrc=ssrc, payload_type=109, extensions={MID: b"voice"}) for ssrc in (1, 2, 3)]
        for source in sources:
            await send(alice, source, 10)
            await asyncio.sleep(0.02)
        received = await arrived(bob, subscription, 30)
        assert origins(received) == [1] * 10 + [2] * 10 + [3] * 10
        assert_contiguous(received)
        assert min(timestamp_steps(received)) > 0


async def test_the_mid_of_another_track_gives_nobody_its_place(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        sound = await alice.publish("opus", ssrc=1, mid="voice")
        subscription = await bob.subscribe(sound.track_id)
        await alice.publish("VP8", ssrc=2, mid="camera")
        stray = AudioSource(ssrc=50, payload_type=109, extensions={MID: b"camera"})  # an Opus packet for a camera
        unknown = AudioSource(ssrc=51, payload_type=109, extensions={MID: b"nobody"})
        nameless = AudioSource(ssrc=52, payload_type=109)
        for source in (stray, unknown, nameless):
            await send(alice, source, 5)
        rightful = AudioSource(ssrc=1, payload_type=109)
        await send(alice, rightful, 5)
        received = await arrived(bob, subscription, 5)
        assert origins(received) == [1] * 5
