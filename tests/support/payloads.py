"""RTP payloads of each codec, from the payload format RFCs: real descriptors and frame headers around filler.

Every payload ends with a mark (`mark` / `read_mark`), by which a test knows at the far end which packet it is.
"""

import struct
from collections.abc import Iterable

from .rtp_packet import RtpPacket

MARK_BYTES = 8

# The NAL units of a 320×240 constrained-baseline stream.
H264_SPS = bytes.fromhex("6742c01fda0507e840000003004000000f23c60ca8")
H264_PPS = bytes.fromhex("68ce0fc8")
# The sequence header OBU of a 320×240 main-profile AV1 stream, without its size field, as RTP wants it.
AV1_SEQUENCE_HEADER = bytes.fromhex("08000000043cffbc4af90040")


def mark(source: int, ordinal: int) -> bytes:
    """Eight bytes that name a packet: any 32-bit source number and a counter."""
    return struct.pack("!II", source, ordinal)


def read_mark(payload: bytes) -> tuple[int, int]:
    """The source and the counter of a payload."""
    source, ordinal = struct.unpack("!II", payload[-MARK_BYTES:])
    return source, ordinal


def fill(head: bytes, size_bytes: int, tail: bytes) -> bytes:
    """`head`, filler and `tail`, `size_bytes` long if head and tail fit in that."""
    return head + b"\x55" * max(0, size_bytes - len(head) - len(tail)) + tail


def opus(size_bytes: int, tail: bytes, *, toc: int = 0x78) -> bytes:
    """RFC 7587; the default table-of-contents byte says SILK or hybrid, 20 ms, mono, one frame (RFC 6716 §3.1)."""
    return fill(bytes([toc]), size_bytes, tail)


def opus_dtx(*, toc: int = 0x08) -> bytes:
    """A discontinuous-transmission frame: nothing but the table-of-contents byte (SILK, 20 ms)."""
    return bytes([toc])


def vp8_descriptor(
    *,
    start: bool,
    picture_id: int | None = None,
    short_picture_id: bool = False,
    tl0_picture_index: int | None = None,
    temporal_id: int | None = None,
    layer_sync: bool = False,
    key_index: int | None = None,
    non_reference: bool = False,
    partition: int = 0,
) -> bytes:
    """RFC 7741 §4.2. The picture id takes two bytes, or one with `short_picture_id`."""
    extension = b""
    bits = 0
    if picture_id is not None:
        bits |= 0x80
        extension += bytes([picture_id & 127]) if short_picture_id else struct.pack("!H", 0x8000 | picture_id & 0x7FFF)
    if tl0_picture_index is not None:
        bits |= 0x40
        extension += bytes([tl0_picture_index & 255])
    if temporal_id is not None or key_index is not None:
        bits |= (0x20 if temporal_id is not None else 0) | (0x10 if key_index is not None else 0)
        extension += bytes([(temporal_id or 0) << 6 | (0x20 if layer_sync else 0) | (key_index or 0) & 31])
    first = (0x80 if bits else 0) | (0x20 if non_reference else 0) | (0x10 if start else 0) | partition
    return bytes([first]) + (bytes([bits]) + extension if bits else b"")


def vp8_frame_header(*, key: bool, width: int = 320, height: int = 240, first_partition_bytes: int = 100) -> bytes:
    """RFC 6386 §9.1."""
    tag = first_partition_bytes << 5 | 0x10 | (0 if key else 1)
    head = tag.to_bytes(3, "little")
    return head + (b"\x9d\x01\x2a" + struct.pack("<HH", width, height) if key else b"")


def vp9_descriptor(
    *,
    begin: bool,
    end: bool,
    inter: bool,
    picture_id: int | None = None,
    temporal_id: int = 0,
    spatial_id: int = 0,
    switching_up: bool = False,
    inter_layer: bool = False,
    tl0_picture_index: int = 0,
    layers: bool = True,
    sizes: Iterable[tuple[int, int]] = (),
    not_reference: bool = False,
) -> bytes:
    """RFC 9628 §4.2, non-flexible mode. `sizes` (width, height by spatial layer) adds a scalability structure."""
    structure = tuple(sizes)
    first = 0x80 if picture_id is not None else 0
    first |= (0x40 if inter else 0) | (0x20 if layers else 0) | (0x08 if begin else 0) | (0x04 if end else 0)
    first |= (0x02 if structure else 0) | (0x01 if not_reference else 0)
    out = bytes([first])
    if picture_id is not None:
        out += struct.pack("!H", 0x8000 | picture_id & 0x7FFF)
    if layers:
        out += bytes([temporal_id << 5 | (0x10 if switching_up else 0) | spatial_id << 1 | (1 if inter_layer else 0)])
        out += bytes([tl0_picture_index & 255])
    if structure:
        out += bytes([len(structure) - 1 << 5 | 0x10])
        out += b"".join(struct.pack("!HH", width, height) for width, height in structure)
    return out


def vp9_frame_header(*, key: bool) -> bytes:
    """The first bytes of an uncompressed header, profile 0 (VP9 bitstream §6.2)."""
    return b"\x82\x49\x83\x42" if key else b"\x86\x00"


def h264_stap_a(units: Iterable[bytes]) -> bytes:
    """RFC 6184 §5.7.1."""
    return b"\x78" + b"".join(struct.pack("!H", len(unit)) + unit for unit in units)


def h264_fu_a(*, unit_type: int, start: bool, end: bool, body: bytes) -> bytes:
    """RFC 6184 §5.8."""
    return bytes([0x60 | 28, (0x80 if start else 0) | (0x40 if end else 0) | unit_type]) + body


def av1_payload(*, new_sequence: bool, continues: bool, to_be_continued: bool, size_bytes: int, tail: bytes) -> bytes:
    """AV1 RTP payload format §4.4: the aggregation header, then a frame OBU or a fragment of one.

    With `new_sequence` a sequence header comes before it.
    """
    header = (0x80 if continues else 0) | (0x40 if to_be_continued else 0) | (0x08 if new_sequence else 0)
    if new_sequence:
        sequence_header = bytes([len(AV1_SEQUENCE_HEADER)]) + AV1_SEQUENCE_HEADER
        return fill(bytes([header | 0x20]) + sequence_header + b"\x30", size_bytes, tail)
    return fill(bytes([header | 0x10]) + (b"" if continues else b"\x30"), size_bytes, tail)


def rtx(packet: RtpPacket, *, ssrc: int, payload_type: int, sequence_number: int) -> RtpPacket:
    """RFC 4588 §4: the packet as a retransmission."""
    return packet.altered(
        ssrc=ssrc,
        payload_type=payload_type,
        sequence_number=sequence_number & 0xFFFF,
        payload=struct.pack("!H", packet.sequence_number) + packet.payload,
    )


def unwrap_rtx(packet: RtpPacket, *, ssrc: int, payload_type: int) -> RtpPacket | None:
    """The original of a retransmission; None for padding-only probes (no original sequence number)."""
    if len(packet.payload) < 2:
        return None
    (original,) = struct.unpack_from("!H", packet.payload)
    return packet.altered(ssrc=ssrc, payload_type=payload_type, sequence_number=original, payload=packet.payload[2:])


def red(primary: bytes, *, payload_type: int, redundant: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """RFC 2198 §3: `redundant` are (timestamp offset, block), oldest first; all blocks have the same payload type."""
    blocks = tuple(redundant)
    headers = b"".join(
        struct.pack("!I", (0x80 | payload_type) << 24 | offset << 10 | len(block)) for offset, block in blocks
    )
    return headers + bytes([payload_type]) + b"".join(block for _, block in blocks) + primary
