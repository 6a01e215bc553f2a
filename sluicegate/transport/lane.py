"""One plane's port: whose a datagram is, before anything is believed of it."""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from sluicegate.errors import ParseError
from sluicegate.ice.candidates import HostCandidate, host_candidates
from sluicegate.ice.lite_agent import StunDrop
from sluicegate.ice.stun import Address, Message, MessageType, parse_message
from sluicegate.transport.ports import PacketPlane
from sluicegate.transport.state import TransportDrop
from sluicegate.transport.table import FailureLimiter, PeerTable

# An address whose owner has been checked within this time is not given to another peer that claims it, so that
# nobody can take a connection over by sending with its address. Lower: checks of aioice, 4–6 s apart, leave gaps.
# Higher: a peer that really comes back on the same port waits longer.
OWNERSHIP_HELD = 7.5


class Checked(Protocol):
    """A peer as the lane sees it."""

    @property
    def last_check(self) -> float | None: ...
    def receive_stun(self, message: Message, address: Address, now: float) -> StunDrop | None: ...
    def receive_dtls(self, data: bytes, address: Address, now: float) -> StunDrop | TransportDrop | None: ...


P = TypeVar("P", bound=Checked)


class Lane(Generic[P]):
    """A plane, the peers on its port, and the candidates that lead to it.

    `receive_stun` and `receive_dtls` give the peer that took the datagram, or the reason why nobody did.
    """

    def __init__(self, plane: PacketPlane, addresses: Sequence[str]) -> None:
        self.plane = plane
        self.candidates: tuple[HostCandidate, ...] = host_candidates(addresses, plane.port)
        self.table: PeerTable[P] = PeerTable()
        self._limiter = FailureLimiter()

    def receive_stun(self, data: bytes, address: Address, now: float) -> P | StunDrop | TransportDrop:
        owner = self.table.owner(address)
        if owner is None and not self._limiter.admits(address[0], now) and not self._names_a_peer(data):
            return TransportDrop.STUN_RATE_LIMITED
        taken = self._check(data, address, owner, now)
        if owner is None and isinstance(taken, StunDrop | TransportDrop):
            self._limiter.count_failure(address[0], now)
        return taken

    def receive_dtls(self, data: bytes, address: Address, now: float) -> P | StunDrop | TransportDrop:
        owner = self.table.owner(address)
        if owner is None:
            return TransportDrop.DTLS_UNKNOWN_ADDRESS
        return owner.receive_dtls(data, address, now) or owner

    def _names_a_peer(self, data: bytes) -> bool:
        """Whether a datagram is a message with a local fragment of ours, which nobody guesses (48 random bits).

        The limit must not keep those out: a flood may carry the address of somebody else as its source.
        """
        try:
            message = parse_message(data)
        except ParseError:
            return False
        return message.username is not None and self.table.find(message.username.partition(":")[0]) is not None

    def _check(self, data: bytes, address: Address, owner: P | None, now: float) -> P | StunDrop | TransportDrop:
        try:
            message = parse_message(data)
        except ParseError:
            return StunDrop.MALFORMED
        if message.message_type != MessageType.BINDING_REQUEST:
            return StunDrop.NOT_A_REQUEST
        if message.username is None:
            return StunDrop.NO_CREDENTIALS
        peer = self.table.find(message.username.partition(":")[0])
        if peer is None:
            return StunDrop.UNKNOWN_USERNAME
        if owner is not None and owner is not peer:
            last_check = owner.last_check
            if last_check is not None and now - last_check < OWNERSHIP_HELD:
                return TransportDrop.STUN_ADDRESS_TAKEN
        return peer.receive_stun(message, address, now) or peer
