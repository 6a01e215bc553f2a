"""What a well-behaved receiver sends back, without I/O: NACK, PLI, receiver reports, transport-wide feedback, REMB."""

from dataclasses import dataclass, field

from .rtcp_packet import Nack, Pli, ReceiverReport, Remb, ReportBlock, SenderReport, TransportFeedback
from .rtp_packet import RtpPacket

NACK_INTERVAL, NACK_TRIES = 0.04, 10
REPORT_INTERVAL = 1.0
TRANSPORT_FEEDBACK_INTERVAL = 0.1
REMB_INTERVAL = 1.0
PLI_INTERVAL = 0.5


@dataclass(frozen=True, slots=True)
class FeedbackOptions:
    """Which feedback a client sends by itself."""

    nack: bool = False
    pli: bool = False  # when a packet stays missing after all NACKs, or at once without `nack`
    reports: bool = False
    transport_cc: bool = False
    remb_bps: int | None = None

    @property
    def any(self) -> bool:
        return self.nack or self.pli or self.reports or self.transport_cc or self.remb_bps is not None


@dataclass(slots=True)
class Reception:
    """What is known of one media SSRC. `missing` maps extended sequence numbers to (tries, time of the last)."""

    ssrc: int
    clock_rate: int
    highest: int = -1  # extended sequence number
    base: int = 0
    received: int = 0
    duplicates: int = 0
    missing: dict[int, tuple[int, float]] = field(default_factory=dict)
    jitter: float = 0.0
    gave_up: bool = False
    last_pli: float = -1.0
    last_sr: int = 0
    last_sr_at: float = 0.0
    _seen: set[int] = field(default_factory=set)
    _transit: float | None = None
    _reported: tuple[int, int] = (0, 0)

    def extend(self, sequence_number: int) -> int:
        """The extended sequence number nearest to the highest."""
        if self.highest < 0:
            return sequence_number + 65536
        delta = (sequence_number - self.highest) & 0xFFFF
        return self.highest + (delta - 65536 if delta >= 32768 else delta)

    def add(self, packet: RtpPacket, now: float) -> None:
        """A media packet, retransmissions unwrapped."""
        extended = self.extend(packet.sequence_number)
        if self.highest < 0:
            self.base = extended
        elif extended > self.highest + 1:
            for lost in range(self.highest + 1, extended):
                self.missing[lost] = (0, -1.0)
        if extended in self._seen:
            self.duplicates += 1
            return
        self._seen.add(extended)
        self.missing.pop(extended, None)
        self.received += 1
        if extended > self.highest:
            self.highest = extended
            transit = now * self.clock_rate - packet.timestamp
            if self._transit is not None:
                change = abs((transit - self._transit + (1 << 31)) % (1 << 32) - (1 << 31))
                self.jitter += (change - self.jitter) / 16
            self._transit = transit

    def report(self, now: float) -> ReportBlock:
        """RFC 3550 §6.4.1, appendix A.3."""
        expected = self.highest - self.base + 1
        lost = expected - self.received
        step_expected, step_lost = expected - self._reported[0], lost - self._reported[1]
        self._reported = (expected, lost)
        fraction = max(0, min(255, step_lost * 256 // step_expected)) if step_expected > 0 else 0
        delay = round((now - self.last_sr_at) * 65536) if self.last_sr else 0
        clamped = max(-(1 << 23), min((1 << 23) - 1, lost))
        return ReportBlock(
            self.ssrc, fraction, clamped, self.highest - 65536 & 0xFFFFFFFF, int(self.jitter), self.last_sr, delay
        )


class Feedback:
    """Feedback for all streams of one transport."""

    def __init__(self, options: FeedbackOptions, ssrc: int) -> None:
        self.options = options
        self.ssrc = ssrc
        self.receptions: dict[int, Reception] = {}
        self._transport_arrivals: dict[int, float] = {}
        self._transport_highest = -1
        self._transport_next = -1
        self._transport_count = 0
        self._due = {"reports": 0.0, "transport": 0.0, "remb": 0.0}

    def watch(self, ssrc: int, clock_rate: int) -> None:
        """Answer for the packets of this SSRC."""
        self.receptions.setdefault(ssrc, Reception(ssrc, clock_rate))

    def add(self, packet: RtpPacket, now: float, transport_sequence: int | None = None) -> None:
        """A received packet (retransmissions unwrapped)."""
        if transport_sequence is not None:
            self._add_transport(transport_sequence, now)
        reception = self.receptions.get(packet.ssrc)
        if reception is not None:
            reception.add(packet, now)

    def add_sender_report(self, report: SenderReport, now: float) -> None:
        """Remember when it came, for the round-trip time."""
        if (reception := self.receptions.get(report.ssrc)) is not None:
            reception.last_sr, reception.last_sr_at = report.ntp >> 16 & 0xFFFFFFFF, now

    def packets(self, now: float) -> list[bytes]:
        """The RTCP packets to send now; to be asked every 10–20 ms."""
        out: list[bytes] = []
        for reception in self.receptions.values():
            out += self._repair(reception, now)
        if self.options.reports and self._is_due("reports", now, REPORT_INTERVAL):
            known = [reception.report(now) for reception in self.receptions.values() if reception.highest >= 0]
            if known:
                out.append(ReceiverReport(self.ssrc, tuple(known[:31])).serialize())
        if self.options.transport_cc and self._is_due("transport", now, TRANSPORT_FEEDBACK_INTERVAL):
            out += self._transport_feedback()
        if self.options.remb_bps is not None and self._is_due("remb", now, REMB_INTERVAL):
            out.append(Remb(self.ssrc, self.options.remb_bps, tuple(self.receptions)).serialize())
        return out

    def _is_due(self, name: str, now: float, interval: float) -> bool:
        if now < self._due[name]:
            return False
        self._due[name] = now + interval
        return True

    def _repair(self, reception: Reception, now: float) -> list[bytes]:
        ask: list[int] = []
        for lost, (tries, last) in list(reception.missing.items()):
            if not self.options.nack or tries >= NACK_TRIES:
                reception.gave_up = True
                del reception.missing[lost]
            elif now - last >= NACK_INTERVAL:
                reception.missing[lost] = (tries + 1, now)
                ask.append(lost & 0xFFFF)
        out = [Nack(self.ssrc, reception.ssrc, tuple(ask)).serialize()] if ask else []
        if self.options.pli and reception.gave_up and now - reception.last_pli >= PLI_INTERVAL:
            reception.gave_up, reception.last_pli = False, now
            out.append(Pli(self.ssrc, reception.ssrc).serialize())
        return out

    def _add_transport(self, sequence: int, now: float) -> None:
        if self._transport_highest < 0:
            extended = sequence + 65536
            self._transport_next = extended
        else:
            delta = (sequence - self._transport_highest) & 0xFFFF
            extended = self._transport_highest + (delta - 65536 if delta >= 32768 else delta)
        self._transport_highest = max(self._transport_highest, extended)
        if extended >= self._transport_next:
            self._transport_arrivals[extended] = now

    def _transport_feedback(self) -> list[bytes]:
        if not self._transport_arrivals:
            return []
        first, last = self._transport_next, self._transport_highest
        arrivals = tuple(self._transport_arrivals.get(number) for number in range(first, last + 1))
        self._transport_arrivals.clear()
        self._transport_next = last + 1
        media_ssrc = next(iter(self.receptions), 0)
        feedback = TransportFeedback(self.ssrc, media_ssrc, first & 0xFFFF, self._transport_count & 255, arrivals)
        self._transport_count += 1
        return [feedback.serialize()]
