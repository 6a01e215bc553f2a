"""Hostile RTP of a member with good keys: rows 13, 14, 15, 17, 20, 21 and 22 of section A."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pylibsrtp import Error as SrtpError

from tests.attacks.strangers import GREAT_DEAL_BPS, Drops, flood, marks, session_state, settle
from tests.support import payloads
from tests.support.api import ApiFailure
from tests.support.parameters import EXTENSION_IDS
from tests.support.rtc_client import Published, ScriptedClient, Subscribed
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

pytestmark = pytest.mark.usefixtures("innocent")

PACE = 3500  # packets a second, below what one track may send that declares a great deal


@asynccontextmanager
async def call(
    server: ServerProcess, channel: str, codec: str = "opus", **publish: Any
) -> AsyncIterator[tuple[ScriptedClient, Published, ScriptedClient, Subscribed]]:
    """Mallory publishes, somebody listens."""
    async with (
        ScriptedClient.joined(server.url, channel, "mallory") as mallory,
        ScriptedClient.joined(server.url, channel, "listener") as listener,
    ):
        published = await mallory.publish(codec, ssrc=7001, max_bitrate=GREAT_DEAL_BPS, **publish)
        yield mallory, published, listener, await listener.subscribe(published.track_id)


async def send_all(client: ScriptedClient, packets: Iterable[bytes]) -> int:
    """Encrypt and send bytes that pass for RTP, at a pace; how many. What libsrtp refuses is sent as it is."""
    listed = list(packets)

    def send(number: int) -> None:
        try:
            client.send_rtp(listed[number])
        except SrtpError:
            client.send_raw(listed[number] + bytes(16))

    await flood(send, len(listed), PACE)
    return len(listed)


async def still_serves(
    mallory: ScriptedClient, source: AudioSource | VideoSource, listener: ScriptedClient, ssrc: int
) -> None:
    """The session lives, and what it sends by the rules is forwarded."""
    await settle(listener)
    assert (await session_state(mallory))["state"] == "connected"
    source.request_key_frame()
    packets = source.next_frame()
    wanted = set(marks(packets))
    for packet in packets:
        mallory.send_rtp(packet)
    await listener.until(lambda: wanted <= set(marks(listener.rtp(ssrc))))


def with_head(packet: RtpPacket, *, first: int | None = None, behind: bytes = b"") -> bytes:
    """A packet's bytes with its first byte replaced and something between the fixed header and the payload."""
    data = packet.serialize()
    return bytes([data[0] if first is None else first]) + data[1:12] + behind + packet.payload


async def test_a13_padding_that_is_longer_than_the_payload(server: ServerProcess, channel: str) -> None:
    """Every padding count over payloads of 0 to 3 bytes: what does not fit is dropped, what fits is forwarded
    without."""
    async with call(server, channel) as (mallory, published, listener, heard):
        source = AudioSource(ssrc=7001, payload_type=published.payload_type)
        bent, expected = [], 0
        for size in range(4):
            for padding in range(256):
                packet = source.packet(b"\x78\x55\xaa"[:size], False)
                body = bytes(max(0, padding - 1)) if padding and padding % 2 else b""
                data = with_head(packet, first=0xA0) + body + bytes([padding])
                bent.append(data)
                try:
                    expected += len(RtpPacket.parse(data).payload) > 0
                except ValueError:
                    pass
        await send_all(mallory, bent)
        await settle(listener)
        received = listener.rtp(heard.ssrc)
        assert len(received) == expected > 100
        assert all(packet.padding == 0 for packet in received)
        await still_serves(mallory, source, listener, heard.ssrc)


async def test_a13_a_packet_that_is_nothing_but_padding(server: ServerProcess, channel: str) -> None:
    """CVE-2025-49140 (pion): the padding bit on a packet without payload, and on a bare header."""
    async with call(server, channel, "VP8", rtx_ssrc=7002) as (mallory, published, listener, seen):
        source = VideoSource(ssrc=7001, payload_type=published.payload_type, packets_per_frame=1)
        mallory.send_rtp(with_head(source.packet(b"", False), first=0xA0))
        for packet in source.next_frame():
            mallory.send_rtp(packet)
        for padding in range(1, 256):
            mallory.send_rtp(source.packet(b"", False).altered(padding=padding))
        await still_serves(mallory, source, listener, seen.ssrc)
        packets = listener.media(seen)
        # A gap that we made is closed: probes leave no hole in what the subscriber sees.
        assert [packet.sequence_number for packet in packets] == [
            (packets[0].sequence_number + step) & 0xFFFF for step in range(len(packets))
        ]


