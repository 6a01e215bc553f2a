"""Row 10: jitter, reordering and duplicates on the publisher's leg. The server forwards what comes, when it comes."""

import asyncio

from tests.behaviour.scene import PATIENCE, ordinals, people
from tests.faults.figures import Figures, steady
from tests.faults.viewer import Timetable, experience
from tests.support.link import Channel, Link
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource

SECONDS = 4.0
INTERVAL = 0.01  # twice as many packets as speech has, so that a hundredth of them is several


class JitteryLeg:
    """A `Channel` between a source and its client's socket, so that the very moment of sending is known."""

    def __init__(self, link: Link, timetable: Timetable) -> None:
        self._channel = Channel(link, "jitter")
        self._send = timetable._note
        self.counts = self._channel.counts

    def submit(self, packet: RtpPacket) -> None:
        now = asyncio.get_running_loop().time()
        self._channel.submit(b"\x80\x60" + packet.serialize(), packet, now)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = self._channel.next_due()
            await asyncio.sleep(0.001 if due is None else max(0.0, min(due - loop.time(), 0.001)))
            for _, packet in self._channel.due(loop.time()):
                self._send(packet)


@steady
async def test_jitter_is_passed_on_at_once(server: ServerProcess, channel: str, figures: Figures) -> None:
    async with asyncio.TaskGroup() as calls:
        for jitter in (0.05, 0.1, 0.2):
            calls.create_task(jittered_call(server, f"{channel}.{jitter}", figures, jitter))


async def jittered_call(server: ServerProcess, channel: str, figures: Figures, jitter: float) -> None:
    """The delay that the server adds to jittered packets, beside that of a clean stream through the same server."""
    link = Link(jitter=jitter, keep_order=False, reorder=0.05, reorder_span=20, duplicate=0.05)
    async with people(server.url, channel, alice={}, carol={}, bob={}) as (alice, carol, bob):
        bad, good = [await one.publish("opus", ssrc=1 + i, feedback=[]) for i, one in enumerate((alice, carol))]
        heard, control = [await bob.subscribe(track.track_id) for track in (bad, good)]
        timetables = [Timetable(alice), Timetable(carol)]
        sources = [AudioSource(ssrc=1 + index, payload_type=109, interval=INTERVAL) for index in range(2)]
        leg = JitteryLeg(link, timetables[0])
        alice.send_rtp = lambda packet, *, stamp=True: leg.submit(packet)  # type: ignore[method-assign, misc]
        moving = asyncio.create_task(leg.run())
        await asyncio.gather(*(one.play(s, seconds=SECONDS) for one, s in zip((alice, carol), sources, strict=True)))
        await asyncio.sleep(jitter + 0.3)
        moving.cancel()
        await bob.until(lambda: len(bob.media(control)) == sources[1].packets_sent, PATIENCE)
        received = [packet.sequence_number for packet in bob.rtp(heard.ssrc)]
        assert leg.counts.duplicated > 5
        assert leg.counts.reordered > 5
        name = f"{jitter * 1000:.0f} ms jitter"
        figures.check("B10", f"{name}: duplicates forwarded", len(received) - len(set(received)), at_most=0)
        # The first to arrive says where the stream begins: those from before it that come late are nobody's.
        there = set(ordinals(bob.media(heard)))
        missing = set(range(min(there), sources[0].packets_sent)) - there
        figures.check("B10", f"{name}: packets not forwarded", len(missing), at_most=0)
        jittered, clean = [
            experience(timetable, source, bob, subscription, skip=min(there)).delay_at(0.99)
            for timetable, source, subscription in zip(timetables, sources, (heard, control), strict=True)
        ]
        figures.check("B10", f"{name}: delay added p99, seconds", jittered - clean, at_most=0.010)
