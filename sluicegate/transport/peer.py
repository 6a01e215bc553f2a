"""The ICE agent and the DTLS association of one session, as one state machine without I/O.

Driven by the five verbs and by `take_work`/`finish_work` (see `handshake`). Nothing reaches DTLS from an address that
has not passed an authenticated check, and what has is answered at once, nominated or not. Keys come out only for a
verified peer. The peer closes of itself, with a reason in words, when it does not connect in time, fails to prove
itself, or falls silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sluicegate.dtls.certificate import Fingerprint
from sluicegate.dtls.context import DtlsContext, DtlsRole
from sluicegate.dtls.endpoint import ClosedByPeer, DtlsFailed, HandshakeFinished, KeysReady
from sluicegate.errors import Conflict
from sluicegate.ice.credentials import Credentials
from sluicegate.ice.lite_agent import (
    ChecksSettled,
    ChecksUnsettled,
    ConsentLost,
    CredentialsRetired,
    IceState,
    LiteAgent,
    PairAdded,
    PairRemoved,
    PathChanged,
    StunDrop,
)
from sluicegate.ice.stun import Address, Message
from sluicegate.transport.handshake import DtlsResult, DtlsWork, Handshake
from sluicegate.transport.state import CloseReason, DtlsState, TransportDrop, TransportState

CONNECT_TIMEOUT = 30.0
HANDSHAKE_TIMEOUT = 10.0

# A peer that leaves the DTLS role to us is expected to begin, as WebRTC clients do; one that has not by then expects us
# to (ORTC: the controlled agent is the client). Lower: both begin where the path is long. Higher: such peers wait.
AUTO_ROLE_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class HandshakeMeasured:
    """The handshake took `duration` from its first flight."""

    duration: float


@dataclass(frozen=True, slots=True)
class StateChanged:
    """`reason` is given when the peer is closed."""

    state: TransportState
    reason: str | None


PeerEvent = (
    PairAdded
    | PairRemoved
    | PathChanged
    | CredentialsRetired
    | ChecksSettled
    | ChecksUnsettled
    | KeysReady
    | HandshakeMeasured
    | StateChanged
)


class Peer:
    """See the module."""

    def __init__(self, context: DtlsContext, now: float) -> None:
        self._agent = LiteAgent()
        self._handshake = Handshake(context)
        self._dtls = DtlsState.NEW
        self._state = TransportState()
        self._reason: str | None = None
        self._connected = False
        # Where the peer's last DTLS datagram came from: its flights are answered there.
        self._dtls_address: Address | None = None
        self._connect_deadline: float | None = now + CONNECT_TIMEOUT
        self._handshake_deadline: float | None = None
        self._auto_role_at: float | None = None
        self._first_flight: float | None = None
        self._outgoing: list[tuple[bytes, Address]] = []
        self._events: list[PeerEvent] = []

    @property
    def credentials(self) -> Credentials:
        """The ICE credentials that the peer is to use."""
        return self._agent.credentials

    @property
    def state(self) -> TransportState:
        return self._state

    @property
    def reason(self) -> str | None:
        """Why it is closed; None while it is not."""
        return self._reason

    @property
    def closed(self) -> bool:
        return self._reason is not None

    @property
    def path(self) -> Address | None:
        """Where the peer is reached."""
        return self._agent.path

    @property
    def last_check(self) -> float | None:
        """When its last authenticated check arrived."""
        return self._agent.last_check

    def note_check(self, at: float) -> None:
        """The plane has answered a check in our place; see `LiteAgent.note_check`."""
        self._agent.note_check(at)

    def connect(
        self, fingerprints: Sequence[Fingerprint], role: DtlsRole | None, remote_fragment: str | None, now: float
    ) -> None:
        """Say who the peer is: the owner of one of `fingerprints`, in the DTLS role `role` (None: ours to choose).

        Raises `Conflict` when that has been said before, when the peer is closed, or when it has begun as another role.
        """
        if self.closed:
            raise Conflict(f"the session is closed: {self._reason}")
        if self._connected:
            raise Conflict("the session is connected already")
        if role is DtlsRole.SERVER and self._handshake.role is DtlsRole.SERVER:
            raise Conflict("the peer began the DTLS handshake as client, so its role is not server")
        self._connected = True
        self._handshake.set_fingerprints(fingerprints)
        if remote_fragment is not None:
            self._agent.set_remote_fragment(remote_fragment)
            self._take_ice_events()
        if role is DtlsRole.CLIENT:
            self._handshake.choose_role(DtlsRole.SERVER)
        elif role is DtlsRole.SERVER:
            self._handshake.choose_role(DtlsRole.CLIENT)
        self._begin_if_ours(now)

    def restart_ice(self) -> Credentials:
        """New ICE credentials; see `LiteAgent.restart`."""
        if self.closed:
            raise Conflict(f"the session is closed: {self._reason}")
        credentials = self._agent.restart()
        self._take_ice_events()
        return credentials

    def receive_stun(self, message: Message, address: Address, now: float) -> StunDrop | None:
        """Handle a STUN message addressed to one of our fragments; the reason if it was dropped."""
        drop = self._agent.receive_message(message, address, now)
        if drop is None:
            self._after_ice(now)
        return drop

    def receive_dtls(self, data: bytes, address: Address, now: float) -> StunDrop | TransportDrop | None:
        """Queue a DTLS datagram; the reason if it was dropped."""
        if self.closed:
            return StunDrop.CLOSED
        if not self._agent.knows(address):
            return TransportDrop.DTLS_UNKNOWN_ADDRESS
        drop = self._handshake.receive_datagram(data)
        if drop is None:
            self._dtls_address = address
            self._note_first_flight(now)
        return drop

    def forget_address(self, address: Address, now: float) -> None:
        """The address is another peer's from now on."""
        self._agent.forget(address)
        self._after_ice(now)

    def close(self, reason: str) -> None:
        """Close; a last piece of work may follow, which tells the peer."""
        self._close(reason, DtlsState.CLOSED)

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        outgoing = self._agent.datagrams_to_send() + self._outgoing
        self._outgoing = []
        return outgoing

    def next_event(self) -> PeerEvent | None:
        return self._events.pop(0) if self._events else None

    def get_timer(self) -> float | None:
        if self.closed:
            return None
        timers = (
            self._agent.get_timer(),
            self._handshake.get_timer(),
            self._connect_deadline,
            self._handshake_deadline,
            self._auto_role_at,
        )
        return min((timer for timer in timers if timer is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Act on what is due; DTLS timers are acted on by `take_work`."""
        if self.closed:
            return
        if self._handshake_deadline is not None and now >= self._handshake_deadline:
            self._close(CloseReason.HANDSHAKE_TIMEOUT, DtlsState.FAILED)
        elif self._connect_deadline is not None and now >= self._connect_deadline:
            self._close(CloseReason.NOT_CONNECTED, DtlsState.CLOSED)
        else:
            self._agent.handle_timer(now)
            self._after_ice(now)

    def take_work(self, now: float) -> DtlsWork | None:
        """DTLS work to run on any thread, if there is some and none is under way."""
        return self._handshake.take_work(now)

    def finish_work(self, work: DtlsWork, result: DtlsResult, now: float) -> None:
        """Take the result of `work`, back on the thread of everything else."""
        self._handshake.finish_work(result, work)
        destination = self._dtls_address or self._agent.path
        lost = self._reason == CloseReason.CONSENT_LOST  # then not even a goodbye may be sent (RFC 7675 §5.1)
        if destination is not None and not lost and (work.close or not self.closed):
            self._outgoing += [(data, destination) for data in result.datagrams]
        if self.closed:
            return
        for event in result.events:
            match event:
                case HandshakeFinished():
                    self._handshake_deadline = None
                    if self._first_flight is not None:
                        self._events.append(HandshakeMeasured(now - self._first_flight))
                case KeysReady():
                    self._connect_deadline = None
                    self._dtls = DtlsState.CONNECTED
                    self._events.append(event)
                    self._note_state()
                case DtlsFailed(reason):
                    self._close(reason, DtlsState.FAILED)
                case ClosedByPeer():
                    self._close(CloseReason.CLOSED_BY_PEER, DtlsState.CLOSED)

    def abandon_work(self) -> None:
        """The work raised: a fault of ours, and the end of this peer."""
        self._handshake.abandon_work()
        self._close(CloseReason.INTERNAL_ERROR, DtlsState.FAILED)

    def _after_ice(self, now: float) -> None:
        self._take_ice_events()
        self._begin_if_ours(now)
        self._note_state()

    def _take_ice_events(self) -> None:
        while (event := self._agent.next_event()) is not None:
            if isinstance(event, ConsentLost):
                self._close(CloseReason.CONSENT_LOST, DtlsState.CLOSED)
            else:
                self._events.append(event)

    def _begin_if_ours(self, now: float) -> None:
        """Start as client once the peer is known and reached, where that is our part."""
        if self.closed or self._handshake.started or not self._connected or self._agent.path is None:
            return
        if self._handshake.role is None:
            if self._auto_role_at is None:
                self._auto_role_at = now + AUTO_ROLE_WAIT
            elif now >= self._auto_role_at:
                self._handshake.choose_role(DtlsRole.CLIENT)
        if self._handshake.role is DtlsRole.CLIENT:
            self._handshake.start()
            self._note_first_flight(now)

    def _note_first_flight(self, now: float) -> None:
        if self._first_flight is None:
            self._first_flight = now
            self._handshake_deadline = now + HANDSHAKE_TIMEOUT
            self._auto_role_at = None
            self._dtls = DtlsState.CONNECTING
            self._note_state()

    def _note_state(self) -> None:
        state = TransportState(self._agent.state, self._dtls)
        if state != self._state:
            self._state = state
            self._events.append(StateChanged(state, self._reason))

    def _close(self, reason: str, dtls: DtlsState) -> None:
        if self.closed:
            return
        self._reason = str(reason)
        self._dtls = dtls
        self._agent.close()
        self._handshake.close()
        self._state = TransportState(IceState.CLOSED, dtls)
        self._events.append(StateChanged(self._state, self._reason))
