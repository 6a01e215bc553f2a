"""Streams of synthetic packets: what a publisher's encoder and packetizer would hand to its transport.

    source = VideoSource(codec="VP8", ssrc=1, payload_type=120, packets_per_frame=4)
    for packet in source.next_frame(): client.send_rtp(packet)      # as fast as wanted
    await client.play(source, seconds=2.0)                           # in real time

A source knows nothing of time: its timestamps advance by `interval` with each frame.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from . import payloads
from .rtp_packet import RtpPacket

VIDEO_CLOCK, AUDIO_CLOCK = 90000, 48000
# As many as a sender that answers NACKs keeps (about 5 s of a 1.5 Mbps stream).
HISTORY_PACKETS = 1000


class Source(Protocol):
    """A stream of frames, each of one or more packets with one timestamp."""

    kind: str
    ssrc: int
    payload_type: int
    clock_rate: int
    interval: float
    timestamp: int
    history: dict[int, RtpPacket]
    packets_sent: int
    octets_sent: int

    def next_frame(self) -> list[RtpPacket]:
        """The packets of the next frame."""

    def request_key_frame(self) -> None:
        """Make the next frame a key frame, if the medium has such."""


@dataclass(slots=True)
class _Stream:
    """What all sources share: numbering, history, marks."""

    ssrc: int
    payload_type: int
    sequence_number: int = -1  # of the next packet; −1: random
    timestamp: int = -1  # of the next frame; −1: random
    extensions: dict[int, bytes] = field(default_factory=dict)
    history: dict[int, RtpPacket] = field(default_factory=dict)
    packets_sent: int = 0
    octets_sent: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        chosen = random.Random(f"{self.seed}/{self.ssrc}")
        if self.sequence_number < 0:
            self.sequence_number = chosen.randrange(1 << 15)  # the lower half, as RFC 3711's rollover counter asks for
        if self.timestamp < 0:
            self.timestamp = chosen.randrange(1 << 32)

    def packet(self, payload: bytes, marker: bool, extensions: dict[int, bytes] | None = None) -> RtpPacket:
        """Number a payload and remember it."""
        packet = RtpPacket(
            self.payload_type,
            self.sequence_number,
            self.timestamp,
            self.ssrc,
            payload,
            marker,
            extensions={**self.extensions, **(extensions or {})},
        )
        self.history[self.sequence_number] = packet
        if len(self.history) > HISTORY_PACKETS:
            del self.history[next(iter(self.history))]
        self.sequence_number = (self.sequence_number + 1) & 0xFFFF
        self.packets_sent += 1
        self.octets_sent += len(payload)
        return packet

    def mark(self) -> bytes:
        """The mark of the next packet: the SSRC and a counter from 0."""
        return payloads.mark(self.ssrc, self.packets_sent)


@dataclass(slots=True)
class AudioSource(_Stream):
    """Opus-like packets, one every 20 ms. `audio_level_id` adds RFC 6464's extension: `level` (−dBov) and `voice`."""

    size_bytes: int = 80
    interval: float = 0.02
    audio_level_id: int | None = None
    level: int = 30
    voice: bool = True
    kind: str = "audio"
    clock_rate: int = AUDIO_CLOCK

    def next_frame(self) -> list[RtpPacket]:
        level = {}
        if self.audio_level_id is not None:
            level[self.audio_level_id] = bytes([(0x80 if self.voice else 0) | self.level])
        packet = self.packet(payloads.opus(self.size_bytes, self.mark()), self.packets_sent == 0, level)
        self.timestamp = (self.timestamp + round(self.interval * AUDIO_CLOCK)) & 0xFFFFFFFF
        return [packet]

    def request_key_frame(self) -> None:
        """Audio has none."""


