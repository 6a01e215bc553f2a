"""The second opinion: a forwarder as plain as it can be, written from the RFCs and `docs/forwarding.md`.

It takes the same commands as the packet plane and, instead of SRTP datagrams, the plain packets in them; it answers with the
plain packets that must leave. Reports and feedback are not its business, but for the NACKs of subscribers. Nothing is ever
forgotten here and nothing is fast: numbers are extended, tables are dicts.
"""

import struct
from dataclasses import dataclass, field

from sluicegate.router import commands as cmd
from sluicegate.rtp.names import Codec, Extension, MediaKind

from .wire import Packet, parse_nacks, parse_red, parse_rtp, parse_vp8, starts_key_frame

JUMP = 3000
KEPT = 512
ACTIVE_US = 2_000_000
ROUND_TRIP_US = 100_000
"""What is taken for a round trip while nobody has reported one."""
COPIED_SIZES = {
    Extension.AUDIO_LEVEL: range(1, 2),
    Extension.VIDEO_ORIENTATION: range(1, 2),
    Extension.PLAYOUT_DELAY: range(3, 4),
    Extension.DEPENDENCY_DESCRIPTOR: range(1, 256),
}


@dataclass(eq=False)
class Stream:
    """One encoding as it arrives. `epoch` counts the restarts; numbers are extended to more than 16 bits."""

    track: "Track"
    encoding: int
    ssrc: int | None
    rtx_ssrc: int | None
    rid: str | None
    highest: int | None = None
    expected_after_jump: int | None = None
    epoch: int = 0
    seen: dict[int, Packet] = field(default_factory=dict)
    last_packet: int | None = None

    def place(self, packet: Packet, *, recovered: bool) -> int | None:
        """The packet's extended number; None for a duplicate, one that comes too late, and a jump to be confirmed."""
        if self.highest is None:
            if recovered:
                return None
            self.highest = 0x10000 + packet.sequence
        ahead = (packet.sequence - self.highest + 0x8000) % 0x10000 - 0x8000
        if abs(ahead) > JUMP:
            if recovered:
                return None
            if packet.sequence != self.expected_after_jump:
                self.expected_after_jump = (packet.sequence + 1) % 0x10000
                return None
            self.restart()
            self.highest, ahead = 0x10000 + packet.sequence, 0
        number = self.highest + ahead
        if ahead <= -KEPT or number in self.seen:
            return None
        self.highest = max(self.highest, number)
        self.seen[number] = packet
        return number

    def restart(self) -> None:
        self.epoch += 1
        self.highest = self.expected_after_jump = None
        self.seen = {}


@dataclass(eq=False)
class Track:
    transport: int
    media: cmd.TrackMedia
    paused: bool
    streams: list[Stream] = field(default_factory=list)


@dataclass
class Place:
    """A number of a send stream and how a packet is rewritten that gets it."""

    out: int
    timestamp_offset: int
    picture_offset: int
    tl0_offset: int
    temporal: int


@dataclass
class Sent:
    stream: Stream
    epoch: int
    number: int
    place: Place
    data: bytes
    resent: int | None = None


@dataclass(eq=False)
class Subscription:
    transport: int
    track: Track
    media: cmd.SendMedia
    paused: bool
    spatial: int
    temporal_wanted: int
    first_out: int
    first_timestamp: int
    stream: Stream | None = None
    epoch: int = 0
    waiting: bool = True
    temporal: int = 0
    last_in: int = 0
    last_out: int = 0
    timestamp_offset: int = 0
    last_timestamp: int = 0
    last_send: int = 0
    picture_offset: int = 0
    tl0_offset: int = 0
    last_picture: int | None = None
    last_tl0: int | None = None
    last_dropped_picture: int | None = None
    kept: dict[tuple[Stream, int, int], Place] = field(default_factory=dict)
    sent: dict[int, Sent] = field(default_factory=dict)
    rtx_sequence: int = 0

    def wanted(self, now: int) -> Stream | None:
        """The highest encoding on the air that is not above the target; the lowest if all are."""
        streams = self.track.streams
        active = [s for s in streams if s.last_packet is not None and now - s.last_packet < ACTIVE_US]
        below = [s for s in active if s.encoding <= self.spatial]
        return below[-1] if below else active[0] if active else None

    def place_here(self, out: int) -> Place:
        return Place(out, self.timestamp_offset, self.picture_offset, self.tl0_offset, self.temporal)


