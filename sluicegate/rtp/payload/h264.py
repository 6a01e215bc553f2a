"""H.264 NAL units in RTP: single, aggregated (STAP-A, STAP-B) and fragmented (FU-A, FU-B) (RFC 6184 §5).

MTAPs belong to the interleaved mode, which nobody negotiates in WebRTC; they and the reserved types are not valid here.
"""

import numpy as np

from sluicegate.compiled import compiled
from sluicegate.rtp.payload.descriptor import Packet, byte, reset_descriptor

IDR_SLICE = 5
SEI = 6
SPS = 7
DELIMITER = 9
LAST_SINGLE = 23
STAP_A = 24
STAP_B = 25
FU_A = 28
FU_B = 29


@compiled
def parse_h264(packet: Packet, start: int, end: int, d: np.record) -> None:
    """Fill `d` from the H.264 payload `packet[start:end]`.

    `key_frame` is set where a sequence parameter set begins. `start_of_frame` is a good guess: parameter sets, SEI,
    delimiters and slices with macroblock 0 begin a picture, and several packets of one picture may carry one of these.
    `independent`: slices with nal_ref_idc 0. Layers are not known: `spatial` -1, `temporal` 0.
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
    kind = byte(packet, start) & 0x1F
    if 1 <= kind <= LAST_SINGLE:
        _note_unit(packet, start, end, d)
        return True
    if kind == STAP_A:
        return _read_aggregate(packet, start + 1, end, d)
    if kind == STAP_B:  # a decoding order number of two bytes comes first
        return _read_aggregate(packet, start + 3, end, d)
    if kind == FU_A:
        return _read_fragment(packet, start, start + 2, end, d)
    if kind == FU_B:
        return _read_fragment(packet, start, start + 4, end, d)
    return False


@compiled
def _note_unit(packet: Packet, at: int, end: int, d: np.record) -> None:
    """Note what the NAL unit `packet[at:end]`, at least one byte, says."""
    header = byte(packet, at)
    body = byte(packet, at + 1) if at + 1 < end else 0
    _note(header & 0x1F, header & 0x60, body, d)


@compiled
def _note(kind: int, reference: int, body: int, d: np.record) -> None:
    """Note the beginning of a NAL unit: its type, its nal_ref_idc (0 or not) and the first byte behind its header."""
    # The SPS, not the IDR slice: no decoder can use the IDR without its parameter sets, which encoders send just before
    # it. A receiver that was let in at an IDR whose SPS had gone by would see nothing until the next key frame.
    if kind == SPS:
        d.key_frame = 1
    if SEI <= kind <= DELIMITER:
        d.start_of_frame = 1
    elif 1 <= kind <= IDR_SLICE:
        # first_mb_in_slice is an Exp-Golomb number: a 1 bit is 0. Data partitions B and C (3, 4) have none.
        if body & 0x80 and kind != 3 and kind != 4:
            d.start_of_frame = 1
        if reference == 0:
            d.independent = 1


@compiled
def _read_aggregate(packet: Packet, at: int, end: int, d: np.record) -> bool:
    """Each NAL unit behind its size of two bytes, at least one of them (RFC 6184 §5.7.1)."""
    if at >= end:
        return False
    while at < end:
        if at + 2 > end:
            return False
        size = byte(packet, at) << 8 | byte(packet, at + 1)
        at += 2
        if size == 0 or size > end - at:
            return False
        _note_unit(packet, at, at + size, d)
        at += size
    return True


@compiled
def _read_fragment(packet: Packet, start: int, body: int, end: int, d: np.record) -> bool:
    """The FU indicator and FU header at `start`; the fragment itself, which may be empty, at `body` (RFC 6184 §5.8)."""
    if body > end:
        return False
    header = byte(packet, start + 1)
    reference = byte(packet, start) & 0x60
    if header & 0x80:  # S: the first fragment
        first = byte(packet, body) if body < end else 0
        _note(header & 0x1F, reference, first, d)
    elif 1 <= header & 0x1F <= IDR_SLICE and reference == 0:
        d.independent = 1
    return True