@dataclass(slots=True)
class VideoSource(_Stream):
    """Video of one spatial layer (VP9: `spatial_layers` as SVC), `packets_per_frame` packets a frame and layer.

    `temporal_ids` is the repeating pattern of temporal ids, such as (0, 2, 1, 2); a key frame restarts it. `key_every`
    counts frames; 0 sends key frames only when asked. `keys` are the ordinals of the key frames sent.
    """

    codec: str = "VP8"
    packets_per_frame: int = 3
    size_bytes: int = 1000
    interval: float = 1 / 30
    key_every: int = 0
    temporal_ids: tuple[int, ...] = (0,)
    spatial_layers: int = 1
    width: int = 320
    height: int = 240
    picture_id: int = 0
    tl0_picture_index: int = 0
    with_picture_id: bool = True
    frames_sent: int = 0
    keys: list[int] = field(default_factory=list)
    kind: str = "video"
    clock_rate: int = VIDEO_CLOCK
    _key_wanted: bool = True
    _place: int = 0

    def request_key_frame(self) -> None:
        self._key_wanted = True

    def next_frame(self) -> list[RtpPacket]:
        key = self._key_wanted or bool(self.key_every and self.frames_sent % self.key_every == 0)
        if key:
            self._key_wanted, self._place = False, 0
            self.keys.append(self.frames_sent)
        temporal_id = self.temporal_ids[self._place % len(self.temporal_ids)]
        if temporal_id == 0:
            self.tl0_picture_index = (self.tl0_picture_index + 1) & 255
        packets: list[RtpPacket] = []
        for spatial_id in range(self.spatial_layers):
            for index in range(self.packets_per_frame):
                last = index == self.packets_per_frame - 1
                payload = self._payload(key, index, last, temporal_id, spatial_id)
                packets.append(self.packet(payload, last and spatial_id == self.spatial_layers - 1))
        self._place += 1
        self.frames_sent += 1
        self.picture_id = (self.picture_id + 1) & 0x7FFF
        self.timestamp = (self.timestamp + round(self.interval * VIDEO_CLOCK)) & 0xFFFFFFFF
        return packets

    def frames(self, count: int) -> Iterator[list[RtpPacket]]:
        """The next `count` frames, as fast as they are asked for."""
        for _ in range(count):
            yield self.next_frame()

    def _payload(self, key: bool, index: int, last: bool, temporal_id: int, spatial_id: int) -> bytes:
        tail, layered = self.mark(), len(set(self.temporal_ids)) > 1
        if self.codec == "VP8":
            head = payloads.vp8_descriptor(
                start=index == 0,
                picture_id=self.picture_id if self.with_picture_id else None,
                tl0_picture_index=self.tl0_picture_index if layered else None,
                temporal_id=temporal_id if layered else None,
                # Every enhancement frame of these patterns leans on layer 0 alone.
                layer_sync=temporal_id > 0,
            )
            if index == 0:
                head += payloads.vp8_frame_header(key=key, width=self.width, height=self.height)
            return payloads.fill(head, self.size_bytes, tail)
        if self.codec == "VP9":
            sizes = [(self.width << layer, self.height << layer) for layer in range(self.spatial_layers)]
            head = payloads.vp9_descriptor(
                begin=index == 0,
                end=last,
                inter=not key,
                picture_id=self.picture_id if self.with_picture_id else None,
                temporal_id=temporal_id,
                spatial_id=spatial_id,
                switching_up=True,
                inter_layer=spatial_id > 0,
                tl0_picture_index=self.tl0_picture_index,
                layers=layered or self.spatial_layers > 1,
                sizes=sizes if key and index == 0 and spatial_id == 0 else (),
            )
            if index == 0:
                head += payloads.vp9_frame_header(key=key)
            return payloads.fill(head, self.size_bytes, tail)
        if self.codec == "H264":
            return self._h264(key, index, last, tail)
        if self.codec == "AV1":
            return payloads.av1_payload(
                new_sequence=key and index == 0,
                continues=index > 0,
                to_be_continued=not last,
                size_bytes=self.size_bytes,
                tail=tail,
            )
        raise ValueError(self.codec)

    def _h264(self, key: bool, index: int, last: bool, tail: bytes) -> bytes:
        if key and index == 0:
            head = payloads.h264_stap_a([payloads.H264_SPS, payloads.H264_PPS, b"\x06" + tail])
            if self.packets_per_frame > 1:
                return head
            picture = payloads.fill(b"\x65", self.size_bytes, tail)
            return payloads.h264_stap_a([payloads.H264_SPS, payloads.H264_PPS, picture])
        first = index == (1 if key else 0)
        if first and last:
            return payloads.fill(b"\x65" if key else b"\x41", self.size_bytes, tail)
        head = payloads.h264_fu_a(unit_type=5 if key else 1, start=first, end=last, body=b"")
        return payloads.fill(head, self.size_bytes, tail)
