"""Rows 20 (its short form), 21, 28 and 29: load, slow receivers, corrupted packets, a member that floods."""

import asyncio
import os
import socket
from collections.abc import Callable
from math import inf
from statistics import median
from typing import Any

import pytest

from tests.attacks.innocent import InnocentCall
from tests.attacks.strangers import Drops, Stranger, flood, send_equal, settle
from tests.behaviour.scene import PATIENCE, REPAIR, arrived, ordinals, people
from tests.faults.figures import Figures, steady
from tests.faults.viewer import Timetable, experience
from tests.support.relay import Link, Relay
from tests.support.rtc_client import ScriptedClient
from tests.support.rtp_packet import RtpPacket
from tests.support.server import SECRET, ServerProcess
from tests.support.sources import AudioSource, VideoSource

# Row 20
SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "7200"))
LISTENERS = 10
# More than the slots into which a plane receives, one after the other: their memory is touched only as it is used.
ARENA_SLOTS = 20_000
# Row 29
FLOOD_PACKETS, FLOOD_PER_SECOND = 150_000, 50_000
DECLARED_BPS = 256_000


# -- B20


async def touch_all_slots(server: ServerProcess) -> None:
    """Have the plane receive into every slot that it has."""
    with Stranger(server.media_address) as stranger:
        junk = [b"\xff" * 1472] * 40
        await flood(lambda _: stranger.send_equal(junk), ARENA_SLOTS, 40_000, step=len(junk))


async def steady_load(
    server: ServerProcess, channel: str, seconds: float, windows: int
) -> tuple[list[float], list[int]]:
    """A speaker with a camera and several who watch: for each window the delay p99, and memory at its end."""
    delays: list[float] = []
    memory: list[int] = []
    listeners: dict[str, dict[str, Any]] = {f"listener{index}": {"feedback": REPAIR} for index in range(LISTENERS)}
    async with people(server.url, channel, alice={}, **listeners) as (alice, *audience):
        picture = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        sound = await alice.publish("opus", ssrc=3)
        for listener in audience:
            await listener.subscribe(picture.track_id)
        heard = await audience[0].subscribe(sound.track_id)
        video, audio = VideoSource(ssrc=1, payload_type=120), AudioSource(ssrc=3, payload_type=109)
        sent = Timetable(alice)
        playing = asyncio.create_task(alice.play(video, audio, seconds=seconds + 60))
        await asyncio.sleep(1.0)
        for _ in range(windows):
            first = audio.packets_sent
            await asyncio.sleep(seconds / windows + 0.05)
            seen = experience(sent, audio, audience[0], heard, skip=first, tail=2)
            delays.append(seen.delay_at(0.99))
            memory.append(server.rss_bytes())
            sent.times.clear()
            for client in (alice, *audience):  # the tests' own memory is not the question
                client.rtp_log.clear()
                client.rtcp_log.clear()
                client._parsed.clear()
        playing.cancel()
    return delays, memory


@steady
async def test_memory_stands_still(server: ServerProcess, channel: str, figures: Figures) -> None:
    """Eight seconds in place of two hours, after a warm-up that touches what is touched once only."""
    await touch_all_slots(server)
    await steady_load(server, f"{channel}.warm", 2.0, 1)
    _, memory = await steady_load(server, channel, 8.0, 4)
    figures.check("B20", "memory gained in 6 s of steady load, KB", (memory[-1] - memory[0]) / 1024, at_most=1024)


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_memory_and_delay_stand_still_for_hours(server: ServerProcess, channel: str, figures: Figures) -> None:
    await touch_all_slots(server)
    windows = max(8, round(SOAK_SECONDS / 300))
    delays, memory = await steady_load(server, channel, SOAK_SECONDS, windows)
    quarter = windows // 4
    hours = SOAK_SECONDS / 3600 / 2  # between the middles of the second quarter and of the last
    slope = (median(memory[-quarter:]) - median(memory[quarter : 2 * quarter])) / (1 << 20) / hours
    drift = median(delays[-quarter:]) / median(delays[:quarter]) - 1
    figures.check("B20", "memory gained, MB an hour", slope, at_most=1.0)
    figures.check("B20", "drift of the delay's p99", drift, at_most=0.1)


# -- B21


def stop_reading(client: ScriptedClient) -> None:
    """The process behind the socket hangs: its receive buffer fills, and nothing is answered."""
    assert client._socket is not None
    descriptor = client._socket.get_extra_info("socket").fileno()
    asyncio.get_running_loop()._remove_reader(descriptor)  # type: ignore[attr-defined]


