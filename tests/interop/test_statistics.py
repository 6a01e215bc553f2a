"""What the server says of a stream is what the browsers count, and voice and lips keep together."""

import asyncio
from typing import Any

import pytest

from tests.interop.room import PATIENCE, connected, enter, hears, sees
from tests.support import chromium
from tests.support.api import Api
from tests.support.browser import browsers
from tests.support.server import ServerProcess

pytestmark = pytest.mark.skipif(not chromium.executable(), reason="no Chromium")

# Puts every connection of the page where a test finds it.
RECORD_CONNECTIONS = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...options) {
    super(...options);
    window.connections.push(this);
  }
};
"""
# Counters of all streams of one type ("inbound-rtp" …) and kind, and the clock of the page in seconds.
COUNTERS = """
(async (type, kind) => {
  const total = { packets: 0, bytes: 0, repeated: 0, at: performance.now() / 1000 };
  for (const connection of connections) {
    for (const one of (await connection.getStats()).values()) {
      if (one.type !== type || one.kind !== kind) continue;
      total.packets += one.packetsSent ?? one.packetsReceived;
      total.bytes += one.bytesSent ?? one.bytesReceived;
      total.repeated += one.retransmittedPacketsSent ?? one.retransmittedPacketsReceived ?? 0;
    }
  }
  return total;
})
"""
# How far the lips are ahead of the voice in what is played now, in milliseconds; null while either is not known.
LEAD = """
(async () => {
  const played = {};
  for (const connection of connections) {
    for (const one of (await connection.getStats()).values()) {
      if (one.type === "inbound-rtp" && one.estimatedPlayoutTimestamp) played[one.kind] = one.estimatedPlayoutTimestamp;
    }
  }
  return played.audio && played.video ? { lead: played.video - played.audio } : null;
})
"""
SHARE = 0.05
IN_STEP_MS = 100


async def open_recorded(open_window: Any, **options: Any) -> Any:
    """A Chromium whose connections are recorded."""
    window = await open_window("chromium", **options)
    await window.page.add_init_script(RECORD_CONNECTIONS)
    return window


async def test_server_and_browsers_count_the_same(server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window, Api(server.url) as api:
        ada, ben = await asyncio.gather(open_recorded(open_window), open_recorded(open_window))
        await asyncio.gather(
            enter(ada, server, channel, "ada"), enter(ben, server, channel, "ben", camera=0, microphone=0)
        )
        await sees(ben, "ada")
        for kind in ("audio", "video"):
            await counts_agree(ada, api, "send", "outbound-rtp", kind)
            await counts_agree(ben, api, "receive", "inbound-rtp", kind)
        await rates_agree(ben, api)


async def counts_agree(window: Any, api: Api, link: str, type_: str, kind: str) -> None:
    """The server's packet count lies between the browser's just before and just after, give or take a few percent."""
    session = await window.evaluate(f"sluicegate.state.sessions.{link}")
    field = "packets_received" if link == "send" else "packets_sent"
    before = await window.evaluate(f"({COUNTERS})('{type_}', '{kind}')")
    stats = await api.call("GET", f"/sessions/{session}/stats")
    after = await window.evaluate(f"({COUNTERS})('{type_}', '{kind}')")
    counted = sum(track[field] for track in stats["tracks"] if track["kind"] == kind)
    assert before["packets"] > 20
    low, high = (1 - SHARE) * (before["packets"] - before["repeated"]), (1 + SHARE) * after["packets"]
    assert low <= counted <= high, f"{kind}: {counted} here, {before} to {after} in the browser"


async def rates_agree(window: Any, api: Api) -> None:
    """Bitrate and frame rate, averaged over the same seconds; the server counts the headers as well."""
    session = await window.evaluate("sluicegate.state.sessions.receive")
    first, readings = await window.evaluate(f"({COUNTERS})('inbound-rtp', 'video')"), []
    for _ in range(5):
        await asyncio.sleep(1.1)
        stats = await api.call("GET", f"/sessions/{session}/stats")
        readings += [track for track in stats["tracks"] if track["kind"] == "video"]
    last = await window.evaluate(f"({COUNTERS})('inbound-rtp', 'video')")
    frames = await window.evaluate("sluicegate.stats().then((all) => all.ada.camera.framesPerSecond)")
    print(first, last, readings, frames, 8*(last["bytes"]-first["bytes"])/(last["at"]-first["at"]))


async def test_lips_and_voice_keep_together(server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window:
        ada, ben = await asyncio.gather(open_window("chromium", tone_hz=440.0), open_recorded(open_window))
        await asyncio.gather(
            enter(ada, server, channel, "ada"), enter(ben, server, channel, "ben", camera=0, microphone=0)
        )
        await sees(ben, "ada")
        await hears(ben, "ada", 440.0)
        for _ in range(20):
            await asyncio.sleep(0.5)
            print(await ben.evaluate(f"({LEAD})()"))
