"""A packet plane without a network, with transports that are really connected: datagrams in, datagrams out.

Interpreted (`NUMBA_DISABLE_JIT=1`), the receive arena is guarded: a read or write beyond the datagram, or beyond what
is left of it once it is decrypted, raises `Overrun`. Numpy itself checks the bounds of all other tables. Compiled, the
processor time of each turn is taken.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from pylibsrtp import Error as SrtpError
from pylibsrtp import Session

from sluicegate.compiled import INTERPRETED
from sluicegate.dtls.certificate import Certificate, Fingerprint
from sluicegate.ids import SessionId, new_id
from sluicegate.ortc.parameters import DtlsFingerprint, DtlsParameters
from sluicegate.router.commands import Address, AddSubscription, AddTrack, SendMedia, TrackEncoding, TrackMedia
from sluicegate.router.compilation import entry
from sluicegate.router.drivers import PortableDriver
from sluicegate.router.encoding import address_of, sockaddr
from sluicegate.router.kernel import feedback, ingress, tick
from sluicegate.router.plane import Plane
from sluicegate.router.records import NAME_BYTES, NONE
from sluicegate.router.tables import Capacities
from sluicegate.rtp.names import Codec, Extension, MediaKind
from sluicegate.transport.driver import Transports
from tests.support import ice
from tests.support.dtls import DtlsEndpoint
from tests.support.parameters import CODECS, EXTENSION_IDS
from tests.support.rtp_packet import RtpPacket, is_rtcp

HANDSHAKE_SECONDS = 30.0
CAPACITIES = Capacities(
    transports=16,
    tracks=32,
    receive_streams=64,
    send_streams=64,
    arena_slots=1024,
    out_slots=512,
    command_words=1 << 14,
    events=256,
    punts=64,
)
STEP_US = 500  # of the plane's clock for each datagram
EXTENSIONS = {
    Extension[name.upper()]: number for name, number in EXTENSION_IDS.items() if name.upper() in Extension.__members__
}
CODEC_NAMES = {"opus": Codec.OPUS, "VP8": Codec.VP8, "VP9": Codec.VP9, "H264": Codec.H264, "AV1": Codec.AV1}


class Overrun(AssertionError):
    """Something looked beyond a datagram."""


class Row:
    """One slot of the arena, as long as the datagram in it."""

    def __init__(self, row: Any, arena: "GuardedArena", slot: int) -> None:
        self._row, self._arena, self._slot = row, arena, slot

    def _check(self, index: Any) -> None:
        if not 0 <= index < self._arena.limits[self._slot]:
            raise Overrun(f"byte {index} of a datagram of {self._arena.limits[self._slot]}")

    def __getitem__(self, index: Any) -> Any:
        self._check(index)
        return self._row[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._check(index)
        self._row[index] = value


class GuardedArena:
    """The arena, whose slots know how much of them is datagram."""

    def __init__(self, arena: Any) -> None:
        self.plain = arena
        self.limits = [0] * len(arena)

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            return Row(self.plain[key[0]], self, int(key[0]))[key[1]]
        return Row(self.plain[key], self, int(key))


@contextmanager
def guarded_decryption(arena: GuardedArena) -> Iterator[None]:
    """While it lasts, a decrypted datagram ends where its plaintext does."""
    plain = ingress.unprotect

    def unprotect(t: Any, transport: Any, function: int, serial: int, length: int) -> int:
        left = plain(t, transport, function, serial, length)
        if left:
            arena.limits[int(serial) & (len(arena) - 1)] = int(left)
        return left

    ingress.unprotect = feedback.unprotect = unprotect  # type: ignore[attr-defined]
    try:
        yield
    finally:
        ingress.unprotect = feedback.unprotect = plain  # type: ignore[attr-defined]


class Peer:
    """A client of the plane: its address, and its SRTP sessions once it is connected."""

    def __init__(self, address: Address, transport: Any) -> None:
        self.address, self.transport = address, transport
        self.credentials = ice.IceCredentials("", "")
        self.dtls = DtlsEndpoint(client=True)
        self.sender: Session | None = None
        self.receiver: Session | None = None
        self.media: list[RtpPacket] = []
        self.unreadable = 0

    def protect(self, plain: bytes) -> bytes:
        """Encrypted; as it is, with a made-up tag, where libsrtp does not take it."""
        assert self.sender is not None
        try:
            return self.sender.protect_rtcp(plain) if is_rtcp(plain) else self.sender.protect(plain)
        except (SrtpError, TypeError, ValueError):
            return plain + bytes(16)

    def receive(self, data: bytes) -> None:
        """What the plane has sent must be well formed."""
        assert self.receiver is not None
        if is_rtcp(data):
            self.receiver.unprotect_rtcp(data)
            return
        try:
            plain = self.receiver.unprotect(data)
        except SrtpError:  # repeated under its own number, which the replay check takes out
            self.unreadable += 1
            return
        packet = RtpPacket.parse(plain)
        assert set(packet.extensions) <= set(EXTENSIONS.values()), packet
        self.media.append(packet)


class Bench:
    """The plane, its transports, and everything that comes out of them. Use as an async context manager."""

    def __init__(self) -> None:
        self.plane = Plane(capacities=CAPACITIES)
        PortableDriver(self.plane).compile(self.plane)  # or a handshake would be overdue before its first answer
        self.arena: GuardedArena | None = None
        if INTERPRETED:
            self.arena = GuardedArena(self.plane.tables.arena)
            self.plane.tables = self.plane.tables._replace(arena=self.arena)
            self.plane.handle = self.plane.tables
        self.peers: dict[Address, Peer] = {}
        self.plane.send_datagram = self._control  # type: ignore[method-assign]
        self.control: list[tuple[bytes, Address]] = []
        self.now = 10_000_000
        self.longest = 0.0
        self.longest_datagram = b""
        self._executor = ThreadPoolExecutor(1)

    async def __aenter__(self) -> "Bench":
        self._guard = guarded_decryption(self.arena) if self.arena else None
        if self._guard is not None:
            self._guard.__enter__()
        self.transports = Transports(
            [self.plane], certificate=Certificate.generate(), addresses=["192.0.2.1"], executor=self._executor
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._guard is not None:
            self._guard.__exit__(None, None, None)
        await self.transports.close()
        self._executor.shutdown()
        self.plane.close()

    def _control(self, data: bytes, address: Address) -> None:
        self.control.append((data, address))

    def inject(self, data: bytes, address: Address) -> None:
        """One datagram through one turn of the plane, and up to the transports."""
        tables = self.plane.tables
        state = tables.state[0]
        self.now += STEP_US
        state.now = self.now
        slot = int(state.cursor) & (len(tables.arena) - 1)
        plain = self.arena.plain if self.arena else tables.arena
        plain[slot][: len(data)] = bytearray(data)
        if self.arena:
            self.arena.limits[slot] = len(data)
        tables.receive_messages[0].length = len(data)
        tables.receive_messages[0].message_flags = 0
        tables.arena_names[0][:NAME_BYTES] = bytearray(
            sockaddr(address, self.plane.socket.family).ljust(NAME_BYTES, b"\0")
        )
        began = time.thread_time()
        entry(tick.process)(self.plane.handle, 1)
        entry(tick.advance)(self.plane.handle)
        spent = time.thread_time() - began
        if spent > self.longest:
            self.longest, self.longest_datagram = spent, data
        self._collect()
        self.plane.drain()

    def _collect(self) -> None:
        tables, state = self.plane.tables, self.plane.tables.state[0]
        for index in range(int(state.dirty_count)):
            handle = int(tables.dirty[index])
            transport = tables.transports[handle]
            peer = self.peers.get(address_of(tables.names[handle, :NAME_BYTES].tobytes()))
            slot = int(transport.pending_head)
            while slot != NONE:
                data = tables.out[slot, : int(tables.out_slots[slot].length)].tobytes()
                if peer is not None:
                    peer.receive(data)
                slot = int(tables.out_slots[slot].next)
            transport.pending_count = 0
        state.dirty_count = state.out_count = 0

    async def connect(self, port: int) -> Peer:
        """A peer with ICE and DTLS done, as over a network."""
        address = ("127.0.0.1", port)
        transport = self.transports.open(SessionId(new_id()), self.plane, lambda state, reason: None)
        peer = self.peers[address] = Peer(address, transport)
        parameters = transport.ice_parameters
        peer.credentials.remote_ufrag = parameters.username_fragment
        peer.credentials.remote_password = parameters.password
        der = peer.dtls.certificate.certificate.public_bytes(Encoding.DER)
        own = Fingerprint.of(der)
        transport.connect(DtlsParameters(fingerprints=(DtlsFingerprint(own.algorithm, own.text),), role="client"))
        self.inject(bytes(ice.binding_request(peer.credentials)), address)
        peer.dtls.handshake()
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            while not peer.dtls.finished:
                for datagram in peer.dtls.datagrams():
                    self.inject(datagram, address)
                await self.settle()
                for data, to in self.control:
                    if to == address and 20 <= data[0] < 64:
                        peer.dtls.receive(data)
                self.control.clear()
        for datagram in peer.dtls.datagrams():
            self.inject(datagram, address)
        await self.settle()
        keys = peer.dtls.srtp()
        peer.sender, peer.receiver = keys.sender(), keys.receiver()
        return peer

    async def settle(self) -> None:
        """Until the DTLS thread has done what it was given."""
        for _ in range(3):
            await asyncio.get_running_loop().run_in_executor(self._executor, lambda: None)
            await asyncio.sleep(0)

    def publish(self, peer: Peer, codec: str, ssrc: int, *, rids: tuple[str, ...] = ()) -> Any:
        """A track of the peer's; of several encodings that are found by their rids."""
        choice = CODECS[codec]
        encodings = tuple(TrackEncoding(rid=rid) for rid in rids) or (TrackEncoding(ssrc, ssrc + 1),)
        media = TrackMedia(
            kind=MediaKind.AUDIO if choice.kind == "audio" else MediaKind.VIDEO,
            codec=CODEC_NAMES[codec],
            clock_rate=choice.clock_rate,
            payload_types=(choice.payload_type,),
            encodings=encodings,
            rtx_payload_type=choice.rtx_payload_type,
            mid="0",
            extensions=dict(EXTENSIONS),
            nack=True,
            pli=True,
            fir=True,
            transport_cc=True,
        )
        track = self.plane.allocate_track()
        self.plane.submit(AddTrack(track, peer.transport.handle, media))
        return track

    def subscribe(self, peer: Peer, track: Any, codec: str, ssrc: int, *, rtx: bool = True) -> None:
        choice = CODECS[codec]
        with_rtx = rtx and choice.rtx_payload_type is not None
        changing = (Extension.ABS_SEND_TIME, Extension.TRANSPORT_CC)
        media = SendMedia(
            ssrc=ssrc,
            payload_types=(choice.payload_type,),
            mid="1",
            cname="cname",
            rtx_ssrc=ssrc + 1 if with_rtx else None,
            rtx_payload_type=choice.rtx_payload_type if with_rtx else None,
            extensions={name: number for name, number in EXTENSIONS.items() if with_rtx or name not in changing},
            nack=True,
            transport_cc=with_rtx,
        )
        self.plane.submit(AddSubscription(self.plane.allocate_send(), peer.transport.handle, track, media))
