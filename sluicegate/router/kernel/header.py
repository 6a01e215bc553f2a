"""The RTP header (RFC 3550 §5.1) and its extension elements (RFC 8285), read into a `PACKET` record."""

from typing import Any

from sluicegate.compiled import i64, kernel, u64

RTP_HEADER = 12
ONE_BYTE_PROFILE = 0xBEDE
TWO_BYTE_PROFILE = 0x100  # upper 12 bits; the lower four are application bits
ELEMENTS = 16


@kernel
def read_16(row: Any, offset: int) -> int:
    """16 bits, big endian, of a row that is known to hold them."""
    return (i64(row[offset]) << 8) | i64(row[offset + 1])


@kernel
def read_32(row: Any, offset: int) -> int:
    """32 bits, big endian, of a row that is known to hold them."""
    return (read_16(row, offset) << 16) | read_16(row, offset + 2)


@kernel
def write_16(row: Any, offset: int, value: int) -> None:
    row[offset] = (value >> 8) & 0xFF
    row[offset + 1] = value & 0xFF


@kernel
def write_24(row: Any, offset: int, value: int) -> None:
    row[offset] = (value >> 16) & 0xFF
    write_16(row, offset + 1, value)


@kernel
def write_32(row: Any, offset: int, value: int) -> None:
    write_16(row, offset, value >> 16)
    write_16(row, offset + 2, value)


@kernel
def copy_bytes(target: Any, at: int, source: Any, start: int, length: int) -> None:
    """Copy `length` bytes, none of the offsets negative.

    Unsigned indices: for signed ones numba asks of each whether it counts from the end, and copies byte by byte.
    """
    for index in range(u64(length)):
        target[u64(at) + u64(index)] = source[u64(start) + u64(index)]


@kernel
def copy_row(row: Any, words: Any, start: int) -> None:
    """Fill a table row from the words of a command."""
    for index in range(len(row)):
        row[index] = words[start + index]


@kernel
def parse_header(row: Any, length: int, packet: Any) -> bool:
    """Read the header of the decrypted RTP packet `row[:length]`; False if it is not one."""
    if length < RTP_HEADER or i64(row[0]) >> 6 != 2:
        return False
    first = i64(row[0])
    packet.length = length
    packet.marker = i64(row[1]) >> 7
    packet.payload_type = i64(row[1]) & 0x7F
    packet.sequence = read_16(row, 2)
    packet.timestamp = read_32(row, 4)
    packet.ssrc = read_32(row, 8)
    packet.recovered = 0
    packet.padding = 0
    packet.elements[:] = 0
    offset = RTP_HEADER + 4 * (first & 0x0F)
    if offset > length:
        return False
    if first & 0x10:
        if offset + 4 > length:
            return False
        profile = read_16(row, offset)
        end = offset + 4 + 4 * read_16(row, offset + 2)
        if end > length:
            return False
        if profile == ONE_BYTE_PROFILE:
            parse_one_byte(row, offset + 4, end, packet.elements)
        elif profile >> 4 == TWO_BYTE_PROFILE:
            parse_two_byte(row, offset + 4, end, packet.elements)
        offset = end
    packet.payload_start = offset
    packet.payload_end = length
    if first & 0x20:  # the last byte counts the padding, itself included
        if offset >= length:
            return False
        padding = i64(row[length - 1])
        if padding == 0 or offset + padding > length:
            return False
        packet.payload_end = length - padding
    return True


@kernel
def parse_one_byte(row: Any, offset: int, end: int, elements: Any) -> None:
    """One-byte elements; a zero byte is padding.

    The walk ends at id 15, at id 0 with a length (RFC 8285 §4.1.2), and at an element that claims more than there is.
    """
    while offset < end:
        if row[offset] == 0:
            offset += 1
            continue
        identifier = i64(row[offset]) >> 4
        length = (i64(row[offset]) & 0x0F) + 1
        if identifier == 0 or identifier == 15 or offset + 1 + length > end:
            return
        elements[identifier] = (offset + 1) * 256 + length
        offset += 1 + length


@kernel
def parse_two_byte(row: Any, offset: int, end: int, elements: Any) -> None:
    """Two-byte elements; id 0 is padding, and an element that claims more than there is ends the walk."""
    while offset < end:
        identifier = i64(row[offset])
        if identifier == 0:
            offset += 1
            continue
        if offset + 2 > end:
            return
        length = i64(row[offset + 1])
        if offset + 2 + length > end:
            return
        if identifier < ELEMENTS:
            elements[identifier] = (offset + 2) * 256 + length
        offset += 2 + length


@kernel
def pack_text(row: Any, offset: int, length: int, words: Any) -> None:
    """Put up to 16 bytes of a MID or RID into two words, so that they compare as integers: little endian, zero
    padded."""
    words[0] = 0
    words[1] = 0
    for index in range(min(length, 16)):
        words[index >> 3] |= i64(row[offset + index]) << (8 * (index & 7))
