"""Rows 15, 16 and 17: another SSRC, wrapping numbers with loss, late joiners and a long pause."""

import asyncio
import time
from contextlib import suppress

import pytest

from tests.behaviour.descriptors import pictures
from tests.behaviour.scene import (
    PATIENCE,
    REPAIR,
    arrived,
    ordinals,
    people,
    send,
    sequence_steps,
    steps,
    timestamp_steps,
    unreadable,
)
from tests.behaviour.test_joining import pause
from tests.behaviour.test_numbers import FIRST, THREE_ROUNDS, leap_around
from tests.faults.figures import Figures, steady
from tests.support.parameters import EXTENSION_IDS
from tests.support.relay import Link, Relay
from tests.support.rtcp_packet import Pli, parse_rtcp
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

MID = {EXTENSION_IDS["mid"]: b"camera"}


@steady
async def test_another_ssrc_shows_soon(server: ServerProcess, channel: str, figures: Figures) -> None:
    """A device is switched and its encoder begins without a key frame; the quickest of three changes."""
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2, mid="camera")
        seen = await bob.subscribe(published.track_id)
        waits: list[float] = []
        sent = 0
        for ssrc in (1, 11, 12, 13):
            source = VideoSource(ssrc=ssrc, payload_type=120, extensions=MID)
            if ssrc != 1:
                source.next_frame()
            began = time.monotonic()
            await alice.play(source, seconds=0.8)
            sent += source.packets_sent
            times = [
                one.at
                for one in bob.rtp_log
                if ordinals_of(one.data, ssrc) and RtpPacket.parse(one.data).ssrc == seen.ssrc
            ]
            waits.append(min(times) - began)
        figures.check("B15", "first frame after a change of SSRC, seconds", min(waits[1:]), at_most=0.5)
        received = bob.media(seen)
        assert set(sequence_steps(received)) == {1}
        assert {packet.ssrc for packet in received} == {seen.ssrc}


def ordinals_of(data: bytes, ssrc: int) -> bool:
    """Whether a packet was published under this SSRC."""
    return data[-8:-4] == ssrc.to_bytes(4, "big")


async def test_a_hundred_changes_of_ssrc_leave_nothing_behind(
    server: ServerProcess, channel: str, figures: Figures
) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("opus", ssrc=1, mid="camera", extensions={"mid": EXTENSION_IDS["mid"]})
        heard = await bob.subscribe(published.track_id)
        for ssrc in range(1, 101):
            await send(alice, AudioSource(ssrc=ssrc, payload_type=109, extensions=MID), 3, pause=0.001)
        received = await arrived(bob, heard, 300)
        figures.check("B15", "packets lost over a hundred changes", 300 - len(received), at_most=0)
        assert ordinals(received) == [0, 1, 2] * 100
        assert set(sequence_steps(received)) == {1}


async def test_wraps_on_a_lossy_path(server: ServerProcess, network: Relay, channel: str, figures: Figures) -> None:
    """Both legs lose, repeat and reorder while numbers wrap: nothing is lost, doubled or misplaced in the end.

    Three tracks wrap one after the other, on one SRTP context; of each the very first packets are lost.
    """
    bad, clean = Link(loss=0.05, reorder=0.03, duplicate=0.05, delay=0.005, only=("rtp",)), Link(delay=0.005)
    ports = [network.open(up=clean, down=clean) for _ in range(2)]
    async with people(
        server.url,
        channel,
        alice={"media_address": ports[0].address},
        bob={"media_address": ports[1].address, "feedback": REPAIR},
    ) as (alice, bob):
        sources, subscriptions = [], []
        for index in range(3):
            ssrc = 10 * index + 1
            published = await alice.publish("VP8", ssrc=ssrc, rtx_ssrc=ssrc + 1)
            subscriptions.append(await bob.subscribe(published.track_id))
            source = VideoSource(
                ssrc=ssrc,
                payload_type=120,
                sequence_number=FIRST - 100 * index,
                timestamp=(1 << 32) - 9000 * (index + 1),
                picture_id=32760,
                tl0_picture_index=250,
                temporal_ids=(0, 2, 1, 2),
            )
            source.next_frame()  # the first three packets never arrive
            source.request_key_frame()
            sources.append(source)
        playing = asyncio.create_task(alice.play(*sources, seconds=5.0))
        await bob.until(lambda: all(bob.media(one) for one in subscriptions), PATIENCE)
        ports[0].set(up=bad)
        ports[1].set(down=bad)
        await asyncio.sleep(3.0)
        ports[0].set(up=clean)
        ports[1].set(down=clean)
        await playing
        expected = [list(range(3, source.packets_sent)) for source in sources]
        with suppress(TimeoutError):
            await bob.until(lambda: [ordinals(bob.media(one)) for one in subscriptions] == expected, PATIENCE)
        assert all(source.sequence_number < 1000 for source in sources)
        received = [bob.media(one) for one in subscriptions]
        missing = sum(len(set(wanted) - set(ordinals(had))) for wanted, had in zip(expected, received, strict=True))
        figures.check("B16", "packets lost over wraps on two lossy legs", missing, at_most=0)
        for had, wanted in zip(received, expected, strict=True):
            assert ordinals(had) == wanted
            assert set(sequence_steps(had)) == {1}
            assert set(timestamp_steps(had)) == {0, 3000}
            assert set(steps([picture.picture_id or 0 for picture in pictures(had)], 15)) == {1}
        assert not unreadable(bob)


