"""RTCP packets in plain Python: RFC 3550 §6, 4585, 5104, REMB and transport-wide feedback. For tests, not for speed."""

import struct
from dataclasses import dataclass, field

SENDER_REPORT, RECEIVER_REPORT, SDES, BYE, RTPFB, PSFB = 200, 201, 202, 203, 205, 206


def pack(packet_type: int, count: int, body: bytes) -> bytes:
    """One RTCP packet: header and body, which is padded to whole words."""
    body += bytes(-len(body) % 4)
    return struct.pack("!BBH", 0x80 | count, packet_type, len(body) // 4) + body


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """RFC 3550 §6.4.1. `fraction_lost` is in 1/256, `packets_lost` is signed, `jitter` in timestamp units."""

    ssrc: int
    fraction_lost: int = 0
    packets_lost: int = 0
    highest_sequence: int = 0
    jitter: int = 0
    last_sr: int = 0
    delay_since_last_sr: int = 0

    def serialize(self) -> bytes:
        return struct.pack(
            "!IIIIII",
            self.ssrc,
            self.fraction_lost << 24 | self.packets_lost & 0xFFFFFF,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        )


@dataclass(frozen=True, slots=True)
class SenderReport:
    """RFC 3550 §6.4.1; `ntp` is the 64-bit timestamp."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int
    reports: tuple[ReportBlock, ...] = ()

    def serialize(self) -> bytes:
        body = struct.pack("!IQIII", self.ssrc, self.ntp, self.rtp_timestamp, self.packets, self.octets)
        return pack(SENDER_REPORT, len(self.reports), body + b"".join(report.serialize() for report in self.reports))


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RFC 3550 §6.4.2."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()

    def serialize(self) -> bytes:
        body = struct.pack("!I", self.ssrc) + b"".join(report.serialize() for report in self.reports)
        return pack(RECEIVER_REPORT, len(self.reports), body)


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """RFC 3550 §6.5: the CNAME of each source."""

    cnames: dict[int, str]

    def serialize(self) -> bytes:
        body = b""
        for ssrc, cname in self.cnames.items():
            chunk = struct.pack("!IBB", ssrc, 1, len(cname.encode())) + cname.encode() + b"\0"
            body += chunk + bytes(-len(chunk) % 4)
        return pack(SDES, len(self.cnames), body)


@dataclass(frozen=True, slots=True)
class Bye:
    """RFC 3550 §6.6."""

    ssrcs: tuple[int, ...]

    def serialize(self) -> bytes:
        return pack(BYE, len(self.ssrcs), struct.pack(f"!{len(self.ssrcs)}I", *self.ssrcs))


@dataclass(frozen=True, slots=True)
class Nack:
    """RFC 4585 §6.2.1; `lost` are sequence numbers in the order in which they are to be told."""

    ssrc: int
    media_ssrc: int
    lost: tuple[int, ...]

    def serialize(self) -> bytes:
        items: list[tuple[int, int]] = []
        for number in self.lost:
            if items and 1 <= (number - items[-1][0]) & 0xFFFF <= 16:
                items[-1] = (items[-1][0], items[-1][1] | 1 << ((number - items[-1][0]) & 0xFFFF) - 1)
            else:
                items.append((number, 0))
        body = struct.pack("!II", self.ssrc, self.media_ssrc)
        return pack(RTPFB, 1, body + b"".join(struct.pack("!HH", first, mask) for first, mask in items))


@dataclass(frozen=True, slots=True)
class Pli:
    """RFC 4585 §6.3.1."""

    ssrc: int
    media_ssrc: int

    def serialize(self) -> bytes:
        return pack(PSFB, 1, struct.pack("!II", self.ssrc, self.media_ssrc))


@dataclass(frozen=True, slots=True)
class Fir:
    """RFC 5104 §4.3.1; `requests` are pairs of media SSRC and command sequence number."""

    ssrc: int
    requests: tuple[tuple[int, int], ...]

    def serialize(self) -> bytes:
        body = struct.pack("!II", self.ssrc, 0)
        return pack(PSFB, 4, body + b"".join(struct.pack("!IB3x", ssrc, number) for ssrc, number in self.requests))


@dataclass(frozen=True, slots=True)
class Remb:
    """draft-alvestrand-rmcat-remb §2.2."""

    ssrc: int
    bitrate_bps: int
    ssrcs: tuple[int, ...] = ()

    def serialize(self) -> bytes:
        exponent = max(0, int(self.bitrate_bps).bit_length() - 18)
        mantissa = int(self.bitrate_bps) >> exponent
        body = struct.pack("!II4sI", self.ssrc, 0, b"REMB", len(self.ssrcs) << 24 | exponent << 18 | mantissa)
        return pack(PSFB, 15, body + struct.pack(f"!{len(self.ssrcs)}I", *self.ssrcs))


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """draft-holmer-rmcat-transport-wide-cc-extensions §3.1.

    `arrivals` gives for each transport-wide sequence number from `base` on its time of arrival in seconds, modulo
    2^24 × 64 ms, or None for a missing packet. Serializing rounds to 250 µs.
    """

    ssrc: int
    media_ssrc: int
    base: int
    feedback_count: int
    arrivals: tuple[float | None, ...]

    def serialize(self) -> bytes:
        first = next((at for at in self.arrivals if at is not None), 0.0)
        reference = int(first / 0.064)
        clock = reference * 256  # ticks of 250 µs
        symbols, deltas = [], b""
        for at in self.arrivals:
            if at is None:
                symbols.append(0)
                continue
            delta = round(at * 4000) - clock
            clock += delta
            symbols.append(1 if 0 <= delta <= 255 else 2)
            deltas += struct.pack("!B", delta) if 0 <= delta <= 255 else struct.pack("!h", delta)
        chunks = b""
        for start in range(0, len(symbols), 7):  # status vectors of two-bit symbols
            chunk = 0xC000
            for place, symbol in enumerate(symbols[start : start + 7]):
                chunk |= symbol << (12 - 2 * place)
            chunks += struct.pack("!H", chunk)
        body = struct.pack("!IIHH", self.ssrc, self.media_ssrc, self.base & 0xFFFF, len(symbols))
        body += struct.pack("!I", (reference & 0xFFFFFF) << 8 | self.feedback_count & 255)
        return pack(RTPFB, 15, body + chunks + deltas)

    @classmethod
    def parse_body(cls, body: bytes) -> "TransportFeedback":
        ssrc, media_ssrc, base, total, rest = struct.unpack_from("!IIHHI", body)
        position, symbols = 16, list[int]()
        while len(symbols) < total:
            (chunk,) = struct.unpack_from("!H", body, position)
            position += 2
            if not chunk & 0x8000:
                symbols += [chunk >> 13 & 3] * (chunk & 0x1FFF)
            elif chunk & 0x4000:
                symbols += [chunk >> shift & 3 for shift in range(12, -1, -2)]
            else:
                symbols += [chunk >> shift & 1 for shift in range(13, -1, -1)]
        clock, arrivals = (rest >> 8) * 256, list[float | None]()
        for symbol in symbols[:total]:
            if symbol == 0:
                arrivals.append(None)
                continue
            delta: int = struct.unpack_from("!B" if symbol == 1 else "!h", body, position)[0]
            position += 1 if symbol == 1 else 2
            clock += delta
            arrivals.append(clock / 4000)
        return cls(ssrc, media_ssrc, base, rest & 255, tuple(arrivals))


@dataclass(frozen=True, slots=True)
class Unknown:
    """Any other packet: its type, count (or format) and body."""

    packet_type: int
    count: int
    body: bytes = field(repr=False)

    def serialize(self) -> bytes:
        return pack(self.packet_type, self.count, self.body)


RtcpPacket = (
    SenderReport | ReceiverReport | SourceDescription | Bye | Nack | Pli | Fir | Remb | TransportFeedback | Unknown
)


def parse_rtcp(data: bytes) -> list[RtcpPacket]:
    """The packets of a compound. Raises ValueError for anything malformed."""
    packets: list[RtcpPacket] = []
    position = 0
    while position < len(data):
        if len(data) - position < 4 or data[position] >> 6 != 2:
            raise ValueError("RTCP header")
        first, packet_type, words = struct.unpack_from("!BBH", data, position)
        body = data[position + 4 : position + 4 + 4 * words]
        if len(body) < 4 * words:
            raise ValueError("RTCP length")
        if first & 0x20:
            if not body or not 1 <= body[-1] <= len(body):
                raise ValueError("RTCP padding")
            body = body[: -body[-1]]
        try:
            packets.append(_parse_one(packet_type, first & 31, body))
        except (struct.error, IndexError) as error:
            raise ValueError(f"RTCP packet of type {packet_type}") from error
        position += 4 + 4 * words
    return packets


def _parse_one(packet_type: int, count: int, body: bytes) -> RtcpPacket:
    if packet_type == SENDER_REPORT:
        return SenderReport(*struct.unpack_from("!IQIII", body), reports=_parse_reports(body, 24, count))
    if packet_type == RECEIVER_REPORT:
        return ReceiverReport(*struct.unpack_from("!I", body), reports=_parse_reports(body, 4, count))
    if packet_type == SDES:
        return _parse_sdes(body, count)
    if packet_type == BYE:
        return Bye(struct.unpack_from(f"!{count}I", body))
    if packet_type == RTPFB and count == 1:
        ssrc, media_ssrc = struct.unpack_from("!II", body)
        lost = []
        for position in range(8, len(body), 4):
            number, mask = struct.unpack_from("!HH", body, position)
            lost += [number] + [(number + 1 + bit) & 0xFFFF for bit in range(16) if mask >> bit & 1]
        return Nack(ssrc, media_ssrc, tuple(lost))
    if packet_type == RTPFB and count == 15:
        return TransportFeedback.parse_body(body)
    if packet_type == PSFB and count == 1:
        return Pli(*struct.unpack_from("!II", body))
    if packet_type == PSFB and count == 4:
        requests = tuple(struct.unpack_from("!IB", body, position) for position in range(8, len(body), 8))
        return Fir(struct.unpack_from("!I", body)[0], requests)
    if packet_type == PSFB and count == 15 and body[8:12] == b"REMB":
        (ssrc,) = struct.unpack_from("!I", body)
        (rate,) = struct.unpack_from("!I", body, 12)
        return Remb(ssrc, (rate & 0x3FFFF) << (rate >> 18 & 63), struct.unpack_from(f"!{rate >> 24}I", body, 16))
    return Unknown(packet_type, count, body)


def _parse_reports(body: bytes, position: int, count: int) -> tuple[ReportBlock, ...]:
    reports = []
    for _ in range(count):
        ssrc, loss, highest, jitter, last_sr, delay = struct.unpack_from("!IIIIII", body, position)
        lost = loss & 0xFFFFFF
        reports.append(ReportBlock(ssrc, loss >> 24, lost - (lost >> 23 << 24), highest, jitter, last_sr, delay))
        position += 24
    return tuple(reports)


def _parse_sdes(body: bytes, count: int) -> SourceDescription:
    cnames: dict[int, str] = {}
    position = 0
    for _ in range(count):
        (ssrc,) = struct.unpack_from("!I", body, position)
        position += 4
        while body[position]:
            item, length = body[position], body[position + 1]
            if item == 1:
                cnames[ssrc] = body[position + 2 : position + 2 + length].decode(errors="replace")
            position += 2 + length
        position += 4 - position % 4  # one or more zero bytes end the chunk on a word
    return SourceDescription(cnames)
