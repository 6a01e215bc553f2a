"""SRTP under attack: rows 9 to 12 and 24 of section A."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.attacks.strangers import SEGMENTS, Drops, Stranger, flood, session_state, settle
from tests.support.dtls import PROFILES
from tests.support.feedback import FeedbackOptions
from tests.support.parameters import rtp_capabilities
from tests.support.payloads import read_mark
from tests.support.rtc_client import Published, ScriptedClient, Subscribed
from tests.support.rtcp_packet import Bye, Nack, Pli, ReceiverReport
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

pytestmark = pytest.mark.usefixtures("innocent")


@dataclass(frozen=True, slots=True)
class Pair:
    """A speaker and a listener of sound and picture."""

    speaker: ScriptedClient
    listener: ScriptedClient
    audio: Published
    video: Published
    heard: Subscribed
    seen: Subscribed


@asynccontextmanager
async def pair(server: ServerProcess, channel: str, **options: Any) -> AsyncIterator[Pair]:
    async with (
        ScriptedClient.joined(server.url, channel, "speaker", **options) as speaker,
        ScriptedClient.joined(server.url, channel, "listener", **options) as listener,
    ):
        audio = await speaker.publish("opus", ssrc=1001)
        video = await speaker.publish("VP8", ssrc=1002, rtx_ssrc=1003)
        heard, seen = await listener.subscribe(audio.track_id), await listener.subscribe(video.track_id)
        yield Pair(speaker, listener, audio, video, heard, seen)


def flipped(data: bytes, position: int, bit: int) -> bytes:
    """One bit changed."""
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("profile", PROFILES)
async def test_a09_what_is_not_authentic_has_no_effect(
    server: ServerProcess, channel: str, drops: Drops, profile: str
) -> None:
    """A bit of the tag, of the header, of the ciphertext; plain packets; SRTCP with the E bit cleared."""
    async with pair(server, channel, profiles=(profile,)) as p:
        source = AudioSource(ssrc=1001, payload_type=p.audio.payload_type)
        picture = VideoSource(ssrc=1002, payload_type=p.video.payload_type)
        for packet in source.next_frame() + picture.next_frame():  # the key frame that a new subscriber asks for
            p.speaker.send_rtp(packet)
        await p.listener.until(lambda: p.listener.rtp(p.heard.ssrc) and p.listener.rtp(p.seen.ssrc))
        asked = len(p.speaker.rtcp(Pli))
        good = p.speaker.protect_rtp(source.next_frame()[0])
        bad = [flipped(good, position, bit) for position in range(len(good)) for bit in ((position * 5) % 8,)]
        bad = [packet for packet in bad if 128 <= packet[0] < 192]
        plain = source.next_frame()[0].serialize()
        bad += [plain, plain + bytes(16), plain + bytes(10)]
        for packet in bad:
            p.speaker.send_raw(packet)
        tag = 10 if profile == "SRTP_AES128_CM_SHA1_80" else 0
        for packet in (Pli(1, p.seen.ssrc), Bye((1001,)), ReceiverReport(1), Nack(1, p.heard.ssrc, (0,))):
            sealed = p.listener.protect_rtcp(packet)
            p.listener.send_raw(flipped(sealed, len(sealed) - tag - 4, 7))  # E
            p.listener.send_raw(flipped(sealed, len(sealed) - 1, 0))
            p.listener.send_raw(packet.serialize() + b"\x80\x00\x00\x01")
            p.listener.send_raw(packet.serialize() + bytes(14))
        expected = len(bad) + 16
        await drops.until(expected, "authentication", "malformed", "replay", "unclassified", "rtcp", timeout=5)
        await settle(p.listener)
        assert len(p.listener.rtp(p.heard.ssrc)) == 1
        assert len(p.speaker.rtcp(Pli)) == asked
        p.speaker.send_raw(good)
        await p.listener.until(lambda: len(p.listener.rtp(p.heard.ssrc)) == 2)
        assert len((await session_state(p.speaker))["tracks"]) == 2


async def test_a10_a_replay_is_forwarded_to_nobody(server: ServerProcess, channel: str, drops: Drops) -> None:
    """1,000 packets sent a second time, a moment later and in another order: nothing more is forwarded or counted."""
    async with pair(server, channel) as p:
        source = AudioSource(ssrc=1001, payload_type=p.audio.payload_type)
        captured = [p.speaker.protect_rtp(source.next_frame()[0]) for _ in range(1000)]
        await flood(lambda number: p.speaker.send_raw(captured[number]), len(captured), 4000)
        await p.listener.until(lambda: len(p.listener.rtp(p.heard.ssrc)) == 1000)
        request = p.listener.protect_rtcp(Pli(1, p.seen.ssrc))
        p.listener.send_raw(request)

        async def figures() -> list[tuple[Any, ...]]:
            stats = await p.speaker.api.call("GET", f"/sessions/{p.speaker.session_id}/stats")
            return [(one["track_id"], one["packets_received"], one["packets_lost"]) for one in stats["tracks"]]

        deadline = time.monotonic() + 5
        while (before := await figures())[0][1] != 1000 and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        again = captured[::-2] + captured[::2]
        await flood(lambda number: p.speaker.send_raw(again[number]), len(again), 4000)
        for _ in range(20):
            p.listener.send_raw(request)
        await drops.until(1020, "replay")
        await settle(p.listener)
        await asyncio.sleep(1.2)  # until the figures are fresh
        assert await figures() == before
        assert len(p.listener.rtp(p.heard.ssrc)) == 1000


async def test_a11_strangers_make_the_server_remember_nothing(
    server: ServerProcess, channel: str, warm: int, record_property: Any
) -> None:
    """A million packets that nobody has signed, each of another SSRC, from nowhere and from a member's own address."""
    async with ScriptedClient.joined(server.url, channel, "member") as member:
        size = 120
        with Stranger(server.media_address) as stranger:

            def burst() -> list[bytes]:
                noise = secrets.token_bytes(SEGMENTS * 8)
                rest = bytes(size - 12)
                return [
                    b"\x80\x6d" + noise[8 * n : 8 * n + 2] + bytes(4) + noise[8 * n + 4 : 8 * n + 8] + rest
                    for n in range(SEGMENTS)
                ]

            sent = 0

            def send(_: int) -> None:
                nonlocal sent
                stranger.send_equal(burst())
                sent += SEGMENTS
                if sent % 20 == 0:
                    for packet in burst():
                        member.send_raw(packet)
                    sent += SEGMENTS

            drops = Drops(server)
            took = await flood(send, 1_000_000, 110_000, step=2 * SEGMENTS)
            await asyncio.sleep(0.2)
            grown = server.rss_bytes() - warm
            counted = drops("unknown_address", "authentication", "policed")
            record_property(
                "measured", f"{sent:,} packets in {took:.0f} s, {counted:,} seen; RSS {grown / 1e6:+.1f} MB"
            )
            assert stranger.received() == []
        assert counted > 0.5 * sent
        assert grown < 5 << 20
        assert (await session_state(member))["state"] == "connected"


