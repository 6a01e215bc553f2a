"""RTP packets in plain Python, written from RFC 3550 §5.1 and RFC 8285: for tests, not for speed."""

import struct
from dataclasses import dataclass, field, replace

ONE_BYTE_PROFILE = 0xBEDE
TWO_BYTE_PROFILE = 0x1000


@dataclass(slots=True)
class RtpPacket:
    """One packet. `extensions` maps header extension ids to their bytes; `padding` counts all bytes of it."""

    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    extensions: dict[int, bytes] = field(default_factory=dict)
    padding: int = 0

    @classmethod
    def parse(cls, data: bytes) -> "RtpPacket":
        """Raises ValueError for anything that is not a well-formed packet."""
        if len(data) < 12:
            raise ValueError("shorter than a header")
        first, second, sequence_number, timestamp, ssrc = struct.unpack_from("!BBHII", data)
        if first >> 6 != 2:
            raise ValueError("version")
        position = 12 + 4 * (first & 15)
        if len(data) < position:
            raise ValueError("CSRC list")
        csrcs = struct.unpack_from(f"!{first & 15}I", data, 12)
        extensions: dict[int, bytes] = {}
        if first & 0x10:
            if len(data) < position + 4:
                raise ValueError("extension header")
            profile, words = struct.unpack_from("!HH", data, position)
            position += 4
            if len(data) < position + 4 * words:
                raise ValueError("extension length")
            extensions = _parse_extensions(profile, data[position : position + 4 * words])
            position += 4 * words
        padding = 0
        if first & 0x20:
            padding = data[-1]
            if not 1 <= padding <= len(data) - position:
                raise ValueError("padding")
        return cls(
            payload_type=second & 127,
            sequence_number=sequence_number,
            timestamp=timestamp,
            ssrc=ssrc,
            payload=data[position : len(data) - padding],
            marker=bool(second & 128),
            csrcs=csrcs,
            extensions=extensions,
            padding=padding,
        )

    def serialize(self, *, two_byte: bool | None = None) -> bytes:
        """The packet's bytes. Two-byte extension headers are used where one byte will not do, or as told."""
        first = 0x80 | (0x20 if self.padding else 0) | (0x10 if self.extensions else 0) | len(self.csrcs)
        header = struct.pack(
            "!BBHII",
            first,
            (0x80 if self.marker else 0) | self.payload_type,
            self.sequence_number & 0xFFFF,
            self.timestamp & 0xFFFFFFFF,
            self.ssrc,
        )
        header += struct.pack(f"!{len(self.csrcs)}I", *self.csrcs)
        if self.extensions:
            if two_byte is None:
                two_byte = any(number > 14 or not 1 <= len(value) <= 16 for number, value in self.extensions.items())
            header += _serialize_extensions(self.extensions, two_byte)
        tail = bytes(self.padding - 1) + bytes([self.padding]) if self.padding else b""
        return header + self.payload + tail

    def altered(self, **changes: object) -> "RtpPacket":
        """A copy with other fields."""
        return replace(self, extensions=dict(self.extensions), **changes)  # type: ignore[arg-type]


def _parse_extensions(profile: int, data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position = 0
    if profile == ONE_BYTE_PROFILE:
        while position < len(data):
            number, length = data[position] >> 4, (data[position] & 15) + 1
            if number == 15:  # RFC 8285 §4.2: stop here
                break
            position += 1
            if number == 0:  # padding: one byte, whatever its length field says
                continue
            if position + length > len(data):
                raise ValueError("extension element")
            found[number] = data[position : position + length]
            position += length
    elif profile & 0xFFF0 == TWO_BYTE_PROFILE:
        while position < len(data):
            number = data[position]
            position += 1
            if number == 0:
                continue
            if position >= len(data) or position + 1 + data[position] > len(data):
                raise ValueError("extension element")
            length = data[position]
            found[number] = data[position + 1 : position + 1 + length]
            position += 1 + length
    return found


def _serialize_extensions(extensions: dict[int, bytes], two_byte: bool) -> bytes:
    body = b""
    for number, value in extensions.items():
        body += bytes([number, len(value)] if two_byte else [number << 4 | len(value) - 1]) + value
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", TWO_BYTE_PROFILE if two_byte else ONE_BYTE_PROFILE, len(body) // 4) + body


def is_rtcp(data: bytes) -> bool:
    """RFC 5761 §4: payload types 64–95 of a multiplexed packet are RTCP's 192–223."""
    return len(data) > 1 and 192 <= data[1] <= 223
