"""Numbers that wrap: sequence numbers and their rollover counter, timestamps, picture ids, TL0PICIDX."""

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
    sequence_steps,
    steps,
    timestamp_steps,
    unreadable,
)
from tests.support.rtc_client import ScriptedClient
from tests.support.rtcp_packet import Nack
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

# A publisher's own gap: below what counts as a restart (RFC 3550 A.1), so the numbers go round in a few dozen steps.
LEAP = 2500
THREE_ROUNDS = 3 * 65536
FIRST = 65530


async def leap_around(client: ScriptedClient, source: AudioSource | VideoSource, distance: int) -> list[RtpPacket]:
    """Frames with a gap of `LEAP` before each, until the numbers have gone `distance` further."""
    sent: list[RtpPacket] = []
    gone = 0
    while gone < distance:
        sent += await send(client, source, 1, pause=0.001)
        source.sequence_number = (source.sequence_number + LEAP) & 0xFFFF
        gone += LEAP
    return sent


async def test_sound_goes_three_times_round(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("opus", ssrc=1)
        subscription = await bob.subscribe(published.track_id)
        source = AudioSource(ssrc=1, payload_type=109, sequence_number=FIRST, timestamp=(1 << 32) - 3 * 960)
        lost = [packet for _ in range(3) for packet in source.next_frame()]  # the very first never arrive
        sent = await send(alice, source, 10)
        sent += await leap_around(alice, source, THREE_ROUNDS)
        received = await arrived(bob, subscription, len(sent))
        assert ordinals(received) == list(range(len(lost), len(lost) + len(sent)))
        assert sequence_steps(received) == sequence_steps(sent)
        assert timestamp_steps(received) == timestamp_steps(sent)
        assert sum(sequence_steps(received)) > THREE_ROUNDS - LEAP
        assert not unreadable(bob)


async def test_picture_goes_three_times_round_and_a_late_joiner_sees_it(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}, carol={}) as (alice, bob, carol):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        subscription = await bob.subscribe(published.track_id)
        source = VideoSource(ssrc=1, payload_type=120, sequence_number=FIRST, timestamp=(1 << 32) - 1)
        sent = await leap_around(alice, source, THREE_ROUNDS)
        received = await arrived(bob, subscription, len(sent))
        assert ordinals(received) == list(range(len(sent)))
        assert sequence_steps(received) == sequence_steps(sent)
        await handled(alice)
        late = await carol.subscribe(published.track_id)
        first = source.packets_sent
        await send(alice, source, 3)  # nothing that a late joiner could begin with
        source.request_key_frame()
        await send(alice, source, 3)
        seen = await arrived(carol, late, 9)
        assert ordinals(seen) == list(range(first + 9, first + 18))
        assert pictures(seen)[0].key
        assert_contiguous(seen)
        assert not unreadable(bob) + unreadable(carol)


async def test_what_is_lost_around_the_wrap_is_asked_for(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        subscription = await bob.subscribe(published.track_id)
        source = VideoSource(ssrc=1, payload_type=120, sequence_number=FIRST)
        await alice.play(source, seconds=0.5, lose=lambda packet: (packet.sequence_number + 4) & 0xFFFF < 8)
        received = await arrived(bob, subscription, source.packets_sent)
        assert ordinals(received) == list(range(source.packets_sent))
        assert_contiguous(received)
        asked = {number for nack in alice.rtcp(Nack) for number in nack.lost}
        assert asked == {65532, 65533, 65534, 65535, 0, 1, 2, 3}


async def test_a_subscriber_gets_again_what_it_lost_around_the_wrap(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        subscription = await bob.subscribe(published.track_id)
        source = VideoSource(ssrc=1, payload_type=120, packets_per_frame=1)
        await send(alice, source, 1)
        (first,) = await arrived(bob, subscription, 1)
        for _ in range((65530 - first.sequence_number) // LEAP):
            source.sequence_number = (source.sequence_number + LEAP - 1) & 0xFFFF
            await send(alice, source, 1)
        # What remains to the wrap is walked.
        place = (await arrived(bob, subscription, source.packets_sent))[-1].sequence_number
        source.sequence_number = (source.sequence_number + 65500 - place) & 0xFFFF
        await send(alice, source, 80)
        count = source.packets_sent
        received = await arrived(bob, subscription, count)
        wanted = tuple((65530 + index) & 0xFFFF for index in range(12))
        bob.send_rtcp(Nack(bob.ssrc, subscription.ssrc, wanted))
        assert subscription.rtx_ssrc is not None
        await bob.until(lambda: len(bob.rtp(subscription.rtx_ssrc)) >= len(wanted), PATIENCE)
        again = [subscription.unwrap(packet) for packet in bob.rtp(subscription.rtx_ssrc)]
        originals = {packet.sequence_number: packet.payload for packet in received}
        assert [packet.sequence_number for packet in again if packet] == list(wanted)
        assert all(packet.payload == originals[packet.sequence_number] for packet in again if packet)


@pytest.mark.parametrize("picture_id", [0, 32760])
async def test_picture_ids_wrap_and_go_on(server: ServerProcess, channel: str, picture_id: int) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        subscription = await bob.subscribe(published.track_id)
        source = VideoSource(
            ssrc=1,
            payload_type=120,
            temporal_ids=(0, 2, 1, 2),
            picture_id=picture_id,
            tl0_picture_index=250,
            packets_per_frame=1,
        )
        await send(alice, source, 60)
        received = await arrived(bob, subscription, 60)
        seen = pictures(received)
        assert set(steps([picture.picture_id for picture in seen if picture.picture_id is not None], 15)) == {1}
        base = [picture.tl0_picture_index for picture in seen if picture.temporal_id == 0]
        assert set(steps([index for index in base if index is not None], 8)) == {1}
        assert len(seen) == 60


async def test_both_directions_wrap_at_once(server: ServerProcess, channel: str) -> None:
    """Each SSRC has a rollover counter of its own, on one transport that sends and receives."""
    async with people(server.url, channel, alice={}, bob={}) as both:
        tracks = [await person.publish("opus", ssrc=7) for person in both]
        heard = [await both[1].subscribe(tracks[0].track_id), await both[0].subscribe(tracks[1].track_id)]
        sources = [AudioSource(ssrc=7, payload_type=109, sequence_number=65500 - 30 * turn) for turn in range(2)]
        await asyncio.gather(*(send(person, source, 100) for person, source in zip(both, sources, strict=True)))
        for listener, subscription in zip(reversed(both), heard, strict=True):
            received = await arrived(listener, subscription, 100)
            assert ordinals(received) == list(range(100))
            assert_contiguous(received)
