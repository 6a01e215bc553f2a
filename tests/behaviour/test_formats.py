"""What a subscriber negotiated is what it gets: payload types, header extension ids, RED or the Opus inside it."""

import asyncio
import struct
from typing import Any

import pytest

from tests.behaviour.scene import (
    PATIENCE,
    arrived,
    assert_contiguous,
    ordinals,
    people,
    send,
    sequence_steps,
    timestamp_steps,
)
from tests.support import payloads
from tests.support.parameters import EXTENSION_IDS, rtp_capabilities
from tests.support.rtc_client import ScriptedClient, Subscribed
from tests.support.rtcp_packet import Nack
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

OTHER_IDS = {
    "mid": 9,
    "abs_send_time": 11,
    "transport_cc": 12,
    "audio_level": 13,
    "video_orientation": 1,
    "playout_delay": 2,
    "dependency_descriptor": 3,
}
OPUS, RED = 109, 63
OPUS_SILENCE = payloads.opus_dtx()


def mid_of(subscription: Subscribed) -> bytes:
    return str(subscription.rtp_parameters["mid"]).encode()


@pytest.mark.parametrize(
    ("codec", "theirs", "ours", "our_rtx"),
    [("VP8", 120, 96, 97), ("VP9", 121, 45, 46), ("H264", 126, 101, 102), ("AV1", 99, 35, 36)],
)
async def test_payload_types_are_the_subscribers(
    server: ServerProcess, channel: str, codec: str, theirs: int, ours: int, our_rtx: int
) -> None:
    async with people(server.url, channel, alice={}, bob={}, carol={}) as (alice, bob, carol):
        published = await alice.publish(codec, ssrc=1, rtx_ssrc=2)
        capabilities = rtp_capabilities((codec,), payload_types={codec: ours, f"{codec}/rtx": our_rtx})
        mapped = await bob.subscribe(published.track_id, capabilities)
        without = await carol.subscribe(published.track_id, rtp_capabilities((codec,), rtx=False))
        assert (mapped.payload_type, mapped.rtx_payload_type) == (ours, our_rtx)
        assert without.rtx_ssrc is None
        source = VideoSource(ssrc=1, payload_type=theirs, codec=codec)
        await send(alice, source, 5)
        received = await arrived(bob, mapped, 15)
        plain = await arrived(carol, without, 15)
        assert {packet.payload_type for packet in received} == {ours}
        assert {packet.payload_type for packet in plain} == {theirs}
        assert ordinals(received) == ordinals(plain) == list(range(15))
        bob.send_rtcp(Nack(bob.ssrc, mapped.ssrc, (received[4].sequence_number,)))
        await bob.until(lambda: bob.rtp(mapped.rtx_ssrc), PATIENCE)
        (again,) = bob.rtp(mapped.rtx_ssrc)
        assert again.payload_type == our_rtx
        assert again.payload == struct.pack("!H", received[4].sequence_number) + received[4].payload
        # Without RTX the packet itself comes again, which SRTP takes for a replay where it was not lost.
        count = len(carol.rtp_log) + len(carol.undecryptable)
        carol.send_rtcp(Nack(carol.ssrc, without.ssrc, (plain[4].sequence_number,)))
        await carol.until(lambda: len(carol.rtp_log) + len(carol.undecryptable) > count, PATIENCE)


