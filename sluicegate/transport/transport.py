"""One session's connection as its owner sees it."""

from typing import Protocol

from sluicegate.dtls.certificate import Fingerprint, parse_fingerprints
from sluicegate.dtls.context import DtlsRole
from sluicegate.ice.credentials import Credentials
from sluicegate.ice.lite_agent import StunDrop
from sluicegate.ice.stun import Address, Message
from sluicegate.ortc.parameters import DtlsParameters, IceCandidate, IceParameters
from sluicegate.router.commands import TransportHandle
from sluicegate.transport.lane import Lane
from sluicegate.transport.peer import Peer
from sluicegate.transport.ports import OnState, PacketPlane
from sluicegate.transport.state import TransportDrop, TransportState


class TransportOwner(Protocol):
    """Who carries out what a transport is told: `driver.Transports`."""

    dtls_parameters: DtlsParameters

    def advance(self, transport: "Transport") -> None: ...
    def add_fragment(self, transport: "Transport", username_fragment: str) -> None: ...
    def now(self) -> float: ...


class Transport:
    """Made by `Transports.open`; used on the event loop. Frees its handle of the plane when it closes."""

    def __init__(self, owner: TransportOwner, lane: Lane["Transport"], peer: Peer, on_state: OnState) -> None:
        self._owner = owner
        self.lane = lane
        self.peer = peer
        self.on_state: OnState | None = on_state
        """Who hears of changes; nobody once it is closed."""
        self.handle: TransportHandle = lane.plane.allocate_transport()
        self.addresses: set[Address] = set()
        """What the plane was told to bind."""
        self.fragments: set[str] = set()
        """Which local username fragments find it."""
        self.handshake_duration: float | None = None
        """Seconds from the first DTLS flight to the last; None before."""

    @property
    def plane(self) -> PacketPlane:
        return self.lane.plane

    @property
    def state(self) -> TransportState:
        return self.peer.state

    @property
    def reason(self) -> str | None:
        """Why it is closed; None while it is not."""
        return self.peer.reason

    @property
    def remote_address(self) -> Address | None:
        """Where the peer is reached at present."""
        return self.peer.path

    @property
    def ice_parameters(self) -> IceParameters:
        return _ice_parameters(self.peer.credentials)

    @property
    def ice_candidates(self) -> tuple[IceCandidate, ...]:
        return tuple(
            IceCandidate(
                foundation=candidate.foundation,
                priority=candidate.priority,
                ip=candidate.address,
                address=candidate.address,
                protocol="udp",
                port=candidate.port,
                type="host",
            )
            for candidate in self.lane.candidates
        )

    @property
    def dtls_parameters(self) -> DtlsParameters:
        return self._owner.dtls_parameters

    def connect(self, dtls_parameters: DtlsParameters, ice_parameters: IceParameters | None = None) -> None:
        """Say who the peer is. Raises `Invalid` (pointers below `/fingerprints`), or `Conflict` the second time."""
        fingerprints: tuple[Fingerprint, ...] = parse_fingerprints(
            [(one.algorithm, one.value) for one in dtls_parameters.fingerprints]
        )
        role = None if dtls_parameters.role == "auto" else DtlsRole(dtls_parameters.role)
        remote_fragment = None if ice_parameters is None else ice_parameters.username_fragment
        self.peer.connect(fingerprints, role, remote_fragment, self._owner.now())
        self._owner.advance(self)

    def restart_ice(self) -> IceParameters:
        """New ICE credentials; the old path serves until the peer nominates one with them. `Conflict` when closed."""
        credentials = self.peer.restart_ice()
        self._owner.add_fragment(self, credentials.username_fragment)
        self._owner.advance(self)
        return _ice_parameters(credentials)

    def close(self, reason: str) -> None:
        """Close, without a call of `on_state`; the caller has removed the session's tracks and subscriptions."""
        self.on_state = None
        self.peer.close(reason)
        self._owner.advance(self)

    # What the lane asks of a peer.

    @property
    def last_check(self) -> float | None:
        self.note_checks()
        return self.peer.last_check

    def note_checks(self) -> None:
        """Tell the peer of checks that the plane has answered: before anything is judged by how long it is silent."""
        self.peer.note_check(self.plane.last_check(self.handle))

    def receive_stun(self, message: Message, address: Address, now: float) -> StunDrop | None:
        self.note_checks()
        return self.peer.receive_stun(message, address, now)

    def receive_dtls(self, data: bytes, address: Address, now: float) -> StunDrop | TransportDrop | None:
        return self.peer.receive_dtls(data, address, now)


def _ice_parameters(credentials: Credentials) -> IceParameters:
    return IceParameters(username_fragment=credentials.username_fragment, password=credentials.password, ice_lite=True)
