"""Packets that are wrong: nothing raises, nothing is read beyond their end, the session lives, and the scalar forwarder agrees.

What a peer without keys can send comes first; then what one with keys can.
"""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.compiled import INTERPRETED
from sluicegate.rtp.names import Codec, Extension
from sluicegate.rtp.srtp import SrtpProfile
from tests.support import payloads
from tests.support.rtcp_packet import Nack, TransportFeedback, pack
from tests.support.rtp_packet import ONE_BYTE_PROFILE, TWO_BYTE_PROFILE, RtpPacket

from .harness import Bench, Error, audio, listening, opus, sending, video, vp8
from .twins import EVERY_EXTENSION, Twins

EXAMPLES = 40 if INTERPRETED else 300


class Pair:
    """Twins with one video and one audio track, and a subscriber who takes every extension of both."""

    def __init__(self, bench, codec=Codec.VP8):
        self.bench, self.twins = bench, Twins(bench)
        self.publisher, self.subscriber = self.twins.peer(), self.twins.peer()
        self.tracks = [self.twins.publish(self.publisher, media) for media in (video(codec), audio())]
        media = (
            sending(extensions=EVERY_EXTENSION),
            listening(ssrc=8000, payload_types=(96, None), extensions=EVERY_EXTENSION),
        )
        for track, receive in zip(self.tracks, media, strict=True):
            self.twins.subscribe(self.subscriber, track, receive, sequence_number=1000, timestamp=5000)
        self.number = 10
        self.codec = codec

    def key_frame(self):
        self.number += 1
        payload = {
            Codec.VP8: vp8(self.number, key=True).payload,
            Codec.VP9: payloads.vp9_descriptor(begin=True, end=True, inter=False, picture_id=9, layers=False) + b"x",
            Codec.H264: payloads.h264_stap_a([payloads.H264_SPS, payloads.H264_PPS]),
            Codec.AV1: payloads.av1_payload(
                new_sequence=True, continues=False, to_be_continued=False, size_bytes=40, tail=b""
            ),
        }[self.codec]
        self.twins.deliver(self.publisher, vp8(self.number, payload=payload).serialize())

    def deliver(self, *packets):
        for packet in packets:
            try:
                self.twins.deliver(self.publisher, packet)
            except Error:  # libsrtp does not protect what it cannot walk over, and so does not unprotect it either
                pass

    def lives(self):
        """Media still goes through."""
        before = len(self.twins.sent)
        self.key_frame()
        self.twins.deliver(self.publisher, opus(self.number).serialize())
        assert len(self.twins.sent) == before + 2


def raw(number, body=b"", *, first=0x80, payload_type=96, ssrc=1000, extension=None):
    """A packet from its parts, none of them checked. `extension`: (profile, block) or (profile, words, block)."""
    header = struct.pack(
        "!BBHII", first | (0x10 if extension else 0), payload_type, number & 0xFFFF, 3000 * number, ssrc
    )
    if extension:
        profile, block = extension[0], extension[-1]
        words = extension[1] if len(extension) == 3 else len(block) // 4
        header += struct.pack("!HH", profile, words) + block
    return header + body


# ── without keys ──


@pytest.mark.parametrize("profile", list(SrtpProfile))
def test_short_datagrams_of_every_length(profile):
    """RTP- and RTCP-shaped, 0 to 64 bytes: underflows of lengths lived here in other servers."""
    with Bench(profile=profile) as bench:
        publisher, subscriber = bench.peer(), bench.peer()
        track = bench.publish(publisher, video())
        bench.subscribe(subscriber, track, sending())
        rtp, rtcp = vp8(1, key=True).serialize() + bytes(64), b"\x81\xc9\x00\x07\x00\x00\x03\xe8" + bytes(64)
        for length in range(65):
            for shape in (rtp, rtcp, b"\x9f\xe0" + rtp[2:], b"\xbf\xff" + rtp[2:]):
                for peer in (publisher, subscriber):
                    assert bench.turn([(shape[:length], peer.address)]) == {}
        assert bench.plane.receive_statistics(track)[0].packets == 0
        assert bench.receive(publisher, vp8(2, key=True))[subscriber.transport].packets


def test_authenticated_packets_that_end_early():
    """Every packet of 12 to 64 bytes that libsrtp can be made to protect."""
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        for length in range(12, 65):
            pair.number += 1
            pair.deliver(vp8(pair.number).serialize().ljust(64, b"\x90")[:length])
        pair.lives()


@pytest.mark.parametrize("length", [1472, 1473, 1500, 1536, 2000, 65_000])
def test_datagrams_longer_than_any_path_are_dropped(length):
    with Bench() as bench:
        publisher = bench.peer()
        bench.publish(publisher, video())
        datagram = publisher.protect(vp8(1, key=True).serialize() + bytes(1300)).ljust(length, b"\0")
        bench.turn([(datagram, publisher.address)])
        assert bench.drops() == ({"authentication": 1} if length == 1472 else {"truncated": 1})


# ── padding ──


