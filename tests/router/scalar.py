"""The second opinion: a forwarder as plain as it can be, written from the RFCs and `docs/forwarding.md`.

It takes the same commands as the packet plane and, instead of SRTP datagrams, the plain packets in them; it answers
with the plain packets that must leave. Reports and feedback are not its business, but for the NACKs of subscribers.
Nothing is ever forgotten here and nothing is fast: numbers are extended, tables are dicts.
"""

import struct
from dataclasses import dataclass, field

from sluicegate.router import commands as cmd
from sluicegate.rtp.names import Codec, Extension, MediaKind

from .wire import Descriptor, Packet, describe, parse_nacks, parse_rtp, red_headers, red_primary

JUMP = 3000
KEPT = 512
ACTIVE_US = 1_500_000
ROUND_TRIP_US = 5_000
"""The shortest time between two sendings, and what is taken for a round trip while nobody has reported one."""
NACKED_AT_ONCE = 64
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
    restarted: bool = False
    epoch: int = 0
    timestamp_shift: int = 0
    seen: dict[int, Packet] = field(default_factory=dict)
    last_packet: int | None = None
    last_timestamp: int = 0

    def place(self, packet: Packet, now: int, *, recovered: bool) -> int | None:
        """The packet's extended number; None for a duplicate, one that comes too late, and a jump to be confirmed."""
        if self.highest is None:
            if recovered:
                return None
            if self.restarted:
                self._go_on(packet, now)
            self.highest = 0x10000 + packet.sequence
        ahead = (packet.sequence - self.highest + 0x8000) % 0x10000 - 0x8000
        if not -JUMP < ahead <= JUMP:
            if recovered:
                return None
            if packet.sequence != self.expected_after_jump:
                self.expected_after_jump = (packet.sequence + 1) % 0x10000
                return None
            self.restart()
            return self.place(packet, now, recovered=False)
        self.expected_after_jump = None
        number = self.highest + ahead
        if ahead <= -KEPT or number in self.seen:
            return None
        packet.timestamp = (packet.timestamp + self.timestamp_shift) & 0xFFFFFFFF
        self.highest = max(self.highest, number)
        self.seen[number] = packet
        if not recovered:
            self.last_packet, self.last_timestamp = now, packet.timestamp
        return number

    def restart(self) -> None:
        self.highest = self.expected_after_jump = None
        self.restarted = True

    def _go_on(self, packet: Packet, now: int) -> None:
        """Timestamps go on by the time that has passed."""
        assert self.last_packet is not None
        elapsed = max(1, (now - self.last_packet) * self.track.media.clock_rate // 1_000_000)
        self.timestamp_shift = self.last_timestamp + elapsed - packet.timestamp
        self.epoch += 1
        self.seen = {}


@dataclass(eq=False)
class Track:
    transport: int
    media: cmd.TrackMedia
    paused: bool
    streams: list[Stream] = field(default_factory=list)


@dataclass
class Place:
    """A number of a send stream: whose packet it is for, and how that is rewritten."""

    out: int
    stream: Stream
    epoch: int
    source: int
    timestamp_offset: int
    picture_offset: int
    tl0_offset: int
    temporal: int
    data: bytes | None = None
    """What was sent under it."""
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
    last_in: int = -1
    last_out: int = 0
    rollover: int | None = None
    timestamp_offset: int = 0
    last_timestamp: int = 0
    last_send: int = 0
    picture_offset: int = 0
    tl0_offset: int = 0
    last_picture: int | None = None
    last_tl0: int | None = None
    numbers: dict[int, Place] = field(default_factory=dict)
    rtx_sequence: int = 0

    def wanted(self, now: int) -> Stream | None:
        """The highest encoding on the air that is not above the target; the lowest if all are."""
        streams = self.track.streams
        active = [s for s in streams if s.last_packet is not None and now - s.last_packet < ACTIVE_US]
        below = [s for s in active if s.encoding <= self.spatial]
        return below[-1] if below else active[0] if active else None

    def reaches(self, out: int) -> bool:
        """Whether SRTP can carry a number: rollovers are counted from the first that is sent."""
        if self.rollover is None:
            self.rollover = out >> 16
        return out >> 16 >= self.rollover

    def next_place(self, stream: Stream, source: int) -> Place:
        self.last_out += 1
        place = self.numbers[self.last_out] = Place(
            self.last_out,
            stream,
            stream.epoch,
            source,
            self.timestamp_offset,
            self.picture_offset,
            self.tl0_offset,
            self.temporal,
        )
        return place

    def find_place(self, stream: Stream, source: int) -> Place | None:
        """The number that was kept for a late packet."""
        for out in range(self.last_out, self.last_out - KEPT, -1):
            place = self.numbers.get(out)
            if place is not None and place.stream is stream and place.epoch == stream.epoch and place.source == source:
                return place if place.data is None else None
        return None


class ScalarForwarder:
    """`ntp_offset` is microseconds from `now` to NTP time."""

    def __init__(self, *, ntp_offset: int = 0) -> None:
        self.ntp_offset = ntp_offset
        self.tracks: dict[int, Track] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self.transport_cc: dict[int, int] = {}

    # ── commands ──

    def apply(self, command: cmd.Command) -> None:
        match command:
            case cmd.AddTransport(transport):
                self.transport_cc[transport] = 0
            case cmd.AddTrack(handle, transport, media, paused):
                track = self.tracks[handle] = Track(transport, media, paused)
                for index, encoding in enumerate(media.encodings):
                    track.streams.append(Stream(track, index, encoding.ssrc, encoding.rtx_ssrc, encoding.rid))
            case cmd.PauseTrack(handle, paused):
                track = self.tracks[handle]
                for subscription in self._of(track):
                    subscription.waiting |= paused
                track.paused = paused
            case cmd.RemoveTrack(handle):
                del self.tracks[handle]
            case cmd.AddSubscription(send, transport, handle, media, paused, sequence_number, timestamp):
                assert sequence_number is not None and timestamp is not None
                self.subscriptions[send] = Subscription(
                    transport,
                    self.tracks[handle],
                    media,
                    paused,
                    media.spatial,
                    media.temporal,
                    sequence_number,
                    timestamp,
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
        media = stream.track.media
        if recovered:
            if len(packet.payload) < 2 or packet.payload_type != media.rtx_payload_type:
                return []
            packet.sequence = int.from_bytes(packet.payload[:2], "big")
            packet.payload = packet.payload[2:]
            packet.payload_type = media.payload_types[0]
        elif packet.payload_type not in media.payload_types:
            return []
        number = stream.place(packet, now, recovered=recovered)
        if number is None or stream.track.paused:
            return []
        out = []
        for subscription in self._of(stream.track):
            data_out = self._forward(subscription, stream, number, packet, now)
            if data_out is not None:
                out.append((subscription.transport, data_out))
        return out

    def _find(self, transport: int, packet: Packet) -> tuple[Stream, bool] | None:
        """The stream of a packet by its SSRC, else by MID and RID (RFC 8852, 9143), and whether it is a
        retransmission."""
        tracks = [track for track in self.tracks.values() if track.transport == transport]
        for stream in [stream for track in tracks for stream in track.streams]:
            if packet.ssrc in (stream.ssrc, stream.rtx_ssrc):
                return stream, packet.ssrc == stream.rtx_ssrc
        for track in tracks:
            ids = track.media.extensions or {}
            mid = packet.elements.get(ids.get(Extension.MID, 0), b"").decode(errors="replace")
            repair = packet.payload_type == track.media.rtx_payload_type
            if mid != track.media.mid or not (repair or packet.payload_type in track.media.payload_types):
                continue
            rid_id = ids.get(Extension.REPAIRED_RID if repair else Extension.RID, 0)
            rid = packet.elements.get(rid_id, b"").decode(errors="replace")
            for stream in track.streams:
                if stream.rid is not None and rid != stream.rid:
                    continue
                if repair:
                    stream.rtx_ssrc = packet.ssrc
                else:
                    if stream.highest is not None:
                        stream.restart()
                    stream.ssrc = packet.ssrc
                return stream, repair
        return None

    # ── one packet for one subscription ──

    def _forward(self, s: Subscription, stream: Stream, number: int, packet: Packet, now: int) -> bytes | None:
        if s.paused:
            return None
        codec = s.track.media.codec
        d = describe(codec, packet.payload)
        if s.waiting or stream is not s.stream or stream.epoch != s.epoch:
            if not packet.payload or not (codec == Codec.OPUS or (d is not None and d.key_frame)):
                return None
            if not self._may_begin(s, stream, number, now):
                return None
            self._begin(s, stream, number, packet, d, now)
        if number <= s.last_in:
            place = s.find_place(stream, number)
            if place is None or not packet.payload:
                return None
            if d is not None and d.temporal > place.temporal:
                place.epoch = -1  # nobody gets it any more
                return None
        else:
            for missing in range(s.last_in + 1, number):
                s.next_place(stream, missing)
            s.last_in = number
            if not packet.payload or not self._takes(s, packet) or not self._layer_taken(s, packet.payload, d):
                return None
            place = s.next_place(stream, number)
        content = self._content(s, packet)
        if content is None:
            return None
        payload_type, payload = content
        place.data = self._serialize(s, packet, payload_type, place, self._rewrite(payload, d, place), now)
        if not s.reaches(place.out):
            return None
        s.last_send = now
        if place.out == s.last_out:
            s.last_timestamp = packet.timestamp + place.timestamp_offset
            if d is not None and d.picture is not None:
                s.last_picture = _picture(payload, d) + place.picture_offset
                s.last_tl0 = None if d.tl0 is None else payload[d.tl0] + place.tl0_offset
        return place.data

    def _may_begin(self, s: Subscription, stream: Stream, number: int, now: int) -> bool:
        """On the same encoding not before what was sent already; on another one if it is wanted, or the first and
        lower."""
        if stream is s.stream:
            return stream.epoch != s.epoch or number > s.last_in
        wanted = s.wanted(now) or stream
        return stream is wanted or (s.stream is None and stream.encoding < wanted.encoding)

    def _begin(
        self, s: Subscription, stream: Stream, number: int, packet: Packet, d: Descriptor | None, now: int
    ) -> None:
        """Go on, or start, with this packet: numbers and picture ids as if nothing had been left out."""
        if s.stream is None:
            s.last_out = s.first_out + 0xFFFF
            s.timestamp_offset = s.first_timestamp - packet.timestamp
        elif stream is not s.stream:
            elapsed = max(1, (now - s.last_send) * s.track.media.clock_rate // 1_000_000)
            s.timestamp_offset = s.last_timestamp + elapsed - packet.timestamp
        if d is not None and d.picture is not None and s.last_picture is not None:
            s.picture_offset = s.last_picture + 1 - _picture(packet.payload, d)
            if d.tl0 is not None and s.last_tl0 is not None:
                s.tl0_offset = s.last_tl0 + 1 - packet.payload[d.tl0]
        s.stream, s.epoch, s.last_in, s.waiting = stream, stream.epoch, number - 1, False

    def _takes(self, s: Subscription, packet: Packet) -> bool:
        """Whether the subscriber has a payload type for it; RED may go as the Opus that it carries."""
        first, *others = s.track.media.payload_types
        types = dict(zip((first, *others), s.media.payload_types, strict=True))
        in_red = s.track.media.kind == MediaKind.AUDIO and packet.payload_type in others and types[first] is not None
        return types[packet.payload_type] is not None or in_red

    def _content(self, s: Subscription, packet: Packet) -> tuple[int, bytes] | None:
        """Payload type and payload as the subscriber takes them; None for RED that is not as RFC 2198 has it."""
        first = s.track.media.payload_types[0]
        types = dict(zip(s.track.media.payload_types, s.media.payload_types, strict=True))
        payload_type, opus = types[packet.payload_type], types[first]
        if s.track.media.kind == MediaKind.VIDEO or packet.payload_type == first or opus is None:
            return None if payload_type is None else (payload_type, packet.payload)
        if payload_type is None:
            primary = red_primary(packet.payload)
            return None if primary is None or primary[0] != first else (opus, primary[1])
        changed = bytearray(packet.payload)
        for at in red_headers(packet.payload):
            if packet.payload[at] & 0x7F == first:
                changed[at] = packet.payload[at] & 0x80 | opus
        return payload_type, bytes(changed)

    def _layer_taken(self, s: Subscription, payload: bytes, d: Descriptor | None) -> bool:
        """Move the temporal layer where the codec allows (RFC 7741 §4.2: Y), and whether this packet's is taken."""
        if d is None or s.track.media.codec != Codec.VP8:
            return True
        if d.key_frame or (d.frame_start and s.temporal_wanted < s.temporal):
            s.temporal = s.temporal_wanted
        if d.frame_start and d.layer_sync and s.temporal < d.temporal <= s.temporal_wanted:
            s.temporal = d.temporal
        if d.temporal <= s.temporal:
            return True
        s.picture_offset -= d.frame_start
        return False

    # ── packets out ──

    def _rewrite(self, payload: bytes, d: Descriptor | None, place: Place) -> bytes:
        if d is None or d.picture is None:
            return payload
        changed = bytearray(payload)
        picture = (_picture(payload, d) + place.picture_offset) % (1 << d.picture_bits)
        if d.picture_bits == 15:
            changed[d.picture : d.picture + 2] = struct.pack("!H", 0x8000 | picture)
        else:
            changed[d.picture] = picture
        if d.tl0 is not None:
            changed[d.tl0] = (payload[d.tl0] + place.tl0_offset) % 256
        return bytes(changed)

    def _serialize(
        self,
        s: Subscription,
        packet: Packet,
        payload_type: int,
        place: Place,
        payload: bytes,
        now: int,
        *,
        rtx: int | None = None,
    ) -> bytes:
        elements = self._elements(s, packet, now)
        head = struct.pack(
            "!BBHII",
            0x90 if elements else 0x80,
            (0x80 if packet.marker else 0) | payload_type,
            (place.out if rtx is None else rtx) & 0xFFFF,
            (packet.timestamp + place.timestamp_offset) & 0xFFFFFFFF,
            s.media.ssrc if rtx is None else s.media.rtx_ssrc,
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
        to, come = dict(s.media.extensions or {}), s.track.media.extensions or {}
        if s.media.nack and s.media.rtx_ssrc is None:  # what is repeated must be the same
            to.pop(Extension.ABS_SEND_TIME, None)
            to.pop(Extension.TRANSPORT_CC, None)
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
        out: list[tuple[int, bytes]] = []
        for ssrc, numbers in parse_nacks(data):
            for s in self.subscriptions.values():
                if s.media.ssrc != ssrc or s.transport != transport:
                    continue
                for number in numbers:
                    again = self._again(s, number, now) if len(out) < NACKED_AT_ONCE else None
                    out += [] if again is None else [(transport, again)]
        return out

    def _again(self, s: Subscription, number: int, now: int) -> bytes | None:
        place = s.numbers.get(s.last_out - ((s.last_out - number) & 0xFFFF))
        if s.paused or not s.media.nack or place is None or s.last_out - place.out >= KEPT:
            return None
        stream = place.stream
        if (
            place.epoch != stream.epoch
            or place.source not in stream.seen
            or (stream.highest or 0) - place.source >= KEPT
        ):
            return None
        if place.resent is not None and now - place.resent < ROUND_TRIP_US:
            return None
        packet = stream.seen[place.source]
        d = describe(s.track.media.codec, packet.payload)
        if place.data is None and d is not None and d.temporal > place.temporal:
            return None
        content = self._content(s, packet)
        if content is None:
            return None
        place.resent = now
        payload_type, payload = content
        payload = self._rewrite(payload, d, place)
        if s.media.rtx_ssrc is None or s.media.rtx_payload_type is None:
            again = self._serialize(s, packet, payload_type, place, payload, now)
            assert place.data in (None, again)
            place.data = again
            return again if s.reaches(place.out) else None
        payload = struct.pack("!H", number) + payload
        s.rtx_sequence += 1
        place.data = b""
        return self._serialize(s, packet, s.media.rtx_payload_type, place, payload, now, rtx=s.rtx_sequence - 1)


def _picture(payload: bytes, d: Descriptor) -> int:
    assert d.picture is not None
    if d.picture_bits == 7:
        return payload[d.picture]
    return int.from_bytes(payload[d.picture : d.picture + 2], "big") & 0x7FFF
