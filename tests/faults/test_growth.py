"""Row 19, its short form: sessions come and go, some without a word, and nothing of them stays.

What is counted is exact: the server's descriptors, threads, tasks, rows, metrics and objects are as they were after a
first round, which made what is made once. The server's patience with those who fall silent is shortened to seconds.
"""

import asyncio
import re
from typing import Any

from tests.behaviour.scene import people
from tests.faults.figures import Figures
from tests.faults.harmed import HarmedServer
from tests.support.sources import AudioSource

GROUPS, MEMBERS = 6, 6
# Of each group as many are gone without deleting their sessions.
KILLED = 2
# More than the clients' consent interval.
SILENCE = 4.0
GAUGES = re.compile(
    r"^sluicegate_((?:plane_)?(?:sessions|channels|tracks|subscriptions|transports|sends|event_streams))(?:\{.*\})? (\S+)$",
    re.MULTILINE,
)


def standing(server: HarmedServer) -> dict[str, Any]:
    """Everything of the server that must not grow."""
    counts = server.counts()
    metrics = server.get("/metrics")[1].decode()
    return {
        **dict(GAUGES.findall(metrics)),
        **counts,
        "series": len(re.findall(r"^[^#]", metrics, re.MULTILINE)),
        "threads": server.threads(),
        "descriptors": server.open_files(),
    }


async def come_and_go(server: HarmedServer, channel: str) -> None:
    """One group: each publishes and hears the one before it; the first of them are killed, the others leave."""
    named: dict[str, dict[str, Any]] = {f"user{index}": {} for index in range(MEMBERS)}
    async with people(server.url, channel, **named) as clients:
        tracks = [await client.publish("opus", ssrc=index + 1) for index, client in enumerate(clients)]
        for client, track in zip(clients, tracks[-1:] + tracks[:-1], strict=True):
            await client.subscribe(track.track_id)
        await clients[0].play(AudioSource(ssrc=1, payload_type=109), seconds=0.1)
        for client in clients[:KILLED]:
            await client.close(delete=False)
            client.session_id = ""


async def settled(server: HarmedServer) -> dict[str, Any]:
    """What there is when the silent ones have been noticed and connections closed, and nothing changes any more."""
    await asyncio.sleep(SILENCE)
    async with asyncio.timeout(4 * SILENCE):
        before = await asyncio.to_thread(standing, server)
        while True:
            await asyncio.sleep(0.5)
            after = await asyncio.to_thread(standing, server)
            if after == before and not after["Session"]:
                return after
            before = after


async def test_nothing_stays_of_sessions_that_are_over(channel: str, figures: Figures) -> None:
    with HarmedServer() as server:
        await asyncio.to_thread(server.harm, "shorten_consent", seconds=SILENCE)
        found = []
        for turn in range(2):
            for group in range(GROUPS):
                await come_and_go(server, f"{channel}.{turn}.{group}")
            found.append(await settled(server))
        first, second = found
        grown = {name: (first.get(name), count) for name, count in second.items() if count != first.get(name)}
        assert not grown
        figures.note("B19", "joins and leaves that left nothing behind", 2 * GROUPS * MEMBERS)
        for name in ("Session", "Transport", "DtlsEndpoint", "Track", "Subscription", "Channel"):
            assert second[name] == 0, f"{second[name]} of {name} are still there"
        assert "Traceback" not in server.log()
