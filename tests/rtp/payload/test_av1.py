"""AV1 aggregation headers and OBU elements (AV1 RTP payload specification §4.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.rtp.payload.av1 import parse_av1
from tests.rtp.payload.harness import check, cuts, parse

# An OBU header is type << 3, | 4 with an extension byte: temporal << 5 | spatial << 3.
VECTORS = [
    # W 1, N | sequence header
    ("18 08 00 00", {"key_frame": 1, "start_of_frame": 1}),
    # W 2, N | 3: sequence header | frame
    ("28 03 08 00 00 30 10", {"key_frame": 1, "start_of_frame": 1}),
    # W 0, N | 2: temporal delimiter | 3: sequence header | 2: frame
    ("08 02 12 00 03 08 00 00 02 30 10", {"key_frame": 1, "start_of_frame": 1}),
    # W 2, N | 3: metadata | sequence header
    ("28 03 28 00 00 08 00", {"key_frame": 1, "start_of_frame": 1}),
    # W 2, a sequence header without N: repeated, no new sequence begins
    ("20 03 08 00 00 30 10", {"start_of_frame": 1}),
    # W 1, N without a sequence header
    ("18 30 10", {"start_of_frame": 1}),
    # W 1 | frame with extension: temporal 2, spatial 1
    ("10 34 48 00", {"start_of_frame": 1, "temporal": 2, "spatial": 1}),
    # W 1 | tile group, does not start a frame
    ("10 20 00", {}),
    # Z, W 1: the rest of an OBU; its first byte is no header
    ("90 08 00", {}),
    # Z Y, W 2 | 1: rest of an OBU | tile group with extension: temporal 1, spatial 0
    ("e0 01 08 24 20 00", {"temporal": 1, "spatial": 0}),
    # W 0 | length of 2 in three leb128 bytes | frame
    ("00 82 80 00 30 10", {"start_of_frame": 1}),
    # W 0 | an empty element | 2: frame header
    ("00 00 02 18 00", {}),
    # W 1 | frame whose extension byte went into the next packet (Y)
    ("50 34", {"start_of_frame": 1}),
]


@pytest.mark.parametrize(("text", "expected"), VECTORS, ids=[vector[0] for vector in VECTORS])
def test_vectors(text, expected):
    payload = bytes.fromhex(text)
    check(parse_av1, payload, expected)
    for cut in cuts(payload):
        parse(parse_av1, cut)


@pytest.mark.parametrize(
    "text",
    [
        # no header, no element
        "",
        "10",
        "00",
        # Z and N
        "98 08 00",
        # W 2, one element
        "20 02 30 00",
        # W 3, two elements
        "30 01 30 01 30",
        # an element longer than the packet
        "00 05 30 00",
        "20 7f 30 00 30",
        # a length without an end: at the packet's, and after eight bytes
        "00 80 80",
        "00 80 80 80 80 80 80 80 80 00 30",
        # the longest length there is
        "00 ff ff ff ff ff ff ff 7f 30",
    ],
)
def test_malformed(text):
    assert not parse(parse_av1, bytes.fromhex(text)).valid


def leb128(value: int, padding: int = 0) -> bytes:
    out = b""
    while value >= 0x80 or padding:
        out += bytes([value & 0x7F | 0x80])
        value, padding = value >> 7, max(0, padding - 1)
    return out + bytes([value])


elements = st.builds(
    lambda kind, layer, body: (
        bytes([kind << 3 | (0 if layer is None else 4)])
        + (b"" if layer is None else bytes([layer[0] << 5 | layer[1] << 3]))
        + body
    ),
    st.integers(0, 15),
    st.none() | st.tuples(st.integers(0, 7), st.integers(0, 3)),
    st.binary(max_size=5) | st.just(bytes(200)),
)


@given(st.lists(elements, min_size=1, max_size=5), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 3))
def test_any_packet(obus, continues, new_sequence, counted, padding):
    new_sequence = new_sequence and not continues
    counted = counted and len(obus) <= 3
    header = continues << 7 | (len(obus) << 4 if counted else 0) | new_sequence << 3
    payload = bytes([header]) + b"".join(leb128(len(obu), padding) + obu for obu in obus[:-1])
    payload += obus[-1] if counted else leb128(len(obus[-1]), padding) + obus[-1]

    parsed = parse(parse_av1, payload)
    headed = obus[1:] if continues else obus
    assert parsed.valid
    assert parsed.key_frame == (new_sequence and any(obu[0] >> 3 & 15 == 1 for obu in headed))
    assert parsed.start_of_frame == (not continues and obus[0][0] >> 3 in (1, 2, 3, 5, 6))
    layers = [(obu[1] >> 5, obu[1] >> 3 & 3) for obu in headed if obu[0] & 4]
    assert (parsed.temporal, parsed.spatial) == (layers[0] if layers else (0, -1))
    if not counted and len(payload) < 60:
        sizes = [len(leb128(len(obu), padding)) + len(obu) for obu in obus]
        ends = [1 + sum(sizes[:count]) for count in range(1, len(obus))]
        for cut in cuts(payload):
            assert parse(parse_av1, cut).valid == (len(cut) in ends)


@given(st.binary(max_size=32))
def test_any_bytes(payload):
    parse(parse_av1, payload)
