"""One packet plane as the control plane sees it: handles, commands down, events and punted datagrams up, figures to
read.

Everything here runs on the event loop's thread. The tables are the plane's own; they are read for statistics (64-bit
fields, so a value is never torn) and written by nobody but the plane.
"""

import contextlib
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NewType, TypeVar

from sluicegate.clock import NTP_EPOCH_OFFSET, monotonic, wall
from sluicegate.errors import Unavailable
from sluicegate.router import commands as cmd
from sluicegate.router import events as ev
from sluicegate.router.encoding import address_of, encode, encode_keys
from sluicegate.router.handle import handle
from sluicegate.router.kernel.rings import BYE_RECEIVED, LAYERS_CHANGED, STREAM_STARTED
from sluicegate.router.native import eventfd
from sluicegate.router.records import COUNTERS, NONE, RECEIVE_STREAM, SEND_STREAM, TRANSPORT, row_type
from sluicegate.router.rings import CommandRing, EventRing, PuntRing
from sluicegate.router.sockets import offers_gso, open_socket
from sluicegate.router.tables import Capacities, make_tables
from sluicegate.rtp.sealing import FUNCTIONS, Sealer
from sluicegate.rtp.srtp import open_sessions

H = TypeVar("H", bound=int)
ReceiveHandle = NewType("ReceiveHandle", int)

_TransportRow = row_type("_TransportRow", TRANSPORT)
_LAST_CHECK = _TransportRow._fields.index("last_check")
_ReceiveRow = row_type("_ReceiveRow", RECEIVE_STREAM)
_SendRow = row_type("_SendRow", SEND_STREAM)

RESTING = 64
"""Lower: news of a row's last user may reach its next one. Higher: more memory for rows that nobody uses."""

DatagramHandler = Callable[[bytes, cmd.Address, cmd.TransportHandle | None], None]
EventHandler = Callable[[ev.PlaneEvent], None]


class Handles:
    """Free rows of one table.

    A freed row rests until `RESTING` others have been freed, so that a stale handle shows before it is somebody else's;
    then it goes before rows that were never used, whose memory is not resident yet.
    """

    def __init__(self, name: str, capacity: int) -> None:
        self._name = name
        self._fresh = 0  # rows from here on were never used
        self._freed: deque[int] = deque()
        self.capacity = capacity

    @property
    def used(self) -> int:
        return self._fresh - len(self._freed)

    def allocate(self) -> int:
        """A free row; `Unavailable` when there is none."""
        if self._fresh < self.capacity and len(self._freed) <= RESTING:
            self._fresh += 1
            return self._fresh - 1
        if not self._freed:
            raise Unavailable(f"this node has no room for more {self._name}", retry_after=5)
        return self._freed.popleft()

    def free(self, handle: int) -> None:
        self._freed.append(handle)


