"""The DTLS half of a peer, cut into pieces of work that may run on another thread.

A step of a handshake costs up to a millisecond, so it never runs on the event loop. `take_work` collects what is to be
done into a `DtlsWork`; until its result comes back through `finish_work` there is no other work, so steps of one peer
are in order and the endpoint is touched by one thread at a time. What arrives meanwhile waits in an inbox of stated
size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sluicegate.dtls.certificate import Fingerprint
from sluicegate.dtls.context import DtlsContext, DtlsRole
from sluicegate.dtls.endpoint import DtlsEndpoint, DtlsEvent
from sluicegate.dtls.records import is_client_hello
from sluicegate.transport.state import TransportDrop

# Bytes that wait for a thread. With what `dtls.records` lets OpenSSL keep it stays under 64 kB for each peer.
INBOX_BYTES = 24 * 1024


@dataclass(frozen=True, slots=True)
class DtlsResult:
    """What a piece of work came to."""

    endpoint: DtlsEndpoint
    datagrams: list[bytes]
    events: list[DtlsEvent]
    timer: float | None


@dataclass(slots=True)
class DtlsWork:
    """One step of one peer's association; `run` may be called once, on any thread."""

    context: DtlsContext
    role: DtlsRole
    now: float
    endpoint: DtlsEndpoint | None = None
    fingerprints: tuple[Fingerprint, ...] | None = None
    datagrams: list[bytes] = field(default_factory=list)
    timer_due: bool = False
    close: bool = False

    def run(self) -> DtlsResult:
        endpoint = self.endpoint
        if endpoint is None:
            endpoint = DtlsEndpoint(self.context, self.role, self.fingerprints or ())
            if self.role is DtlsRole.CLIENT:
                endpoint.start(self.now)
        elif self.fingerprints is not None:
            endpoint.set_fingerprints(self.fingerprints, self.now)
        for data in self.datagrams:
            endpoint.receive_datagram(data, self.now)
        if self.timer_due:
            endpoint.handle_timer(self.now)
        if self.close:
            endpoint.close(self.now)
        events = []
        while (event := endpoint.next_event()) is not None:
            events.append(event)
        return DtlsResult(endpoint, endpoint.datagrams_to_send(), events, endpoint.get_timer())


class Handshake:
    """Collects work for one peer's endpoint, which is made by its first piece of work."""

    def __init__(self, context: DtlsContext) -> None:
        self._context = context
        self._endpoint: DtlsEndpoint | None = None
        self._role: DtlsRole | None = None
        self._fingerprints: tuple[Fingerprint, ...] | None = None
        self._inbox: list[bytes] = []
        self._inbox_bytes = 0
        self._timer: float | None = None
        self._starting = False
        self._closing = False
        self._working = False

    @property
    def role(self) -> DtlsRole | None:
        """Our role; None while it is open: a ClientHello makes us the server."""
        return self._role

    @property
    def started(self) -> bool:
        """Whether a flight has been received or is on its way."""
        return self._starting or self._endpoint is not None

    def choose_role(self, role: DtlsRole) -> None:
        self._role = role

    def set_fingerprints(self, fingerprints: Sequence[Fingerprint]) -> None:
        self._fingerprints = tuple(fingerprints)

    def start(self) -> None:
        """Make the endpoint with the next piece of work; a client's then sends its first flight."""
        self._starting = True

    def receive_datagram(self, data: bytes) -> TransportDrop | None:
        """Queue a datagram; the reason where it is dropped. As server we are begun by a ClientHello only."""
        if not self.started:
            if self._role is DtlsRole.CLIENT or not is_client_hello(data):
                return TransportDrop.DTLS_UNEXPECTED
            self._role = DtlsRole.SERVER
            self.start()
        if self._inbox_bytes + len(data) > INBOX_BYTES:
            return TransportDrop.DTLS_OVERFLOW
        self._inbox.append(data)
        self._inbox_bytes += len(data)
        return None

    def close(self) -> None:
        """Nothing more is received; a last piece of work says goodbye to the peer, if there ever was an association."""
        self._inbox.clear()
        self._inbox_bytes = 0
        self._closing = self._endpoint is not None or self._working
        self._starting = False

    def get_timer(self) -> float | None:
        return None if self._working or self._closing else self._timer

    def take_work(self, now: float) -> DtlsWork | None:
        """What is to be done now, or None; `finish_work` or `abandon_work` must follow before there is more."""
        if self._working or self._role is None:
            return None
        timer_due = self._timer is not None and self._timer <= now
        fresh = self._endpoint is None and self._starting
        judging = self._endpoint is not None and self._fingerprints is not None
        if not (fresh or judging or self._inbox or timer_due or self._closing):
            return None
        work = DtlsWork(
            self._context,
            self._role,
            now,
            self._endpoint,
            self._fingerprints,
            self._inbox,
            timer_due,
            self._closing,
        )
        self._inbox = []
        self._inbox_bytes = 0
        self._fingerprints = None
        self._working = True
        return work

    def finish_work(self, result: DtlsResult, work: DtlsWork) -> None:
        self._working = False
        self._endpoint = result.endpoint
        self._timer = result.timer
        if work.close:
            # Whoever still holds this peer need not hold its association.
            self._closing, self._endpoint = False, None

    def abandon_work(self) -> None:
        """The work failed on our side: there is no association any more."""
        self._working = self._closing = False
        self._endpoint = self._timer = None
