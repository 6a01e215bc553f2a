"""A plane in the hands of a test: peers with real SRTP, a clock that stands until it is moved, no socket in between.

Datagrams are written into the arena and the kernel's entries called as `PortableDriver` does; what stands in the out
arena is decrypted with the peer's sessions.
"""

import ctypes
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pylibsrtp import Error, Policy, Session
from pylibsrtp._binding import ffi, lib

from sluicegate.router import commands as cmd
from sluicegate.router.compilation import entry
from sluicegate.router.drivers import PortableDriver
from sluicegate.router.encoding import sockaddr
from sluicegate.router.events import PlaneEvent
from sluicegate.router.kernel import tick
from sluicegate.router.plane import Plane
from sluicegate.router.records import BATCH, NEVER, NONE, SLOT_BYTES
from sluicegate.router.tables import Capacities
from sluicegate.rtp.names import Codec, Extension, MediaKind
from sluicegate.rtp.srtp import REPLAY_WINDOW, SrtpKeys, SrtpProfile, open_sessions
from tests.support import payloads
from tests.support.rtcp_packet import RtcpPacket, parse_rtcp
from tests.support.rtp_packet import RtpPacket, is_rtcp

START_US = 5_000_000_000
NTP_OFFSET_US = 3_900_000_000_123_456
SMALL = Capacities(
    transports=32,
    tracks=64,
    receive_streams=64,
    send_streams=64,
    arena_slots=4096,
    out_slots=1024,
    command_words=1 << 14,
    events=256,
    punts=16,
)


@dataclass(frozen=True, slots=True)
class Output:
    """What one turn made a transport send: plain RTP and RTCP, in order, and the datagrams as they were."""

    rtp: tuple[bytes, ...] = ()
    rtcp: tuple[bytes, ...] = ()
    raw: tuple[bytes, ...] = ()

    @property
    def packets(self) -> list[RtpPacket]:
        return [RtpPacket.parse(data) for data in self.rtp]

    @property
    def feedback(self) -> list[RtcpPacket]:
        return [packet for data in self.rtcp for packet in parse_rtcp(data)]


class Outputs(dict[int, Output]):
    """By transport; nothing for those that sent nothing."""

    def __missing__(self, transport: int) -> Output:
        return Output()


@dataclass(eq=False)
class Peer:
    """The far end of one transport."""

    transport: cmd.TransportHandle
    address: cmd.Address
    keys: SrtpKeys
    opened: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mirrored = replace(self.keys, receive_key=self.keys.transmit_key, transmit_key=self.keys.receive_key)
        self._receive, _ = open_sessions(mirrored)
        policy = Policy(mirrored.transmit_key, Policy.SSRC_ANY_OUTBOUND, srtp_profile=mirrored.profile.libsrtp_profile)
        policy.window_size, policy.allow_repeat_tx = REPLAY_WINDOW, True  # it may send later than we ever do
        self._transmit = Session(policy)

    def protect(self, data: bytes) -> bytes:
        if is_rtcp(data):
            return self._transmit.protect_rtcp(data)
        buffer, length = ffi.new("unsigned char[]", bytes(data) + bytes(144)), ffi.new("int *", len(data))
        if lib.srtp_protect(self._transmit._srtp[0], buffer, length):  # pylibsrtp's own method stops at 1356 bytes
            raise Error("srtp_protect")
        return bytes(ffi.buffer(buffer, length[0]))

    def open(self, datagram: bytes) -> bytes:
        """The plain packet; the very same datagram again is the same packet."""
        if datagram not in self.opened:
            unprotect = self._receive.unprotect_rtcp if is_rtcp(datagram) else self._receive.unprotect
            self.opened[datagram] = unprotect(datagram)
        return self.opened[datagram]


