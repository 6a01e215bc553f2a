"""What the scalar forwarder reads of a packet, from the RFCs: RTP headers, extension elements, payload descriptors.

None is every function's word for "not a packet" or "no such thing in it".
"""

import struct
from dataclasses import dataclass, field

from sluicegate.rtp.names import Codec


@dataclass(slots=True)
class Packet:
    """RFC 3550 §5.1, without what is never forwarded: padding and CSRCs."""

    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    elements: dict[int, bytes] = field(default_factory=dict)


def parse_rtp(data: bytes) -> Packet | None:
    if len(data) < 12 or data[0] >> 6 != 2:
        return None
    first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", data)
    start, end = 12 + 4 * (first & 15), len(data)
    elements: dict[int, bytes] = {}
    if first & 0x10:
        if end < start + 4:
            return None
        profile, words = struct.unpack_from("!HH", data, start)
        block = data[start + 4 : start + 4 + 4 * words]
        if len(block) < 4 * words:
            return None
        elements = parse_elements(profile, block)
        start += 4 + 4 * words
    if end < start:
        return None
    if first & 0x20:
        if start == end or not 1 <= data[-1] <= end - start:
            return None
        end -= data[-1]
    return Packet(bool(second & 0x80), second & 0x7F, sequence, timestamp, ssrc, data[start:end], elements)


def parse_elements(profile: int, block: bytes) -> dict[int, bytes]:
    """RFC 8285 §4.2 and §4.3. An element that runs over the end of its block ends the reading."""
    elements: dict[int, bytes] = {}
    at = 0
    while at < len(block):
        if profile == 0xBEDE:
            number, length = block[at] >> 4, (block[at] & 15) + 1
            if number == 15 or (number == 0 and length > 1):
                break
            at += 1
        elif profile & 0xFFF0 == 0x1000:
            number = block[at]
            at += 1
            if number and at == len(block):
                break
            length = block[at] if number else 0
            at += 1 if number else 0
        else:
            break
        if number == 0:
            continue
        if at + length > len(block):
            break
        elements[number] = block[at : at + length]
        at += length
    return elements


@dataclass(slots=True)
class Descriptor:
    """What stands before a frame's bytes. `picture` and `tl0` are offsets in the payload, `picture_bits` is 7 or 15."""

    frame_start: bool = False
    key_frame: bool = False
    picture: int | None = None
    picture_bits: int = 0
    tl0: int | None = None
    temporal: int = 0
    layer_sync: bool = False


def describe(codec: Codec, payload: bytes) -> Descriptor | None:
    """None for audio, for an empty payload, and for one that is too short for its descriptor."""
    try:
        if codec == Codec.VP8:
            return _describe_vp8(payload)
        if codec == Codec.VP9:
            return _describe_vp9(payload)
        if codec == Codec.H264:
            return Descriptor(key_frame=any(unit & 31 == 7 for unit in _nal_unit_headers(payload)))
        if codec == Codec.AV1:  # AV1 RTP §4.4: N set, Z not
            return Descriptor(key_frame=payload[0] & 0x88 == 0x08)
    except IndexError:
        pass
    return None


def _picture_id(payload: bytes, at: int, found: Descriptor) -> int:
    """Note a picture id, which RFC 7741 and RFC 9628 share; where it ends."""
    found.picture, found.picture_bits = at, 15 if payload[at] & 0x80 else 7
    return at + (2 if payload[at] & 0x80 else 1)


def _describe_vp8(payload: bytes) -> Descriptor:
    """RFC 7741 §4.2 and §4.3."""
    found = Descriptor(frame_start=payload[0] & 0x10 != 0 and payload[0] & 0x07 == 0)
    at = 1
    if payload[0] & 0x80:
        present, at = payload[1], 2
        if present & 0x80:
            at = _picture_id(payload, at, found)
        if present & 0x40:
            found.tl0, at = at, at + 1
        if present & 0x30:
            if present & 0x20:
                found.temporal, found.layer_sync = payload[at] >> 6, payload[at] & 0x20 != 0
            at += 1
    if at > len(payload):
        raise IndexError
    found.key_frame = found.frame_start and at < len(payload) and payload[at] & 1 == 0
    return found


def _describe_vp9(payload: bytes) -> Descriptor:
    """RFC 9628 §4.2 of streams without layers: key frames are not inter-predicted (P) and begin (B)."""
    found = Descriptor(frame_start=payload[0] & 0x08 != 0, key_frame=payload[0] & 0x48 == 0x08)
    if payload[0] & 0x80:
        assert _picture_id(payload, 1, found) <= len(payload)
    return found


def _nal_unit_headers(payload: bytes) -> list[int]:
    """RFC 6184 §5: of the units that begin in this packet."""
    kind = payload[0] & 31
    if kind == 28:
        return [payload[1]] if len(payload) > 1 and payload[1] & 0x80 else []
    if kind != 24:
        return [payload[0]]
    found, at = [], 1
    while at + 3 <= len(payload):
        found.append(payload[at + 2])
        at += 2 + int.from_bytes(payload[at : at + 2], "big")
    return found


def red_headers(payload: bytes) -> list[int]:
    """Where the block headers of RFC 2198 §3 are in a payload, as far as it goes."""
    headers, at = [], 0
    while at < len(payload):
        headers.append(at)
        if not payload[at] & 0x80:
            break
        at += 4
    return headers


def red_primary(payload: bytes) -> tuple[int, bytes] | None:
    """The payload type and the data of the primary block."""
    *redundant, last = red_headers(payload)
    if payload[last] & 0x80:
        return None
    start = last + 1 + sum(int.from_bytes(payload[at + 2 : at + 4], "big") & 0x3FF for at in redundant)
    return None if start > len(payload) else (payload[last], payload[start:])


def parse_nacks(data: bytes) -> list[tuple[int, list[int]]]:
    """RFC 4585 §6.2.1 of every packet in a compound: the media SSRC, and the numbers in their order."""
    found = []
    at = 0
    while at + 4 <= len(data):
        first, kind, words = struct.unpack_from("!BBH", data, at)
        body = data[at + 4 : at + 4 + 4 * words]
        at += 4 + 4 * words
        if kind == 205 and first & 31 == 1:
            numbers = []
            for number, mask in struct.iter_unpack("!HH", body[8:]):
                numbers += [number, *((number + 1 + bit) & 0xFFFF for bit in range(16) if mask >> bit & 1)]
            found.append((int.from_bytes(body[4:8], "big"), numbers))
    return found
