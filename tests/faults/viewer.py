"""What a listener and a viewer have of a stream: when each packet was sent, when it came, and what could be played.

    sent = Timetable(alice)                                  # before anything is played
    ...
    seen = experience(sent, source, bob, subscription)
    seen.residual_loss(within=0.3), seen.recovered(within=0.3), seen.frozen(buffer=0.15)

Sender and receiver are clients in one process, so one clock measures both ends. What a delay of this process adds, the
figures hold against the server; the limits of the rows leave room for that on a quiet machine.
"""

import time
from collections import defaultdict
from dataclasses import dataclass
from math import inf

from tests.support.payloads import read_mark
from tests.support.rtc_client import ScriptedClient, Subscribed
from tests.support.rtp_packet import RtpPacket
from tests.support.sources import AudioSource, VideoSource

# A display that stands still for longer is frozen (W3C webrtc-stats, freezeCount).
FREEZE_ADDS, FREEZE_FACTOR = 0.150, 3


class Timetable:
    """When a client first sent each packet of its sources; retransmissions do not count."""

    def __init__(self, client: ScriptedClient) -> None:
        self._send = client.send_rtp
        self.times: dict[int, dict[int, float]] = defaultdict(dict)
        client.send_rtp = self._note  # type: ignore[method-assign]

    def _note(self, packet: RtpPacket | bytes, *, stamp: bool = True) -> None:
        if isinstance(packet, RtpPacket):
            source, ordinal = read_mark(packet.payload)
            if source == packet.ssrc:
                self.times[source].setdefault(ordinal, time.monotonic())
        self._send(packet, stamp=stamp)


@dataclass(frozen=True, slots=True)
class Experience:
    """One stream. `delays` by ordinal: seconds from first sending to arrival, by whatever way; inf: never.

    `lost`: the ordinals that did not come by themselves (where the network keeps the order). `one_way` is the delay of the network between the two.
    """

    delays: dict[int, float]
    sent: dict[int, float]
    lost: frozenset[int]
    one_way: float
    packets_per_frame: int
    interval: float
    keys: frozenset[int]

    def residual_loss(self, within: float) -> float:
        """The share of all packets that were not there `within` seconds after they should have been."""
        return sum(delay > self.one_way + within for delay in self.delays.values()) / len(self.delays)

    def delay_at(self, share: float) -> float:
        """The delay that this share of all packets did not exceed."""
        ordered = sorted(self.delays.values())
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def recovered(self, within: float) -> float:
        """The share of those lost that were there after all, `within` seconds after they should have been."""
        return sum(self.delays[one] <= self.one_way + within for one in self.lost) / max(1, len(self.lost))

    def shown(self, buffer: float) -> list[float]:
        """When each frame that could be decoded was shown by a player that holds frames for `buffer` seconds.

        A frame can be decoded when it and all before it are complete, back to the last key frame.
        """
        times: list[float] = []
        ready = inf
        for frame, first in enumerate(range(min(self.sent), max(self.sent) + 1, self.packets_per_frame)):
            ordinals = range(first, first + self.packets_per_frame)
            complete = max(self.sent.get(one, inf) + self.delays.get(one, inf) for one in ordinals)
            ready = complete if first // self.packets_per_frame in self.keys else max(complete, ready)
            if frame == 0 and first // self.packets_per_frame not in self.keys:
                ready = complete
            if ready < inf:
                times.append(max(ready, self.sent[first] + self.one_way + buffer, *times[-1:]))
        return times

    def frozen(self, buffer: float) -> float:
        """The share of the time in which the picture stood still."""
        times = self.shown(buffer)
        waits = [after - before for before, after in zip(times, times[1:], strict=False)]
        limit = max(FREEZE_FACTOR * self.interval, self.interval + FREEZE_ADDS)
        return sum(wait for wait in waits if wait > limit) / (max(self.sent.values()) - min(self.sent.values()))

    def longest_wait(self) -> float:
        """The longest time between two arrivals."""
        times = sorted(self.sent[one] + delay for one, delay in self.delays.items() if delay < inf)
        return max((after - before for before, after in zip(times, times[1:], strict=False)), default=inf)


def experience(
    sent: Timetable,
    source: AudioSource | VideoSource,
    client: ScriptedClient,
    subscription: Subscribed,
    *,
    one_way: float = 0.0,
    skip: int = 0,
    tail: int = 0,
) -> Experience:
    """Of the packets from ordinal `skip` on, but for the last `tail`, behind which nothing shows that they were lost."""
    first_arrival: dict[int, float] = {}
    by_itself: set[int] = set()
    highest = -1
    for received in client.rtp_log:
        packet = RtpPacket.parse(received.data)
        media = subscription.unwrap(packet)
        if media is None:
            continue
        ordinal = read_mark(media.payload)[1]
        # A retransmission has an SSRC of its own, or comes behind its successors.
        if packet.ssrc == subscription.ssrc and ordinal > highest:
            by_itself.add(ordinal)
            highest = ordinal
        first_arrival.setdefault(ordinal, received.at)
    times = sent.times[source.ssrc]
    wanted = {ordinal: at for ordinal, at in times.items() if skip <= ordinal < source.packets_sent - tail}
    per_frame, keys = (source.packets_per_frame, source.keys) if isinstance(source, VideoSource) else (1, [])
    return Experience(
        delays={ordinal: first_arrival.get(ordinal, inf) - at for ordinal, at in wanted.items()},
        sent=wanted,
        lost=frozenset(wanted) - by_itself,
        one_way=one_way,
        packets_per_frame=per_frame,
        interval=source.interval,
        keys=frozenset(keys),
    )