def test_every_padding_with_every_short_payload():
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        for size in range(4):
            for padding in range(256):
                pair.number += 1
                body = bytes([0x10, 0x01, 0x02, 0x03][:size])
                pair.deliver(raw(pair.number, body[:-1] + bytes([padding]) if size else b"", first=0xA0))
        assert bench.drops()["malformed"] == 256 + 255 + 254 + 253
        pair.lives()


def test_padding_is_counted_behind_csrcs_and_extension():
    """RFC 3550 §5.1: it may take all of the payload, and nothing before that."""
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        for padding in range(10):
            pair.number += 1
            body = bytes(8) + b"\x10" + bytes(6) + bytes([padding])
            pair.deliver(raw(pair.number, body, first=0xA2))
        assert bench.drops() == {"malformed": 2}
        pair.lives()


def test_rtx_without_an_original_number_is_ignored():
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        for size in range(3):
            for first in (0x80, 0xA0):
                body = bytes(size) if first == 0x80 else bytes(size) + b"\0\2"
                pair.deliver(raw(size + (first & 0x20), body, first=first, payload_type=97, ssrc=2000))
        assert bench.drops()["padding"] == 4
        pair.lives()


# ── header extensions ──


@pytest.mark.parametrize("profile", [ONE_BYTE_PROFILE, TWO_BYTE_PROFILE, 0x100F, 0xBEDF, 0x0000])
def test_every_first_byte_of_an_extension_block(profile):
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        for byte in range(256):
            pair.number += 1
            block = bytes([byte]) + bytes.fromhex("6101c100a2112233")[: 7 if byte % 2 else 3]
            pair.deliver(raw(pair.number, vp8(pair.number).payload, extension=(profile, block)))
        pair.lives()


def test_every_length_of_a_two_byte_element():
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        for number in (1, 5, 6, 7, 8, 9, 15, 16, 255):
            for length in range(0, 256, 5 if INTERPRETED else 1):
                pair.number += 1
                block = (bytes([number, length]) + bytes(range(length)) + b"\x06\x01\x07").ljust(260, b"\0")
                pair.deliver(raw(pair.number, vp8(pair.number).payload, extension=(TWO_BYTE_PROFILE, block)))
                pair.number += 1
                cut = (bytes([6, 1, 7, number, length]) + bytes(7))[:8]
                pair.deliver(raw(pair.number, vp8(pair.number).payload, extension=(TWO_BYTE_PROFILE, cut)))
        pair.lives()


def test_a_known_element_of_the_wrong_size_is_left_out():
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        for element in (6, 7, 9):
            for size in range(1, 17):
                pair.number += 1
                packet = vp8(pair.number) if element != 9 else opus(pair.number)
                packet.extensions = {element: bytes(range(size))}
                pair.deliver(packet.serialize())
                (extensions,) = [RtpPacket.parse(data).extensions for _, data in pair.twins.sent[-1:]]
                expected = {6: (11, 1), 7: (12, 3), 9: (10, 1)}[element]
                assert (expected[0] in extensions) is (size == expected[1])


def test_an_extension_block_longer_than_its_packet_is_refused():
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        for words in (3, 4, 100, 0x3FFF, 0xFFFF):
            pair.deliver(raw(pair.number + 1, bytes(5), extension=(ONE_BYTE_PROFILE, words, bytes(4))))
        pair.lives()


def test_id_0_with_a_length_ends_the_block():
    """RFC 8285 §4.1.2; it was taken for padding."""
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        pair.number += 1
        block = b"\x60\x01\x00\x03\x72\x11\x22\x33"  # orientation, padding, id 0 with length 4, playout delay
        pair.deliver(raw(pair.number, vp8(pair.number).payload, extension=(ONE_BYTE_PROFILE, block)))
        extensions = RtpPacket.parse(pair.twins.sent[-1][1]).extensions
        assert EVERY_EXTENSION[Extension.VIDEO_ORIENTATION] in extensions
        assert EVERY_EXTENSION[Extension.PLAYOUT_DELAY] not in extensions


elements = st.lists(
    st.tuples(st.integers(0, 15), st.binary(max_size=18), st.integers(-2, 2)),
    max_size=6,
)


def block_of(parts, two_byte):
    """An extension block whose elements claim `off` bytes more than they have."""
    out = b""
    for number, value, off in parts:
        length = max(0, len(value) + off)
        out += bytes([number, length & 255]) if two_byte else bytes([number << 4 | (length - 1) & 15])
        out += value
    return out + bytes(-len(out) % 4)


@settings(max_examples=EXAMPLES)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([ONE_BYTE_PROFILE, TWO_BYTE_PROFILE, 0x1005, 0xBEDF]),
            elements,
            st.booleans(),
            st.integers(0, 15),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_extension_block(packets):
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        for profile, parts, sound, csrcs in packets:
            pair.number += 1
            body = (opus if sound else vp8)(pair.number).payload
            extension = (profile, block_of(parts, profile & 0xFFF0 == TWO_BYTE_PROFILE))
            header = raw(
                pair.number,
                first=0x80 | csrcs,
                payload_type=111 if sound else 96,
                ssrc=3000 if sound else 1000,
                extension=extension,
            )
            pair.deliver(header[:12] + bytes(4 * csrcs) + header[12:] + body)
        pair.lives()


