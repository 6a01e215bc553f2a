"""Who comes late, and who pauses: a key frame begins the picture, and the numbers show no gap."""

import asyncio

import pytest

from tests.behaviour.descriptors import pictures
from tests.behaviour.scene import (
    PATIENCE,
    arrived,
    assert_contiguous,
    handled,
    ordinals,
    people,
    send,
    steps,
    timestamp_steps,
)
from tests.support.rtc_client import ScriptedClient, Subscribed
from tests.support.rtcp_packet import Fir, Pli
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource


async def pause(client: ScriptedClient, subscription: Subscribed, paused: bool) -> None:
    """Pause or resume a subscription."""
    path = f"/sessions/{client.session_id}/subscriptions/{subscription.subscription_id}"
    await client.api.call("PATCH", path, {"paused": paused})


async def pause_track(client: ScriptedClient, track_id: str, paused: bool) -> None:
    """Pause or resume a track."""
    await client.api.call("PATCH", f"/sessions/{client.session_id}/tracks/{track_id}", {"paused": paused})


@pytest.mark.parametrize(("codec", "payload_type"), [("VP8", 120), ("VP9", 121), ("H264", 126), ("AV1", 99)])
async def test_a_late_joiner_begins_with_a_key_frame(
    server: ServerProcess, channel: str, codec: str, payload_type: int
) -> None:
    async with people(server.url, channel, alice={}, bob={}, carol={}) as (alice, bob, carol):
        published = await alice.publish(codec, ssrc=1, rtx_ssrc=2)
        early = await bob.subscribe(published.track_id)
        source = VideoSource(ssrc=1, payload_type=payload_type, codec=codec)
        playing = asyncio.create_task(alice.play(source, seconds=1.5))
        await bob.until(lambda: len(bob.media(early)) > 30, PATIENCE)
        asked_before, keys_before = len(alice.rtcp(Pli)), len(source.keys)
        late = await carol.subscribe(published.track_id)
        await carol.until(lambda: len(carol.media(late)) > 9, PATIENCE)
        await playing
        received = await arrived(carol, late, source.packets_sent - 3 * source.keys[keys_before])
        assert len(alice.rtcp(Pli)) > asked_before
        assert ordinals(received) == list(range(3 * source.keys[keys_before], source.packets_sent))
        assert_contiguous(received)
        assert ordinals(await arrived(bob, early, source.packets_sent)) == list(range(source.packets_sent))


async def test_late_joiners_are_gathered_into_few_requests(server: ServerProcess, channel: str) -> None:
    names = [f"late{index}" for index in range(8)]
    async with people(server.url, channel, alice={}, **{name: {} for name in names}) as (alice, *late):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        source = VideoSource(ssrc=1, payload_type=120)
        playing = asyncio.create_task(alice.play(source, seconds=2.0))
        await asyncio.sleep(0.2)
        subscriptions = await asyncio.gather(*(one.subscribe(published.track_id) for one in late))
        for one, subscription in zip(late, subscriptions, strict=True):
            await one.until(lambda one=one, subscription=subscription: one.media(subscription), PATIENCE)
            assert pictures(one.media(subscription))[0].key
        await playing
        assert 1 <= len(alice.rtcp(Pli)) <= 4


async def test_a_publisher_that_knows_fir_only_is_asked_by_fir(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        feedback = [{"type": "nack"}, {"type": "ccm", "parameter": "fir"}]
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2, feedback=feedback)
        source = VideoSource(ssrc=1, payload_type=120)
        await send(alice, source, 2)
        subscription = await bob.subscribe(published.track_id)
        await alice.play(source, seconds=3.0)  # a request that came before is repeated after one second
        assert pictures(await arrived(bob, subscription, 3))[0].key
        requests = [request for fir in alice.rtcp(Fir) for request in fir.requests]
        assert {ssrc for ssrc, _ in requests} == {1}
        assert not alice.rtcp(Pli)
        numbers = [number for _, number in requests]
        assert set(steps(numbers, 8)) <= {1}