@steady
async def test_late_joiners_and_a_long_pause(server: ServerProcess, channel: str, figures: Figures) -> None:
    names = [f"late{index}" for index in range(5)]
    async with people(server.url, channel, alice={}, bob={}, **{name: {} for name in names}) as (alice, bob, *late):
        picture = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        sound = await alice.publish("opus", ssrc=3, feedback=[])
        waiting = await bob.subscribe(sound.track_id, paused=True)
        video, audio = (
            VideoSource(ssrc=1, payload_type=120),
            AudioSource(ssrc=3, payload_type=109, sequence_number=FIRST),
        )
        words = await leap_around(alice, audio, THREE_ROUNDS)
        await leap_around(alice, video, THREE_ROUNDS)
        playing = asyncio.create_task(alice.play(video, audio, seconds=60))
        await asyncio.sleep(0.3)
        asked, shown, spoken = [], [], []
        for client in late:
            await asyncio.sleep(0.55)  # so that the request of one is not answered by that of another
            count = len(alice.rtcp_log)
            began = time.monotonic()
            eyes = await client.subscribe(picture.track_id)
            ears = await client.subscribe(sound.track_id)
            heard_from = time.monotonic()
            await client.until(lambda client=client, ears=ears: client.media(ears), PATIENCE)
            await client.until(lambda client=client, eyes=eyes: len(client.media(eyes)) >= 3, PATIENCE)
            entries = [(one.at, RtpPacket.parse(one.data).ssrc) for one in client.rtp_log]
            shown.append(sorted(at for at, ssrc in entries if ssrc == eyes.ssrc)[2] - began)
            spoken.append(min(at for at, ssrc in entries if ssrc == ears.ssrc) - heard_from)
            requests = [
                one.at for one in alice.rtcp_log[count:] if any(isinstance(p, Pli) for p in parse_rtcp(one.data))
            ]
            asked.append(min(requests) - began)
        figures.check("B17", "PLI after a late joiner has subscribed, the quickest, seconds", min(asked), at_most=0.05)
        figures.check("B17", "first picture of a late joiner after three wraps, p95, seconds", max(shown), at_most=1.0)
        figures.check("B17", "first sound of a late joiner, p95, seconds", max(spoken), at_most=0.2)
        await pause(bob, waiting, False)
        await bob.until(lambda: len(bob.media(waiting)) >= 10, PATIENCE)
        playing.cancel()
        received = bob.media(waiting)
        assert ordinals(received)[0] > len(words), "nothing from before the pause ended"
        assert set(sequence_steps(received)) == {1}


@pytest.mark.soak
async def test_a_pause_of_a_minute_across_a_wrap(server: ServerProcess, channel: str, figures: Figures) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        picture = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        seen = await bob.subscribe(picture.track_id)
        source = VideoSource(ssrc=1, payload_type=120, sequence_number=65000)
        playing = asyncio.create_task(alice.play(source, seconds=120))
        await bob.until(lambda: len(bob.rtp_log) > 60, PATIENCE)
        await pause(bob, seen, True)
        await asyncio.sleep(60.0)
        count, began = len(bob.rtp_log), time.monotonic()
        await pause(bob, seen, False)
        await bob.until(lambda: len(bob.rtp_log) >= count + 3, PATIENCE)
        figures.check("B17", "first picture after a pause of 60 s", bob.rtp_log[count + 2].at - began, at_most=1.0)
        await asyncio.sleep(0.5)
        playing.cancel()
        received = bob.media(seen)
        assert set(sequence_steps(received)) == {1}
        assert pictures(received[count:])[0].key
