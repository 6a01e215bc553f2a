"""What transports ask of a packet plane."""

from collections.abc import Callable
from typing import Protocol

from sluicegate.ice.stun import Address
from sluicegate.router.commands import Command, TransportHandle
from sluicegate.transport.state import TransportState


class HasIndex(Protocol):
    """Enough to say which plane is meant."""

    @property
    def index(self) -> int: ...


class PacketPlane(HasIndex, Protocol):
    """The side of `router.plane.Plane` that transports use.

    A command holds for every packet that arrives after it was submitted: a client's first DTLS flight follows the
    answer to its check within microseconds, and must find its address bound.
    """

    port: int
    on_datagram: Callable[[bytes, Address, TransportHandle | None], None]

    def allocate_transport(self) -> TransportHandle: ...
    def submit(self, *commands: Command) -> None: ...
    def last_check(self, transport: TransportHandle) -> float: ...
    def send_datagram(self, data: bytes, address: Address) -> None: ...


OnState = Callable[[TransportState, str | None], None]
"""Called on the loop with the new state, and the reason where it is closed."""
