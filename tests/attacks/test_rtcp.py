"""Hostile RTCP of a member with good keys: rows 16, 18 and 19 of section A."""

import asyncio
import itertools
import struct
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.attacks.strangers import Drops, flood, marks, session_state, settle
from tests.support.rtc_client import Published, ScriptedClient, Subscribed
from tests.support.rtcp_packet import (
    PSFB,
    RTPFB,
    SDES,
    Bye,
    Fir,
    Nack,
    Pli,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    pack,
)
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

pytestmark = pytest.mark.usefixtures("innocent")

PACE = 1200  # a second, below what one member may send


@dataclass(frozen=True, slots=True)
class Call:
    """Alice publishes sound and picture; Mallory and a listener get both."""

    alice: ScriptedClient
    mallory: ScriptedClient
    listener: ScriptedClient
    audio: Published
    video: Published
    heard: Subscribed
    seen: Subscribed
    mallory_heard: Subscribed
    mallory_seen: Subscribed
    sound: AudioSource
    picture: VideoSource

    async def frames(self, count: int = 3) -> None:
        """Let Alice send some, and wait until both have them."""
        for _ in range(count):
            for packet in (*self.sound.next_frame(), *self.picture.next_frame()):
                self.alice.send_rtp(packet)
            await asyncio.sleep(0.003)
        last = {(source.ssrc, source.packets_sent - 1) for source in (self.sound, self.picture)}
        for client, pair in (
            (self.listener, (self.heard, self.seen)),
            (self.mallory, (self.mallory_heard, self.mallory_seen)),
        ):
            ssrcs = {one.ssrc for one in pair}
            await client.until(lambda: last <= set(marks(p for p in client.rtp() if p.ssrc in ssrcs)))  # noqa: B023

    def asked(self) -> int:
        """Key frames that Alice was asked for."""
        return len(self.alice.rtcp(Pli, Fir))


@asynccontextmanager
async def call(server: ServerProcess, channel: str) -> AsyncIterator[Call]:
    async with (
        ScriptedClient.joined(server.url, channel, "alice") as alice,
        ScriptedClient.joined(server.url, channel, "mallory") as mallory,
        ScriptedClient.joined(server.url, channel, "listener") as listener,
    ):
        audio = await alice.publish("opus", ssrc=501)
        video = await alice.publish("VP8", ssrc=502, rtx_ssrc=503)
        seen = [await client.subscribe(video.track_id) for client in (listener, mallory)]
        heard = [await client.subscribe(audio.track_id) for client in (listener, mallory)]
        sound = AudioSource(ssrc=501, payload_type=audio.payload_type)
        picture = VideoSource(ssrc=502, payload_type=video.payload_type, packets_per_frame=2, size_bytes=400)
        made = Call(alice, mallory, listener, audio, video, heard[0], seen[0], heard[1], seen[1], sound, picture)
        await made.frames()
        yield made


def corpus(c: Call) -> list[bytes]:
    """One good packet of each kind that a subscriber may send, and of some that it may not."""
    ssrc = c.mallory_seen.ssrc
    block = ReportBlock(ssrc, 10, 20, 30, 40, 50, 60)
    arrivals = tuple(0.5 + 0.001 * number for number in range(40))
    return [
        ReceiverReport(1, (block, block)).serialize(),
        SenderReport(1, 1 << 60, 2, 3, 4, (block,)).serialize(),
        SourceDescription({1: "cname", 2: "x" * 200}).serialize(),
        Bye((1, 2, 3)).serialize(),
        pack(203, 1, struct.pack("!I", 1) + b"\x06reason"),
        Nack(1, ssrc, (1, 2, 30, 40)).serialize(),
        Pli(1, ssrc).serialize(),
        Fir(1, ((ssrc, 7),)).serialize(),
        Remb(1, 500_000, (ssrc, ssrc)).serialize(),
        TransportFeedback(1, ssrc, 10, 1, arrivals).serialize(),
        pack(204, 0, struct.pack("!I4s", 1, b"name") + bytes(8)),  # APP
        pack(207, 0, struct.pack("!I", 1) + b"\x04\x00\x00\x02" + bytes(8)),  # XR, RFC 3611
        pack(RTPFB, 11, struct.pack("!II", 1, ssrc) + bytes(12)),  # RFC 8888
        pack(PSFB, 2, struct.pack("!II", 1, ssrc) + bytes(8)),  # SLI
    ]


