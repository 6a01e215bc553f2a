"""The fields of VP8 and VP9 payload descriptors that a forwarder may touch, read from RFC 7741 §4.2 and RFC 9628 §4.2.

For the payloads of `tests.support.payloads`: long picture ids, VP9 in non-flexible mode.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.rtp_packet import RtpPacket


@dataclass(frozen=True, slots=True)
class Vp8:
    """`starts` a frame; `key` is told by the first packet of a frame alone."""

    starts: bool
    picture_id: int | None
    tl0_picture_index: int | None
    temporal_id: int
    key: bool


@dataclass(frozen=True, slots=True)
class Vp9:
    """`begins` and `ends` a layer's frame; `inter` leans on earlier pictures."""

    begins: bool
    ends: bool
    inter: bool
    picture_id: int
    spatial_id: int
    temporal_id: int
    tl0_picture_index: int


def read_vp8(packet: RtpPacket) -> Vp8:
    """The descriptor of a VP8 packet."""
    data = packet.payload
    first, position, bits = data[0], 1, 0
    picture_id = tl0 = None
    temporal_id = 0
    if first & 0x80:
        bits, position = data[1], 2
    if bits & 0x80:
        (picture_id,) = struct.unpack_from("!H", data, position)
        assert picture_id & 0x8000, "picture ids are long here"
        picture_id, position = picture_id & 0x7FFF, position + 2
    if bits & 0x40:
        tl0, position = data[position], position + 1
    if bits & 0x30:
        temporal_id, position = data[position] >> 6, position + 1
    starts = bool(first & 0x10) and first & 7 == 0
    return Vp8(starts, picture_id, tl0, temporal_id, starts and not data[position] & 1)


def read_vp9(packet: RtpPacket) -> Vp9:
    """The descriptor of a layered VP9 packet."""
    first = packet.payload[0]
    assert first & 0xB0 == 0xA0, "with picture id and layers, not flexible"
    picture_id, layers, tl0 = struct.unpack_from("!HBB", packet.payload, 1)
    return Vp9(
        begins=bool(first & 8),
        ends=bool(first & 4),
        inter=bool(first & 0x40),
        picture_id=picture_id & 0x7FFF,
        spatial_id=layers >> 1 & 7,
        temporal_id=layers >> 5,
        tl0_picture_index=tl0,
    )


def pictures(packets: Iterable[RtpPacket]) -> list[Vp8]:
    """The descriptor of the first packet of each VP8 frame."""
    return [descriptor for descriptor in map(read_vp8, packets) if descriptor.starts]
