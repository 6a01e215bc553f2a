"""VP9 payload descriptor (RFC 9628 §4.2).

     0 1 2 3 4 5 6 7
    |I|P|L|F|B|E|V|Z|   P: refers to earlier pictures   B, E: a layer frame begins, ends   Z: no upper layer needs it
    |M| PICTURE ID  |   if I; if M, one byte more
    | TID |U| SID |D|   if L  (U: switching up point, D: refers to the layer below)
    |   TL0PICIDX   |   if L and not F
    |    P_DIFF   |N|   if P and F, up to three; N: another follows
    | N_S |Y|G|  -  |   if V: scalability structure, of any length

Everything is read; the differences and the structure only for their length, and the picture's own bytes not at all.
"""

import numpy as np

from sluicegate.compiled import compiled
from sluicegate.rtp.payload.descriptor import Packet, byte, read_picture_id, reset_descriptor

MAX_DIFFERENCES = 3


@compiled
def parse_vp9(packet: Packet, start: int, end: int, d: np.record) -> None:
    """Fill `d` from the VP9 payload `packet[start:end]`.

    `start_of_frame` and `end_of_frame` are those of the layer frame. `key_frame`: the base layer's frame begins and
    refers to nothing earlier. An upper layer's frame may refer to nothing earlier too, but no decoder begins with it.
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
    flags = byte(packet, start)
    at = start + 1
    if flags & 0x80:
        at = read_picture_id(packet, at, end, d)
        if at < 0:
            return False
    if flags & 0x20:
        at = _read_layers(packet, at, end, flags & 0x10 == 0, d)
        if at < 0:
            return False
    if flags & 0x50 == 0x50:
        at = _skip_differences(packet, at, end)
        if at < 0:
            return False
    if flags & 0x02:
        at = _skip_scalability_structure(packet, at, end)
        if at < 0:
            return False
    d.inter_picture = flags >> 6 & 1
    d.start_of_frame = flags >> 3 & 1
    d.end_of_frame = flags >> 2 & 1
    d.not_reference_for_upper = flags & 1
    if flags & 0x48 == 0x08 and d.spatial <= 0:
        d.key_frame = 1
    return True


@compiled
def _read_layers(packet: Packet, at: int, end: int, tl0_follows: bool, d: np.record) -> int:
    """Read the layer indices. Returns the offset behind them, or -1."""
    if at >= end:
        return -1
    layer = byte(packet, at)
    d.temporal = layer >> 5
    d.switching_up = layer >> 4 & 1
    d.spatial = layer >> 1 & 0x07
    d.inter_layer = layer & 0x01
    at += 1
    if tl0_follows:
        if at >= end:
            return -1
        d.tl0 = byte(packet, at)
        d.tl0_offset = at
        at += 1
    return at


@compiled
def _skip_differences(packet: Packet, at: int, end: int) -> int:
    for _ in range(MAX_DIFFERENCES):
        if at >= end:
            return -1
        more = byte(packet, at) & 0x01
        at += 1
        if more == 0:
            return at
    return -1


@compiled
def _skip_scalability_structure(packet: Packet, at: int, end: int) -> int:
    if at >= end:
        return -1
    header = byte(packet, at)
    at += 1
    if header & 0x10:  # Y: width and height of each spatial layer
        at += 4 * ((header >> 5) + 1)
    if header & 0x08:  # G: a picture group follows
        if at >= end:
            return -1
        pictures = byte(packet, at)
        at += 1
        for _ in range(pictures):
            if at >= end:
                return -1
            at += 1 + (byte(packet, at) >> 2 & 0x03)  # its R differences
    return at if at <= end else -1
