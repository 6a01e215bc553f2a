"""What plays sources in real time, with what a sender owes its receivers: reports, key frames, retransmissions."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from . import payloads
from .rtcp_packet import Fir, Nack, Pli, RtcpPacket, SenderReport, SourceDescription
from .rtp_packet import RtpPacket
from .sources import Source

NTP_EPOCH = 2208988800
SENDER_REPORT_INTERVAL = 1.0


def ntp_now() -> int:
    """The 64-bit NTP timestamp of now."""
    now = time.time() + NTP_EPOCH
    return int(now) << 32 | int(now % 1 * (1 << 32))


class Player:
    """Sends frames when they are due.

    `rtx` maps media SSRCs to (RTX SSRC, payload type); a NACK for another SSRC gets the packet itself again.
    """

    def __init__(
        self,
        send_rtp: Callable[[RtpPacket], None],
        send_rtcp: Callable[[RtcpPacket, RtcpPacket], None],
        sources: Sequence[Source],
        *,
        rtx: Mapping[int, tuple[int, int]],
        cname: str,
        reports: bool = True,
        lose: Callable[[RtpPacket], bool] | None = None,
    ) -> None:
        self._send_rtp, self._send_rtcp = send_rtp, send_rtcp
        self._sources = sources
        self._by_ssrc = {source.ssrc: source for source in sources}
        self._rtx = rtx
        self._rtx_sequence = dict.fromkeys(rtx, 100)
        self._cname = cname
        self._reports = reports
        self._lose = lose
        self.lost = 0  # packets withheld by `lose`
        self.nacked = 0  # packets sent again
        self.key_frames_asked = 0  # PLIs and FIRs

    async def run(self, seconds: float, speed: float = 1.0) -> None:
        """Play for `seconds` of real time; `speed` 2 sends two seconds of media in each."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        due = [(0.0, index) for index in range(len(self._sources))]
        report_due = 0.0
        while due and min(due)[0] < seconds * speed:
            at, index = min(due)
            source = self._sources[index]
            await asyncio.sleep(max(0.0, start + at / speed - loop.time()))
            for packet in source.next_frame():
                if self._lose is not None and self._lose(packet):
                    self.lost += 1
                else:
                    self._send_rtp(packet)
            due[index] = (at + source.interval, index)
            if self._reports and at >= report_due:
                report_due = at + SENDER_REPORT_INTERVAL
                self._report((loop.time() - start) * speed, [time for time, _ in due])

    def handle_rtcp(self, packets: list[RtcpPacket], _: float) -> None:
        """Feedback about the sources."""
        for packet in packets:
            if isinstance(packet, Pli):
                self._key_frame(packet.media_ssrc)
            elif isinstance(packet, Fir):
                for ssrc, _number in packet.requests:
                    self._key_frame(ssrc)
            elif isinstance(packet, Nack) and packet.media_ssrc in self._by_ssrc:
                history = self._by_ssrc[packet.media_ssrc].history
                for number in packet.lost:
                    if number in history:
                        self._retransmit(history[number])

    def _key_frame(self, ssrc: int) -> None:
        if ssrc in self._by_ssrc:
            self.key_frames_asked += 1
            self._by_ssrc[ssrc].request_key_frame()

    def _retransmit(self, packet: RtpPacket) -> None:
        self.nacked += 1
        if packet.ssrc in self._rtx:
            ssrc, payload_type = self._rtx[packet.ssrc]
            number = self._rtx_sequence[packet.ssrc]
            self._rtx_sequence[packet.ssrc] = (number + 1) & 0xFFFF
            packet = payloads.rtx(packet, ssrc=ssrc, payload_type=payload_type, sequence_number=number)
        self._send_rtp(packet)

    def _report(self, now: float, due: Sequence[float]) -> None:
        """`now` and the times at which each source's next frame is due, in seconds of media."""
        ntp = ntp_now()
        for source, at in zip(self._sources, due, strict=True):
            timestamp = source.timestamp + round((now - at) * source.clock_rate) & 0xFFFFFFFF
            octets = source.octets_sent & 0xFFFFFFFF
            report = SenderReport(source.ssrc, ntp, timestamp, source.packets_sent, octets)
            self._send_rtcp(report, SourceDescription({source.ssrc: self._cname}))