# ── payloads ──


@pytest.mark.parametrize("codec", list(Codec)[1:])
@settings(max_examples=EXAMPLES // 4)
@given(bodies=st.lists(st.binary(max_size=24), min_size=1, max_size=10))
def test_any_payload(codec, bodies):
    """VP8's is held to the scalar forwarder, which knows nothing of layers in space; the others must do no harm."""
    with Bench() as bench:
        if codec == Codec.VP8:
            pair = Pair(bench, codec)
            pair.key_frame()
            for body in bodies:
                pair.number += 1
                pair.deliver(raw(pair.number, body))
            pair.lives()
            return
        publisher, subscriber = bench.peer(), bench.peer()
        bench.subscribe(subscriber, bench.publish(publisher, video(codec)), sending(extensions=EVERY_EXTENSION))
        for number, body in enumerate(bodies):
            for element in ({}, {8: (body or b"\0")[:16]}):
                bench.receive(publisher, vp8(2 * number + bool(element), payload=body, extensions=element))
        bench.advance(0.1)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.binary(min_size=12, max_size=80), min_size=1, max_size=6))
def test_any_bytes_behind_valid_protection(packets):
    with Bench() as bench:
        pair = Pair(bench)
        pair.key_frame()
        for data in packets:
            pair.number += 1
            head = bytes([0x80 | data[0] & 0x3F, 96 | data[1] & 0x80]) + struct.pack("!H", pair.number & 0xFFFF)
            pair.deliver(head + data[4:8] + struct.pack("!I", 1000) + data[12:])
        pair.lives()


# ── RTCP ──


@pytest.fixture
def talk():
    with Bench() as bench:
        publisher, subscriber = bench.peer(), bench.peer()
        track = bench.publish(publisher, video(transport_cc=True, remb=True))
        bench.subscribe(subscriber, track, sending(extensions=EVERY_EXTENSION))
        for number in range(20):
            bench.receive(publisher, vp8(number, key=number == 0))
        yield bench, publisher, subscriber


def assert_talks(bench, publisher, subscriber, number=20):
    assert bench.receive(publisher, vp8(number))[subscriber.transport].packets
    assert bench.receive_rtcp(subscriber, Nack(1, 7000, (1000 + number,)))[subscriber.transport].packets


@pytest.mark.parametrize("kind", range(192, 224))
def test_every_count_with_bodies_of_every_length(talk, kind):
    bench, publisher, subscriber = talk
    for peer in (publisher, subscriber):
        for count in range(32):
            for words in (1, 2, 3, 4, 7):
                body = (struct.pack("!II", 7000, 1000) + b"REMB" + b"\xff" * 40)[: 4 * words]
                bench.receive(peer, pack(kind, count, body))
    assert_talks(bench, publisher, subscriber)


def test_a_compound_that_ends_early_does_what_stands_before_its_end(talk):
    bench, publisher, subscriber = talk
    nack = Nack(1, 7000, (1005,)).serialize()
    (again,) = bench.receive(subscriber, nack + b"\x81\xcd\x00\x09" + bytes(8))[subscriber.transport].packets
    assert again.payload[:2] == (1005).to_bytes(2, "big")
    assert bench.drops() == {"rtcp": 1}
    bench.receive(subscriber, nack + b"\x41\xcd\x00\x01" + bytes(4))
    assert bench.drops() == {"rtcp": 2}
    assert_talks(bench, publisher, subscriber)


def test_a_feedback_that_claims_65535_packets_is_read_no_further_than_its_end(talk):
    bench, publisher, subscriber = talk
    for chunk in (b"\x1f\xff", b"\x3f\xff", b"\x5f\xff", b"\x7f\xff", b"\xff\xff", b"\xbf\xff"):
        body = struct.pack("!IIHHI", 1, 7000, 0, 65_535, 0) + chunk * 10
        bench.receive(subscriber, pack(205, 15, body))
    assert_talks(bench, publisher, subscriber)


compounds = st.lists(
    st.builds(
        pack,
        st.sampled_from([200, 201, 202, 203, 204, 205, 206, 207]),
        st.integers(0, 31),
        st.binary(max_size=12).map(lambda tail: struct.pack("!II", 7000, 7000) + tail)
        | st.binary(max_size=60)
        | st.just(TransportFeedback(1, 7000, 0, 0, (0.0, None, 0.1)).serialize()[4:]),
    ),
    min_size=1,
    max_size=4,
).map(b"".join)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(compounds, st.integers(0, 30)), min_size=1, max_size=6))
def test_any_rtcp(datagrams):
    with Bench() as bench:
        publisher, subscriber = bench.peer(), bench.peer()
        bench.subscribe(subscriber, bench.publish(publisher, video()), sending())
        bench.receive(publisher, vp8(0, key=True))
        for data, cut in datagrams:
            for peer in (publisher, subscriber):
                if len(data) - cut >= 8:
                    bench.receive(peer, data[: len(data) - cut])
        bench.advance(0.5)
        assert_talks(bench, publisher, subscriber, number=1)