async def test_a11_a_members_ssrcs_are_bounded(
    server: ServerProcess, channel: str, warm: int, record_property: Any
) -> None:
    """100,000 SSRCs of a member with good keys: a few hundred are known, and what it publishes is forwarded as
    before."""
    async with pair(server, channel) as p:
        drops = Drops(server)
        stray = RtpPacket(109, 1, 1, 0, b"\x78" + bytes(40))
        signed = [p.speaker.protect_rtp(stray.altered(ssrc=50_000 + number)) for number in range(600)]
        await flood(lambda number: p.speaker.send_raw(signed[number]), len(signed), 4000)
        await drops.until(300, "stream_limit")
        known = drops("unknown_stream")
        assert known <= 1024
        for number in range(100):
            p.speaker.send_raw(p.speaker.protect_rtcp(ReceiverReport(90_000 + number)))
        shape = signed[0]
        some = [shape[:8] + (1_000_000 + number).to_bytes(4) + shape[12:] for number in range(99_400)]
        await flood(
            lambda number: [p.speaker.send_raw(one) for one in some[number : number + 50]], len(some), 50_000, step=50
        )
        await asyncio.sleep(1.5)  # the policed member has earned a budget again
        grown = server.rss_bytes() - warm
        record_property("measured", f"{known} of 100,000 SSRCs kept; RSS {grown / 1e6:+.1f} MB")
        assert drops("unknown_stream") == known
        assert grown < 5 << 20
        source = AudioSource(ssrc=1001, payload_type=p.audio.payload_type)
        for _ in range(20):
            p.speaker.send_rtp(source.next_frame()[0])
        await p.listener.until(lambda: len(p.listener.rtp(p.heard.ssrc)) == 20)


@pytest.mark.parametrize("profile", PROFILES)
async def test_a12_short_packets_of_every_length(
    server: ServerProcess, channel: str, drops: Drops, profile: str
) -> None:
    """0 to 64 bytes that look like RTP or RTCP, where the tag is longer than the packet and a length would be
    negative."""
    async with pair(server, channel, profiles=(profile,)) as p:
        heads = [b"\x80\x6d", b"\x80\xc8", b"\x81\xc9", b"\xbf\x6d", b"\x90\x6d", b"\xa0\x6d", b"\x8f\xcd", b"\xbf\xff"]
        body = bytes(2) + bytes(4) + (1001).to_bytes(4) + bytes(60)
        packets = [(head + body)[:length] for head in heads for length in range(65)]
        packets += [(head + b"\xff" * 64)[:length] for head in heads for length in range(65)]
        for packet in packets:
            p.speaker.send_raw(packet)
            p.listener.send_raw(packet)
        # Those of no bytes are dropped too, and so is what the pair hides behind one byte.
        await drops.until(
            2 * (len(packets) - 16), "malformed", "authentication", "replay", "unclassified", "stream_limit"
        )
        source = AudioSource(ssrc=1001, payload_type=p.audio.payload_type)
        p.speaker.send_rtp(source.next_frame()[0])
        await p.listener.until(lambda: p.listener.rtp(p.heard.ssrc))
        await settle(p.listener)
        assert len(p.listener.rtp(p.heard.ssrc)) == 1