class Plane:
    """The control side of one plane: one UDP port, one set of tables."""

    def __init__(
        self,
        index: int = 0,
        *,
        host: str = "127.0.0.1",
        ports: Iterable[int] = (0,),
        capacities: Capacities | None = None,
    ) -> None:
        self.index = index
        self.capacities = capacities or Capacities()
        self.socket = open_socket(host, ports)
        self.port: int = self.socket.getsockname()[1]
        self.tables = make_tables(self.capacities)
        self.command_ring = CommandRing(self.tables)
        self._transport_cells = memoryview(self.tables.transport_words).cast("B").cast("q")
        self._event_ring = EventRing(self.tables)
        self._punt_ring = PuntRing(self.tables)
        self.seals = bool(FUNCTIONS)
        """Whether the plane protects RTP itself; libsrtp does where OpenSSL's functions cannot be called."""
        self.handle = handle(self.tables)
        """What the kernel's entries are called with."""
        self.on_datagram: DatagramHandler = lambda data, address, transport: None
        self.on_event: EventHandler = lambda event: None
        self._transports = Handles("transports", self.capacities.transports)
        self._tracks = Handles("tracks", self.capacities.tracks)
        self._sends = Handles("subscriptions", self.capacities.send_streams)
        self._receives = Handles("received streams", self.capacities.receive_streams)
        self._streams: dict[int, tuple[int, ...]] = {}
        self._rids: dict[int, str | None] = {}
        self._ciphers: dict[int, tuple[Any, ...]] = {}
        self._retired: deque[tuple[int, Any]] = deque()
        self._backlog: deque[list[int]] = deque()
        self.wake_down, self.wake_up = eventfd(), eventfd()
        state = self.tables.state[0]
        state.socket = self.socket.fileno()
        state.wake_down, state.wake_up = self.wake_down, self.wake_up
        state.gso = offers_gso(self.socket)
        state.ntp_offset = int((wall() + NTP_EPOCH_OFFSET - monotonic()) * 1_000_000)

    # ── commands ──

    def allocate_transport(self) -> cmd.TransportHandle:
        return cmd.TransportHandle(self._transports.allocate())

    def allocate_track(self) -> cmd.TrackHandle:
        return cmd.TrackHandle(self._tracks.allocate())

    def allocate_send(self) -> cmd.SendHandle:
        return cmd.SendHandle(self._sends.allocate())

    def submit(self, *commands: cmd.Command) -> None:
        """Queue commands for the plane, which applies them in this order, usually within a millisecond."""
        for command in commands:
            match command:
                case cmd.InstallKeys(transport, keys):
                    receive, transmit = open_sessions(keys)
                    sealer = Sealer(keys) if self.seals else None
                    self._retire(transport)
                    self._ciphers[transport] = receive, transmit, sealer
                    self._backlog.append(encode_keys(transport, receive, transmit, sealer))
                    continue
                case cmd.AddTrack(track, media=media):
                    handles: list[int] = []
                    try:
                        for encoding in media.encodings:
                            handles.append(self._receives.allocate())
                            self._rids[handles[-1]] = encoding.rid
                    except Unavailable:
                        for handle in handles:
                            self._receives.free(handle)
                        self._tracks.free(track)
                        raise
                    self._streams[track] = tuple(handles)
                case _:
                    pass
            streams = self._streams.get(command.track, ()) if isinstance(command, cmd.AddTrack) else ()
            self._backlog.extend(encode(command, family=self.socket.family, streams=streams))
            self._release(command)
        self._pump()

    def _release(self, command: cmd.Command) -> None:
        """Free what a command gives back; whoever gets it next writes behind this command."""
        match command:
            case cmd.RemoveTransport(transport):
                self._transports.free(transport)
                self._retire(transport)
            case cmd.RemoveTrack(track):
                self._tracks.free(track)
                for handle in self._streams.pop(track, ()):
                    self._receives.free(handle)
            case cmd.RemoveSubscription(send):
                self._sends.free(send)

    def _retire(self, transport: int) -> None:
        """Keep a transport's SRTP sessions and cipher until the plane has passed the command that ends their use."""
        ciphers = self._ciphers.pop(transport, None)
        if ciphers is not None:
            self._retired.append((NONE, ciphers))

    def _pump(self) -> None:
        """Write queued commands into the ring as far as it has room, and wake the plane."""
        ring = self.command_ring
        wrote = False
        while self._backlog and ring.put(self._backlog[0]):
            self._backlog.popleft()
            wrote = True
        if self._retired:
            if not self._backlog:
                head = ring.head
                self._retired = deque((head if at == NONE else at, ciphers) for at, ciphers in self._retired)
            while self._retired and 0 <= self._retired[0][0] <= ring.tail:
                self._retired.popleft()
        if wrote and not ring.signalled:
            ring.signalled = True
            os.eventfd_write(self.wake_down, 1)

    @property
    def idle(self) -> bool:
        """Whether every submitted command has been applied."""
        return not self._backlog and self.command_ring.head == self.command_ring.tail

    # ── up ──

    def send_datagram(self, data: bytes, address: cmd.Address) -> None:
        """Send one datagram of the control plane (STUN, DTLS); what the kernel refuses is dropped."""
        host, port = address
        if self.socket.family == socket.AF_INET6 and ":" not in host:
            host = f"::ffff:{host}"
        with contextlib.suppress(OSError):
            self.socket.sendto(data, (host, port))

    def drain(self) -> None:
        """Hand on what came up; called when `wake_up` is readable, and by a slow timer."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake_up)
        self._event_ring.signalled = False
        for kind, a, b, c in self._event_ring.take():
            if kind == STREAM_STARTED:
                self.on_event(ev.StreamStarted(cmd.TrackHandle(a), b, c))
            elif kind == LAYERS_CHANGED:
                self.on_event(ev.LayersChanged(cmd.SendHandle(a), b, c))
            elif kind == BYE_RECEIVED:
                self.on_event(ev.ByeReceived(cmd.TrackHandle(a), b))
        for data, name, transport in self._punt_ring.take():
            self.on_datagram(data, address_of(name), cmd.TransportHandle(transport) if transport >= 0 else None)
        self._pump()

    def close(self) -> None:
        """Free the descriptors; the driver must have stopped."""
        self.socket.close()
        os.close(self.wake_down)
        os.close(self.wake_up)
        self._ciphers.clear()
        self._retired.clear()

    # ── figures ──

    def last_check(self, transport: cmd.TransportHandle) -> float:
        """When the plane last answered a check of this transport's peer (`AnswerChecks`); 0 for never."""
        return float(self._transport_cells[transport * len(_TransportRow._fields) + _LAST_CHECK] / 1e6)

    def usage(self) -> dict[str, tuple[int, int]]:
        """How many rows of each table are used, and of how many."""
        pools = {"transports": self._transports, "tracks": self._tracks, "subscriptions": self._sends}
        return {name: (pool.used, pool.capacity) for name, pool in pools.items()}

    def counters(self) -> dict[str, int]:
        """Totals since the start: `COUNTERS` without the drops."""
        row = self.tables.counters[0]
        return {name: int(row[name]) for name in COUNTERS.names or () if not name.startswith("drop_")}

    def drops(self) -> dict[str, int]:
        """Dropped packets by reason, since the start."""
        row = self.tables.counters[0]
        return {name[5:]: int(row[name]) for name in COUNTERS.names or () if name.startswith("drop_")}

    def turn_histogram(self) -> list[tuple[float, int]]:
        """Turns that took packets, by length: (upper bound in seconds, cumulative count), the last bound infinite."""
        return _cumulative(self.tables.turn_buckets, 1e-6)

    def batch_histogram(self) -> list[tuple[float, int]]:
        """Batches by size: (upper bound in datagrams, cumulative count), the last bound infinite."""
        return _cumulative(self.tables.batch_buckets, 1.0)

    def take_longest_turn(self) -> float:
        """The longest turn since the last call, in seconds."""
        row = self.tables.counters[0]
        longest = int(row.longest_turn_us)
        row.longest_turn_us = 0
        return longest / 1e6

    def transport_statistics(self, transport: cmd.TransportHandle) -> ev.TransportStatistics:
        row = _TransportRow._make(self.tables.transport_words[transport].tolist())
        known = [rate for rate in (row.acknowledged_bps, row.remb_received_bps) if rate > 0]
        return ev.TransportStatistics(
            packets_received=row.packets_received,
            bytes_received=row.bytes_received,
            packets_sent=row.packets_sent,
            bytes_sent=row.bytes_sent,
            last_receive=row.last_receive / 1e6,
            rtt=row.rtt / 1e6 if row.rtt else None,
            available_outgoing_bps=max(known) if known else None,
            authentication_failures=row.authentication_failures,
            replays=row.replays,
        )

    def receive_statistics(self, track: cmd.TrackHandle) -> tuple[ev.ReceiveStatistics, ...]:
        return tuple(self._receive_statistics(handle) for handle in self._streams.get(track, ()))

    def _receive_statistics(self, handle: int) -> ev.ReceiveStatistics:
        row = _ReceiveRow._make(self.tables.receive_words[handle].tolist())
        expected = row.max_sequence - row.base_sequence + 1 if row.started else 0
        return ev.ReceiveStatistics(
            ssrc=row.ssrc if row.ssrc >= 0 else None,
            rid=self._rids.get(handle),
            packets=row.packets,
            bytes=row.bytes,
            packets_lost=max(0, expected - row.received),
            fraction_lost=row.fraction_lost / 256,
            jitter=row.jitter_q4 / 16 / max(1, row.clock_rate),
            nacks=row.nacks,
            plis=row.plis,
            retransmissions=row.retransmissions,
            duplicates=row.duplicates,
            key_frames=row.key_frames,
            frames=row.frames,
            spatial_layers=row.spatial_seen + 1,
            temporal_layers=row.temporal_seen + 1,
            last_packet=row.last_packet / 1e6,
            audio_level_sum=row.level_sum,
            audio_level_count=row.level_count,
        )

    def send_statistics(self, send: cmd.SendHandle) -> ev.SendStatistics:
        row = _SendRow._make(self.tables.send_words[send].tolist())
        return ev.SendStatistics(
            ssrc=row.ssrc,
            packets=row.packets,
            bytes=row.bytes,
            frames=row.frames,
            nacks=row.nacks,
            plis=row.plis,
            retransmissions=row.retransmissions,
            packets_lost=row.lost,
            fraction_lost=row.fraction_lost / 256,
            jitter=row.jitter / max(1, row.clock_rate),
            rtt=row.rtt / 1e6 if row.rtt else None,
            spatial=row.reported_spatial,
            temporal=row.reported_temporal,
        )


def _cumulative(buckets: Any, unit: float) -> list[tuple[float, int]]:
    """Power-of-two buckets as Prometheus wants them; bucket k holds values below 2^k."""
    total = 0
    histogram = []
    for exponent, count in enumerate(buckets):
        total += int(count)
        bound = math.inf if exponent == len(buckets) - 1 else (2**exponent - 1) * unit
        histogram.append((bound, total))
    return histogram
