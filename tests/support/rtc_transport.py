"""The transport of a scripted client: one UDP socket, full ICE in the controlling role, DTLS, SRTP.

It answers nothing by itself but DTLS, sends consent checks if told to, and keeps all that it receives, with times.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aioice import stun
from pylibsrtp import Error as SrtpError
from pylibsrtp import Session

from . import ice
from .dtls import PROFILES, DtlsEndpoint, SrtpKeys
from .rtcp_packet import RtcpPacket, parse_rtcp
from .rtp_packet import RtpPacket, is_rtcp

Address = tuple[str, int]
CONSENT_INTERVAL = 2.5
CHECK_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Received:
    """A datagram, decrypted if it was SRTP; `at` is monotonic."""

    at: float
    data: bytes = field(repr=False)


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, Address], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._receive(data, (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """ICMP unreachable, which a UDP client ignores."""


class RtcTransport:
    """One 5-tuple. `peer_fingerprints` (algorithm, value) are checked after the handshake, if there are any."""

    def __init__(
        self,
        *,
        media_address: Address | None = None,
        credentials: ice.IceCredentials | None = None,
        consent: bool = True,
        dtls_role: str = "client",
        profiles: tuple[str, ...] = tuple(PROFILES),
    ) -> None:
        self.media_address = media_address
        self.credentials = credentials or ice.IceCredentials("", "")
        self.consent = consent
        self.dtls_role = dtls_role
        self.dtls = DtlsEndpoint(client=dtls_role == "client", profiles=profiles)
        self.peer_fingerprints: list[tuple[str, str]] = []
        self.keys: SrtpKeys | None = None
        # Everything that came, in order; SRTP decrypted.
        self.rtp_log: list[Received] = []
        self.rtcp_log: list[Received] = []
        self.stun_log: list[tuple[Received, Address]] = []
        self.dtls_log: list[Received] = []
        self.other_log: list[Received] = []
        self.undecryptable: list[Received] = []
        # Called with each RTP packet, or the RTCP packets of a compound, as they come.
        self.on_rtp: list[Callable[[RtpPacket, float], None]] = []
        self.on_rtcp: list[Callable[[list[RtcpPacket], float], None]] = []
        self._send_srtp: Session | None = None
        self._receive_srtp: Session | None = None
        self._socket: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[bytes, asyncio.Future[stun.Message]] = {}
        self._parsed: list[RtpPacket | None] = []
        self._arrived = asyncio.Event()

    # -- connecting

    async def open(self) -> None:
        """Bind the socket, and start the consent checks."""
        if self._socket is None:
            self._socket = await self._bind()
            self.run(self._keep_consent())

    async def rebind(self, host: str | None = None) -> None:
        """Send from a new port, or another address as well, from now on, as after a change of network; call `check` to
        nominate it."""
        old, self._socket = self._socket, await self._bind(host)
        if old is not None:
            old.close()

    @property
    def address(self) -> Address:
        """Our own."""
        assert self._socket is not None
        name = self._socket.get_extra_info("sockname")
        return name[0], name[1]

    async def check(self, *, use_candidate: bool = True, timeout: float = 5.0, **bent: Any) -> stun.Message:
        """A connectivity check, repeated until it is answered (an error response is an answer).

        `bent` goes to `ice.binding_request`. Raises TimeoutError.
        """
        request = ice.binding_request(self.credentials, use_candidate=use_candidate, **bent)
        answer = self._answers[request.transaction_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                while not answer.done():
                    self.send_raw(bytes(request))
                    await asyncio.wait([answer], timeout=CHECK_INTERVAL)
                return answer.result()
        finally:
            del self._answers[request.transaction_id]

    async def handshake(self, timeout: float = 10.0) -> None:
        """DTLS, then SRTP. Raises TimeoutError, SSL.Error, or ConnectionError: a certificate not announced."""
        async with asyncio.timeout(timeout):
            self.dtls.handshake()
            while not self.dtls.finished:
                self._flush_dtls()
                self._arrived.clear()
                try:
                    await asyncio.wait_for(self._arrived.wait(), self.dtls.timeout())
                except TimeoutError:
                    self.dtls.handle_timeout()
            self._flush_dtls()
        expected = self.peer_fingerprints
        if expected and not any(self.dtls.peer_fingerprint(name) == value.upper() for name, value in expected):
            raise ConnectionError("the certificate is not the one that was announced")
        self.keys = self.dtls.srtp()
        self._send_srtp, self._receive_srtp = self.keys.sender(), self.keys.receiver()

    async def shut(self) -> None:
        """Stop what runs by itself and close the socket, without a word to the peer."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something until `shut`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- sending

    def send_raw(self, data: bytes, address: Address | None = None) -> None:
        """A datagram as it is, from our socket."""
        target = address or self.media_address
        assert self._socket is not None
        assert target is not None
        self._socket.sendto(data, target)

    def protect_rtp(self, packet: RtpPacket | bytes) -> bytes:
        """The SRTP packet that `send_rtp` would send."""
        assert self._send_srtp is not None
        return self._send_srtp.protect(packet if isinstance(packet, bytes) else packet.serialize())

    def protect_rtcp(self, packet: RtcpPacket | bytes) -> bytes:
        """The SRTCP packet that `send_rtcp` would send."""
        assert self._send_srtp is not None
        return self._send_srtp.protect_rtcp(packet if isinstance(packet, bytes) else packet.serialize())

    def send_rtp(self, packet: RtpPacket | bytes) -> None:
        """Encrypt and send."""
        self.send_raw(self.protect_rtp(packet))

    def send_rtcp(self, *packets: RtcpPacket | bytes) -> None:
        """Encrypt and send as one compound."""
        compound = b"".join(packet if isinstance(packet, bytes) else packet.serialize() for packet in packets)
        self.send_raw(self.protect_rtcp(compound))

    # -- what came

    def rtp(self, ssrc: int | None = None) -> list[RtpPacket]:
        """All RTP packets received (of one SSRC), in order of arrival; those that do not parse are left out."""
        for received in self.rtp_log[len(self._parsed) :]:
            try:
                self._parsed.append(RtpPacket.parse(received.data))
            except ValueError:
                self._parsed.append(None)
        return [packet for packet in self._parsed if packet is not None and ssrc in (None, packet.ssrc)]

    def rtcp(self, *kinds: type) -> list[RtcpPacket]:
        """All RTCP packets received, of the given classes."""
        found: list[RtcpPacket] = []
        for received in self.rtcp_log:
            with suppress(ValueError):
                found += [packet for packet in parse_rtcp(received.data) if not kinds or isinstance(packet, kinds)]
        return found

    async def until(self, condition: Callable[[], object], timeout: float = 5.0) -> None:
        """Wait for something to have come; raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._arrived.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), 0.05)

    # -- inside

    async def _bind(self, host: str | None = None) -> asyncio.DatagramTransport:
        if host is None:
            host = "::1" if self.media_address and ":" in self.media_address[0] else "127.0.0.1"
        opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        opened.bind((host, 0))
        opened.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(self._datagram), sock=opened)
        return transport

    def _datagram(self, data: bytes, source: Address) -> None:
        now = time.monotonic()
        first = data[0] if data else 255
        if first < 4:
            self._stun(Received(now, data), source)
        elif 20 <= first < 64:
            self.dtls_log.append(Received(now, data))
            self.dtls.receive(data)
            self._flush_dtls()
        elif 128 <= first < 192 and self._receive_srtp is not None:
            self._srtp(self._receive_srtp, data, now)
        else:
            self.other_log.append(Received(now, data))
        self._arrived.set()

    def _srtp(self, session: Session, data: bytes, now: float) -> None:
        try:
            if is_rtcp(data):
                plain = session.unprotect_rtcp(data)
                self.rtcp_log.append(Received(now, plain))
                if self.on_rtcp:
                    packets = parse_rtcp(plain)
                    for handle_compound in list(self.on_rtcp):
                        handle_compound(packets, now)
            else:
                plain = session.unprotect(data)
                self.rtp_log.append(Received(now, plain))
                if self.on_rtp:
                    packet = RtpPacket.parse(plain)
                    for handle_packet in list(self.on_rtp):
                        handle_packet(packet, now)
        except SrtpError:
            self.undecryptable.append(Received(now, data))
        except ValueError:
            self.other_log.append(Received(now, data))

    def _stun(self, received: Received, source: Address) -> None:
        self.stun_log.append((received, source))
        message = ice.parse(received.data)
        if message is not None and message.message_class in (stun.Class.RESPONSE, stun.Class.ERROR):
            answer = self._answers.get(message.transaction_id)
            if answer is not None and not answer.done():
                answer.set_result(message)

    def _flush_dtls(self) -> None:
        for datagram in self.dtls.datagrams():
            self.send_raw(datagram)

    async def _keep_consent(self) -> None:
        while True:
            await asyncio.sleep(CONSENT_INTERVAL)
            if self.consent:
                self.send_raw(bytes(ice.binding_request(self.credentials)))
