"""The transports of all sessions: datagrams from the planes to their peers, decisions of the peers back to the planes.

Everything runs on the event loop but the DTLS work, which runs in an executor, one piece at a time for each peer.
Commands are submitted before the datagrams that answer, so that a plane knows an address by the time its peer can have
heard of it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

import structlog

from sluicegate.clock import monotonic
from sluicegate.dtls.certificate import Certificate
from sluicegate.dtls.context import DtlsContext
from sluicegate.dtls.endpoint import KeysReady
from sluicegate.dtls.records import is_dtls
from sluicegate.ice.lite_agent import (
    ChecksSettled,
    ChecksUnsettled,
    CredentialsRetired,
    PairAdded,
    PairRemoved,
    PathChanged,
)
from sluicegate.ice.stun import Address
from sluicegate.ids import SessionId
from sluicegate.ortc.parameters import DtlsFingerprint, DtlsParameters
from sluicegate.router.commands import (
    AddTransport,
    AnswerChecks,
    BindAddress,
    Command,
    InstallKeys,
    RemoveTransport,
    SetDestination,
    TransportHandle,
    UnbindAddress,
)
from sluicegate.transport.handshake import DtlsResult, DtlsWork
from sluicegate.transport.lane import Lane
from sluicegate.transport.peer import HandshakeMeasured, Peer, StateChanged
from sluicegate.transport.ports import HasIndex, OnState, PacketPlane
from sluicegate.transport.state import TransportDrop
from sluicegate.transport.timers import Timers
from sluicegate.transport.transport import Transport

# How long `Transports.close` waits for goodbyes to be written.
CLOSE_PATIENCE = 2.0

_log = structlog.get_logger(__name__)


class Transports:
    """All transports of a node. Takes over `on_datagram` of every plane; made and used on the event loop."""

    def __init__(
        self,
        planes: Sequence[PacketPlane],
        *,
        certificate: Certificate,
        addresses: Sequence[str],
        executor: Executor,
        clock: Callable[[], float] = monotonic,
        on_handshake: Callable[[float], None] = lambda duration: None,
    ) -> None:
        """`addresses` are announced as host candidates; `on_handshake` gets the seconds of every finished handshake."""
        self._loop = asyncio.get_running_loop()
        self._context = DtlsContext(certificate)
        self._executor = executor
        self._clock = clock
        self._on_handshake = on_handshake
        self._transports: set[Transport] = set()
        self._running: set[asyncio.Future[DtlsResult]] = set()
        self._timers: Timers[Transport] = Timers(self._loop, clock, self._on_timer)
        self._lanes: dict[int, Lane[Transport]] = {plane.index: Lane(plane, addresses) for plane in planes}
        own = certificate.fingerprint
        self.dtls_parameters = DtlsParameters(fingerprints=(DtlsFingerprint(own.algorithm, own.text),), role="auto")
        self.drops: Counter[str] = Counter()
        """Datagrams dropped, by the words of `StunDrop` and `TransportDrop`."""
        for lane in self._lanes.values():
            lane.plane.on_datagram = partial(self._receive, lane)

    def __len__(self) -> int:
        """How many are open."""
        return len(self._transports)

    def open(self, session_id: SessionId, plane: HasIndex, on_state: OnState) -> Transport:
        """A new transport on `plane`; `Unavailable` when that has no room.

        `on_state` is called on the loop with every change and, when the transport closes of itself, last with the
        reason. The plane's handle is freed when that call returns, so it removes the session's tracks and
        subscriptions.
        """
        transport = Transport(self, self._lanes[plane.index], Peer(self._context, self._clock()), on_state)
        self._transports.add(transport)
        self.add_fragment(transport, transport.peer.credentials.username_fragment)
        transport.plane.submit(AddTransport(transport.handle))
        self._timers.schedule(transport, transport.peer.get_timer())
        _log.debug("transport opened", session_id=session_id, plane=plane.index)
        return transport

    async def close(self) -> None:
        """Close what is open, and wait a moment until the peers have been told."""
        for transport in list(self._transports):
            transport.close("server shut down")
        deadline = self._loop.time() + CLOSE_PATIENCE
        while self._running and self._loop.time() < deadline:
            await asyncio.wait(self._running, timeout=deadline - self._loop.time())
            # The callbacks that take the results run just after the futures are done.
            await asyncio.sleep(0)
        self._timers.stop()

    def now(self) -> float:
        return self._clock()

    def handle_timers(self, now: float) -> None:
        """Act on every deadline up to `now`, as the loop's own timer does."""
        self._timers.run_due(now)

    def add_fragment(self, transport: Transport, username_fragment: str) -> None:
        """Let checks with this local fragment find the transport."""
        transport.fragments.add(username_fragment)
        transport.lane.table.add_fragment(username_fragment, transport)

    def advance(self, transport: Transport) -> None:
        """Carry out what the peer has decided: commands, then datagrams, then DTLS work, then the news."""
        now = self._clock()
        peer, plane = transport.peer, transport.plane
        commands: list[Command] = []
        changes: list[StateChanged] = []
        while (event := peer.next_event()) is not None:
            match event:
                case PairAdded(address):
                    self._claim(transport, address, now)
                    commands.append(BindAddress(transport.handle, address))
                case PairRemoved(address):
                    transport.addresses.discard(address)
                    transport.lane.table.release(address, transport)
                    commands.append(UnbindAddress(transport.handle, address))
                case PathChanged(address):
                    commands.append(SetDestination(transport.handle, address))
                case CredentialsRetired(fragment):
                    transport.fragments.discard(fragment)
                    transport.lane.table.remove_fragment(fragment)
                case ChecksSettled(username, password):
                    commands.append(AnswerChecks(transport.handle, username.encode(), password.encode()))
                case ChecksUnsettled():
                    commands.append(AnswerChecks(transport.handle))
                case KeysReady(keys):
                    commands.append(InstallKeys(transport.handle, keys))
                case HandshakeMeasured(duration):
                    transport.handshake_duration = duration
                    self._on_handshake(duration)
                case StateChanged():
                    changes.append(event)
        if commands:
            plane.submit(*commands)
        for data, destination in peer.datagrams_to_send():
            plane.send_datagram(data, destination)
        work = peer.take_work(now)
        if work is not None:
            self._run(transport, work)
        self._timers.schedule(transport, peer.get_timer())
        for change in changes:
            if change.reason is not None:
                self._remove(transport, change)
            elif transport.on_state is not None and not peer.closed:
                transport.on_state(change.state, None)

    def _receive(self, lane: Lane[Transport], data: bytes, address: Address, handle: TransportHandle | None) -> None:
        """A plane handed up a datagram."""
        now = self._clock()
        if data and data[0] < 4:
            taken = lane.receive_stun(data, address, now)
        elif is_dtls(data):
            taken = lane.receive_dtls(data, address, now)
        else:
            taken = TransportDrop.UNKNOWN_PROTOCOL
        if isinstance(taken, Transport):
            self.advance(taken)
        else:
            self.drops[taken] += 1

    def _claim(self, transport: Transport, address: Address, now: float) -> None:
        """Make `address` the transport's; whoever had it has been silent, and forgets it."""
        table = transport.lane.table
        before = table.owner(address)
        if before is not None and before is not transport:
            before.peer.forget_address(address, now)
            self.advance(before)
        table.bind(address, transport)
        transport.addresses.add(address)

    def _remove(self, transport: Transport, change: StateChanged) -> None:
        """The transport is closed: stop sending, tell its owner, then free its handle."""
        plane, table = transport.plane, transport.lane.table
        self._timers.discard(transport)
        self._transports.discard(transport)
        for fragment in transport.fragments:
            table.remove_fragment(fragment)
        for address in transport.addresses:
            table.release(address, transport)
        plane.submit(SetDestination(transport.handle, None))
        on_state, transport.on_state = transport.on_state, None
        try:
            if on_state is not None:
                on_state(change.state, change.reason)
        finally:
            unbinding = [UnbindAddress(transport.handle, address) for address in transport.addresses]
            plane.submit(*unbinding, RemoveTransport(transport.handle))
            transport.addresses.clear()

    def _on_timer(self, transport: Transport, now: float) -> None:
        transport.note_checks()
        transport.peer.handle_timer(now)
        self.advance(transport)

    def _run(self, transport: Transport, work: DtlsWork) -> None:
        future = asyncio.ensure_future(self._loop.run_in_executor(self._executor, work.run))
        self._running.add(future)
        future.add_done_callback(partial(self._take_result, transport, work))

    def _take_result(self, transport: Transport, work: DtlsWork, future: "asyncio.Future[DtlsResult]") -> None:
        self._running.discard(future)
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            transport.peer.finish_work(work, future.result(), self._clock())
        else:
            _log.error("DTLS work failed", exc_info=error)
            transport.peer.abandon_work()
        self.advance(transport)
