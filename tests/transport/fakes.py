"""A plane that records, an executor that does not wait, and a client without I/O."""

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future

from sluicegate.dtls.certificate import Certificate
from sluicegate.dtls.context import DtlsContext, DtlsRole
from sluicegate.dtls.endpoint import DtlsEndpoint, KeysReady
from sluicegate.ice.credentials import Credentials
from sluicegate.ice.stun import IntegrityKey, serialize_request
from sluicegate.router.commands import Command, TransportHandle

PRIORITY = 0x6E7F1EFF
CLIENT_CONTEXT = DtlsContext(Certificate.generate())


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakePlane:
    """Keeps what it is told. Datagrams go to `network`, when there is one, else into `sent`."""

    def __init__(self, index: int = 0, port: int = 50000) -> None:
        self.index = index
        self.port = port
        self.on_datagram: Callable = lambda data, address, handle: None
        self.commands: list[Command] = []
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.log: list[object] = []
        """Commands and datagrams in their common order."""
        self.allocated = 0
        self.checks: dict[TransportHandle, float] = {}
        """When it answered the last check of a transport by itself."""

    def allocate_transport(self) -> TransportHandle:
        self.allocated += 1
        return TransportHandle(self.allocated)

    def submit(self, *commands: Command) -> None:
        self.commands += commands
        self.log += commands

    def last_check(self, transport: TransportHandle) -> float:
        return self.checks.get(transport, 0.0)

    def send_datagram(self, data: bytes, address) -> None:
        self.sent.append((data, address))
        self.log.append(data)

    def take_sent(self) -> list[tuple[bytes, tuple[str, int]]]:
        sent, self.sent = self.sent, []
        return sent

    def of(self, kind: type) -> list:
        return [command for command in self.commands if isinstance(command, kind)]


class InlineExecutor(Executor):
    """Runs what is submitted at once."""

    def __init__(self) -> None:
        self.jobs = 0
        self.failure: Exception | None = None

    def submit(self, function, /, *args, **kwargs):
        self.jobs += 1
        future: Future = Future()
        try:
            if self.failure is not None:
                raise self.failure
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Client:
    """The other end: sends checks, shakes hands. Bytes in, bytes out."""

    def __init__(self, address=("192.0.2.1", 1000), context: DtlsContext = CLIENT_CONTEXT) -> None:
        self.address = address
        self.context = context
        self.endpoint: DtlsEndpoint | None = None
        self.keys = None
        self.events: list[object] = []

    @property
    def fingerprint(self):
        return self.context.certificate.fingerprint

    def check(self, credentials: Credentials, *, use_candidate: bool = True, priority: int = PRIORITY) -> bytes:
        return serialize_request(
            os.urandom(12),
            f"{credentials.username_fragment}:remo",
            IntegrityKey(credentials.password),
            priority=priority,
            use_candidate=use_candidate,
            controlling=1,
        )

    def begin(self, server_fingerprint, now: float, role: DtlsRole = DtlsRole.CLIENT) -> list[bytes]:
        self.endpoint = DtlsEndpoint(self.context, role, (server_fingerprint,))
        if role is DtlsRole.CLIENT:
            self.endpoint.start(now)
        return self.endpoint.datagrams_to_send()

    def receive(self, data: bytes, now: float) -> list[bytes]:
        """Take a datagram of the server's; what is answered. STUN is not."""
        if data[0] < 20 or self.endpoint is None:
            return []
        self.endpoint.receive_datagram(data, now)
        return self.collect()

    def collect(self) -> list[bytes]:
        assert self.endpoint is not None
        while (event := self.endpoint.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, KeysReady):
                self.keys = event.keys
        return self.endpoint.datagrams_to_send()
