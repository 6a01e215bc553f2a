"""Writing an outgoing packet: header, the receiver's extension elements, the payload with its picture id moved.

Elements stand in one order: MID, audio level, video orientation, playout delay, dependency descriptor, abs-send-time,
transport-cc. The first five are the same for every sending of a packet; the last two say when and as what it was sent,
so only streams with RTX have them: a packet that is repeated under its own number must be the same to the bit, or
AES-GCM would see one nonce with two messages.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.header import (
    ONE_BYTE_PROFILE,
    RTP_HEADER,
    copy_bytes,
    read_16,
    write_16,
    write_24,
    write_32,
)
from sluicegate.router.records import ARRIVALS, MAX_PACKET, NONE, PICTURE_MASK
from sluicegate.router.tables import Tables
from sluicegate.rtp.names import MediaKind

ROOM = MAX_PACKET - 16  # what may be written before the SRTP trailer
TWO_BYTE_PROFILE_WORD = 0x1000
LONGEST_ONE_BYTE = 16


@kernel
def write_packet(
    t: Tables,
    slot: int,
    send: Any,
    entry: Any,
    row: Any,
    packet: Any,
    descriptor: Any,
    number: int,
    marker: int,
    original: int,
) -> int:
    """Write one packet of a send stream into an out slot; `original` ≥ 0 makes it RTX (RFC 4588) of that sequence
    number.

    The length, or 0 if it does not fit.
    """
    out = t.out[slot]
    start = packet.payload_start
    payload_type = send.payload_types[packet.format]
    if payload_type < 0:
        start = primary_start(row, packet, t.receive_streams[send.receive].payload_types[0])
        payload_type = send.payload_types[0]
        if start < 0:
            return 0
    ssrc = send.ssrc
    if original >= 0:
        payload_type = send.rtx_payload_type
        ssrc = send.rtx_ssrc
    out[1] = (marker << 7) | payload_type
    write_16(out, 2, number)
    write_32(out, 4, packet.timestamp + entry.timestamp_offset)
    write_32(out, 8, ssrc)
    offset = write_extensions(t, out, send, row, packet)
    out[0] = 0x90 if offset > RTP_HEADER else 0x80
    if original >= 0:
        write_16(out, offset, original)
        offset += 2
    length = packet.payload_end - start
    if offset + length > ROOM:
        return 0
    # Only where what is sent again goes another way: under its own number it would have to be padded again.
    has_rtx = send.rtx_ssrc >= 0 and send.rtx_payload_type >= 0
    padding = min(packet.padding, ROOM - offset - length) if has_rtx and original < 0 else 0
    copy_bytes(out, offset, row, start, length)
    if packet.format > 0 and send.kind == MediaKind.AUDIO and start == packet.payload_start:
        old, new = t.receive_streams[send.receive].payload_types[0], send.payload_types[0]
        if old != new and new >= 0:
            rename_blocks(out, offset, offset + length, old, new)
    if entry.picture & PICTURE_MASK and descriptor.picture_id >= 0:
        move_picture(out, offset - start, descriptor, entry.picture)
    if padding:
        out[0] = i64(out[0]) | 0x20
        for index in range(offset + length, offset + length + padding):
            out[index] = 0
        length += padding
        out[offset + length - 1] = padding
    if send.transport_cc_id:
        t.departures[send.transport, read_departure(t, send) & (ARRIVALS - 1)] = t.state[0].now * 2048 + offset + length
    return i64(offset + length)


@kernel
def read_departure(t: Tables, send: Any) -> int:
    """The transport-wide number that was written last."""
    return i64(t.transports[send.transport].transport_cc_sequence - 1)


@kernel
def primary_start(row: Any, packet: Any, payload_type: int) -> int:
    """Where the primary encoding of a RED payload begins (RFC 2198 §3), or NONE if it is not of this type."""
    offset = packet.payload_start
    redundant = 0
    while offset < packet.payload_end and i64(row[offset]) & 0x80:
        if offset + 4 > packet.payload_end:
            return NONE
        redundant += read_16(row, offset + 2) & 0x3FF
        offset += 4
    start = offset + 1 + redundant
    return start if start <= packet.payload_end and i64(row[offset]) == payload_type else NONE


@kernel
def rename_blocks(out: Any, offset: int, end: int, old: int, new: int) -> None:
    """Name the blocks of a RED payload by the receiver's payload type (RFC 2198 §3)."""
    while offset < end:
        head = i64(out[offset])
        if head & 0x7F == old:
            out[offset] = (head & 0x80) | new
        if head & 0x80 == 0:
            return
        offset += 4


