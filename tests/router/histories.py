"""Histories of one published track on the way through a network: what Hypothesis draws, and the packets that it stands
for.

Every history starts a few numbers before a wrap of the sequence number, timestamp, picture id and TL0PICIDX.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from sluicegate.compiled import INTERPRETED
from sluicegate.rtp.names import Codec
from tests.support import payloads
from tests.support.rtp_packet import RtpPacket

LENGTH = 25 if INTERPRETED else 60
EXAMPLES = 25 if INTERPRETED else 150
"""How many frames a history may have, and how many histories a property looks at."""


@dataclass(frozen=True, slots=True)
class Frame:
    encoding: int = 0
    key: bool = False
    packets: int = 1
    temporal: int = 0
    sync: bool = False
    padded: bool = False
    padding_only: bool = False
    """A padding-only packet behind the frame."""
    elements: int = 0
    """Which header extension elements its packets carry."""
    jump: int = 0
    """Sequence numbers that the publisher leaves out before it."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What the network does to a packet: `late` by so many packets, `repair` so many packets after it was lost."""

    lost: bool = False
    late: int = 0
    twice: bool = False
    repair: int = 0


@dataclass(frozen=True, slots=True)
class Act:
    """A command or a NACK, before the frame `at`."""

    at: int
    kind: str
    who: int = 0
    value: int = 0
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    frames: tuple[Frame, ...]
    fates: tuple[Fate, ...]
    acts: tuple[Act, ...]
    batch: int = 1
    picture_bits: int = 15


def frames(*, encodings: int = 1, temporal: int = 2, jumps: bool = False) -> st.SearchStrategy[Frame]:
    return st.builds(
        Frame,
        encoding=st.integers(0, encodings - 1),
        key=st.sampled_from([False, False, False, True]),
        packets=st.integers(1, 3),
        temporal=st.integers(0, temporal),
        sync=st.booleans(),
        padded=st.sampled_from([False, False, True]),
        padding_only=st.sampled_from([False, False, False, True]),
        elements=st.integers(0, 7),
        jump=st.sampled_from([0] * 9 + [600, 3500, 20_000]) if jumps else st.just(0),
    )


fates = st.one_of(
    st.just(Fate()),
    st.just(Fate()),
    st.builds(Fate, lost=st.just(True), repair=st.integers(0, 20)),
    st.builds(Fate, late=st.integers(1, 30), twice=st.booleans()),
    st.builds(Fate, twice=st.just(True), repair=st.integers(0, 5)),
)


def acts(*kinds: str, subscribers: int = 3) -> st.SearchStrategy[Act]:
    return st.builds(
        Act,
        at=st.integers(0, LENGTH),
        kind=st.sampled_from(kinds),
        who=st.integers(0, subscribers - 1),
        value=st.integers(0, 3),
        numbers=st.lists(st.integers(-3, 40), max_size=4).map(tuple),
    )


def histories(frame: st.SearchStrategy[Frame], act: st.SearchStrategy[Act]) -> st.SearchStrategy[History]:
    return st.builds(
        History,
        frames=st.lists(frame, min_size=3, max_size=LENGTH).map(tuple),
        fates=st.lists(fates, min_size=1, max_size=30).map(tuple),
        acts=st.lists(act, max_size=12).map(tuple),
        batch=st.integers(1, 6),
        picture_bits=st.sampled_from([15, 15, 7, 0]),
    )


