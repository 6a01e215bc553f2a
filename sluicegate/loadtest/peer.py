"""The client's end of one transport: a UDP socket, ICE in the controlling role, DTLS as client, SRTP.

`connect` does all of it on the event loop; afterwards the socket and the SRTP sessions belong to the compiled loop,
which repeats `consent_request` byte for byte (RFC 7675 only wants it authenticated) until the end.
"""

import asyncio
import contextlib
import secrets
import socket
from dataclasses import dataclass, field

from pylibsrtp import Session

from sluicegate import clock
from sluicegate.dtls.certificate import Fingerprint
from sluicegate.dtls.context import DtlsContext, DtlsRole
from sluicegate.dtls.endpoint import ClosedByPeer, DtlsEndpoint, DtlsFailed, KeysReady
from sluicegate.errors import ParseError, SluicegateError
from sluicegate.ice.credentials import Credentials
from sluicegate.ice.stun import (
    Address,
    IntegrityKey,
    Message,
    MessageType,
    parse_message,
    serialize_request,
    serialize_success,
)
from sluicegate.rtp.names import MediaKind
from sluicegate.rtp.srtp import SrtpKeys, open_sessions

PRIORITY = 1853824767  # of a peer-reflexive candidate (RFC 8445 §5.1.2.1)
CHECK_INTERVAL = 0.2
RECEIVE_BUFFER_BYTES = 1 << 20
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
DTLS_FIRST_BYTES = range(20, 64)


class JoinFailed(SluicegateError):
    """A client could not join; the message says why."""


@dataclass(frozen=True, slots=True)
class Remote:
    """What signalling told of the server's end."""

    address: Address
    credentials: Credentials
    fingerprints: tuple[Fingerprint, ...]


@dataclass(frozen=True, slots=True)
class SendTrack:
    """A track that this client sends. `receivers`: how many get it."""

    kind: MediaKind
    ssrc: int
    payload_type: int
    mid: str
    receivers: int = 0


@dataclass(slots=True)
class Peer:
    """One 5-tuple. `sends` and `receives` (SSRC → the sender's SSRC) are filled by whoever does the signalling."""

    context: DtlsContext
    credentials: Credentials = field(default_factory=Credentials.generate)
    sends: list[SendTrack] = field(default_factory=list)
    receives: dict[int, int] = field(default_factory=dict)
    sock: socket.socket | None = None
    consent_request: bytes = b""
    keys: SrtpKeys | None = None
    sessions: tuple[Session, Session] | None = None
    _dtls: DtlsEndpoint | None = None
    _checked: bool = False
    _failure: str | None = None
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def fingerprint(self) -> Fingerprint:
        return self.context.certificate.fingerprint

    def open(self, remote: Address) -> Address:
        """Bind the socket, if that has not been done, and say where it is: what a candidate of ours would say."""
        if self.sock is None:
            self.sock = _open_socket(remote)
        name = self.sock.getsockname()
        return name[0], name[1]

    async def connect(self, remote: Remote, timeout: float = 20.0) -> None:
        """ICE, then DTLS; `JoinFailed` when that comes to nothing in time."""
        loop = asyncio.get_running_loop()
        self.open(remote.address)
        opened = self.sock
        assert opened is not None
        username = f"{remote.credentials.username_fragment}:{self.credentials.username_fragment}"
        self.consent_request = serialize_request(
            secrets.token_bytes(12),
            username,
            IntegrityKey(remote.credentials.password),
            priority=PRIORITY,
            use_candidate=True,
            controlling=secrets.randbits(64),
        )
        self._dtls = DtlsEndpoint(self.context, DtlsRole.CLIENT, remote.fingerprints)
        loop.add_reader(opened, self._receive)
        try:
            async with asyncio.timeout(timeout):
                await self._check()
                await self._handshake()
        except TimeoutError:
            raise JoinFailed(
                f"no {'DTLS handshake' if self._checked else 'answer to ICE checks'} in {timeout:g} s"
            ) from None
        finally:
            loop.remove_reader(opened)

    async def _check(self) -> None:
        while not self._checked:
            self.send(self.consent_request)
            await self._wait(CHECK_INTERVAL)

    async def _handshake(self) -> None:
        assert self._dtls is not None
        self._dtls.start(clock.monotonic())
        while self.keys is None:
            self._flush()
            due = self._dtls.get_timer()
            await self._wait(None if due is None else max(0.0, due - clock.monotonic()))
            if self._failure:
                raise JoinFailed(self._failure)
            self._dtls.handle_timer(clock.monotonic())
        self._flush()
        self.sessions = open_sessions(self.keys)

    async def _wait(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._progress.wait(), seconds)
        self._progress.clear()

    def _flush(self) -> None:
        assert self._dtls is not None
        for datagram in self._dtls.datagrams_to_send():
            self.send(datagram)

    def send(self, datagram: bytes) -> None:
        """Send at once; what the system refuses is lost, as on any network."""
        assert self.sock is not None
        with contextlib.suppress(OSError):
            self.sock.send(datagram)

    def _receive(self) -> None:
        assert self.sock is not None and self._dtls is not None
        with contextlib.suppress(OSError):
            while True:
                datagram = self.sock.recv(2048)
                if datagram and datagram[0] in DTLS_FIRST_BYTES:
                    self._dtls.receive_datagram(datagram, clock.monotonic())
                    self._take_events()
                elif datagram and datagram[0] < DTLS_FIRST_BYTES.start:
                    with contextlib.suppress(ParseError):
                        self._take_stun(parse_message(datagram))
                self._progress.set()

    def _take_stun(self, message: Message) -> None:
        """The answer to our check; or a check, which a server that is a full agent sends as well."""
        assert self.sock is not None
        if message.message_type == MessageType.BINDING_SUCCESS:
            self._checked = True
        elif message.message_type == MessageType.BINDING_REQUEST:
            key = IntegrityKey(self.credentials.password)
            if message.verify_integrity(key):
                self.send(serialize_success(message.transaction_id, self.sock.getpeername()[:2], key))

    def _take_events(self) -> None:
        assert self._dtls is not None
        self._flush()
        while (event := self._dtls.next_event()) is not None:
            if isinstance(event, KeysReady):
                self.keys = event.keys
            elif isinstance(event, DtlsFailed):
                self._failure = event.reason.value
            elif isinstance(event, ClosedByPeer):
                self._failure = "the server closed the DTLS association"

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def _open_socket(address: Address) -> socket.socket:
    """A connected socket with room for what a busy client has not read yet; the kernel notes when each datagram
    arrived."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except OSError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    opened.connect(address)
    return opened
