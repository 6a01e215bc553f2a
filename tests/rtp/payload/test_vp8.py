"""VP8 payload descriptors (RFC 7741 §4.2): vectors, cuts, any bytes, and what libvpx really sends."""

from fractions import Fraction

import pytest
from aiortc.codecs.vpx import Vp8Encoder, VpxPayloadDescriptor
from av import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.rtp.payload.vp8 import parse_vp8
from tests.rtp.payload.harness import check, cuts, parse

# (bytes, length of the descriptor in them, what they say)
VECTORS = [
    # S, partition 0 | frame header with P = 0: a key frame
    ("10 00", 1, {"start_of_frame": 1, "key_frame": 1}),
    # S, partition 0 | P = 1
    ("10 01", 1, {"start_of_frame": 1}),
    # a later packet of a frame; its first byte is no frame header
    ("00 00", 1, {}),
    # S, but of partition 1
    ("11 00", 1, {}),
    # N, S
    ("30 01", 1, {"start_of_frame": 1, "independent": 1}),
    # X S | I | 17
    (
        "90 80 11 00",
        3,
        {"start_of_frame": 1, "key_frame": 1, "picture_id": 17, "picture_id_bits": 7, "picture_id_offset": 2},
    ),
    # X | I | M 0x1234
    ("80 80 92 34 00", 4, {"picture_id": 0x1234, "picture_id_bits": 15, "picture_id_offset": 2}),
    # X N S | I L T K | M 0x1234 | TL0PICIDX 5 | TID 2, Y, KEYIDX 25 | P = 1
    (
        "b0 f0 92 34 05 b9 01",
        6,
        {
            "start_of_frame": 1,
            "independent": 1,
            "picture_id": 0x1234,
            "picture_id_bits": 15,
            "picture_id_offset": 2,
            "tl0": 5,
            "tl0_offset": 4,
            "temporal": 2,
            "switching_up": 1,
            "key_index": 25,
        },
    ),
    # X S | L T, no picture id | TL0PICIDX 255 | TID 1, no Y, the KEYIDX bits mean nothing | key frame
    ("90 60 ff 5f 00", 4, {"start_of_frame": 1, "key_frame": 1, "tl0": 255, "tl0_offset": 2, "temporal": 1}),
    # X | K alone: TID and Y mean nothing
    ("80 10 ff", 3, {"key_index": 31}),
    # X, and no extension
    ("80 00", 2, {}),
    # the frame's first byte is missing: a frame starts, what kind is not known
    ("10", 1, {"start_of_frame": 1}),
]


@pytest.mark.parametrize(("text", "size", "expected"), VECTORS, ids=[vector[0] for vector in VECTORS])
def test_vectors(text, size, expected):
    payload = bytes.fromhex(text)
    check(parse_vp8, payload, expected)
    for cut in cuts(payload):
        parsed = parse(parse_vp8, cut)
        assert parsed.valid == (len(cut) >= size)
        if len(cut) == size:
            assert parsed.key_frame == 0


@given(st.binary(max_size=12))
def test_any_bytes_are_read_as_aiortc_reads_them(payload):
    parsed = parse(parse_vp8, payload)
    try:
        descriptor, frame = VpxPayloadDescriptor.parse(payload)
    except ValueError:
        assert not parsed.valid
        return
    assert parsed.valid
    assert parsed.picture_id == (-1 if descriptor.picture_id is None else descriptor.picture_id)
    assert parsed.tl0 == (-1 if descriptor.tl0picidx is None else descriptor.tl0picidx)
    assert (parsed.temporal, parsed.switching_up) == (descriptor.tid or (0, 0))
    assert parsed.key_index == (-1 if descriptor.keyidx is None else descriptor.keyidx)
    starts = descriptor.partition_start == 1 and descriptor.partition_id & 7 == 0
    assert parsed.start_of_frame == starts
    assert parsed.key_frame == (starts and frame != b"" and frame[0] & 1 == 0)


def test_packets_of_an_encoder():
    encoder = Vp8Encoder()
    frame = VideoFrame(320, 240, "yuv420p")
    frame.time_base = Fraction(1, 90000)
    for number in range(3):
        frame.pts = 3000 * number
        payloads, _ = encoder.encode(frame, force_keyframe=number == 2)
        parsed = [parse(parse_vp8, payload) for payload in payloads]
        assert [p.key_frame for p in parsed] == [int(number != 1)] + [0] * (len(parsed) - 1)
        assert [p.start_of_frame for p in parsed] == [1] + [0] * (len(parsed) - 1)
        assert len({p.picture_id for p in parsed}) == 1
        for cut in cuts(payloads[0][:40]):
            parse(parse_vp8, cut)