@steady
async def test_slow_receivers_slow_nobody_else(
    server: ServerProcess, network: Relay, channel: str, figures: Figures
) -> None:
    """Beside one that has stopped reading and one behind 64 kbps, a third sees what it saw without them."""
    narrow = network.open(down=Link(bandwidth_bps=64_000, queue=0.5))
    slow: dict[str, dict[str, Any]] = {
        "hung": {},
        "narrow": {"media_address": narrow.address, "feedback": REPAIR},
    }
    async with people(server.url, channel, alice={}, carol={}, **slow) as (alice, carol, hung, thin):
        picture = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        sound = await alice.publish("opus", ssrc=3)
        await carol.subscribe(picture.track_id)
        heard = await carol.subscribe(sound.track_id)
        video, audio = VideoSource(ssrc=1, payload_type=120), AudioSource(ssrc=3, payload_type=109, interval=0.005)
        sent = Timetable(alice)
        playing = asyncio.create_task(alice.play(video, audio, seconds=60))
        await asyncio.sleep(0.5)
        phases: list[list[float]] = []
        for with_slow in (False, True):
            if with_slow:
                for client in (hung, thin):
                    await client.subscribe(picture.track_id)
                    await client.subscribe(sound.track_id)
                stop_reading(hung)
                await asyncio.sleep(0.5)
            first = audio.packets_sent
            await asyncio.sleep(2.6)
            phases.append(sorted(experience(sent, audio, carol, heard, skip=first, tail=20).delays.values()))
        playing.cancel()
        before, during = [delays[int(0.99 * len(delays))] for delays in phases]
        lost = sum(delay == inf for delays in phases for delay in delays)
        figures.check("B21", "delay p99 that slow receivers add to others, seconds", during - before, at_most=0.005)
        figures.check("B21", "packets lost by others", lost, at_most=0)
        assert narrow.counts().down.overflowed > 0, "one of them was slow"


# -- B28


async def test_corrupted_packets_go_nowhere(
    server: ServerProcess, network: Relay, channel: str, figures: Figures
) -> None:
    """5 % of all packets of both legs have bits flipped: each is counted and dropped, and media is mended."""
    drops = Drops(server)
    harm = Link(corrupt=0.05)
    ports = [network.open() for _ in range(2)]
    async with people(
        server.url,
        channel,
        alice={"media_address": ports[0].address},
        bob={"media_address": ports[1].address, "feedback": REPAIR},
    ) as (alice, bob):
        picture = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        sound = await alice.publish("opus", ssrc=3)
        seen, heard = [await bob.subscribe(track.track_id) for track in (picture, sound)]
        video, audio = VideoSource(ssrc=1, payload_type=120), AudioSource(ssrc=3, payload_type=109)
        genuine: dict[tuple[int, int], bytes] = {}
        genuinely = alice.send_rtp

        def send(packet: RtpPacket | bytes, *, stamp: bool = True) -> None:
            if isinstance(packet, RtpPacket) and packet.ssrc in (1, 3):
                genuine.setdefault(
                    (packet.ssrc, ordinals([packet])[0]), packet.payload[12:]
                )  # behind what is rewritten
            genuinely(packet, stamp=stamp)

        alice.send_rtp = send  # type: ignore[method-assign]
        playing = asyncio.create_task(alice.play(video, audio, seconds=4.0))
        await bob.until(lambda: bob.media(seen) and bob.media(heard), PATIENCE)
        for port in ports:
            port.set(up=harm, down=harm)
        await asyncio.sleep(2.5)
        for port in ports:
            port.set(up=Link(), down=Link())
        await playing
        missing, forged = 0, 0
        for source, subscription in ((video, seen), (audio, heard)):
            received = await arrived(bob, subscription, source.packets_sent)
            had = dict(zip(ordinals(received), received, strict=True))
            missing += len(set(range(source.packets_sent)) - set(had))
            forged += sum(genuine.get((source.ssrc, one)) != packet.payload[12:] for one, packet in had.items())
        figures.check("B28", "corrupted packets forwarded", forged, at_most=0)
        figures.check("B28", "packets not mended", missing, at_most=0)
        assert ports[0].counts().up.corrupted > 10
        assert drops("authentication") > 0
        state = await alice.api.call("GET", f"/sessions/{alice.session_id}")
        assert state["dtls_state"] == "connected"
        assert "Traceback" not in server.log()


