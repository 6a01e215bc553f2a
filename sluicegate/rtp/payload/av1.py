"""AV1 aggregation header and OBU elements (AV1 RTP payload specification §4.4).

     0 1 2 3 4 5 6 7
    |Z|Y| W |N|-|-|-|   Z: the first element continues an OBU   Y: the last one will be continued
                        W: number of elements, the last without a length; 0: any number, each with a length
                        N: a new coded video sequence begins

Where the dependency descriptor extension is present it knows more, and is used instead (`dependency_descriptor.py`).
"""

import numpy as np

from sluicegate.compiled import compiled
from sluicegate.rtp.payload.descriptor import Packet, byte, reset_descriptor

SEQUENCE_HEADER = 1
TILE_GROUP = 4
FRAME = 6

MAX_LEB128_SIZE = 8
"""Bytes of a leb128 number (AV1 §4.10.5)."""


@compiled
def parse_av1(packet: Packet, start: int, end: int, d: np.record) -> None:
    """Fill `d` from the AV1 payload `packet[start:end]`.

    `key_frame`: N is set and a sequence header OBU is present. `start_of_frame` is a good guess from the first OBU's
    type. `spatial` and `temporal` are those of the first OBU with an extension header; all of a packet agree (§5).
    """
    reset_descriptor(d)
    if _read(packet, start, end, d):
        d.valid = 1
    else:
        reset_descriptor(d)


@compiled
def _read(packet: Packet, start: int, end: int, d: np.record) -> bool:
    if end - start < 2:
        return False
    header = byte(packet, start)
    continues = header & 0x80 != 0
    new_sequence = header & 0x08 != 0
    if continues and new_sequence:  # a sequence cannot begin in the middle of an OBU
        return False
    expected = header >> 4 & 0x03
    at = start + 1
    elements = 0
    while at < end:
        elements += 1
        size = end - at
        if elements != expected:
            size, at = _read_leb128(packet, at, end)
            if at < 0 or size > end - at:
                return False
        if size > 0 and not (continues and elements == 1):
            kind = _note_unit(packet, at, at + size, d)
            if kind == SEQUENCE_HEADER and new_sequence:
                d.key_frame = 1
            if elements == 1 and 1 <= kind <= FRAME and kind != TILE_GROUP:
                d.start_of_frame = 1
        at += size
    return expected == 0 or elements == expected


@compiled
def _note_unit(packet: Packet, at: int, end: int, d: np.record) -> int:
    """Note the layer of the OBU that begins at `at < end` (AV1 §5.3.2, §5.3.3). Returns its type."""
    header = byte(packet, at)
    if header & 0x04 and at + 1 < end and d.spatial < 0:
        extension = byte(packet, at + 1)
        d.temporal = extension >> 5
        d.spatial = extension >> 3 & 0x03
    return header >> 3 & 0x0F


@compiled
def _read_leb128(packet: Packet, at: int, end: int) -> tuple[int, int]:
    """A little-endian base 128 number. Returns it and the offset behind it, or -1 there."""
    value = 0
    for index in range(MAX_LEB128_SIZE):
        if at >= end:
            break
        part = byte(packet, at)
        at += 1
        value |= (part & 0x7F) << 7 * index
        if part & 0x80 == 0:
            return value, at
    return 0, -1