@dataclass
class Publisher:
    """Makes the packets of one encoding's frames."""

    codec: Codec
    encoding: int
    picture_bits: int = 15
    sequence: int = 65_530
    timestamp: int = 2**32 - 20_000
    picture: int = 2**15 - 4
    tl0: int = 253
    rtx_sequence: int = 30_000
    count: int = 0
    flying: bool = False

    def packets(self, frame: Frame) -> list[RtpPacket]:
        self.sequence += frame.jump
        self.timestamp += 3000
        self.picture += 1
        self.tl0 += frame.temporal == 0 or frame.key
        bodies = [self._payload(frame, index) for index in range(frame.packets)]
        made = [
            self._packet(frame, body, marker=index == len(bodies) - 1, padding=4 if frame.padded else 0)
            for index, body in enumerate(bodies)
        ]
        if frame.padding_only:
            made.append(self._packet(frame, b"", marker=False, padding=40))
        return made

    def _packet(self, frame: Frame, body: bytes, *, marker: bool, padding: int) -> RtpPacket:
        self.sequence += 1
        return RtpPacket(
            payload_type=96,
            sequence_number=self.sequence & 0xFFFF,
            timestamp=self.timestamp & 0xFFFFFFFF,
            ssrc=1000 + self.encoding,
            payload=body,
            marker=marker,
            csrcs=(1, 2) if frame.padded else (),
            # These two codecs would be described by the dependency descriptor.
            extensions=elements_of(frame.elements & (3 if self.codec in (Codec.H264, Codec.AV1) else 7)),
            padding=padding,
        )

    def _payload(self, frame: Frame, index: int) -> bytes:
        self.count += 1
        mark = payloads.mark(self.encoding, self.count)
        start = index == 0
        if self.codec == Codec.H264:
            head = b"\x67" if frame.key and start else b"\x41"
        elif self.codec == Codec.VP9:
            head = payloads.vp9_descriptor(
                begin=start, end=index == frame.packets - 1, inter=not frame.key, picture_id=self.picture, layers=False
            )
        elif self.codec == Codec.AV1:
            new = frame.key and start
            return payloads.av1_payload(
                new_sequence=new, continues=not start, to_be_continued=False, size_bytes=30, tail=mark
            )
        elif self.picture_bits == 0:
            head = payloads.vp8_descriptor(start=start) + (payloads.vp8_frame_header(key=frame.key) if start else b"")
        else:
            head = payloads.vp8_descriptor(
                start=start,
                picture_id=self.picture,
                short_picture_id=self.picture_bits == 7,
                tl0_picture_index=self.tl0,
                temporal_id=0 if frame.key else frame.temporal,
                layer_sync=frame.sync,
                key_index=5,
            ) + (payloads.vp8_frame_header(key=frame.key) if start else b"")
        return head + mark

    def retransmission(self, packet: RtpPacket) -> RtpPacket:
        self.rtx_sequence += 1
        return payloads.rtx(packet, ssrc=2000 + self.encoding, payload_type=97, sequence_number=self.rtx_sequence)


def elements_of(choice: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    if choice & 1:
        found |= {1: b"0", 6: b"\x01", 7: b"\x01\x20\x30"}
    if choice & 2:
        found |= {4: b"abc", 5: b"de", 14: b"unknown"}
    if choice & 4:
        found |= {8: bytes(range(3 if choice & 1 else 20))}
    return found


def arrivals(history: History, codec: Codec, protect: Callable[[bytes], bytes]) -> list[tuple[int, bytes]]:
    """(index of the frame last sent before it arrives, datagram), in order of arrival.

    Packets are protected in the order in which they were sent. The first of each encoding arrives: SRTP could not know
    whether a number behind the wrap is before or behind it (RFC 3711 §3.3.1).
    """
    publishers: dict[int, Publisher] = {}
    flights: list[tuple[float, int, bytes]] = []
    count = 0

    def fly(at: float, frame_index: int, packet: RtpPacket) -> tuple[float, int, bytes]:
        return at, frame_index, protect(packet.serialize())

    for index, frame in enumerate(history.frames):
        if frame.encoding not in publishers:
            publishers[frame.encoding] = Publisher(codec, frame.encoding, history.picture_bits)
        publisher = publishers[frame.encoding]
        for packet in publisher.packets(frame):
            fate = history.fates[count % len(history.fates)] if publisher.flying and history.fates else Fate()
            publisher.flying = True
            flight = fly(count + fate.late + (0.5 if fate.late else 0), index, packet)
            if not fate.lost:
                flights.append(flight)
            if fate.twice:
                flights.append((flight[0] + 1.25, *flight[1:]))
            if fate.repair:
                flights.append(fly(count + fate.repair + 0.75, index, publisher.retransmission(packet)))
            count += 1
    flights.sort(key=lambda flight: flight[0])
    arrived, newest = [], 0
    for _, index, datagram in flights:
        newest = max(newest, index)
        arrived.append((newest, datagram))
    return arrived