def bent(packet: bytes) -> Iterable[bytes]:
    """A packet with every count, length and padding that there is, and cut at every word."""
    for count in range(32):
        for padded in (0, 0x20):
            yield bytes([0x80 | padded | count]) + packet[1:]
    for words in (0, 1, 2, len(packet) // 4, 255, 0x7FFF, 0xFFFF):
        yield packet[:2] + words.to_bytes(2) + packet[4:]
    for size in range(4, len(packet), 4):
        yield packet[:size]
        yield packet[:2] + (size // 4 - 1).to_bytes(2) + packet[4:size]
    for value in range(256):  # the byte in which REMB, BYE and SDES count
        for position in (8, 12, 16):
            if position < len(packet) and value % 5 == 0:
                yield packet[:position] + bytes([value]) + packet[position + 1 :]
    yield packet + packet[:3]
    yield packet * 20


async def test_a16_every_count_and_length_of_rtcp(server: ServerProcess, channel: str) -> None:
    async with call(server, channel) as c:
        packets = [changed for packet in corpus(c) for changed in bent(packet) if 8 <= len(changed) <= 1400]
        # REMB, BYE and SDES: every value of the byte that counts.
        remb, goodbye = Remb(1, 500_000, (1,)).serialize(), pack(203, 1, struct.pack("!I", 1) + b"\x06reason")
        packets += [remb[:16] + bytes([value]) + remb[17:] for value in range(256)]
        packets += [goodbye[:8] + bytes([value]) + goodbye[9:] for value in range(256)]
        packets += [
            pack(SDES, count, b"\x00\x00\x00\x01\x01" + bytes([length])) for count in (1, 31) for length in range(256)
        ]
        await flood(lambda number: c.mallory.send_rtcp(packets[number]), len(packets), PACE)
        await flood(lambda number: c.alice.send_rtcp(packets[number]), len(packets), PACE)
        await c.frames()
        assert (await session_state(c.mallory))["state"] == "connected"
        assert len((await session_state(c.alice))["tracks"]) == 2


def status_chunks(count: int, chunks: bytes, deltas: bytes = b"") -> bytes:
    """Transport-wide feedback with the status count and chunks as given."""
    return pack(RTPFB, 15, struct.pack("!IIHHI", 1, 2, 0, count, 1 << 8) + chunks + deltas)


async def test_a16_feedback_that_counts_65535_costs_nothing_to_speak_of(
    server: ServerProcess, channel: str, record_property: Any
) -> None:
    """Row 16: under 5 ms each; the processor time of the whole server for some hundred of them is measured."""
    async with call(server, channel) as c:
        run = 0x1FFF  # a run length chunk for 8191 packets
        hostile = [
            status_chunks(65535, struct.pack("!H", run) * 8),  # none received
            status_chunks(65535, struct.pack("!H", 0x2000 | run) * 8),  # all received, and no delta there
            status_chunks(65535, struct.pack("!H", 0x4000 | run) * 8),
            status_chunks(65535, struct.pack("!H", 0x6000 | run) * 8),
            status_chunks(65535, struct.pack("!H", 0x2000 | run) * 8, b"\xff" * 1200),
            status_chunks(65535, struct.pack("!H", 0x3FFF) * 500),
            status_chunks(65535, struct.pack("!H", 0xBFFF) * 600),
            status_chunks(65535, b""),
            status_chunks(0, struct.pack("!H", run) * 8),
            status_chunks(1, struct.pack("!H", run)),
        ]
        before = server.cpu_seconds()
        rounds = 60
        for _ in range(rounds):
            for packet in hostile:
                c.mallory.send_rtcp(packet)
            await asyncio.sleep(0.01)
        await c.frames()
        spent = server.cpu_seconds() - before
        each = spent / (rounds * len(hostile))
        record_property("measured", f"{each * 1e6:.0f} µs each, the innocent call's share included")
        assert each < 0.005


async def test_a16_many_messages_in_one_datagram(server: ServerProcess, channel: str, record_property: Any) -> None:
    """Each of them legal and small, and together the work of thousands of packets: as fast as one member may send."""
    async with call(server, channel) as c:
        ssrc = c.mallory_seen.ssrc
        feedback = status_chunks(4000, struct.pack("!H", 0x1FFF) * 8)
        await c.frames(10)
        kept = c.mallory.rtp(ssrc)[0].sequence_number
        numbers = struct.pack("!II", 1, ssrc) + struct.pack("!HH", kept, 0xFFFF) * 300
        hostile = [
            feedback * 35,
            status_chunks(65_528, struct.pack("!H", 0x1FFF) * 8) * 35,
            Fir(1, ((99, 1),) * 155).serialize(),
            Pli(1, 99).serialize() * 105,
            ReceiverReport(1, (ReportBlock(99, 1, 2, 3, 4, 5, 6),) * 26).serialize() * 2,
            Bye((501,) * 31).serialize() * 10,
            pack(RTPFB, 1, numbers),
        ]
        before, rounds = server.cpu_seconds(), 300
        took = await flood(lambda number: c.mallory.send_rtcp(hostile[number % len(hostile)]), 7 * rounds, PACE)
        await c.frames()
        each = (server.cpu_seconds() - before) / (7 * rounds)
        record_property("measured", f"{each * 1e6:.0f} µs each in {took:.1f} s, the innocent call's share included")
        assert each < 0.005


async def test_a18_a_leap_of_thirty_thousand(server: ServerProcess, channel: str, record_property: Any) -> None:
    """Not asked for packet by packet: no feedback longer than 1,200 bytes, a key frame instead, and that once a
    second."""
    async with call(server, channel) as c:
        start, began = c.asked(), time.monotonic()
        c.alice.rtcp_log.clear()
        for leap in (30_000, 450, 390, 2_900, 30_000):
            c.picture.sequence_number = (c.picture.sequence_number + leap) & 0xFFFF
            for _ in range(10):
                for packet in c.picture.next_frame():
                    c.alice.send_rtp(packet)
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
        await asyncio.sleep(0.5)
        took = time.monotonic() - began
        asked = c.asked()
        assert start >= 0
        nacks = c.alice.rtcp(Nack)
        assert all(len(received.data) <= 1200 for received in c.alice.rtcp_log)
        assert asked >= 1
        assert asked <= 2 * took + 1
        # 390 missing packets are asked for one by one, ten times at most; the others never.
        assert sum(len(nack.lost) for nack in nacks if isinstance(nack, Nack)) <= 390 * 10
        record_property("measured", f"{asked} requests in {took:.1f} s; {len(nacks)} NACKs")
        c.picture.request_key_frame()
        await c.frames()


async def test_a18_a_publisher_that_never_gives_a_key_frame_is_asked_once_a_second(
    server: ServerProcess, channel: str, record_property: Any
) -> None:
    async with call(server, channel) as c:
        c.alice.rtcp_log.clear()
        c.picture.sequence_number = (c.picture.sequence_number + 30_000) & 0xFFFF
        began = time.monotonic()
        while time.monotonic() - began < 3.2:
            for packet in c.picture.next_frame():
                c.alice.send_rtp(packet)
            await asyncio.sleep(0.02)
        took = time.monotonic() - began
        record_property("measured", f"{c.asked()} requests in {took:.1f} s")
        assert 3 <= c.asked() <= took + 2


async def test_a18_a_thousand_plis_a_second(server: ServerProcess, channel: str, record_property: Any) -> None:
    """Of one subscriber, by PLI and FIR: at most two a second reach the publisher."""
    async with call(server, channel) as c:
        c.alice.rtcp_log.clear()
        ssrc = c.mallory_seen.ssrc
        began = time.monotonic()
        playing = asyncio.create_task(c.alice.play(c.picture, seconds=2.5, reports=False))
        await flood(
            lambda number: c.mallory.send_rtcp(
                Fir(1, ((ssrc, number & 255),) * 20) if number % 4 == 0 else Pli(1, ssrc)
            ),
            2000,
            1000,
        )
        await playing
        took = time.monotonic() - began
        record_property("measured", f"{c.asked()} requests in {took:.1f} s")
        assert 1 <= c.asked() <= 2 * took + 1
        assert c.listener.gaps(c.seen) == 0


async def test_a18_a_storm_of_nacks_costs_its_sender_alone(
    server: ServerProcess, channel: str, record_property: Any
) -> None:
    """1,000 NACKs a second for everything: what is sent again is bounded, and nobody else sees any of it."""
    async with call(server, channel) as c:
        await c.frames(50)
        known = len(c.listener.rtp_log)
        ssrc = c.mallory_seen.ssrc
        numbers = [packet.sequence_number for packet in c.mallory.rtp(ssrc)]
        everything = [tuple(numbers[start : start + 60]) for start in range(0, len(numbers), 60)]
        # The whole space of numbers, in items of 17 each: 250 items a packet.
        all_of_it = pack(
            RTPFB, 1, struct.pack("!II", 1, ssrc) + b"".join(struct.pack("!HH", n * 17, 0xFFFF) for n in range(250))
        )
        before = len(c.mallory.rtp_log)

        def storm(number: int) -> None:
            c.mallory.send_rtcp(all_of_it if number % 2 else Nack(1, ssrc, everything[number // 2 % len(everything)]))

        took = await flood(storm, 1000, 1000)
        await settle(c.mallory)
        again = len(c.mallory.rtp_log) - before
        record_property("measured", f"{again} packets again for 1,000 NACKs in {took:.1f} s")
        # What is kept of a stream is sent again once a second, and once more at first, however often it is asked for.
        assert again <= 512 * (took + 1)
        assert len(c.listener.rtp_log) == known
        assert c.alice.rtcp(Nack) == []
        await c.frames()


async def test_a19_feedback_about_the_streams_of_others_has_no_effect(
    server: ServerProcess, channel: str, drops: Drops
) -> None:
    """PLI, FIR, NACK, BYE, REMB, reports with the SSRCs of the publisher and of another subscriber."""
    async with call(server, channel) as c:
        await c.frames(10)
        asked, known = c.asked(), len(c.listener.rtp_log)
        numbers = tuple(packet.sequence_number for packet in c.listener.rtp(c.seen.ssrc))[:30]
        others = (501, 502, 503, c.heard.ssrc, c.seen.ssrc, c.seen.rtx_ssrc or 0)
        senders = (1, *others, c.alice.ssrc, c.listener.ssrc)
        block = ReportBlock
        for media, sender in itertools.product(others, senders):
            for packet in (
                Pli(sender, media),
                Fir(sender, ((media, 1),)),
                Nack(sender, media, numbers),
                Bye((media,)),
                Remb(sender, 1000, (media,)),
                ReceiverReport(sender, (block(media, 255, 5000, 1, 1, 1, 1),)),
                SenderReport(media, 1 << 60, 1, 1, 1),
                SourceDescription({media: "mallory"}),
            ):
                c.mallory.send_rtcp(packet)
        await asyncio.sleep(0.3)
        await settle(c.listener)
        assert c.asked() == asked
        assert len(c.listener.rtp_log) == known
        assert len((await session_state(c.alice))["tracks"]) == 2
        stats = await c.listener.api.call("GET", f"/sessions/{c.listener.session_id}/stats")
        assert all(not one["packets_lost"] for one in stats["tracks"])
        await c.frames()


async def test_a19_chromiums_sender_ssrc_of_one_is_accepted(server: ServerProcess, channel: str) -> None:
    """What is about one's own streams counts, whatever SSRC its sender says it has."""
    async with call(server, channel) as c:
        await c.frames(40)
        for sender in (1, 0, 502, 0xFFFFFFFF):
            await asyncio.sleep(0.6)  # requests are 0.5 s apart at least
            asked = c.asked()
            c.mallory.send_rtcp(Pli(sender, c.mallory_seen.ssrc))
            await c.alice.until(lambda asked=asked: c.asked() > asked)
            c.picture.request_key_frame()
            await c.frames(1)


async def test_a19_goodbye_for_ones_own_stream_ends_it_alone(server: ServerProcess, channel: str) -> None:
    """A publisher may say goodbye to what is its own, and does not take anything else with it."""
    async with call(server, channel) as c:
        mine = await c.mallory.publish("opus", ssrc=601, mid="own")
        heard = await c.listener.subscribe(mine.track_id)
        source = AudioSource(ssrc=601, payload_type=mine.payload_type)
        c.mallory.send_rtp(source.next_frame()[0])
        await c.listener.until(lambda: c.listener.rtp(heard.ssrc))
        c.mallory.send_rtcp(Bye((601,)))
        await c.frames()
        assert len((await session_state(c.alice))["tracks"]) == 2