async def test_sound_is_there_at_once_for_a_late_joiner(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("opus", ssrc=1)
        source = AudioSource(ssrc=1, payload_type=109)
        await send(alice, source, 20)
        await handled(alice)
        subscription = await bob.subscribe(published.track_id)
        next_one = source.packets_sent
        await send(alice, source, 5)
        assert ordinals(await arrived(bob, subscription, 5)) == list(range(next_one, next_one + 5))


async def test_a_subscription_pauses_and_resumes_across_a_wrap(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}, carol={}) as (alice, bob, carol):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        paused, whole = [await one.subscribe(published.track_id) for one in (bob, carol)]
        source = VideoSource(ssrc=1, payload_type=120, sequence_number=65400, timestamp=(1 << 32) - 60000)
        await send(alice, source, 20)
        before = await arrived(bob, paused, 60)
        await pause(bob, paused, True)
        await send(alice, source, 60)  # over the wrap
        await handled(alice)
        await pause(bob, paused, False)
        await send(alice, source, 4)  # a picture resumes with a key frame only
        source.request_key_frame()
        await send(alice, source, 10)
        received = await arrived(bob, paused, 90)
        assert ordinals(received) == [*range(60), *range(84 * 3, 94 * 3)]
        assert pictures(received[len(before) :])[0].key
        assert_contiguous(received)
        seen = pictures(received)
        assert set(steps([picture.picture_id or 0 for picture in seen], 15)) == {1}
        assert timestamp_steps(received)[59] == 3000 * (84 - 19)  # time goes on while nothing is sent
        assert ordinals(await arrived(carol, whole, source.packets_sent)) == list(range(source.packets_sent))


async def test_a_track_pauses_and_resumes_across_a_wrap(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        picture = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        sound = await alice.publish("opus", ssrc=3)
        seen, heard = [await bob.subscribe(track.track_id) for track in (picture, sound)]
        video = VideoSource(ssrc=1, payload_type=120, sequence_number=65400)
        audio = AudioSource(ssrc=3, payload_type=109, sequence_number=65500)
        await send(alice, video, 20)
        await send(alice, audio, 20)
        await arrived(bob, seen, 60)
        await arrived(bob, heard, 20)
        for track in (picture, sound):
            await pause_track(alice, track.track_id, True)
        await send(alice, video, 60)  # a publisher that goes on all the same
        await send(alice, audio, 60)
        await handled(alice)
        for track in (picture, sound):
            await pause_track(alice, track.track_id, False)
        await alice.until(lambda: alice.rtcp(Pli), PATIENCE)  # the picture is asked for before anything has come of it
        video.request_key_frame()
        await send(alice, video, 10)
        await send(alice, audio, 10)
        frames = await arrived(bob, seen, 90)
        assert ordinals(frames) == [*range(60), *range(240, 270)]
        words = await arrived(bob, heard, 30)
        assert ordinals(words) == [*range(20), *range(80, 90)]
        for received in (frames, words):
            assert_contiguous(received)


async def test_a_track_that_is_silent_while_paused_goes_on(server: ServerProcess, channel: str) -> None:
    """A browser that pauses sends nothing; when it resumes its numbers go on, its clock has gone on."""
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        sound = await alice.publish("opus", ssrc=3, body={"paused": True})
        heard = await bob.subscribe(sound.track_id, paused=True)
        source = AudioSource(ssrc=3, payload_type=109)
        await send(alice, source, 5)
        await handled(alice)
        await pause(bob, heard, False)
        await pause_track(alice, sound.track_id, False)
        await send(alice, source, 5)
        assert ordinals(await arrived(bob, heard, 5)) == list(range(5, 10))
        await pause_track(alice, sound.track_id, True)
        source.timestamp = (source.timestamp + 60 * 48000) & 0xFFFFFFFF
        await pause_track(alice, sound.track_id, False)
        await send(alice, source, 5)
        received = await arrived(bob, heard, 10)
        assert ordinals(received) == list(range(5, 15))
        assert_contiguous(received)
        assert timestamp_steps(received)[4] == 60 * 48000 + 960