async def test_a14_rtx_of_no_or_one_byte(server: ServerProcess, channel: str) -> None:
    """Too short for the original sequence number: ignored, as a bandwidth probe is."""
    async with call(server, channel, "VP8", rtx_ssrc=7002) as (mallory, published, listener, seen):
        source = VideoSource(ssrc=7001, payload_type=published.payload_type, packets_per_frame=1)
        rtx = RtpPacket(published.rtx_payload_type or 0, 1, source.timestamp, 7002)
        # Before there is a stream that it could belong to, and after.
        for _ in range(2):
            for size in (0, 1):
                for padding in (0, 1, 255):
                    rtx = rtx.altered(sequence_number=rtx.sequence_number + 1, payload=b"\x01" * size, padding=padding)
                    mallory.send_rtp(rtx)
            for ahead in (5_000, 20_000, 32_768, 40_000, 60_000):  # numbers that were never sent, and nothing in them
                number = (source.sequence_number + ahead) & 0xFFFF
                rtx = rtx.altered(sequence_number=rtx.sequence_number + 1, payload=struct.pack("!H", number), padding=0)
                mallory.send_rtp(rtx)
            for packet in source.next_frame():
                mallory.send_rtp(packet)
        await still_serves(mallory, source, listener, seen.ssrc)
        assert set(marks(listener.rtp(seen.ssrc))) == {(7001, ordinal) for ordinal in range(3)}