@kernel
def move_picture(out: Any, shift: int, descriptor: Any, picture: int) -> None:
    """Add the stream's offsets to picture id and TL0PICIDX, in the width that the publisher chose."""
    offset = descriptor.picture_id_offset + shift
    moved = descriptor.picture_id + (picture & 0xFFFF)
    if descriptor.picture_id_bits == 15:
        write_16(out, offset, 0x8000 | (moved & 0x7FFF))
    else:
        out[offset] = moved & 0x7F
    if descriptor.tl0_offset >= 0:
        out[descriptor.tl0_offset + shift] = (descriptor.tl0 + (picture >> 16)) & 0xFF


@kernel
def write_extensions(t: Tables, out: Any, send: Any, row: Any, packet: Any) -> int:
    """Write the extension block that the receiver negotiated; where the payload begins."""
    stream = t.receive_streams[send.receive]
    descriptor_element = packet.elements[stream.dependency_descriptor_id]
    wide = i64(send.dependency_descriptor_id != 0 and descriptor_element & 0xFF > LONGEST_ONE_BYTE)
    offset = RTP_HEADER + 4
    if send.mid_id and send.mid_length:
        offset = write_element(out, offset, send.mid_id, send.mid_length, wide)
        for index in range(send.mid_length):
            word = send.mid_low if index < 8 else send.mid_high
            out[offset - send.mid_length + index] = (word >> (8 * (index & 7))) & 0xFF
    if send.audio_level_id:
        offset = copy_element(out, offset, send.audio_level_id, row, packet.elements[stream.audio_level_id], 1, wide)
    if send.video_orientation_id:
        element = packet.elements[stream.video_orientation_id]
        offset = copy_element(out, offset, send.video_orientation_id, row, element, 1, wide)
    if send.playout_delay_id:
        offset = copy_element(
            out, offset, send.playout_delay_id, row, packet.elements[stream.playout_delay_id], 3, wide
        )
    if send.dependency_descriptor_id:
        length = descriptor_element & 0xFF
        offset = copy_element(out, offset, send.dependency_descriptor_id, row, descriptor_element, length, wide)
    if send.abs_send_time_id:
        offset = write_element(out, offset, send.abs_send_time_id, 3, wide)
        seconds_q18 = ((t.state[0].now + t.state[0].ntp_offset) % 64_000_000 * (1 << 18)) // 1_000_000
        write_24(out, offset - 3, seconds_q18)
    if send.transport_cc_id:
        transport = t.transports[send.transport]
        offset = write_element(out, offset, send.transport_cc_id, 2, wide)
        write_16(out, offset - 2, transport.transport_cc_sequence)
        transport.transport_cc_sequence += 1
    if offset == RTP_HEADER + 4:
        return RTP_HEADER
    while offset & 3:
        out[offset] = 0
        offset += 1
    write_16(out, RTP_HEADER, TWO_BYTE_PROFILE_WORD if wide else ONE_BYTE_PROFILE)
    write_16(out, RTP_HEADER + 2, (offset - RTP_HEADER - 4) >> 2)
    return offset


@kernel
def write_element(out: Any, offset: int, identifier: int, length: int, wide: int) -> int:
    """Write the head of one element; the offset behind its data, which the caller fills in."""
    if wide:
        out[offset] = identifier
        out[offset + 1] = length
        return offset + 2 + length
    out[offset] = (identifier << 4) | (length - 1)
    return offset + 1 + length


@kernel
def copy_element(out: Any, offset: int, identifier: int, row: Any, element: int, length: int, wide: int) -> int:
    """Copy a received element under the receiver's id; nothing if the packet has none, or one of another length.

    One longer than its form can say would have the receiver read its bytes as elements of their own.
    """
    if length == 0 or element & 0xFF != length:
        return offset
    offset = write_element(out, offset, identifier, length, wide)
    copy_bytes(out, offset - length, row, element >> 8, length)
    return offset