async def test_extension_ids_are_the_subscribers_and_values_the_publishers(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        picture = await alice.publish("VP8", ssrc=1, rtx_ssrc=2, mid="camera")
        sound = await alice.publish("opus", ssrc=3, mid="microphone")
        capabilities = rtp_capabilities(extensions=OTHER_IDS)
        seen, heard = [await bob.subscribe(track.track_id, capabilities) for track in (picture, sound)]
        orientation, delay, descriptor = b"\x01", b"\x00\xa0\x14", b"\xc0\x00\x01"
        video = VideoSource(
            ssrc=1,
            payload_type=120,
            extensions={
                EXTENSION_IDS["mid"]: b"camera",
                EXTENSION_IDS["video_orientation"]: orientation,
                EXTENSION_IDS["playout_delay"]: delay,
                EXTENSION_IDS["dependency_descriptor"]: descriptor,
                7: b"of no extension that was negotiated"[:16],
            },
        )
        audio = AudioSource(ssrc=3, payload_type=109, audio_level_id=EXTENSION_IDS["audio_level"], level=42)
        await send(alice, video, 10)
        await send(alice, audio, 10)
        for packet in await arrived(bob, seen, 30):
            values = dict(packet.extensions)
            assert len(values.pop(OTHER_IDS["abs_send_time"])) == 3
            assert len(values.pop(OTHER_IDS["transport_cc"])) == 2
            assert values == {
                OTHER_IDS["mid"]: mid_of(seen),
                OTHER_IDS["video_orientation"]: orientation,
                OTHER_IDS["playout_delay"]: delay,
                OTHER_IDS["dependency_descriptor"]: descriptor,
            }
        for packet in await arrived(bob, heard, 10):
            assert packet.extensions == {OTHER_IDS["mid"]: mid_of(heard), OTHER_IDS["audio_level"]: bytes([0x80 | 42])}
        assert mid_of(seen) != mid_of(heard)


async def test_extensions_that_are_not_negotiated_are_not_sent(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        subscription = await bob.subscribe(published.track_id, rtp_capabilities(extensions={}))
        source = VideoSource(ssrc=1, payload_type=120, extensions={EXTENSION_IDS["video_orientation"]: b"\x01"})
        await send(alice, source, 3)
        assert {len(packet.extensions) for packet in await arrived(bob, subscription, 9)} == {0}


async def test_a_long_dependency_descriptor_goes_in_the_two_byte_form(server: ServerProcess, channel: str) -> None:
    long = b"\xc0\x00\x01" + bytes(range(40))
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("AV1", ssrc=1, rtx_ssrc=2)
        subscription = await bob.subscribe(published.track_id)
        source = VideoSource(ssrc=1, payload_type=99, codec="AV1")
        source.extensions = {EXTENSION_IDS["video_orientation"]: b"\x01"}
        await send(alice, source, 1)
        source.extensions[EXTENSION_IDS["dependency_descriptor"]] = long
        await send(alice, source, 1)
        received = await arrived(bob, subscription, 6)
        identifier = subscription.extensions["dependency_descriptor"]
        assert [packet.extensions.get(identifier) for packet in received] == [None] * 3 + [long] * 3
        assert {packet.extensions[subscription.extensions["mid"]] for packet in received} == {mid_of(subscription)}


async def test_transport_wide_numbers_count_all_streams_of_a_transport(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        sources = []
        for ssrc in (1, 3):
            published = await alice.publish("VP8", ssrc=ssrc, rtx_ssrc=ssrc + 1)
            await bob.subscribe(published.track_id)
            sources.append(VideoSource(ssrc=ssrc, payload_type=120))
        for _ in range(10):
            await asyncio.gather(*(send(alice, source, 1) for source in sources))
        await bob.until(lambda: len(bob.rtp()) >= 60, PATIENCE)
        numbers = [int.from_bytes(packet.extensions[EXTENSION_IDS["transport_cc"]]) for packet in bob.rtp()]
        assert sorted(numbers) == list(range(min(numbers), min(numbers) + 60))
        send_times = [int.from_bytes(packet.extensions[EXTENSION_IDS["abs_send_time"]]) for packet in bob.rtp()]
        assert all(
            (after - before) % (1 << 24) < 1 << 23 for before, after in zip(send_times, send_times[1:], strict=False)
        )


# -- RED


def red_packets(source: AudioSource, count: int) -> list[tuple[RtpPacket, bytes, bytes]]:
    """Opus in RED with the packet before as redundancy: the packet, its payload as a subscriber counts the payload
    types inside, and the Opus that it is about."""
    made: list[tuple[RtpPacket, bytes, bytes]] = []
    before: bytes | None = None
    for _ in range(count):
        (packet,) = source.next_frame()
        opus = packet.payload
        redundant = [] if before is None else [(960, before)]
        packet = packet.altered(payload_type=RED, payload=payloads.red(opus, payload_type=OPUS, redundant=redundant))
        made.append((packet, payloads.red(opus, payload_type=111, redundant=redundant), opus))
        before = opus
    return made


async def subscribe_red(
    client: ScriptedClient, track_id: str, codecs: tuple[str, ...]
) -> tuple[Subscribed, dict[str, Any]]:
    subscription = await client.subscribe(track_id, rtp_capabilities(codecs, payload_types={"opus": 111, "red": 112}))
    return subscription, {one["mimeType"].lower(): one["payloadType"] for one in subscription.rtp_parameters["codecs"]}


async def test_red_is_passed_on_or_unwrapped(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}, carol={}) as (alice, bob, carol):
        published = await alice.publish("opus", ssrc=1, red=True)
        takes, types = await subscribe_red(bob, published.track_id, ("opus", "red"))
        lacks, other_types = await subscribe_red(carol, published.track_id, ("opus",))
        assert (types["audio/red"], "audio/red" in other_types) == (112, False)
        source = AudioSource(ssrc=1, payload_type=OPUS)
        sent = red_packets(source, 10)
        for packet, _, _ in sent:
            alice.send_rtp(packet)
        plain = await send(alice, source, 5)  # a sender may drop RED at any moment
        whole, inner = await arrived(bob, takes, 15), await arrived(carol, lacks, 15)
        assert [packet.payload_type for packet in whole] == [112] * 10 + [111] * 5
        assert [packet.payload for packet in whole] == [red for _, red, _ in sent] + [one.payload for one in plain]
        assert {packet.payload_type for packet in inner} == {111}
        assert [packet.payload for packet in inner] == [opus for _, _, opus in sent] + [
            packet.payload for packet in plain
        ]
        for received in (whole, inner):
            assert_contiguous(received)
            assert set(timestamp_steps(received)) == {960}


async def test_red_that_is_malformed_reaches_nobody_who_needs_it_unwrapped(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, carol={}) as (alice, carol):
        published = await alice.publish("opus", ssrc=1, red=True)
        subscription, _ = await subscribe_red(carol, published.track_id, ("opus",))
        source = AudioSource(ssrc=1, payload_type=OPUS)
        for broken in (b"\xed", b"\xed\x0f\x00", b"\xed\x00\x03\xff" + b"\x6d", b"\xed\x0f\x03\xff\x6d short"):
            (packet,) = source.next_frame()
            alice.send_rtp(packet.altered(payload_type=RED, payload=broken))
        await send(alice, source, 5)
        assert ordinals(await arrived(carol, subscription, 5)) == [4, 5, 6, 7, 8]


# -- DTX


async def test_silence_is_neither_lost_nor_asked_for(server: ServerProcess, channel: str) -> None:
    """Discontinuous transmission: the clock goes on, the numbers do not, and a comfort frame comes now and then."""
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("opus", ssrc=1, codec_parameters={"usedtx": 1})
        subscription = await bob.subscribe(published.track_id)
        source = AudioSource(ssrc=1, payload_type=OPUS)
        sent = await send(alice, source, 10)
        for _ in range(4):
            (packet,) = source.next_frame()
            packet.payload = OPUS_SILENCE
            source.timestamp = (source.timestamp + 19 * 960) & 0xFFFFFFFF  # 400 ms to the next
            alice.send_rtp(packet)
            sent.append(packet)
            await asyncio.sleep(0.1)
        (word,) = source.next_frame()
        word.marker = True  # a talk spurt begins (RFC 3551 §4.1)
        alice.send_rtp(word)
        sent += [word, *await send(alice, source, 9)]
        received = await arrived(bob, subscription, 24)
        assert [packet.payload for packet in received] == [packet.payload for packet in sent]
        assert [packet.marker for packet in received] == [packet.marker for packet in sent]
        assert sequence_steps(received) == sequence_steps(sent)
        assert timestamp_steps(received) == timestamp_steps(sent)
        assert not alice.rtcp(Nack)