class Bench:
    """One plane, its peers and its clock."""

    def __init__(
        self,
        capacities: Capacities = SMALL,
        *,
        profile: SrtpProfile = SrtpProfile.AEAD_AES_128_GCM,
        host: str = "127.0.0.1",
    ) -> None:
        self.plane = Plane(capacities=capacities, host=host)
        self.tables = self.plane.tables
        self.state = self.tables.state[0]
        self.state.portable = 1
        PortableDriver.compile(self.plane)
        self.state.now = START_US
        self.state.ntp_offset = NTP_OFFSET_US
        self.profile = profile
        self.peers: dict[int, Peer] = {}
        self.events: list[PlaneEvent] = []
        self.punted: list[tuple[bytes, cmd.Address, cmd.TransportHandle | None]] = []
        self.plane.on_event = self.events.append
        self.plane.on_datagram = lambda *punt: self.punted.append(punt)

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self.plane.close()

    # ── the clock and the turns ──

    @property
    def now(self) -> int:
        return int(self.state.now)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return (self.now - START_US) / 1e6

    def submit(self, *commands: cmd.Command) -> Outputs:
        """Submit and apply."""
        self.plane.submit(*commands)
        return self.turn([])

    def turn(self, datagrams: Iterable[tuple[bytes, cmd.Address]], *, drain: bool = True) -> Outputs:
        """One turn of the plane with these datagrams; what each transport was made to send."""
        batch = list(datagrams)
        assert len(batch) <= BATCH
        for count, (data, address) in enumerate(batch):
            slot = self.tables.arena[(int(self.state.cursor) + count) % len(self.tables.arena)]
            slot[: min(len(data), SLOT_BYTES)] = memoryview(data[:SLOT_BYTES])
            self.tables.receive_messages[count].length = min(len(data), SLOT_BYTES)
            name = sockaddr(address, self.plane.socket.family)
            ctypes.memmove(self.tables.arena_names[count].ctypes.data, name, len(name))
        raw: dict[int, list[bytes]] = defaultdict(list)
        if batch:
            entry(tick.process)(self.plane.handle, len(batch))
            self._collect(raw)
        entry(tick.advance)(self.plane.handle)
        self._collect(raw)
        if drain:
            self.plane.drain()
        return Outputs({transport: self._open(transport, sent) for transport, sent in raw.items()})

    def _collect(self, raw: dict[int, list[bytes]]) -> None:
        for index in range(int(self.state.dirty_count)):
            handle = int(self.tables.dirty[index])
            slot = int(self.tables.transports[handle].pending_head)
            while slot != NONE:
                raw[handle].append(self.tables.out[slot, : int(self.tables.out_slots[slot].length)].tobytes())
                slot = int(self.tables.out_slots[slot].next)
            self.tables.transports[handle].pending_count = 0
        self.state.dirty_count = 0
        self.state.out_count = 0

    def _open(self, transport: int, sent: list[bytes]) -> Output:
        plain = [self.peers[transport].open(datagram) for datagram in sent if datagram[0] > 3]
        return Output(
            rtp=tuple(data for data in plain if not is_rtcp(data)),
            rtcp=tuple(data for data in plain if is_rtcp(data)),
            raw=tuple(sent),
        )

    def receive(self, peer: Peer, *packets: bytes | RtpPacket) -> Outputs:
        """One turn with plain packets, which the peer protects first."""
        plain = [data.serialize() if isinstance(data, RtpPacket) else data for data in packets]
        return self.turn([(peer.protect(data), peer.address) for data in plain])

    def receive_rtcp(self, peer: Peer, *packets: RtcpPacket) -> Outputs:
        """One turn with one compound."""
        return self.receive(peer, b"".join(packet.serialize() for packet in packets))

    def drops(self) -> dict[str, int]:
        """What has been dropped so far, and why."""
        return {reason: count for reason, count in self.plane.drops().items() if count}

    def advance(self, seconds: float, *, step: float = 0.001) -> dict[int, list[tuple[int, bytes]]]:
        """Let time pass, waking when the plane wants to be woken, no finer than `step`: RTCP by transport, with its
        time."""
        end = self.now + round(seconds * 1e6)
        sent: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        while self.now < end:
            due = int(self.state.next_due)
            self.state.now = min(end, max(due, self.now + round(step * 1e6))) if due < NEVER else end
            for transport, output in self.turn([]).items():
                sent[transport] += [(self.seconds, packet) for packet in output.feedback]
        return sent

    # ── what stands behind a call ──

    def peer(self, port: int | None = None, *, keys: bool = True) -> Peer:
        """A transport that is bound, has a destination, and (unless told) keys."""
        transport = self.plane.allocate_transport()
        length = self.profile.key_length + self.profile.salt_length
        material = SrtpKeys(self.profile, bytes([1 + transport]) * length, bytes([129 + transport]) * length)
        peer = self.peers[transport] = Peer(transport, ("192.0.2.1", port or 20_000 + transport), material)
        self.submit(
            cmd.AddTransport(transport),
            cmd.BindAddress(transport, peer.address),
            cmd.SetDestination(transport, peer.address),
            *([cmd.InstallKeys(transport, material)] if keys else []),
        )
        return peer

    def publish(self, peer: Peer, media: cmd.TrackMedia, *, paused: bool = False) -> cmd.TrackHandle:
        track = self.plane.allocate_track()
        self.submit(cmd.AddTrack(track, peer.transport, media, paused))
        return track

    def subscribe(
        self,
        peer: Peer,
        track: cmd.TrackHandle,
        media: cmd.SendMedia,
        *,
        paused: bool = False,
        sequence_number: int = 1000,
        timestamp: int = 5000,
    ) -> cmd.SendHandle:
        send = self.plane.allocate_send()
        command = cmd.AddSubscription(send, peer.transport, track, media, paused, sequence_number, timestamp)
        self.submit(command)
        return send


