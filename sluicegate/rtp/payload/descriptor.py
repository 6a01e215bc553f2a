"""The record that every payload parser fills, and the reads that they share.

A parser is given `packet` (a row of an arena, longer than the packet), `start` and `end` (the payload is
`packet[start:end]`) and one record `d`. It first resets `d`; if the bytes are well formed it fills what its codec knows
and sets `valid`; if they are not, `d` is as `reset_descriptor` leaves it, so that no offset of a bad packet is used by
mistake.
"""

import numpy as np
import numpy.typing as npt

from sluicegate.compiled import compiled

Packet = npt.NDArray[np.uint8]

# An AV1 frame has at most seven references (AV1 §5.9.2). Lower: a legal frame is refused. Higher: only larger records.
MAX_REFERENCES = 8
MAX_CHAINS = 32
"""No more chains than decode targets (AV1 RTP payload specification A.8.2)."""

DESCRIPTOR = np.dtype(
    [
        ("valid", np.int64),  # 1: the payload was well formed and the fields below mean something
        ("key_frame", np.int64),  # 1: this packet starts a key frame that a decoder can begin with
        ("start_of_frame", np.int64),
        ("end_of_frame", np.int64),  # as VP9 and the dependency descriptor say; else the RTP marker decides
        ("spatial", np.int64),  # -1: the payload names no spatial layer
        ("temporal", np.int64),
        ("switching_up", np.int64),  # 1: a receiver may go up from here (VP8 Y, VP9 U, a SWITCH indication)
        ("picture_id", np.int64),  # -1: none
        ("picture_id_offset", np.int64),  # byte in `packet`, -1: none
        ("picture_id_bits", np.int64),  # 7 or 15; 0: none
        ("tl0", np.int64),  # TL0PICIDX, -1: none
        ("tl0_offset", np.int64),
        ("key_index", np.int64),  # VP8 KEYIDX, -1: none
        ("inter_layer", np.int64),  # VP9 D: predicted from the spatial layer below
        ("inter_picture", np.int64),  # predicted from an earlier picture (VP9 P, references of a dependency descriptor)
        ("not_reference_for_upper", np.int64),  # VP9 Z: no upper spatial layer needs this one
        ("independent", np.int64),  # 1: nothing depends on this frame, it may be dropped alone (discardable)
        # What only the dependency descriptor tells. A mask has bit k for decode target k.
        ("frame_number", np.int64),  # -1: none; at byte `start + 1` of the extension, 16 bits
        ("template_id", np.int64),
        ("active_decode_targets", np.int64),  # mask in force for this frame
        ("active_decode_targets_bit", np.int64),  # where this packet has the mask, in bits of `packet`; -1: nowhere
        ("present_targets", np.int64),  # mask: indication is not NOT_PRESENT
        ("switch_targets", np.int64),  # mask: SWITCH
        ("switch_temporal", np.int64),  # up to which temporal layer those go, -1: none; all of it can follow
        ("discardable_targets", np.int64),  # mask: DISCARDABLE
        ("reference_count", np.int64),
        ("references", np.int64, (MAX_REFERENCES,)),  # frame_number less that of each frame referred to
        ("chain_count", np.int64),
        ("chain_diffs", np.int64, (MAX_CHAINS,)),  # frame_number less that of the chain's last; 0: none
    ],
    align=True,
)
"""One parsed payload. A row of an `np.recarray`, so that `d.temporal` works compiled and interpreted alike."""


def new_descriptors(count: int) -> np.recarray:
    """`count` reset records."""
    descriptors = np.zeros(count, DESCRIPTOR).view(np.recarray)
    for descriptor in descriptors:
        reset_descriptor(descriptor)
    return descriptors


@compiled
def reset_descriptor(d: np.record) -> None:
    """Make `d` say nothing. `references` and `chain_diffs` keep old values beyond their counts, which are 0."""
    d.valid = 0
    d.key_frame = 0
    d.start_of_frame = 0
    d.end_of_frame = 0
    d.spatial = -1
    d.temporal = 0
    d.switching_up = 0
    d.picture_id = -1
    d.picture_id_offset = -1
    d.picture_id_bits = 0
    d.tl0 = -1
    d.tl0_offset = -1
    d.key_index = -1
    d.inter_layer = 0
    d.inter_picture = 0
    d.not_reference_for_upper = 0
    d.independent = 0
    d.frame_number = -1
    d.template_id = -1
    d.active_decode_targets = 0
    d.active_decode_targets_bit = -1
    d.present_targets = 0
    d.switch_targets = 0
    d.switch_temporal = -1
    d.discardable_targets = 0
    d.reference_count = 0
    d.chain_count = 0


@compiled
def byte(packet: Packet, at: int) -> int:
    """`packet[at]` wide enough to shift. The caller has checked `at < end`."""
    return np.int64(packet[at])  # type: ignore[return-value]


@compiled
def read_picture_id(packet: Packet, at: int, end: int, d: np.record) -> int:
    """Read a picture id of 7 or 15 bits, as VP8 and VP9 share it (RFC 7741 §4.2, RFC 9628 §4.2).

    Returns the offset behind it, or -1 if it does not end before `end`.
    """
    if at >= end:
        return -1
    first = byte(packet, at)
    d.picture_id_offset = at
    if first & 0x80 == 0:
        d.picture_id = first
        d.picture_id_bits = 7
        return at + 1
    if at + 1 >= end:
        return -1
    d.picture_id = (first & 0x7F) << 8 | byte(packet, at + 1)
    d.picture_id_bits = 15
    return at + 2