# -- B29


@steady
async def test_a_flood_by_a_member_is_its_own_trouble(server: ServerProcess, channel: str, figures: Figures) -> None:
    """50,000 genuine packets a second, for three seconds: what is beyond measure is dropped, others lose nothing."""
    drops = Drops(server)
    with InnocentCall(server.url) as call:
        async with (
            people(server.url, channel, mallory={}, bob={}, alice={}, carol={}) as (mallory, bob, alice, carol),
            bob.api.events(channel) as events,
        ):
            declared = [{"ssrc": 1, "maxBitrate": DECLARED_BPS}]
            flooding = await mallory.publish("opus", encodings=declared, feedback=[])
            seen = await bob.subscribe(flooding.track_id)
            honest = await alice.publish("opus", ssrc=2, feedback=[])
            heard = await carol.subscribe(honest.track_id)
            source, speech = AudioSource(ssrc=1, payload_type=109), AudioSource(ssrc=2, payload_type=109)
            packets = [mallory.protect_rtp(source.next_frame()[0]) for _ in range(FLOOD_PACKETS)]
            assert mallory._socket is not None
            step = 50
            with socket.socket(fileno=os.dup(mallory._socket.get_extra_info("socket").fileno())) as raw:
                call.mark()
                talking = asyncio.create_task(alice.play(speech, seconds=60))
                seconds = await flood(
                    lambda first: send_equal(raw, packets[first : first + step], server.media_address),
                    FLOOD_PACKETS,
                    FLOOD_PER_SECOND,
                    step=step,
                )
                harm = call.mark()
                talking.cancel()
            await settle(carol, bob)
            lost = 1 - len(carol.media(heard)) / speech.packets_sent
            figures.check("B29", "loss of a call elsewhere during the flood", harm.fraction, at_most=0.01)
            figures.check("B29", "loss of a call in the same channel", lost, at_most=0.01)
            forwarded = sum(8 * len(packet.payload) for packet in bob.media(seen)) / seconds
            figures.check("B29", "forwarded of a flood, times what was declared", forwarded / DECLARED_BPS, at_most=2)
            assert drops("policed") > FLOOD_PACKETS / 4
            # Afterwards its own voice is heard again, and the channel is told that it was in trouble.
            await asyncio.sleep(0.2)
            count = len(bob.rtp_log)
            await mallory.play(source, seconds=0.3)
            await bob.until(lambda: len(bob.rtp_log) >= count + 10, PATIENCE)
            async with asyncio.timeout(PATIENCE):
                event = await events.receive_json()
                while event["type"] != "quality.degraded" or event["user_id"] != "mallory":
                    event = await events.receive_json()
            assert event["degraded"]


async def test_a_publisher_beyond_its_bitrate_is_held(
    start_server: Callable[..., ServerProcess], channel: str, figures: Figures
) -> None:
    """The token allows 100 kbit/s; once that is noticed a tenfold sender is not forwarded at all."""
    limit, tenfold = 100_000, 1_000_000
    guarded = start_server(API_SECRET=SECRET)
    capped = {"token": guarded.token("mallory", channel, max_bitrate_bps=limit)}
    async with people(guarded.url, channel, mallory=capped, bob={"token": guarded.token("bob", channel)}) as (
        mallory,
        bob,
    ):
        published = await mallory.publish("VP8", ssrc=1, rtx_ssrc=2)
        seen = await bob.subscribe(published.track_id)
        video = VideoSource(ssrc=1, payload_type=120, packets_per_frame=4, size_bytes=tenfold // 8 // 30 // 4)
        playing = asyncio.create_task(mallory.play(video, seconds=60))
        await asyncio.sleep(5.0)
        count = len(bob.media(seen))
        await asyncio.sleep(1.0)
        forwarded = sum(8 * len(packet.payload) for packet in bob.media(seen)[count:])
        figures.check(
            "B29", "forwarded of what a token does not allow, times its limit", forwarded / limit, at_most=2.0
        )
        playing.cancel()
        # Back within its limit it is forwarded again.
        modest = VideoSource(ssrc=1, payload_type=120, packets_per_frame=1, size_bytes=200)
        modest.sequence_number, modest.timestamp = video.sequence_number, video.timestamp
        count = len(bob.media(seen))
        playing = asyncio.create_task(mallory.play(modest, seconds=60))
        await bob.until(lambda: len(bob.media(seen)) > count + 10, PATIENCE)
        playing.cancel()
