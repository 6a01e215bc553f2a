"""Chromium on bad networks: what is lost is mended by its own NACK and RTX, its port changes, its path breaks."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.room import PATIENCE, RECORD_CONNECTIONS, enter, frames_decoded, hears, sees
from tests.support.browser import browsers
from tests.support.relay import Counts, Link, Relay, RelayPort
from tests.support.server import ServerProcess

TONE_HZ = 660.0
SECONDS = 4.0
HARM = {
    "five per cent lost": Link(loss=0.05, delay=0.01, only=("rtp", "rtcp")),
    "ten per cent lost": Link(loss=0.10, delay=0.01, only=("rtp", "rtcp")),
    "out of order and twice": Link(reorder=0.05, duplicate=0.05, delay=0.01, only=("rtp",)),
}
CLEAN = Link(delay=0.01)
# What the page's streams of one type ("inbound-rtp" …) count of repair, and of pictures that stood still.
REPAIR = """
(async (type) => {
  const total = { nacks: 0, retransmitted: 0, frozen: 0 };
  for (const connection of connections) {
    for (const one of (await connection.getStats()).values()) {
      if (one.type !== type || one.kind !== "video") continue;
      total.nacks += one.nackCount ?? 0;
      total.retransmitted += one.retransmittedPacketsSent ?? one.retransmittedPacketsReceived ?? 0;
      total.frozen += one.totalFreezesDuration ?? 0;
    }
  }
  return total;
})
"""


@pytest.fixture
def relay(server: ServerProcess) -> Iterator[Relay]:
    with Relay(server.media_address, seed=30) as started:
        yield started


async def behind(window: Any, port: RelayPort) -> Any:
    """Have a window find the server where the relay's port is."""

    async def answer(route: Any) -> None:
        response = await route.fetch()
        body = await response.json()
        for candidate in body.get("ice_candidates", []):
            candidate["ip"], candidate["port"] = candidate["address"], _ = port.address
        await route.fulfill(response=response, json=body)

    await window.page.add_init_script(RECORD_CONNECTIONS)
    await window.page.route("**/sessions", answer)
    return window


async def call(open_window: Any, server: ServerProcess, channel: str, port: RelayPort, leg: str) -> tuple[Any, Any]:
    """Ada publishes and Ben looks on; the one on the leg is behind the relay."""
    ada, ben = await asyncio.gather(open_window("chromium", tone_hz=TONE_HZ), open_window("chromium"))
    await behind(ada if leg == "publisher" else ben, port)
    await asyncio.gather(enter(ada, server, channel, "ada"), enter(ben, server, channel, "ben", camera=0, microphone=0))
    await sees(ben, "ada")
    await hears(ben, "ada", TONE_HZ)
    return ada, ben


@pytest.mark.parametrize("leg", ["publisher", "subscriber"])
async def test_loss_and_disorder_are_mended(server: ServerProcess, relay: Relay, channel: str, leg: str) -> None:
    port = relay.open(up=CLEAN, down=CLEAN)
    async with browsers() as open_window:
        ada, ben = await call(open_window, server, channel, port, leg)
        window, stream = (ada, "outbound-rtp") if leg == "publisher" else (ben, "inbound-rtp")
        up = leg == "publisher"

        async def so_far() -> tuple[dict[str, float], Counts]:
            counts = port.counts()
            return await window.evaluate(f"({REPAIR})('{stream}')"), counts.up if up else counts.down

        for name, link in HARM.items():
            (before, was), began = await so_far(), time.monotonic()
            port.set(**{"up" if up else "down": link})
            # How many packets a second there are is Chromium's choice, and a busy machine's.
            async with asyncio.timeout(PATIENCE):
                while True:
                    await asyncio.sleep(SECONDS)
                    after, now = await so_far()
                    if link.loss and now.lost - was.lost > 20 and after["retransmitted"] - before["retransmitted"] > 10:
                        break
                    if link.reorder and min(now.reordered - was.reordered, now.duplicated - was.duplicated) > 10:
                        break
            port.set(up=CLEAN, down=CLEAN)
            if link.loss:
                assert after["nacks"] > before["nacks"], name
            assert after["frozen"] - before["frozen"] < (time.monotonic() - began) / 3, name
            await sees(ben, "ada")
            await hears(ben, "ada", TONE_HZ)


@pytest.mark.parametrize("leg", ["publisher", "subscriber"])
async def test_a_port_that_changes_and_a_path_that_breaks(
    server: ServerProcess, relay: Relay, channel: str, leg: str
) -> None:
    """A NAT that forgets, and an outage after which the page restarts ICE by itself."""
    port = relay.open(up=CLEAN, down=CLEAN)
    async with browsers() as open_window:
        ada, ben = await call(open_window, server, channel, port, leg)
        port.rebind()
        before = await frames_decoded(ben, "ada")
        await ben.until(f"sluicegate.stats().then((all) => all.ada.camera.framesDecoded > {before} + 30)", PATIENCE)

        window, own = (ada, "send") if leg == "publisher" else (ben, "receive")
        restarts: list[str] = []
        window.page.on("request", lambda request: restarts.append(request.url))
        session = await window.evaluate(f"sluicegate.state.sessions.{own}")
        port.set(up=Link(outage=True), down=Link(outage=True))
        async with asyncio.timeout(PATIENCE):
            while not any(url.endswith(f"/sessions/{session}/restart-ice") for url in restarts):
                await asyncio.sleep(0.2)
        port.set(up=CLEAN, down=CLEAN)
        await window.until("sluicegate.state.connection === 'connected'", PATIENCE)
        await sees(ben, "ada")
        await hears(ben, "ada", TONE_HZ)
        assert await window.evaluate(f"sluicegate.state.sessions.{own}") == session, "the same session goes on"