def one_byte(*elements: bytes, words: int | None = None) -> bytes:
    """A one-byte extension block (RFC 8285 §4.2); `words` overrides its length field."""
    body = b"".join(elements)
    body += bytes(-len(body) % 4)
    return b"\xbe\xde" + (len(body) // 4 if words is None else words).to_bytes(2) + body


def two_byte(*elements: bytes, words: int | None = None, profile: int = 0x1000) -> bytes:
    body = b"".join(elements)
    body += bytes(-len(body) % 4)
    return profile.to_bytes(2) + (len(body) // 4 if words is None else words).to_bytes(2) + body


def hostile_blocks() -> Iterable[bytes]:
    """Extension blocks of every kind that has hurt somebody."""
    for head in range(
        256
    ):  # every id and length in the one-byte form, with too little behind it, just enough, and more
        length = (head & 15) + 1
        for there in {0, length - 1, length, length + 3}:
            yield one_byte(bytes([head]) + b"\x11" * there)
    for identifier in range(256):
        yield two_byte(bytes([identifier, 1, 0x11]))
        yield two_byte(bytes([identifier, 0]))
        yield two_byte(bytes([identifier]))
    for length in range(256):
        for identifier in (1, 4, 8, 12, 13, 15, 16, 255):
            yield two_byte(bytes([identifier, length]) + b"\x11" * length)
            yield two_byte(bytes([identifier, length]) + b"\x11" * (length // 2))
    for words in (0, 1, 2, 3, 20, 255, 256, 4000, 0x7FFF, 0x8000, 0xFFFF):  # longer than the packet
        yield one_byte(b"\x10\x11", words=words)
        yield two_byte(b"\x01\x01\x11", words=words)
    for profile in (0, 0x0FFF, 0x100F, 0x1010, 0xBEDD, 0xFFFF):
        yield two_byte(b"\x01\x01\x11", profile=profile)
    for identifier in range(1, 15):  # known extensions of a wrong size, in both forms
        for size in range(1, 17):
            yield one_byte(bytes([identifier << 4 | size - 1]) + b"\x22" * size)
        for size in range(64):
            yield two_byte(bytes([identifier, size]) + b"\x22" * size)
    yield one_byte(*[b"\x00"] * 400)
    yield one_byte(*[b"\x10\x11"] * 200)
    yield two_byte(*[b"\x01\x00"] * 200)


@pytest.mark.parametrize("codec", ["opus", "VP8", "H264", "AV1"])
async def test_a15_header_extensions_of_every_shape(server: ServerProcess, channel: str, codec: str) -> None:
    """What is forwarded is well formed, holds what was negotiated in the size that it has, and nothing of the
    attacker's."""
    drops = Drops(server)
    async with call(server, channel, codec) as (mallory, published, listener, subscribed):
        source: AudioSource | VideoSource
        if codec == "opus":
            source = AudioSource(ssrc=7001, payload_type=published.payload_type, size_bytes=40)
        else:
            source = VideoSource(
                codec=codec, ssrc=7001, payload_type=published.payload_type, packets_per_frame=1, size_bytes=80
            )
        for packet in source.next_frame():
            mallory.send_rtp(packet)
        bent = []
        for block in hostile_blocks():
            (packet,) = source.next_frame()
            bent.append(with_head(packet, first=0x90, behind=block))
        # The mark at the end of each would tell what it was; blocks that swallow it make it no packet.
        await send_all(mallory, bent)
        await settle(listener)
        sizes = {"mid": range(1, 17), "abs_send_time": [3], "transport_cc": [2], "audio_level": [1]}
        sizes |= {"video_orientation": [1], "playout_delay": [3], "dependency_descriptor": range(1, 256)}
        names = {number: name for name, number in subscribed.extensions.items()}
        assert listener.other_log == []
        assert drops("policed") == 0
        received = listener.rtp(subscribed.ssrc)
        assert len(received) > 1000
        for packet in received:
            for number, value in packet.extensions.items():
                assert number in names, packet
                assert len(value) in sizes[names[number]], packet
            assert packet.extensions[subscribed.extensions["mid"]].decode() == subscribed.rtp_parameters["mid"]
        await still_serves(mallory, source, listener, subscribed.ssrc)


@pytest.mark.parametrize("identifier", [15, 16, 17, 100, 255])
async def test_a15_extension_ids_beyond_the_table(server: ServerProcess, channel: str, identifier: int) -> None:
    """The two-byte form has ids up to 255; what the plane keeps of a packet has room for the first sixteen."""
    for codec, names in (
        ("opus", ("audio_level", "mid", "transport_cc")),
        ("VP8", ("mid", "video_orientation", "playout_delay")),
    ):
        for name in names:
            extensions = {name: identifier}
            async with call(server, channel, codec, extensions=extensions) as (mallory, published, listener, seen):
                source: AudioSource | VideoSource
                if codec == "opus":
                    source = AudioSource(ssrc=7001, payload_type=published.payload_type)
                else:
                    source = VideoSource(ssrc=7001, payload_type=published.payload_type, packets_per_frame=1)
                for _ in range(10):
                    (packet,) = source.next_frame()
                    mallory.send_rtp(with_head(packet, first=0x90, behind=two_byte(bytes([identifier, 1, 0x55]))))
                    await asyncio.sleep(0)
                await still_serves(mallory, source, listener, seen.ssrc)


def truncated(codec: str, source: VideoSource) -> Iterable[bytes]:
    """Packets of a codec cut at every byte of their descriptors, and with these bytes replaced."""
    heads: list[bytes] = []
    if codec == "VP8":
        for picture_id in (None, 5, 0x7FFF):
            for tl0 in (None, 200):
                for temporal in (None, 2):
                    head = payloads.vp8_descriptor(
                        start=True, picture_id=picture_id, tl0_picture_index=tl0, temporal_id=temporal, key_index=3
                    )
                    heads.append(head + payloads.vp8_frame_header(key=True))
    elif codec == "VP9":
        for inter in (True, False):
            for sizes in ((), ((320, 180), (640, 360), (1280, 720))):
                head = payloads.vp9_descriptor(begin=True, end=True, inter=inter, picture_id=77, sizes=sizes)
                heads.append(head + payloads.vp9_frame_header(key=not inter))
        heads.append(b"\xfa\xff\x1f\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff")  # every flag, reference and size there is
    elif codec == "H264":
        heads.append(payloads.h264_stap_a([payloads.H264_SPS, payloads.H264_PPS, b"\x65" + bytes(20)]))
        heads.append(b"\x78\xff\xff\x67")  # a NAL unit longer than the packet
        heads.append(b"\x78\x00\x00\x00\x00")
        heads += [
            payloads.h264_fu_a(unit_type=5, start=True, end=False, body=bytes(8)),
            b"\x7c",
            b"\x7d\x85",
            b"\x79\x00",
        ]
    else:
        heads.append(
            payloads.av1_payload(new_sequence=True, continues=False, to_be_continued=True, size_bytes=40, tail=b"")
        )
        heads += [
            b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x08\x00\x00\x00",
            b"\x30\x80\x80\x80\x80",
            b"\xff" * 20,
        ]
    for head in heads:
        for size in range(len(head) + 1):
            yield source.packet(head[:size], True).serialize()
        for position in range(min(len(head), 12)):
            for value in (0, 0x7F, 0x80, 0xFF, head[position] ^ 0x55):
                changed = bytearray(head)
                changed[position] = value
                yield source.packet(bytes(changed) + b"\x55" * 4, True).serialize()


@pytest.mark.parametrize("codec", ["VP8", "VP9", "H264", "AV1"])
@pytest.mark.parametrize("packets_per_frame", [1, 3])
async def test_a17_descriptors_cut_at_every_byte(
    server: ServerProcess, channel: str, codec: str, packets_per_frame: int
) -> None:
    async with call(server, channel, codec) as (mallory, published, listener, seen):
        source = VideoSource(
            codec=codec,
            ssrc=7001,
            payload_type=published.payload_type,
            packets_per_frame=packets_per_frame,
            temporal_ids=(0, 2, 1, 2),
        )
        for packet in source.next_frame():
            mallory.send_rtp(packet)
        sent = await send_all(mallory, truncated(codec, source))
        # And real packets, cut at every byte.
        source.request_key_frame()
        for packet in source.next_frame():
            data = packet.payload[:64]
            sent += await send_all(
                mallory, [source.packet(data[:size], False).serialize() for size in range(len(data))]
            )
        assert sent > 60
        await still_serves(mallory, source, listener, seen.ssrc)


def descriptors() -> Iterable[bytes]:
    """Dependency descriptors: one with a template structure (of L1T2, from Chromium's shape), cut and changed, and
    noise."""
    structure = bytes.fromhex("c0000180110184a0")
    whole = bytes.fromhex("800001800214eaa860414d141020842701df010d")
    for descriptor in (structure, whole):
        for size in range(len(descriptor) + 1):
            yield descriptor[:size]
        for position in range(len(descriptor)):
            for bit in range(8):
                changed = bytearray(descriptor)
                changed[position] ^= 1 << bit
                yield bytes(changed)
    for byte in range(256):
        yield bytes([byte]) * 3
        yield b"\x80\x00\x01\x80" + bytes([byte]) * 60


@pytest.mark.parametrize("codec", ["AV1", "H264"])
async def test_a17_dependency_descriptors_cut_and_changed(server: ServerProcess, channel: str, codec: str) -> None:
    async with call(server, channel, codec) as (mallory, published, listener, seen):
        source = VideoSource(codec=codec, ssrc=7001, payload_type=published.payload_type, packets_per_frame=1)
        for packet in source.next_frame():
            mallory.send_rtp(packet)
        bent = []
        for descriptor in descriptors():
            (packet,) = source.next_frame()
            element = bytes([EXTENSION_IDS["dependency_descriptor"], len(descriptor)]) + descriptor
            bent.append(with_head(packet, first=0x90, behind=two_byte(element)))
        await send_all(mallory, bent)
        await still_serves(mallory, source, listener, seen.ssrc)
        assert listener.other_log == []


async def test_a20_two_publishers_of_one_ssrc(server: ServerProcess, channel: str) -> None:
    """Both reach their own subscribers, under SSRCs of the server's that are all different."""
    async with (
        ScriptedClient.joined(server.url, channel, "alice") as alice,
        ScriptedClient.joined(server.url, channel, "mallory") as mallory,
        ScriptedClient.joined(server.url, channel, "listener") as listener,
    ):
        tracks = [await client.publish("opus", ssrc=4242) for client in (alice, mallory)]
        heard = [await listener.subscribe(track.track_id) for track in tracks]
        assert len({one.ssrc for one in heard} | {4242}) == 3
        for number in range(50):
            for client, track, toc in ((alice, tracks[0], 0x78), (mallory, tracks[1], 0x08)):
                mark = payloads.mark(toc, number)
                client.send_rtp(
                    RtpPacket(track.payload_type, number, 960 * number, 4242, payloads.opus(40, mark, toc=toc))
                )
            await asyncio.sleep(0.002)
        await listener.until(lambda: all(len(listener.rtp(one.ssrc)) == 50 for one in heard))
        for one, toc in zip(heard, (0x78, 0x08), strict=True):
            assert marks(listener.rtp(one.ssrc)) == [(toc, number) for number in range(50)]


async def test_a20_a_member_cannot_publish_an_ssrc_twice(server: ServerProcess, channel: str) -> None:
    """Within one session an SSRC names one stream; the second is refused, and the first goes on."""
    async with call(server, channel) as (mallory, published, listener, heard):
        for ssrc, rtx in ((7001, None), (7003, 7001), (heard.ssrc, None)):
            with pytest.raises(ApiFailure) as failure:
                await (listener if ssrc == heard.ssrc else mallory).publish("VP8", ssrc=ssrc, rtx_ssrc=rtx, mid="other")
            assert failure.value.status == 422
        await still_serves(mallory, AudioSource(ssrc=7001, payload_type=published.payload_type), listener, heard.ssrc)


LAYERS = ("low", "mid", "high")
STRAYS = 900_000


def simulcast(codec: str, payload_type: int) -> dict[str, VideoSource]:
    """One source for each rid; its SSRC says which."""
    return {
        rid: VideoSource(
            codec=codec, ssrc=8000 + index, payload_type=payload_type, packets_per_frame=1, width=160 << index
        )
        for index, rid in enumerate(LAYERS)
    }


def by_rid(packet: RtpPacket, mid: str, rid: str) -> RtpPacket:
    """With the extensions by which a stream without a signalled SSRC is found."""
    extensions = {EXTENSION_IDS["mid"]: mid.encode(), EXTENSION_IDS["rid"]: rid.encode()}
    changed = packet.altered()
    changed.extensions |= extensions
    return changed


@pytest.mark.parametrize("codec", ["VP8", "VP9"])
async def test_a21_rids_that_are_unknown_swapped_or_change_their_ssrc(
    server: ServerProcess, channel: str, codec: str
) -> None:
    """Each subscriber gets the encoding that it wants, whatever else the publisher sends; VP9 counts spatial id 0 in
    each."""
    async with (
        ScriptedClient.joined(server.url, channel, "mallory") as mallory,
        ScriptedClient.joined(server.url, channel, "listener") as listener,
    ):
        published = await mallory.publish(codec, encodings=[{"rid": rid} for rid in LAYERS], mid="cam")
        seen = await listener.subscribe(published.track_id)
        sources = simulcast(codec, published.payload_type)

        async def frames(count: int, strangers: bool = True) -> None:
            for _ in range(count):
                for rid, source in sources.items():
                    for packet in source.next_frame():
                        mallory.send_rtp(by_rid(packet, "cam", rid))
                        if strangers:
                            strays = (("cam", "evil"), ("evil", rid), ("cam", "x" * 16), ("", ""))
                            for number, (mid, name) in enumerate(strays):
                                ssrc = STRAYS + packet.ssrc + 1000 * number
                                payload = payloads.fill(packet.payload[:6], 60, payloads.mark(ssrc, 0))
                                stray = packet.altered(ssrc=ssrc, payload=payload)
                                mallory.send_rtp(by_rid(stray, mid, name) if mid else stray)
                await asyncio.sleep(0.004)

        async def layer(wanted: int) -> None:
            path = f"/sessions/{listener.session_id}/subscriptions/{seen.subscription_id}"
            await listener.api.call("PATCH", path, {"preferred_layers": {"spatial": wanted, "temporal": 0}})
            for _ in range(10):
                for source in sources.values():
                    source.request_key_frame()
                await frames(3)
                await settle(listener, quiet=0.05)
                last = marks(listener.media(seen))[-1:]
                if last and last[0][0] == sources[LAYERS[wanted]].ssrc:
                    break
            start = len(listener.rtp(seen.ssrc))
            await frames(10)
            await settle(listener, quiet=0.05)
            assert {source for source, _ in marks(listener.rtp(seen.ssrc)[start:])} == {sources[LAYERS[wanted]].ssrc}

        await frames(5)
        for wanted in (2, 0, 1):
            await layer(wanted)
        # After an ICE restart the encoder comes back with other SSRCs under the same rids.
        await mallory.restart_ice()
        await mallory.check()
        for source in sources.values():
            source.ssrc += 500
            source.request_key_frame()
        await layer(1)
        numbers = [packet.sequence_number for packet in listener.media(seen)]
        assert listener.gaps(seen) == 0, numbers
        assert max(source for source, _ in marks(listener.rtp())) < STRAYS


@pytest.mark.parametrize(
    "encodings",
    [
        [{"rid": "a"}, {"rid": "a"}],
        [{"ssrc": 1}, {"ssrc": 1}],
        [{"ssrc": 1, "rtx": {"ssrc": 1}}],
        [{"rid": ""}],
        [{"rid": "a" * 17}],
        [{"rid": "a\r\nb"}],
        [{"rid": "a/../b"}],
        [{}],
        [],
        [{"rid": str(number)} for number in range(5)],
        [{"ssrc": 0}],
        [{"ssrc": 1 << 32}],
        [{"ssrc": -1}],
    ],
)
async def test_a21_encodings_that_name_no_stream_or_one_twice(
    server: ServerProcess, channel: str, encodings: list[dict[str, Any]]
) -> None:
    async with ScriptedClient(server.url, channel, "mallory") as mallory:
        await mallory.create()
        with pytest.raises(ApiFailure) as failure:
            await mallory.publish("VP8", encodings=encodings)
        assert failure.value.status == 422
        assert failure.value.pointers


@pytest.mark.parametrize("first", [65_530, 65_535, 0])
async def test_a22_numbers_wrap_again_and_again(server: ServerProcess, channel: str, first: int) -> None:
    """Sequence numbers (with SRTP's rollover counter), timestamps, picture ids and TL0PICIDX, three times round each.

    The first packets are lost, the numbers leap ahead between the wraps, and each stream wraps by itself.
    """
    async with call(server, channel, "VP8") as (mallory, published, listener, seen):
        speech = await mallory.publish("opus", ssrc=7005)
        heard = await listener.subscribe(speech.track_id)
        video = VideoSource(
            ssrc=7001,
            payload_type=published.payload_type,
            packets_per_frame=1,
            size_bytes=60,
            sequence_number=first,
            timestamp=(1 << 32) - 9000,
            picture_id=0x7FFA,
            tl0_picture_index=250,
            temporal_ids=(0, 1),
        )
        audio = AudioSource(
            ssrc=7005,
            payload_type=speech.payload_type,
            sequence_number=(first - 40_000) & 0xFFFF,
            timestamp=(1 << 32) - 960,
        )
        for lost in (video.next_frame() + audio.next_frame()) if first == 65_530 else []:
            mallory.protect_rtp(lost)
            video.request_key_frame()
        sent: Counter[int] = Counter()
        rounds = 0
        while rounds < 3:
            before = video.sequence_number
            for source in (video, audio):
                for _ in range(8):
                    for packet in source.next_frame():
                        mallory.send_rtp(packet)
                        sent[source.ssrc] += 1
            await asyncio.sleep(0.003)
            leap = 2900 if 10_000 < video.sequence_number < 60_000 else 300
            for source in (video, audio):
                source.sequence_number = (source.sequence_number + leap) & 0xFFFF
            video.picture_id = (video.picture_id + 1000) & 0x7FFF
            video.request_key_frame()
            rounds += video.sequence_number < before
        await listener.until(
            lambda: len(listener.rtp(seen.ssrc)) == sent[7001] and len(listener.rtp(heard.ssrc)) == sent[7005]
        )
        for one in (seen, heard):
            got = [ordinal for _, ordinal in marks(listener.rtp(one.ssrc))]
            assert got == sorted(set(got))
        assert listener.undecryptable == []
