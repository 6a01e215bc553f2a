"""Sound overtakes video: through sockets, one turn at a time."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sluicegate.clock import monotonic
from sluicegate.router import commands as cmd
from sluicegate.router.compilation import entry
from sluicegate.router.drivers import LoopDriver
from sluicegate.router.kernel import tick
from sluicegate.router.kernel.waiting import LONGEST_WAIT_US
from sluicegate.router.records import BATCH, NONE, ROUNDS, WAITING
from tests.support.rtcp_packet import Pli, parse_rtcp
from tests.support.rtp_packet import RtpPacket, is_rtcp

from .harness import Bench, Peer, audio, listening, opus, sending, video, vp8

VIDEO, SOUND = 7000, 8000
OTHER_VIDEO = replace(video(), encodings=(cmd.TrackEncoding(ssrc=5000, rtx_ssrc=6000),))
TURN = ROUNDS * BATCH
"""Datagrams that one turn takes."""


class Line:
    """A publisher of video and sound, and a subscriber, with a socket each."""

    def __init__(self, bench: Bench) -> None:
        LoopDriver.compile(bench.plane)
        bench.state.portable = 0
        bench.state.now = int(monotonic() * 1e6)
        self.bench = bench
        self._sockets: dict[int, socket.socket] = {}
        self.publisher, self.subscriber = self.peer(), self.peer()
        self.track = bench.publish(self.publisher, video())
        bench.subscribe(self.subscriber, self.track, sending(), sequence_number=1000)
        bench.subscribe(self.subscriber, bench.publish(self.publisher, audio()), listening(SOUND))
        self.send(vp8(0, key=True), opus(0))
        self.turn()
        assert self.arrived() == [(VIDEO, 1000), (SOUND, 1000)]

    def peer(self) -> Peer:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        one.bind(("127.0.0.1", 0))
        one.setblocking(False)
        peer, address = self.bench.peer(), one.getsockname()
        self.bench.submit(cmd.BindAddress(peer.transport, address), cmd.SetDestination(peer.transport, address))
        self._sockets[peer.transport] = one
        return peer

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()

    def send(self, *packets: RtpPacket) -> None:
        to = ("127.0.0.1", self.bench.plane.socket.getsockname()[1])
        for packet in packets:
            self._sockets[self.publisher.transport].sendto(self.publisher.protect(packet.serialize()), to)

    def turn(self, readable: int = 1, *, waited_us: int = 0) -> None:
        """One turn; what waits has waited for so long, however slow this machine is."""
        self.bench.tables.waiting["since"] = int(monotonic() * 1e6) - waited_us
        entry(tick.turn)(self.bench.plane.handle, readable)

    def work_off(self) -> None:
        while self.waiting:
            self.turn(readable=0)

    def arrived(self, peer: Peer | None = None) -> list[tuple[int, int]]:
        """SSRC and sequence number of what a subscriber has received since."""
        plain = self._read(peer or self.subscriber)
        packets = [RtpPacket.parse(data) for data in plain if not is_rtcp(data)]
        return [(packet.ssrc, packet.sequence_number) for packet in packets]

    def portion(self) -> int:
        """How much video has arrived, though there is more to read: less than a batch when that takes long."""
        arrived = self.arrived()
        assert 0 < len(arrived) <= BATCH
        assert arrived == numbers(VIDEO, 1001, len(arrived))
        return len(arrived)

    def key_frame_requests(self) -> int:
        """Those that the publisher has got since."""
        compounds = [parse_rtcp(data) for data in self._read(self.publisher) if is_rtcp(data)]
        return sum(isinstance(packet, Pli) for compound in compounds for packet in compound)

    def _read(self, peer: Peer) -> list[bytes]:
        plain = []
        while True:
            try:
                plain.append(peer.open(self._sockets[peer.transport].recv(2048)))
            except BlockingIOError:
                return plain

    @property
    def waiting(self) -> int:
        return int(self.bench.state.waiting_tail - self.bench.state.waiting_head)


@pytest.fixture
def line() -> Iterator[Line]:
    with Bench() as bench:
        made = Line(bench)
        yield made
        made.close()


def pictures(first: int, count: int) -> list[RtpPacket]:
    return [vp8(number) for number in range(first, first + count)]


def numbers(ssrc: int, first: int, count: int) -> list[tuple[int, int]]:
    return [(ssrc, number) for number in range(first, first + count)]


def test_who_keeps_up_keeps_the_order(line):
    line.send(*pictures(1, 3), opus(1), *pictures(4, 3))
    line.turn()
    assert line.arrived() == [*numbers(VIDEO, 1001, 3), (SOUND, 1001), *numbers(VIDEO, 1004, 3)]


def test_sound_overtakes_the_video_of_full_batches(line):
    line.send(*pictures(1, 100), opus(1), *pictures(101, 20), opus(2))
    line.turn()
    line.work_off()
    assert line.arrived() == [*numbers(SOUND, 1001, 2), *numbers(VIDEO, 1001, 120)]


def test_what_one_turn_does_not_do_the_next_does_at_once(line):
    line.send(*pictures(1, TURN + 20), opus(1))
    line.turn()
    line.portion()
    line.turn()
    assert line.arrived()[0] == (SOUND, 1001)
    line.work_off()
    line.send(*pictures(TURN + 21, 1))
    line.turn()
    assert line.arrived()[-1] == (VIDEO, 1000 + TURN + 21), "nothing is missing before it"
    assert line.bench.drops() == {}


def test_the_table_of_those_that_wait_goes_round(line):
    line.bench.state.waiting_head = line.bench.state.waiting_tail = 5 * WAITING - 30
    line.send(*pictures(1, 100))
    line.turn()
    line.work_off()
    assert line.arrived() == numbers(VIDEO, 1001, 100)


def test_what_waits_too_long_is_given_up_and_a_key_frame_asked_for(line):
    line.send(*pictures(1, TURN))
    line.turn()
    portion = line.portion()
    line.key_frame_requests()
    line.bench.tables.receive_streams["key_frame_asked_at"] = 0
    line.send(*pictures(TURN + 1, 1), opus(1))
    line.turn(waited_us=LONGEST_WAIT_US + 1_000)
    assert line.arrived() == [(SOUND, 1001)], "what follows on what was given up cannot be decoded"
    assert line.bench.drops() == {"overrun": TURN - portion, "waiting_key_frame": 1}
    assert line.key_frame_requests() == 1
    line.send(vp8(TURN + 2, key=True))
    line.turn()
    assert line.arrived() == [(VIDEO, 1001 + portion)], "without a gap"


def test_there_is_no_room_for_more(line):
    state = line.bench.state
    line.bench.tables.waiting["receive"] = NONE
    state.waiting_tail = state.waiting_head + WAITING - 1
    line.send(*pictures(1, 1))
    line.turn()
    assert line.waiting == 0
    assert line.bench.drops() == {"overrun": 1}
    assert line.arrived() == []


def test_a_track_that_ends_takes_its_packets_along(line):
    line.send(*pictures(1, TURN))
    line.turn()
    portion = line.portion()
    line.bench.submit(cmd.RemoveTrack(line.track))
    first, end = (int(line.bench.state[name]) for name in ("waiting_head", "waiting_tail"))
    assert end - first == TURN - portion
    assert (line.bench.tables.waiting["receive"][first:end] == NONE).all(), "its rows may be another's now"
    line.work_off()
    assert line.arrived() == []


def test_what_the_arena_has_forgotten_is_not_sent(line):
    line.send(*pictures(1, TURN))
    line.turn()
    portion = line.portion()
    line.bench.state.cursor += len(line.bench.tables.arena) - TURN
    line.send(opus(1), *pictures(TURN + 1, 1))
    line.turn()
    assert line.arrived() == [(SOUND, 1001)]
    assert line.bench.drops() == {"overrun": TURN - portion, "waiting_key_frame": 1}


def test_each_gets_what_is_its_own(line):
    """Two videos by turns, each with a subscriber of its own, and a key frame in the middle of what waits."""
    bench, other = line.bench, line.peer()
    bench.subscribe(other, bench.publish(line.publisher, OTHER_VIDEO), sending(9000), sequence_number=4000)
    both = [(vp8(number, key=number == 50), vp8(number, ssrc=5000, key=number in (1, 50))) for number in range(1, 80)]
    line.send(*(packet for pair in both for packet in pair))
    line.turn()
    line.work_off()
    assert line.arrived() == numbers(VIDEO, 1001, 79)
    assert line.arrived(other) == numbers(9000, 4000, 79)
    assert not bench.tables.receive_streams["key_frame_wanted"].any(), "they have come"


def test_a_key_frame_that_waits_is_not_asked_for_again(line):
    """By a subscription that cannot use what waits before it."""
    line.send(*pictures(1, BATCH), vp8(BATCH + 1, key=True), *pictures(BATCH + 2, 10))
    line.bench.tables.send_streams["synchronised"] = 0
    line.turn()
    line.work_off()
    assert line.arrived() == numbers(VIDEO, 1001, 11)
    assert not line.bench.tables.receive_streams["key_frame_wanted"].any()


def test_what_is_not_wanted_does_not_wait(line):
    """Of a paused track, and of one without subscribers."""
    line.bench.submit(cmd.PauseTrack(line.track, True))
    line.bench.publish(line.publisher, OTHER_VIDEO)
    line.send(*pictures(1, TURN - 1), vp8(1, ssrc=5000))
    line.turn()
    assert line.waiting == 0
    assert line.bench.drops() == {"paused": TURN - 1}


def test_a_turn_that_only_works_off_is_counted(line):
    line.send(*pictures(1, TURN))
    line.turn()
    counters = line.bench.tables.counters[0]
    before = int(counters.turn_us)
    line.turn(readable=0)
    assert counters.turn_us > before
