"""Loss, reordering and duplication on either leg: NACK and RTX mend it all, and nobody is given a packet twice."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.behaviour.scene import PATIENCE, REPAIR, ordinals, people, sequence_steps, timestamp_steps
from tests.support.relay import Link, Relay
from tests.support.rtcp_packet import Nack
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

# The first packets and the last have nothing before or behind them that would show their loss: they meet a link that
# is whole.
LEAD, SECONDS, TAIL = 0.5, 3.0, 1.0
ROUND_TRIP = 0.02

LINKS = {
    "five per cent": Link(loss=0.05, delay=ROUND_TRIP / 2, only=("rtp", "rtcp")),
    "ten per cent": Link(loss=0.10, delay=ROUND_TRIP / 2, only=("rtp", "rtcp")),
    "out of order": Link(reorder=0.05, reorder_span=5, delay=ROUND_TRIP / 2, only=("rtp",)),
    "twice": Link(duplicate=0.10, delay=ROUND_TRIP / 2, only=("rtp",)),
    "everything": Link(
        loss=0.05, reorder=0.03, duplicate=0.05, jitter=0.01, keep_order=False, delay=ROUND_TRIP / 2, only=("rtp",)
    ),
}


@pytest.fixture
def bad_network(server: ServerProcess) -> Iterator[Relay]:
    with Relay(server.media_address, seed=20) as relay:
        yield relay


async def one_call(server: ServerProcess, relay: Relay, channel: str, leg: str, name: str) -> None:
    """Sound and picture for some seconds over one bad leg."""
    link, clean = LINKS[name], Link(delay=ROUND_TRIP / 2)
    port = relay.open(up=clean, down=clean)
    relayed = {"media_address": port.address}
    async with people(
        server.url,
        f"{channel}.{name.replace(' ', '-')}",
        alice=relayed if leg == "publisher" else {},
        bob={"feedback": REPAIR, **(relayed if leg == "subscriber" else {})},
    ) as (alice, bob):
        picture = await alice.publish("VP8", ssrc=1000, rtx_ssrc=1001)
        sound = await alice.publish("opus", ssrc=2000)
        subscriptions = [await bob.subscribe(track.track_id) for track in (picture, sound)]
        video = VideoSource(ssrc=1000, payload_type=picture.payload_type)
        audio = AudioSource(ssrc=2000, payload_type=sound.payload_type)
        playing = asyncio.create_task(alice.play(video, audio, seconds=LEAD + SECONDS + TAIL))
        await bob.until(lambda: all(bob.media(one) for one in subscriptions), PATIENCE)
        port.set(**{"up" if leg == "publisher" else "down": link})
        await asyncio.sleep(SECONDS)
        port.set(up=clean, down=clean)
        await playing
        expected = [video.packets_sent, audio.packets_sent]
        with suppress(TimeoutError):
            await bob.until(lambda: [len(bob.media(one)) for one in subscriptions] == expected, PATIENCE)
        for subscription, count in zip(subscriptions, expected, strict=True):
            received = bob.media(subscription)
            assert ordinals(received) == list(range(count)), f"{name}: {subscription.kind}"
            assert set(sequence_steps(received)) == {1}
            assert min(timestamp_steps(received)) >= 0
        counts = port.counts()
        harmed = counts.up if leg == "publisher" else counts.down
        assert harmed.lost + harmed.reordered + harmed.duplicated > 10, "the relay did its harm"
        if leg == "publisher" and link.duplicate:
            wire = [(packet.ssrc, packet.sequence_number) for packet in bob.rtp()]
            assert len(wire) == len(set(wire)), "nothing is forwarded twice"
        if link.loss:
            again = [packet for packet in bob.rtp() if packet.ssrc == subscriptions[0].rtx_ssrc]
            assert alice.rtcp(Nack) if leg == "publisher" else again, "it was mended, not spared"


@pytest.mark.parametrize("leg", ["publisher", "subscriber"])
async def test_a_bad_leg_is_mended(server: ServerProcess, bad_network: Relay, channel: str, leg: str) -> None:
    async with asyncio.TaskGroup() as calls:
        for name in LINKS:
            calls.create_task(one_call(server, bad_network, channel, leg, name))
