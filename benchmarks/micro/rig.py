"""A plane without a thread: one publisher, some subscribers, real SRTP, and sockets that take what is sent."""

import ctypes
import socket
import struct
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.micro import steps
from sluicegate.ice.stun import IntegrityKey, serialize_request
from sluicegate.router import commands as cmd
from sluicegate.router.compilation import entry
from sluicegate.router.encoding import sockaddr
from sluicegate.router.kernel.tick import apply_commands
from sluicegate.router.plane import Plane
from sluicegate.router.records import BATCH
from sluicegate.router.tables import Capacities
from sluicegate.rtp.names import Codec, Extension, MediaKind
from sluicegate.rtp.srtp import SrtpKeys, SrtpProfile, open_sessions

START_US = 5_000_000_000
SSRC, PAYLOAD_TYPE, MID = 1000, 96, 4
PUBLISHER = ("192.0.2.1", 5000)
VIDEO_BYTES, AUDIO_BYTES = 1042, 90
CAPACITIES = Capacities(
    transports=512,
    tracks=16,
    receive_streams=16,
    send_streams=512,
    arena_slots=4096,
    out_slots=4096,
    command_words=1 << 16,
)


class Rig:
    """`publisher` is transport 0, its track 0; subscribers are the transports from 1 on."""

    def __init__(
        self,
        subscribers: int,
        kind: MediaKind,
        profile: SrtpProfile = SrtpProfile.AEAD_AES_128_GCM,
        *,
        uneven: bool = False,
        rtx: bool = True,
    ) -> None:
        """`uneven`: every second half of a frame's packets is a byte longer, as packetizers leave it."""
        self.plane = Plane(capacities=CAPACITIES)
        self.tables = self.plane.tables
        self.state = self.tables.state[0]
        self.state.now = START_US
        self.kind = kind
        self.payload_bytes = VIDEO_BYTES if kind is MediaKind.VIDEO else AUDIO_BYTES
        self.track = self.plane.allocate_track()
        self._profile, self._uneven, self._rtx = profile, uneven, rtx
        self._sequence = 0
        self._sinks = [_sink() for _ in range(subscribers)]
        publisher = self.plane.allocate_transport()
        self._sender = self._open(publisher, PUBLISHER)
        self.plane.submit(cmd.AddTrack(self.track, publisher, self._media()))
        self._peers = []
        key = IntegrityKey("password")
        self._checks = [
            serialize_request(bytes(12), "ours:theirs", key, priority=1, controlling=1)
            for _ in range(min(BATCH, subscribers))
        ]
        for index, sink in enumerate(self._sinks):
            transport = self.plane.allocate_transport()
            self._peers.append((("192.0.2.2", 6000 + index), self._open(transport, ("192.0.2.2", 6000 + index))))
            self.plane.submit(
                cmd.BindAddress(transport, sink.getsockname()),
                cmd.SetDestination(transport, sink.getsockname()),
                cmd.AnswerChecks(transport, b"ours:theirs", b"password"),
            )
            self.plane.submit(
                cmd.AddSubscription(self.plane.allocate_send(), transport, self.track, self._wanted(index))
            )
        entry(apply_commands)(self.plane.handle)

    def close(self) -> None:
        self.plane.close()
        for sink in self._sinks:
            sink.close()

    def _open(self, transport: cmd.TransportHandle, address: cmd.Address) -> tuple[object, object]:
        """A bound transport with keys; the far end's sessions."""
        length = self._profile.key_length + self._profile.salt_length
        keys = SrtpKeys(self._profile, bytes([transport & 0xFF]) * length, bytes([(transport + 128) & 0xFF]) * length)
        self.plane.submit(
            cmd.AddTransport(transport), cmd.BindAddress(transport, address), cmd.InstallKeys(transport, keys)
        )
        return open_sessions(replace(keys, receive_key=keys.transmit_key, transmit_key=keys.receive_key))

    def _media(self) -> cmd.TrackMedia:
        video = self.kind is MediaKind.VIDEO
        return cmd.TrackMedia(
            kind=self.kind,
            codec=Codec.VP8 if video else Codec.OPUS,
            clock_rate=90_000 if video else 48_000,
            payload_types=(PAYLOAD_TYPE,),
            encodings=(cmd.TrackEncoding(ssrc=SSRC),),
            extensions={Extension.MID: MID},
            nack=video,
            pli=video,
        )

    def _wanted(self, index: int) -> cmd.SendMedia:
        video = self.kind is MediaKind.VIDEO
        rtx = video and self._rtx
        extensions = {Extension.MID: 1, Extension.ABS_SEND_TIME: 4} if video else {Extension.MID: 1}
        return cmd.SendMedia(
            ssrc=10_000 + index,
            payload_types=(PAYLOAD_TYPE,),
            mid="0",
            cname="bench",
            rtx_ssrc=20_000 + index if rtx else None,
            rtx_payload_type=97 if rtx else None,
            extensions=extensions,
            nack=video,
        )

    # ── what comes in ──

    def media(self, count: int) -> list[bytes]:
        """The publisher's next packets, encrypted; the first of all begins a key frame."""
        packets = []
        for _ in range(count):
            first = self._sequence == 0
            head = struct.pack(
                "!BBHII", 0x90, PAYLOAD_TYPE, self._sequence & 0xFFFF, 3000 * (self._sequence // 6), SSRC
            )
            extension = b"\xbe\xde\x00\x01" + bytes([MID << 4, 48, 0, 0])
            payload = b"\x90\xe0\x80\x01\x01\x20" + (b"\x10" if first else b"\x11")
            longer = int(self._uneven and self._sequence % 6 >= 3)
            packet = head + extension + payload + bytes(self.payload_bytes + longer - len(payload))
            packets.append(self._sender[1].protect(packet))
            self._sequence += 1
        return packets

    def rtcp(self, plain: Sequence[bytes], subscriber: int = 0) -> list[bytes]:
        """RTCP of one subscriber, encrypted."""
        return [self._peers[subscriber][1][1].protect_rtcp(one) for one in plain]

    def load(self, datagrams: Sequence[bytes], subscriber: int | None = None) -> None:
        """Put datagrams where recvmmsg would have; time goes on by a millisecond for each."""
        assert len(datagrams) <= BATCH
        address = PUBLISHER if subscriber is None else self._peers[subscriber][0]
        self.state.now += 1000 * len(datagrams)
        for index, data in enumerate(datagrams):
            self._fill(index, data, address)

    def _fill(self, index: int, data: bytes, address: cmd.Address) -> None:
        slot = self.tables.arena[(int(self.state.cursor) + index) % len(self.tables.arena)]
        slot[: len(data)] = memoryview(data)
        self.tables.receive_messages[index].length = len(data)
        name = sockaddr(address, self.plane.socket.family)
        ctypes.memmove(self.tables.arena_names[index].ctypes.data, name, len(name))

    def load_checks(self) -> None:
        """One connectivity check of each of the first `BATCH` subscribers, a second after the last."""
        self.state.now += 1_000_000
        for index, request in enumerate(self._checks):
            self._fill(index, request, self._sinks[index].getsockname())

    def fan_out(self, count: int) -> int:
        """Take and fan out the publisher's next `count` packets; how many wait in the out arena."""
        self.load(self.media(count))
        return int(steps.entry(steps.fan_out)(self.plane.handle, count))

    # ── what goes out ──

    def forget(self) -> None:
        """Empty the out arena without sending."""
        for index in range(int(self.state.dirty_count)):
            self.tables.transports[int(self.tables.dirty[index])].pending_count = 0
        self.state.dirty_count = self.state.out_count = 0

    def drain(self) -> None:
        """Empty the sockets of the receivers."""
        buffer = bytearray(2048)
        for sink in self._sinks:
            try:
                while sink.recv_into(buffer):
                    pass
            except BlockingIOError:
                continue


def _sink() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    one.bind(("127.0.0.1", 0))
    return one
