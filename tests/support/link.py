"""One direction of a bad network, as a pure function of its input, its seed and the time.

`Channel` takes datagrams and says when which of them leave. It does no I/O; time is an argument. Every packet costs as
many random draws whatever the link does, so the same seed and the same packets meet the same fate, and turning one
impairment on does not move another.
"""

import heapq
import random
from dataclasses import dataclass, field
from itertools import count
from typing import Any

# A packet that waits to be overtaken leaves after this long all the same: nothing may follow the last one of a burst.
REORDER_HOLD = 0.2


@dataclass(frozen=True, slots=True)
class Link:
    """What one direction does to packets. Probabilities are 0–1, times are seconds.

    Random harm (`loss`, bursts, `reorder`, `duplicate`, `corrupt`, `drop`) strikes only the kinds named in `only`
    ("stun", "dtls", "rtp", "rtcp", "other"; empty: all). The rest holds for every packet.
    """

    loss: float = 0.0
    burst_enter: float = 0.0  # Gilbert model: chance, at each packet, that a burst of loss begins
    burst_leave: float = 1.0  # and that it ends; its mean length is 1 / burst_leave packets
    delay: float = 0.0
    jitter: float = 0.0  # each packet waits a further uniform 0–jitter
    keep_order: bool = True  # whether jitter may make packets overtake one another
    reorder: float = 0.0
    reorder_span: int = 5  # a reordered packet is overtaken by 1–reorder_span later ones
    duplicate: float = 0.0
    corrupt: float = 0.0  # 1–8 bits are flipped
    bandwidth_bps: float | None = None
    queue: float = 0.3  # drop-tail, as seconds of transmission
    outage: bool = False
    only: tuple[str, ...] = ()
    drop: tuple[int, ...] = ()  # ordinals, from 0, among the packets struck by `only` since this link was set

    @classmethod
    def bursts(cls, loss: float, length: float, **others: Any) -> "Link":
        """Gilbert loss: `loss` of all packets on average, in bursts of `length` packets on average."""
        leave = 1.0 / length
        return cls(burst_enter=loss * leave / (1.0 - loss), burst_leave=leave, **others)


@dataclass(slots=True)
class Counts:
    """What a channel did. `received` = `sent` − `duplicated` + everything dropped + what still waits."""

    received: int = 0
    bytes_received: int = 0
    sent: int = 0
    bytes_sent: int = 0
    lost: int = 0  # random loss, bursts and `drop`
    overflowed: int = 0  # the bandwidth queue was full
    outage: int = 0
    reordered: int = 0
    duplicated: int = 0
    corrupted: int = 0
    kinds: dict[str, int] = field(default_factory=dict)  # received, by kind


def packet_kind(data: bytes) -> str:
    """What a datagram claims to be (RFC 7983 §7, RFC 5761 §4): "stun", "dtls", "rtp", "rtcp" or "other"."""
    if not data:
        return "other"
    first = data[0]
    if first < 4:
        return "stun"
    if 20 <= first < 64:
        return "dtls"
    if 128 <= first < 192 and len(data) > 1:
        return "rtcp" if 192 <= data[1] < 224 else "rtp"
    return "other"


class Channel:
    """The packets of one direction that are under way. `tag` is handed back with its packet."""

    def __init__(self, link: Link, seed: str) -> None:
        self.link = link
        self.counts = Counts()
        self._random = random.Random(seed)
        self._bits = random.Random(seed + "/bits")  # apart, so that a corrupted packet costs no draw of the others
        self._in_burst = False
        self._line_free_at = 0.0
        self._last_due = 0.0
        self._ordinal = 0  # packets that random harm could strike
        self._ordinal_base = 0
        self._order = count()
        self._heap: list[tuple[float, int, bytes, Any]] = []
        self._held: list[tuple[int, float, bytes, Any]] = []  # (leave after this ordinal, or at this time, …)

    def set(self, link: Link) -> None:
        """Change what happens to packets from now on; those under way keep their times."""
        self.link = link
        self._ordinal_base = self._ordinal

    def submit(self, data: bytes, tag: Any, now: float) -> None:
        """A packet enters."""
        link, counts, draw = self.link, self.counts, self._random.random
        kind = packet_kind(data)
        counts.received += 1
        counts.bytes_received += len(data)
        counts.kinds[kind] = counts.kinds.get(kind, 0) + 1
        if link.outage:
            counts.outage += 1
            return
        struck = not link.only or kind in link.only
        loss, burst, jitter, reorder, span, duplicate, corrupt = [draw() for _ in range(7)]
        if struck:
            ordinal = self._ordinal - self._ordinal_base
            self._ordinal += 1
            self._in_burst = burst >= link.burst_leave if self._in_burst else burst < link.burst_enter
            if loss < link.loss or self._in_burst or ordinal in link.drop:
                counts.lost += 1
                self._release_overtaken(now)
                return
            if corrupt < link.corrupt:
                data = self._corrupt(data)
        due = self._due(len(data), jitter, now)
        if due is None:
            counts.overflowed += 1
        elif struck and reorder < link.reorder:
            counts.reordered += 1
            self._held.append((self._ordinal + int(span * link.reorder_span), due + REORDER_HOLD, data, tag))
            return
        else:
            self._push(due, data, tag)
            if struck and duplicate < link.duplicate:
                counts.duplicated += 1
                self._push(due, data, tag)
        self._release_overtaken(now)

    def due(self, now: float) -> list[tuple[bytes, Any]]:
        """The packets that leave by `now`, in order."""
        if self._held:
            late = [entry for entry in self._held if entry[1] <= now]
            if late:
                self._held = [entry for entry in self._held if entry[1] > now]
                for _, _, data, tag in late:
                    self._push(now, data, tag)
        leaving = []
        heap, counts = self._heap, self.counts
        while heap and heap[0][0] <= now:
            _, _, data, tag = heapq.heappop(heap)
            counts.sent += 1
            counts.bytes_sent += len(data)
            leaving.append((data, tag))
        return leaving

    def next_due(self) -> float | None:
        """When `due` has something to give next; None: nothing is under way."""
        times = [entry[1] for entry in self._held]
        if self._heap:
            times.append(self._heap[0][0])
        return min(times, default=None)

    def _due(self, size_bytes: int, jitter: float, now: float) -> float | None:
        link = self.link
        start = now
        if link.bandwidth_bps is not None:
            start = max(now, self._line_free_at)
            if start - now > link.queue:
                return None
            start += size_bytes * 8 / link.bandwidth_bps
            self._line_free_at = start
        due = start + link.delay + jitter * link.jitter
        if link.keep_order:
            due = self._last_due = max(due, self._last_due)
        return due

    def _push(self, due: float, data: bytes, tag: Any) -> None:
        heapq.heappush(self._heap, (due, next(self._order), data, tag))

    def _release_overtaken(self, now: float) -> None:
        if not self._held:
            return
        due = max(now + self.link.delay, self._last_due) if self.link.keep_order else now + self.link.delay
        waiting = []
        for entry in self._held:
            if entry[0] < self._ordinal:
                self._push(due, entry[2], entry[3])
            else:
                waiting.append(entry)
        self._held = waiting

    def _corrupt(self, data: bytes) -> bytes:
        if not data:
            return data
        self.counts.corrupted += 1
        changed = bytearray(data)
        for position in self._bits.sample(range(len(changed) * 8), self._bits.randint(1, 8)):
            changed[position >> 3] ^= 1 << (position & 7)
        return bytes(changed)