class Tap:
    """Keeps the ciphertext of all media that a client receives."""

    def __init__(self, client: ScriptedClient) -> None:
        self.packets: list[bytes] = []
        receive = client._datagram

        def tapped(data: bytes, source: Any) -> None:
            if data and 128 <= data[0] < 192 and not 192 <= data[1] <= 223:
                self.packets.append(data)
            receive(data, source)

        client._datagram = tapped  # type: ignore[method-assign]

    def numbers(self) -> dict[tuple[int, int], set[bytes]]:
        """The packets by SSRC and sequence number; no stream of these tests wraps."""
        found: dict[tuple[int, int], set[bytes]] = {}
        for packet in self.packets:
            key = int.from_bytes(packet[8:12]), int.from_bytes(packet[2:4])
            found.setdefault(key, set()).add(packet)
        return found


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("rtx", [True, False])
async def test_a24_a_number_is_never_used_for_two_packets(
    server: ServerProcess, channel: str, profile: str, rtx: bool, record_property: Any
) -> None:
    """Everything is asked for again and again, while packets come late, tracks pause and the publisher starts anew."""
    options = FeedbackOptions()
    async with (
        ScriptedClient(server.url, channel, "listener", profiles=(profile,), feedback=options) as listener,
        ScriptedClient.joined(server.url, channel, "speaker", profiles=(profile,)) as speaker,
    ):
        tap = Tap(listener)
        await listener.create()
        await listener.connect()
        audio = await speaker.publish("opus", ssrc=1001)
        video = await speaker.publish("VP8", ssrc=1002, rtx_ssrc=1003)
        capabilities = rtp_capabilities(rtx=rtx)
        heard = await listener.subscribe(audio.track_id, capabilities)
        seen = await listener.subscribe(video.track_id, capabilities)
        sound = AudioSource(ssrc=1001, payload_type=audio.payload_type, audio_level_id=1)
        picture = VideoSource(ssrc=1002, payload_type=video.payload_type, packets_per_frame=2, size_bytes=300)

        def ask_again() -> None:
            for subscribed in (heard, seen):
                got = [packet.sequence_number for packet in listener.rtp(subscribed.ssrc)]
                if got:
                    span = range(min(got) - 3, max(got) + 4)
                    for start in range(span.start, span.stop, 60):
                        asked = tuple(number & 0xFFFF for number in range(start, min(start + 60, span.stop)))
                        listener.send_rtcp(Nack(1, subscribed.ssrc, asked))

        async def rounds(count: int) -> None:
            late: list[RtpPacket] = []
            for number in range(count):
                frames = [*sound.next_frame(), *picture.next_frame()]
                for packet in frames:
                    if packet.sequence_number % 7 == 3:
                        late.append(packet)
                    else:
                        speaker.send_rtp(packet)
                if number % 4 == 3:
                    for packet in late:
                        speaker.send_rtp(packet)
                    late.clear()
                ask_again()
                await asyncio.sleep(0.01)

        track = f"/sessions/{speaker.session_id}/tracks/{video.track_id}"
        await rounds(15)
        # Packets that come while nothing is forwarded have a number kept free, and may be asked for later.
        await speaker.api.call("PATCH", track, {"paused": True})
        await rounds(5)
        await speaker.api.call("PATCH", track, {"paused": False})
        picture.request_key_frame()
        await rounds(15)
        # The publisher's encoder starts anew: other numbers, another clock, the same SSRC.
        for source in (sound, picture):
            source.sequence_number = (source.sequence_number + 20_000) & 0xFFFF
            source.timestamp = (source.timestamp + 1_000_000_000) & 0xFFFFFFFF
        picture.request_key_frame()
        await rounds(20)
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            ask_again()
            await asyncio.sleep(0.05)
        await settle(listener)
        numbers = tap.numbers()
        repeated = len(tap.packets) - len(numbers)
        record_property(
            "measured", f"{len(tap.packets)} packets, {repeated} of them again, under {len(numbers)} numbers"
        )
        assert [key for key, packets in numbers.items() if len(packets) > 1] == []
        plain = {packet.ssrc for packet in listener.rtp()}
        assert {heard.ssrc, seen.ssrc} <= plain
        assert repeated > 10  # sound has no RTX: it is repeated under its own number
        if rtx:
            originals = {
                read_mark(packet.payload) for packet in listener.rtp(seen.rtx_ssrc) if len(packet.payload) > 20
            }
            assert originals