class ScalarForwarder:
    """`ntp_offset` is microseconds from `now` to NTP time; `first_transport_cc` the first number of that extension."""

    def __init__(self, *, ntp_offset: int = 0, first_transport_cc: int = 0) -> None:
        self.ntp_offset = ntp_offset
        self.tracks: dict[int, Track] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self.transport_cc: dict[int, int] = {}
        self.first_transport_cc = first_transport_cc

    # ── commands ──

    def apply(self, command: cmd.Command) -> None:
        match command:
            case cmd.AddTransport(transport):
                self.transport_cc[transport] = self.first_transport_cc
            case cmd.AddTrack(handle, transport, media, paused):
                track = self.tracks[handle] = Track(transport, media, paused)
                for index, encoding in enumerate(media.encodings):
                    track.streams.append(Stream(track, index, encoding.ssrc, encoding.rtx_ssrc, encoding.rid))
            case cmd.PauseTrack(handle, paused):
                self.tracks[handle].paused = paused
                for subscription in self._of(self.tracks[handle]):
                    subscription.waiting |= paused
            case cmd.RemoveTrack(handle):
                del self.tracks[handle]
            case cmd.AddSubscription(send, transport, handle, media, paused, sequence_number, timestamp):
                assert sequence_number is not None and timestamp is not None
                self.subscriptions[send] = Subscription(
                    transport, self.tracks[handle], media, paused, media.spatial, media.temporal, sequence_number, timestamp
                )
            case cmd.PauseSubscription(send, paused):
                self.subscriptions[send].paused = paused
                self.subscriptions[send].waiting |= paused
            case cmd.SelectLayers(send, spatial, temporal):
                self.subscriptions[send].spatial = spatial
                self.subscriptions[send].temporal_wanted = temporal
            case cmd.RemoveSubscription(send):
                del self.subscriptions[send]

    def _of(self, track: Track) -> list[Subscription]:
        return [subscription for subscription in self.subscriptions.values() if subscription.track is track]

    # ── packets in ──

    def receive(self, transport: int, data: bytes, now: int) -> list[tuple[int, bytes]]:
        """What leaves because of this packet, in order."""
        if len(data) > 1 and 192 <= data[1] <= 223:
            return self._receive_rtcp(transport, data, now)
        packet = parse_rtp(data)
        found = None if packet is None else self._find(transport, packet)
        if packet is None or found is None:
            return []
        stream, recovered = found
        if recovered:
            if len(packet.payload) < 2:
                return []
            packet.sequence = int.from_bytes(packet.payload[:2], "big")
            packet.payload = packet.payload[2:]
            packet.payload_type = stream.track.media.payload_types[0]
        elif packet.payload_type not in stream.track.media.payload_types:
            return []
        number = stream.place(packet, recovered=recovered)
        if number is None:
            return []
        stream.last_packet = now
        if stream.track.paused:
            return []
        out = []
        for subscription in self._of(stream.track):
            data_out = self._forward(subscription, stream, number, packet, now)
            if data_out is not None:
                out.append((subscription.transport, data_out))
        return out

    def _find(self, transport: int, packet: Packet) -> tuple[Stream, bool] | None:
        """The stream of a packet by its SSRC, else by MID and RID (RFC 8852, 9143), and whether it is a retransmission."""
        tracks = [track for track in self.tracks.values() if track.transport == transport]
        for stream in [stream for track in tracks for stream in track.streams]:
            if packet.ssrc == stream.ssrc:
                return stream, False
            if packet.ssrc == stream.rtx_ssrc:
                return (stream, True) if packet.payload_type == stream.track.media.rtx_payload_type else None
        for track in tracks:
            ids = track.media.extensions or {}

            def text(extension: Extension, ids: dict[Extension, int] = ids) -> str | None:
                value = packet.elements.get(ids.get(extension, 0))
                return None if value is None else value.decode(errors="replace")

            if track.media.mid is None or text(Extension.MID) != track.media.mid:
                continue
            repair = packet.payload_type == track.media.rtx_payload_type
            rid = text(Extension.REPAIRED_RID if repair else Extension.RID)
            for stream in track.streams:
                if stream.rid is not None and rid != stream.rid:
                    continue
                if repair:
                    stream.rtx_ssrc = packet.ssrc
                else:
                    if stream.ssrc is not None:
                        stream.restart()
                    stream.ssrc = packet.ssrc
                return stream, repair
        return None

    # ── one packet for one subscription ──

    def _forward(self, s: Subscription, stream: Stream, number: int, packet: Packet, now: int) -> bytes | None:
        if s.paused:
            return None
        content = self._content(s, packet)
        if number != stream.highest:
            place = s.kept.pop((stream, stream.epoch, number), None)
            if s.waiting or place is None or content is None or s.last_out - place.out >= KEPT:
                return None
            if s.track.media.codec == Codec.VP8:
                vp8 = parse_vp8(content[1])
                if vp8 is None or vp8.temporal > place.temporal:
                    return None
            return self._send(s, stream, number, packet, content, place, now)
        if s.waiting or stream is not s.stream or stream.epoch != s.epoch:
            if stream is not (s.wanted(now) if s.waiting or stream is not s.stream else s.stream):
                return None
            if content is None or not starts_key_frame(s.track.media.codec, content[1]):
                return None
            self._begin(s, stream, number, packet, content[1], now)
        for missing in range(s.last_in + 1, number):
            s.last_out += 1
            s.kept[stream, stream.epoch, missing] = s.place_here(s.last_out)
        s.last_in = number
        if content is None or not self._layer_taken(s, content[1]):
            return None
        s.last_out += 1
        place = s.place_here(s.last_out)
        s.last_send, s.last_timestamp = now, packet.timestamp + s.timestamp_offset
        return self._send(s, stream, number, packet, content, place, now, newest=True)

    def _content(self, s: Subscription, packet: Packet) -> tuple[int, bytes] | None:
        """Payload type and payload as the subscriber takes them; None if there is nothing or it does not."""
        types = dict(zip(s.track.media.payload_types, s.media.payload_types, strict=True))
        payload_type, payload = types[packet.payload_type], packet.payload
        if s.track.media.kind == MediaKind.AUDIO and packet.payload_type != s.track.media.payload_types[0]:
            red = parse_red(payload)
            if red is None:
                return None
            headers, primary_type, primary = red
            if payload_type is None:
                payload_type, payload = types.get(primary_type), primary
            else:
                changed = bytearray(payload)
                for at in headers:
                    inner = types.get(payload[at] & 0x7F)
                    changed[at] = payload[at] & 0x80 | (payload[at] & 0x7F if inner is None else inner)
                payload = bytes(changed)
        return None if payload_type is None or not payload else (payload_type, payload)

    def _begin(self, s: Subscription, stream: Stream, number: int, packet: Packet, payload: bytes, now: int) -> None:
        """Go on, or start, with this packet: numbers and picture ids as if nothing had been left out."""
        if s.stream is None:
            s.last_out = s.first_out - 1
            s.timestamp_offset = s.first_timestamp - packet.timestamp
        elif stream is not s.stream or stream.epoch != s.epoch:
            elapsed = max(1, (now - s.last_send) * s.track.media.clock_rate // 1_000_000)
            s.timestamp_offset = s.last_timestamp + elapsed - packet.timestamp
        vp8 = parse_vp8(payload) if s.track.media.codec == Codec.VP8 else None
        if vp8 is not None:
            if vp8.picture is not None and s.last_picture is not None:
                s.picture_offset = s.last_picture + 1 - _picture(payload, vp8)
            if vp8.tl0 is not None and s.last_tl0 is not None:
                s.tl0_offset = s.last_tl0 + 1 - payload[vp8.tl0]
        s.stream, s.epoch, s.last_in, s.waiting = stream, stream.epoch, number - 1, False
        s.last_dropped_picture = None

    def _layer_taken(self, s: Subscription, payload: bytes) -> bool:
        """Move the temporal layer where the codec allows (RFC 7741 §4.2: Y), and whether this packet's is taken."""
        if s.track.media.codec != Codec.VP8:
            return True
        vp8 = parse_vp8(payload)
        if vp8 is None:
            return False
        if vp8.key_frame or (vp8.frame_start and s.temporal_wanted < s.temporal):
            s.temporal = s.temporal_wanted
        elif vp8.frame_start and vp8.layer_sync and s.temporal < vp8.temporal <= s.temporal_wanted:
            s.temporal = vp8.temporal
        if vp8.temporal <= s.temporal:
            return True
        if vp8.picture is not None and _picture(payload, vp8) != s.last_dropped_picture:
            s.last_dropped_picture = _picture(payload, vp8)
            s.picture_offset -= 1
        return False

    # ── packets out ──

    def _send(
        self, s: Subscription, stream: Stream, number: int, packet: Packet, content: tuple[int, bytes], place: Place, now: int,
        *, newest: bool = False,
    ) -> bytes:  # fmt: skip
        payload_type, payload = content
        payload = self._rewrite(s, payload, place, newest=newest)
        data = self._serialize(s, packet, payload_type, place.out, s.media.ssrc, place, payload, now)
        s.sent[place.out & 0xFFFF] = Sent(stream, stream.epoch, number, place, data)
        return data

    def _rewrite(self, s: Subscription, payload: bytes, place: Place, *, newest: bool = False) -> bytes:
        vp8 = parse_vp8(payload) if s.track.media.codec == Codec.VP8 else None
        if vp8 is None:
            return payload
        changed = bytearray(payload)
        if vp8.picture is not None:
            picture = (_picture(payload, vp8) + place.picture_offset) % (1 << vp8.picture_bits)
            if vp8.picture_bits == 15:
                changed[vp8.picture : vp8.picture + 2] = struct.pack("!H", 0x8000 | picture)
            else:
                changed[vp8.picture] = picture
            if newest:
                s.last_picture = picture
        if vp8.tl0 is not None:
            changed[vp8.tl0] = (payload[vp8.tl0] + place.tl0_offset) % 256
            if newest:
                s.last_tl0 = changed[vp8.tl0]
        return bytes(changed)

    def _serialize(
        self, s: Subscription, packet: Packet, payload_type: int, sequence: int, ssrc: int, place: Place, payload: bytes, now: int
    ) -> bytes:
        elements = self._elements(s, packet, now)
        head = struct.pack(
            "!BBHII",
            0x90 if elements else 0x80,
            (0x80 if packet.marker else 0) | payload_type,
            sequence & 0xFFFF,
            (packet.timestamp + place.timestamp_offset) & 0xFFFFFFFF,
            ssrc,
        )
        if not elements:
            return head + payload
        two_byte = any(len(value) > 16 for _, value in elements)
        block = b"".join(
            (bytes([number, len(value)]) if two_byte else bytes([number << 4 | len(value) - 1])) + value
            for number, value in elements
        )
        block += bytes(-len(block) % 4)
        return head + struct.pack("!HH", 0x1000 if two_byte else 0xBEDE, len(block) // 4) + block + payload

    def _elements(self, s: Subscription, packet: Packet, now: int) -> list[tuple[int, bytes]]:
        to, come = s.media.extensions or {}, s.track.media.extensions or {}
        found = []
        if Extension.MID in to:
            found.append((to[Extension.MID], s.media.mid.encode()))
        for extension, sizes in COPIED_SIZES.items():
            value = packet.elements.get(come.get(extension, 0))
            if extension in to and value is not None and len(value) in sizes:
                found.append((to[extension], value))
        if Extension.ABS_SEND_TIME in to:  # 6.18 fixed point seconds of NTP time
            stamp = ((now + self.ntp_offset) << 18) // 1_000_000 & 0xFFFFFF
            found.append((to[Extension.ABS_SEND_TIME], stamp.to_bytes(3, "big")))
        if Extension.TRANSPORT_CC in to:
            found.append((to[Extension.TRANSPORT_CC], struct.pack("!H", self.transport_cc[s.transport] & 0xFFFF)))
            self.transport_cc[s.transport] += 1
        return found

    def _receive_rtcp(self, transport: int, data: bytes, now: int) -> list[tuple[int, bytes]]:
        """Send again what a subscriber lacks: as RTX (RFC 4588 §4) where negotiated, else the same bytes."""
        out = []
        for ssrc, numbers in parse_nacks(data):
            for s in self.subscriptions.values():
                if s.media.ssrc != ssrc or s.transport != transport or not s.media.nack:
                    continue
                out += [(transport, packet) for number in numbers if (packet := self._again(s, number, now)) is not None]
        return out

    def _again(self, s: Subscription, number: int, now: int) -> bytes | None:
        sent = s.sent.get(number)
        if sent is None or s.last_out - sent.place.out >= KEPT or sent.epoch != sent.stream.epoch:
            return None
        if sent.stream.highest is None or sent.stream.highest - sent.number >= KEPT:
            return None
        if sent.resent is not None and now - sent.resent < ROUND_TRIP_US:
            return None
        sent.resent = now
        if s.media.rtx_ssrc is None or s.media.rtx_payload_type is None:
            return sent.data
        packet = sent.stream.seen[sent.number]
        content = self._content(s, packet)
        assert content is not None
        payload = struct.pack("!H", number) + self._rewrite(s, content[1], sent.place)
        s.rtx_sequence += 1
        return self._serialize(
            s, packet, s.media.rtx_payload_type, s.rtx_sequence - 1, s.media.rtx_ssrc, sent.place, payload, now
        )


def _picture(payload: bytes, vp8: object) -> int:
    at = vp8.picture  # type: ignore[attr-defined]
    return payload[at] if vp8.picture_bits == 7 else int.from_bytes(payload[at : at + 2], "big") & 0x7FFF  # type: ignore[attr-defined]