def video(codec: Codec = Codec.VP8, *, encodings: int = 1, **changes: object) -> cmd.TrackMedia:
    """A video track with SSRCs 1000, 1001… (RTX 2000…), payload types 96 and 97, and every extension."""
    media = cmd.TrackMedia(
        kind=MediaKind.VIDEO,
        codec=codec,
        clock_rate=90_000,
        payload_types=(96,),
        rtx_payload_type=97,
        encodings=tuple(cmd.TrackEncoding(ssrc=1000 + index, rtx_ssrc=2000 + index) for index in range(encodings)),
        extensions={
            Extension.MID: 1,
            Extension.RID: 2,
            Extension.REPAIRED_RID: 3,
            Extension.ABS_SEND_TIME: 4,
            Extension.TRANSPORT_CC: 5,
            Extension.VIDEO_ORIENTATION: 6,
            Extension.PLAYOUT_DELAY: 7,
            Extension.DEPENDENCY_DESCRIPTOR: 8,
        },
        nack=True,
        pli=True,
    )
    return replace(media, **changes)  # type: ignore[arg-type]


def audio(**changes: object) -> cmd.TrackMedia:
    """An Opus track with SSRC 3000, payload types 111 (Opus) and 63 (RED)."""
    media = cmd.TrackMedia(
        kind=MediaKind.AUDIO,
        codec=Codec.OPUS,
        clock_rate=48_000,
        payload_types=(111, 63),
        encodings=(cmd.TrackEncoding(ssrc=3000),),
        extensions={Extension.MID: 1, Extension.ABS_SEND_TIME: 4, Extension.TRANSPORT_CC: 5, Extension.AUDIO_LEVEL: 9},
    )
    return replace(media, **changes)  # type: ignore[arg-type]


def sending(ssrc: int = 7000, **changes: object) -> cmd.SendMedia:
    """A subscription with RTX on the next SSRC, payload types 100 and 101, and no extensions."""
    media = cmd.SendMedia(
        ssrc=ssrc,
        payload_types=(100,),
        mid="m0",
        cname="someone",
        rtx_ssrc=ssrc + 1,
        rtx_payload_type=101,
        nack=True,
    )
    return replace(media, **changes)  # type: ignore[arg-type]


def listening(ssrc: int = 7000, **changes: object) -> cmd.SendMedia:
    """A subscription to audio: payload types 96 (Opus) and 97 (RED), no RTX, no NACK."""
    media = cmd.SendMedia(ssrc=ssrc, payload_types=(96, 97), mid="m1", cname="someone")
    return replace(media, **changes)  # type: ignore[arg-type]


def vp8(
    number: int,
    *,
    key: bool = False,
    temporal: int = 0,
    sync: bool = False,
    start: bool = True,
    picture: int | None = None,
    ssrc: int = 1000,
    timestamp: int | None = None,
    **changes: object,
) -> RtpPacket:
    """One packet of VP8, a frame of its own unless told; picture id and TL0PICIDX go with `number`."""
    picture = number if picture is None else picture
    head = payloads.vp8_descriptor(
        start=start, picture_id=picture, tl0_picture_index=picture, temporal_id=temporal, layer_sync=sync
    )
    packet = RtpPacket(
        payload_type=96,
        sequence_number=number & 0xFFFF,
        timestamp=(3000 * number if timestamp is None else timestamp) & 0xFFFFFFFF,
        ssrc=ssrc,
        payload=head + (payloads.vp8_frame_header(key=key) if start else b"") + payloads.mark(ssrc, number),
        marker=True,
    )
    return replace(packet, **changes)  # type: ignore[arg-type]


def opus(number: int, *, ssrc: int = 3000, **changes: object) -> RtpPacket:
    """One packet of Opus, 20 ms after the one before."""
    payload = payloads.opus(20, payloads.mark(ssrc, number))
    packet = RtpPacket(111, number & 0xFFFF, 960 * number & 0xFFFFFFFF, ssrc, payload)
    return replace(packet, **changes)  # type: ignore[arg-type]


__all__ = ["Bench", "Error", "Output", "Peer", "audio", "listening", "opus", "sending", "video", "vp8"]
