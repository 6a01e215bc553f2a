"""VP8 payload descriptor (RFC 7741 §4.2, §4.3).

     0 1 2 3 4 5 6 7
    |X|R|N|S|R| PID |   N: nothing refers to this frame   S: a partition starts here   PID: which
    |I|L|T|K|  RSV  |   if X
    |M| PictureID   |   if I; if M, one byte more
    |   TL0PICIDX   |   if L
    |TID|Y| KEYIDX  |   if T or K

The frame's own bytes follow; the lowest bit of the first is P, 0 in a key frame.
"""

import numpy as np

from sluicegate.compiled import compiled
from sluicegate.rtp.payload.descriptor import Packet, byte, read_picture_id, reset_descriptor


@compiled
def parse_vp8(packet: Packet, start: int, end: int, d: np.record) -> None:
    """Fill `d` from the VP8 payload `packet[start:end]`.

    VP8 has no spatial layers: `spatial` stays -1.
    """
    reset_descriptor(d)
    if _read(packet, start, end, d):
        d.valid = 1
    else:
        reset_descriptor(d)


@compiled
def _read(packet: Packet, start: int, end: int, d: np.record) -> bool:
    if start >= end:
        return False
    first = byte(packet, start)
    at = start + 1
    if first & 0x80:
        at = _read_extension(packet, at, end, d)
        if at < 0:
            return False
    d.independent = first >> 5 & 1
    # Partitions after the first begin with S as well, but not with a frame header.
    if first & 0x10 and first & 0x07 == 0:
        d.start_of_frame = 1
        if at < end and byte(packet, at) & 0x01 == 0:
            d.key_frame = 1
    return True


@compiled
def _read_extension(packet: Packet, at: int, end: int, d: np.record) -> int:
    """Read what follows X. Returns the offset of the frame's bytes, or -1."""
    if at >= end:
        return -1
    flags = byte(packet, at)
    at += 1
    if flags & 0x80:
        at = read_picture_id(packet, at, end, d)
        if at < 0:
            return -1
    if flags & 0x40:
        if at >= end:
            return -1
        d.tl0 = byte(packet, at)
        d.tl0_offset = at
        at += 1
    if flags & 0x30:
        if at >= end:
            return -1
        layer = byte(packet, at)
        at += 1
        if flags & 0x20:
            d.temporal = layer >> 6
            d.switching_up = layer >> 5 & 1
        if flags & 0x10:
            d.key_index = layer & 0x1F
    return at
