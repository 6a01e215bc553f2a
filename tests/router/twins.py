"""The plane and the scalar forwarder side by side: the same commands, the same packets, the same bytes out."""

from pylibsrtp import Error, Session

from sluicegate.router import commands as cmd
from sluicegate.rtp.names import Extension
from sluicegate.rtp.srtp import open_sessions
from tests.support.rtp_packet import RtpPacket, is_rtcp

from .harness import NTP_OFFSET_US, Bench, Output, Peer
from .scalar import ScalarForwarder

EVERY_EXTENSION: dict[Extension, int] = {
    Extension.MID: 3,
    Extension.AUDIO_LEVEL: 10,
    Extension.VIDEO_ORIENTATION: 11,
    Extension.PLAYOUT_DELAY: 12,
    Extension.DEPENDENCY_DESCRIPTOR: 13,
    Extension.ABS_SEND_TIME: 1,
    Extension.TRANSPORT_CC: 2,
}


class Twins:
    """Raises AssertionError at the first turn in which the two say different things.

    What is left to the forwarder is the first number of an RTX stream: the difference that its first packet shows is
    taken from all the others.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.scalar = ScalarForwarder(ntp_offset=NTP_OFFSET_US)
        self.sent: list[tuple[int, bytes]] = []
        """Everything that left, in order, by transport."""
        self._rtx_shift: dict[int, int] = {}
        self._receive_sessions: dict[int, Session] = {}

    def peer(self) -> Peer:
        peer = self.bench.peer()
        self.scalar.apply(cmd.AddTransport(peer.transport))
        self._receive_sessions[peer.transport] = open_sessions(peer.keys)[0]
        return peer

    def submit(self, *commands: cmd.Command) -> None:
        self.bench.submit(*commands)
        for command in commands:
            self.scalar.apply(command)

    def publish(self, peer: Peer, media: cmd.TrackMedia) -> cmd.TrackHandle:
        track = self.bench.plane.allocate_track()
        self.submit(cmd.AddTrack(track, peer.transport, media))
        return track

    def subscribe(
        self,
        peer: Peer,
        track: cmd.TrackHandle,
        media: cmd.SendMedia,
        *,
        sequence_number: int,
        timestamp: int,
        paused: bool = False,
    ) -> cmd.SendHandle:
        send = self.bench.plane.allocate_send()
        self.submit(cmd.AddSubscription(send, peer.transport, track, media, paused, sequence_number, timestamp))
        return send

    def pass_time(self, microseconds: int) -> None:
        self.bench.state.now += microseconds

    def deliver(self, peer: Peer, *packets: bytes) -> None:
        """One turn with these plain packets."""
        self.deliver_protected(peer, [peer.protect(packet) for packet in packets])

    def deliver_protected(self, peer: Peer, datagrams: list[bytes]) -> None:
        """One turn with these datagrams."""
        outputs = self.bench.turn([(datagram, peer.address) for datagram in datagrams])
        expected: dict[int, list[bytes]] = {}
        session = self._receive_sessions[peer.transport]
        for datagram in datagrams:
            try:
                plain = session.unprotect_rtcp(datagram) if is_rtcp(datagram) else session.unprotect(datagram)
            except Error:  # a replay, or later than libsrtp takes
                continue
            for transport, out in self.scalar.receive(peer.transport, plain, self.bench.now):
                expected.setdefault(transport, []).append(out)
        for transport in outputs.keys() | expected.keys():
            actual = list(outputs.get(transport, Output()).rtp)
            wanted = [
                self._shifted(data, actual[i] if i < len(actual) else None)
                for i, data in enumerate(expected.get(transport, []))
            ]
            assert actual == wanted, f"to {transport}: the plane {spell(actual)}, the scalar forwarder {spell(wanted)}"
            self.sent += [(transport, data) for data in actual]

    def _shifted(self, data: bytes, actual: bytes | None) -> bytes:
        ssrc = int.from_bytes(data[8:12], "big")
        if all(s.media.rtx_ssrc != ssrc for s in self.scalar.subscriptions.values()):
            return data
        number = int.from_bytes(data[2:4], "big")
        if actual is not None:
            self._rtx_shift.setdefault(ssrc, int.from_bytes(actual[2:4], "big") - number)
        number = (number + self._rtx_shift.get(ssrc, 0)) & 0xFFFF
        return data[:2] + number.to_bytes(2, "big") + data[4:]


def spell(packets: list[bytes]) -> str:
    """Packets for a reader of an assertion."""
    parsed = [RtpPacket.parse(data) for data in packets]
    return "\n".join(
        ["", *(f"  {p.sequence_number} {p.timestamp} {p.extensions} {p.payload.hex(' ')} {p}" for p in parsed)]
    )
