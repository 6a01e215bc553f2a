"""H.264 payloads (RFC 6184 §5): vectors, cuts, any bytes, and what an encoder really sends."""

import struct
from fractions import Fraction

import pytest
from aiortc.codecs.h264 import H264Encoder, H264PayloadDescriptor
from av import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.rtp.payload.h264 import parse_h264
from tests.rtp.payload.harness import check, cuts, parse

KEY = {"start_of_frame": 1, "key_frame": 1}
START = {"start_of_frame": 1}

# (bytes, the shortest cut that is still valid, what they say)
VECTORS = [
    # SPS alone
    ("67 42 c0 1f", 1, KEY),
    # PPS alone
    ("68 ce 0f c8", 1, START),
    # IDR slice without parameter sets, first_mb_in_slice 0: a picture starts, no decoder can
    ("65 88 80", 1, START),
    # slice, first_mb_in_slice 1 (010…)
    ("41 40 00", 1, {}),
    # slice that nothing refers to, first_mb_in_slice 0
    ("01 9a 00", 1, {"start_of_frame": 1, "independent": 1}),
    # data partition B: has no first_mb_in_slice
    ("43 80 00", 1, {}),
    # SEI, nal_ref_idc 0: the picture behind it may well be referred to
    ("06 05 01", 1, START),
    # delimiter
    ("09 f0", 1, START),
    # STAP-A | 4: SPS | 2: PPS
    ("78 0004 6742c01f 0002 68ce", 7, KEY),
    # STAP-A | 2: delimiter | 2: PPS | 2: SPS
    ("78 0002 09f0 0002 68ce 0002 6742", 5, KEY),
    # STAP-A | 1: a NAL unit that is a header and no more
    ("18 0001 65", 4, {}),
    # STAP-B | DON | 2: SPS
    ("79 0007 0002 6742", 7, KEY),
    # FU-A, S, SPS
    ("7c 87 42 c0", 2, KEY),
    # FU-A, S, IDR slice, first_mb_in_slice 0
    ("7c 85 88", 2, START),
    # FU-A, middle of an SPS
    ("7c 07 42", 2, {}),
    # FU-A, E, of a slice that nothing refers to
    ("1c 41 88", 2, {"independent": 1}),
    # FU-A, middle of an IDR slice that nothing refers to, of a slice that is referred to, of an SEI
    ("1c 05 88", 2, {"independent": 1}),
    ("7c 01 88", 2, {}),
    ("1c 06 88", 2, {}),
    # FU-B | S, SPS | DON | data
    ("7d 87 0001 42", 4, KEY),
]


@pytest.mark.parametrize(("text", "size", "expected"), VECTORS, ids=[vector[0] for vector in VECTORS])
def test_vectors(text, size, expected):
    payload = bytes.fromhex(text)
    check(parse_h264, payload, expected)
    aggregated = payload[0] & 0x1F in (24, 25)
    for cut in cuts(payload):
        parsed = parse(parse_h264, cut)
        if len(cut) < size:
            assert not parsed.valid
        elif not aggregated:  # a cut between two aggregated units is as good as a whole
            assert parsed.valid


@pytest.mark.parametrize(
    "text",
    [
        # nothing
        "",
        # types that are reserved
        "00 80",
        "1e 80",
        "1f 80",
        # MTAP16, MTAP24
        "1a 0000 0002 00 0000 67 42",
        "1b 0000 0002 00 000000 67 42",
        # STAP-A without a unit, with one of no bytes, with one that is longer than the packet
        "78",
        "78 0000",
        "78 0002 6742 0000",
        "78 ffff 67",
        "78 0002 6742 0003 6842",
        # STAP-A with half a size
        "78 0002 6742 00",
        # STAP-B without its number
        "79 00",
    ],
)
def test_malformed(text):
    assert not parse(parse_h264, bytes.fromhex(text)).valid


@given(st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=5))
def test_aggregates_are_key_frames_where_any_unit_is_a_parameter_set(units):
    payload = b"\x78" + b"".join(struct.pack("!H", len(unit)) + unit for unit in units)
    parsed = parse(parse_h264, payload)
    assert parsed.valid
    assert parsed.key_frame == any(unit[0] & 0x1F == 7 for unit in units)
    ends = [1 + sum(2 + len(unit) for unit in units[:count]) for count in range(1, len(units))]
    for cut in cuts(payload):
        assert parse(parse_h264, cut).valid == (len(cut) in ends)


@given(st.binary(min_size=2, max_size=24))
def test_any_bytes_are_read_as_aiortc_reads_them(payload):
    parsed = parse(parse_h264, payload)
    kind = payload[0] & 0x1F
    if kind in (25, 29):
        return  # aiortc does not know them
    try:
        H264PayloadDescriptor.parse(payload)
    except ValueError:
        assert not parsed.valid
        return
    if kind == 24 and not parsed.valid:
        return  # a unit of no bytes, which aiortc takes
    assert parsed.valid
    if kind < 24:
        assert parsed.key_frame == (kind == 7)
    elif kind == 28:
        assert parsed.key_frame == (payload[1] & 0x9F == 0x87)


def test_packets_of_an_encoder():
    encoder = H264Encoder()
    frame = VideoFrame(320, 240, "yuv420p")
    frame.time_base = Fraction(1, 90000)
    for number in range(2):
        frame.pts = 3000 * number
        payloads, _ = encoder.encode(frame, force_keyframe=number == 0)
        parsed = [parse(parse_h264, payload) for payload in payloads]
        assert all(p.valid for p in parsed)
        assert parsed[0].start_of_frame
        assert any(p.key_frame for p in parsed) == (number == 0)
        for payload in payloads:
            for cut in cuts(payload[:60]):
                parse(parse_h264, cut)
