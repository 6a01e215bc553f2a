"""What the server says of a stream is what the browsers count, and voice and lips keep together."""

import asyncio
import time
from statistics import mean
from typing import Any

import pytest

from tests.interop.room import PATIENCE, RECORD_CONNECTIONS, enter, hears, sees
from tests.support.api import Api
from tests.support.browser import browsers
from tests.support.server import ServerProcess

# Counters of the page's streams of one type ("inbound-rtp" …) by kind; packets that were sent again are left out, as
# the server counts them apart.
COUNTERS = """
(async (type) => {
  const total = { at: performance.now() / 1000 };
  for (const kind of ["audio", "video"]) total[kind] = { packets: 0, bytes: 0, frames: 0 };
  for (const connection of connections) {
    for (const one of (await connection.getStats()).values()) {
      if (one.type !== type) continue;
      total[one.kind].packets += (one.packetsSent ?? one.packetsReceived)
        - (one.retransmittedPacketsSent ?? one.retransmittedPacketsReceived ?? 0);
      total[one.kind].bytes += (one.bytesSent ?? one.bytesReceived)
        + (one.headerBytesSent ?? one.headerBytesReceived);
      total[one.kind].frames += one.framesSent ?? one.framesReceived ?? 0;
    }
  }
  return total;
})
"""
STOP_SENDING = """
Promise.all(connections
  .filter(({ connectionState }) => connectionState === "connected")
  .flatMap((connection) => connection.getSenders())
  .map((sender) => sender.replaceTrack(null)))
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
# Of the two bitrates; that of a picture moves within the second by which the windows of the two differ.
SHARE = {"audio": 0.05, "video": 0.25}
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
        await rates_agree(ben, api)
        await ada.evaluate(STOP_SENDING)
        await asyncio.gather(
            counts_agree(ada, api, "send", "outbound-rtp"), counts_agree(ben, api, "receive", "inbound-rtp")
        )


async def rates_agree(window: Any, api: Api) -> None:
    """Bitrate and frame rate over the same seconds; the server counts the headers as well."""
    for _ in range(2):  # a rate is since the reading before, and the first reaches back to the joining
        await tracks_of(window, api, "receive")
        await asyncio.sleep(1.2)
    first = await window.evaluate(f"({COUNTERS})('inbound-rtp')")
    bitrates: dict[str, list[int]] = {"audio": [], "video": []}
    for _ in range(4):
        await asyncio.sleep(1.2)
        for track in await tracks_of(window, api, "receive"):
            bitrates[track["kind"]].append(track["bitrate"])
            if track["kind"] == "video":
                frame_rate = track["frames_per_second"]
    last = await window.evaluate(f"({COUNTERS})('inbound-rtp')")
    for kind, readings in bitrates.items():
        measured = 8 * (last[kind]["bytes"] - first[kind]["bytes"]) / (last["at"] - first["at"])
        assert mean(readings) == pytest.approx(measured, rel=SHARE[kind]), f"{kind}: {readings}"
    shown = await window.evaluate("sluicegate.stats().then((all) => all.ada.camera.framesPerSecond)")
    assert frame_rate == pytest.approx(shown, abs=5)


async def counts_agree(window: Any, api: Api, link: str, type_: str) -> None:
    """Once nothing is sent any more, the packets that the server counted are those that the browser counted."""
    field = "packets_received" if link == "send" else "packets_sent"
    counted: dict[str, int] | None = None
    while counted != (counted := {one["kind"]: one[field] for one in await tracks_of(window, api, link)}):
        await asyncio.sleep(1.5)
    browser = await window.evaluate(f"({COUNTERS})('{type_}')")
    assert counted["audio"] == pytest.approx(browser["audio"]["packets"], rel=0.02)
    if link == "send":
        # Chromium counts the packets as well that only probe the path; they repeat old ones and belong to no picture.
        assert browser["video"]["frames"] <= counted["video"] <= browser["video"]["packets"]
    else:
        assert counted["video"] == pytest.approx(browser["video"]["packets"], rel=0.02)


async def tracks_of(window: Any, api: Api, link: str) -> list[dict[str, Any]]:
    """What the server's statistics say of the tracks of one of the window's sessions."""
    session = await window.evaluate(f"sluicegate.state.sessions.{link}")
    tracks: list[dict[str, Any]] = (await api.call("GET", f"/sessions/{session}/stats"))["tracks"]
    return tracks


async def test_lips_and_voice_keep_together(server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window:
        ada, ben = await asyncio.gather(open_window("chromium", tone_hz=440.0), open_recorded(open_window))
        await asyncio.gather(
            enter(ada, server, channel, "ada"), enter(ben, server, channel, "ben", camera=0, microphone=0)
        )
        await sees(ben, "ada")
        await hears(ben, "ada", 440.0)
        # The browser moves the two together in steps: then they stay.
        deadline, leads = time.monotonic() + PATIENCE, list[float]()
        while len(leads) < 10 or max(map(abs, leads[-10:])) >= IN_STEP_MS:
            assert time.monotonic() < deadline, f"ahead by {leads} ms"
            await asyncio.sleep(0.3)
            played = await ben.evaluate(f"({LEAD})()")
            leads += [played["lead"]] if played else []
