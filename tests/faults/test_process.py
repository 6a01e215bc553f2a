"""Rows 24 and 27: the event loop stands still, sending fails, a receiver's port is closed."""

import asyncio
import errno
import re
import time
from collections.abc import Iterator

import pytest

from tests.attacks.innocent import InnocentCall
from tests.attacks.strangers import Drops
from tests.behaviour.scene import PATIENCE, arrived, assert_contiguous, ordinals, people
from tests.faults.figures import Figures, steady
from tests.faults.harmed import HarmedServer
from tests.support.api import Api
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource

STALL = 0.2


@pytest.fixture(scope="module")
def harmed() -> Iterator[HarmedServer]:
    with HarmedServer() as started:
        yield started


@pytest.fixture(scope="module")
def bystanders(harmed: HarmedServer) -> Iterator[InnocentCall]:
    """A call on that server, in a process of its own."""
    with InnocentCall(harmed.url) as call:
        yield call


def late_timers(server: ServerProcess, seconds: float) -> int:
    """How often the watchdog of the loop was later than this."""
    text = server.get("/metrics")[1].decode()
    counts = dict(re.findall(r'^sluicegate_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', text, re.MULTILINE))
    return int(float(counts["+Inf"]) - float(counts[str(seconds)]))


@pytest.mark.parametrize("what", ["stall_loop", "stall_python"])
@steady
async def test_media_does_not_wait_for_python(
    harmed: HarmedServer, bystanders: InnocentCall, figures: Figures, what: str
) -> None:
    late_before = late_timers(harmed, 0.1)
    bystanders.mark()
    for _ in range(5):
        await asyncio.to_thread(harmed.harm, what, seconds=STALL)
        await asyncio.sleep(0.05)
    await asyncio.to_thread(harmed.harm, what, seconds=2 * STALL)  # longer than the watchdog's interval
    harm = bystanders.mark()
    words = "the event loop" if what == "stall_loop" else "all of Python"
    figures.check("B24", f"longest gap in sound, {words} stalled 200 ms, seconds", harm.longest_gap, at_most=0.1)
    figures.check("B24", f"packets lost, {words} stalled", harm.lost, at_most=0)
    assert late_timers(harmed, 0.1) > late_before, "the watchdog has seen it"
    async with Api(harmed.url) as api:
        view = await api.channel("innocent")
        assert len(view["members"]) == 2, "nobody was disconnected"


@pytest.mark.parametrize("what", ["stall_loop", "stall_python"])
async def test_consent_does_not_wait_for_python(harmed: HarmedServer, channel: str, what: str) -> None:
    """Checks of a peer whose path is settled are answered while nothing but the planes runs."""
    async with people(harmed.url, channel, alice={}) as (alice,):
        await alice.check()  # the agent's own answer; from here on the plane may give it
        stalled = asyncio.create_task(asyncio.to_thread(harmed.harm, what, seconds=1.5))
        await asyncio.sleep(0.4)
        for _ in range(3):
            await alice.check(timeout=PATIENCE)
            assert not stalled.done()
            await asyncio.sleep(0.1)
        await stalled


async def test_a_send_that_fails_costs_its_packets_and_nothing_else(
    harmed: HarmedServer, bystanders: InnocentCall, figures: Figures
) -> None:
    drops = Drops(harmed)
    bystanders.mark()
    counted = [0]
    for number in (errno.EAGAIN, errno.ENOBUFS, errno.ENETUNREACH, errno.EPERM):
        await asyncio.to_thread(harmed.harm, "refuse_sends", errno=number, seconds=0.15)
        counted.append(drops("send_error"))
    during = bystanders.mark()
    assert 0 < during.lost <= counted[-1]
    assert counted == sorted(set(counted)), "each is counted"
    await asyncio.sleep(0.3)
    after = bystanders.mark()
    figures.check("B27", "packets lost after EAGAIN, ENOBUFS, ENETUNREACH and EPERM", after.lost, at_most=0)
    assert after.sent > 0
    assert harmed.alive
    assert "Traceback" not in harmed.log()


async def test_a_closed_port_stops_nobody_else(server: ServerProcess, channel: str, figures: Figures) -> None:
    """ICMP port unreachable comes back for every packet to one subscriber."""
    async with people(server.url, channel, alice={}, bob={}, carol={}) as (alice, bob, carol):
        published = await alice.publish("opus", ssrc=1)
        gone, whole = [await client.subscribe(published.track_id) for client in (bob, carol)]
        source = AudioSource(ssrc=1, payload_type=109)
        await alice.play(source, seconds=0.3)
        await arrived(bob, gone, source.packets_sent)
        await bob.shut()
        await alice.play(source, seconds=1.5)
        received = await arrived(carol, whole, source.packets_sent)
        missing = set(range(source.packets_sent)) - set(ordinals(received))
        figures.check("B27", "packets lost by others, one port closed", len(missing), at_most=0)
        assert_contiguous(received)
        # The socket that all share still serves newcomers.
        began = time.monotonic()
        async with people(server.url, channel, dave={}) as (dave,):
            late = await dave.subscribe(published.track_id)
            await alice.play(source, seconds=0.2)
            await dave.until(lambda: dave.media(late), PATIENCE)
        assert time.monotonic() - began < PATIENCE
        assert "Traceback" not in server.log()
