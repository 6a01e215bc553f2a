"""VP9 payload descriptors (RFC 9628 §4.2): vectors, cuts, all combinations of fields, any bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.rtp.payload.vp9 import parse_vp9
from tests.rtp.payload.harness import NOTHING, check, cuts, parse

# (bytes, length of the descriptor in them, what they say)
VECTORS = [
    # B E: one packet, no layers, refers to nothing
    ("0c 00", 1, {"start_of_frame": 1, "end_of_frame": 1, "key_frame": 1}),
    # P B
    ("48 00", 1, {"start_of_frame": 1, "inter_picture": 1}),
    # I B | M 0x7fff
    (
        "88 ff ff 00",
        3,
        {"start_of_frame": 1, "key_frame": 1} | {"picture_id": 0x7FFF, "picture_id_bits": 15, "picture_id_offset": 1},
    ),
    # I | 5
    ("80 05 00", 2, {"picture_id": 5, "picture_id_bits": 7, "picture_id_offset": 1}),
    # I L B | 5 | TID 0, U, SID 0 | TL0PICIDX 9: the base layer of a key picture
    (
        "a8 05 10 09 00",
        4,
        {"start_of_frame": 1, "key_frame": 1, "spatial": 0, "switching_up": 1, "tl0": 9, "tl0_offset": 3}
        | {"picture_id": 5, "picture_id_bits": 7, "picture_id_offset": 1},
    ),
    # L B Z | TID 0, SID 2, D | TL0PICIDX 9: an upper layer of it, no place to begin
    (
        "29 05 09 00",
        3,
        {"start_of_frame": 1, "spatial": 2, "inter_layer": 1, "not_reference_for_upper": 1, "tl0": 9, "tl0_offset": 2},
    ),
    # L P F E | TID 3, U, SID 1 | P_DIFF 1, N | P_DIFF 127, N | P_DIFF 2
    ("74 72 03 ff 04 00", 5, {"end_of_frame": 1, "inter_picture": 1, "temporal": 3, "switching_up": 1, "spatial": 1}),
    # L F, not P: no differences, no TL0PICIDX
    ("30 20 00", 2, {"temporal": 1, "spatial": 0}),
    # B V | N_S 2, Y, G | 320×180 | 640×360 | 1280×720 | N_G 2 | TID 0, U, R 0 | TID 1, R 2 | 1 | 2
    (
        "0a 58 0140 00b4 0280 0168 0500 02d0 02 10 28 01 02 00",
        19,
        {"start_of_frame": 1, "key_frame": 1},
    ),
    # V | N_S 7, neither Y nor G
    ("02 e0 00", 2, {}),
    # V | G | N_G 0
    ("02 08 00 00", 3, {}),
]


@pytest.mark.parametrize(("text", "size", "expected"), VECTORS, ids=[vector[0] for vector in VECTORS])
def test_vectors(text, size, expected):
    payload = bytes.fromhex(text)
    check(parse_vp9, payload, expected)
    for cut in cuts(payload):
        assert parse(parse_vp9, cut).valid == (len(cut) >= size)


def test_a_fourth_difference_is_refused():
    # P F | three P_DIFF, all with N, and a fourth
    assert not parse(parse_vp9, bytes.fromhex("50 03 05 07 08 00")).valid


def test_a_structure_that_reaches_past_the_packet_is_refused():
    # V | G | N_G 255, and one picture
    assert not parse(parse_vp9, bytes.fromhex("02 08 ff 10")).valid
    # V | Y | a picture group whose last picture lacks its second difference
    assert not parse(parse_vp9, bytes.fromhex("02 08 01 08 01")).valid


flags = st.booleans()


@st.composite
def descriptors(draw):
    """A descriptor with every field drawn, and what it says."""
    picture, inter, layers, flexible, begin, end, structure, last = (draw(flags) for _ in range(8))
    bits = (picture, inter, layers, flexible, begin, end, structure, last)
    out = bytes([sum(value << 7 - index for index, value in enumerate(bits))])
    expected = {
        "inter_picture": int(inter),
        "start_of_frame": int(begin),
        "end_of_frame": int(end),
        "not_reference_for_upper": int(last),
    }
    if picture:
        width = draw(st.sampled_from((7, 15)))
        picture_id = draw(st.integers(0, (1 << width) - 1))
        expected |= {"picture_id": picture_id, "picture_id_bits": width, "picture_id_offset": len(out)}
        out += bytes([picture_id]) if width == 7 else struct.pack("!H", 0x8000 | picture_id)
    if layers:
        temporal, up, spatial, inter_layer = (draw(st.integers(0, top)) for top in (7, 1, 7, 1))
        expected |= {"temporal": temporal, "switching_up": up, "spatial": spatial, "inter_layer": inter_layer}
        out += bytes([temporal << 5 | up << 4 | spatial << 1 | inter_layer])
        if not flexible:
            expected |= {"tl0": draw(st.integers(0, 255)), "tl0_offset": len(out)}
            out += bytes([expected["tl0"]])
    if flexible and inter:
        differences = draw(st.lists(st.integers(0, 127), min_size=1, max_size=3))
        out += bytes(difference << 1 | (n < len(differences)) for n, difference in enumerate(differences, 1))
    if structure:
        sizes, group = draw(flags), draw(flags)
        spatial_layers = draw(st.integers(0, 7))
        out += bytes([spatial_layers << 5 | sizes << 4 | group << 3])
        out += bytes(4 * (spatial_layers + 1)) if sizes else b""
        if group:
            references = draw(st.lists(st.integers(0, 3), max_size=9))
            out += bytes([len(references)]) + b"".join(bytes([count << 2]) + b"\xff" * count for count in references)
    expected["key_frame"] = int(begin and not inter and expected.get("spatial", 0) == 0)
    return out, expected


@given(descriptors(), st.binary(max_size=3))
def test_every_combination_of_fields(descriptor, frame):
    payload, expected = descriptor
    check(parse_vp9, payload + frame, expected)
    for cut in cuts(payload):
        assert not parse(parse_vp9, cut).valid


@given(st.binary(max_size=40))
def test_any_bytes(payload):
    parsed = parse(parse_vp9, payload)
    for name in ("picture_id_offset", "tl0_offset"):
        assert NOTHING[name] <= getattr(parsed, name) < len(payload)
