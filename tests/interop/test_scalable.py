"""Layers inside one stream, in every way that Chromium can send them: a viewer prefers some, and can always go on.

One page publishes its camera and views it. How fast the machine encodes does not matter: rates are pictures decoded for frames encoded.
"""

import asyncio
import time
from typing import Any

import pytest

from tests.interop.loop import open_client
from tests.interop.room import PATIENCE
from tests.support.api import Api
from tests.support.browser import browsers
from tests.support.server import ServerProcess

# Evaluates to a function (channel, codec, scalabilityMode) → {session, subscription} of the viewer. It leaves `picture`
# (the element that shows what came back) and `counts()` behind.
LOOP = """
(async (channel, codec, scalabilityMode) => {
  const [out, back] = [await client.join(channel, "ada", "send"), await client.join(channel, "ben", "recv")];
  const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
  const producer = await out.transport.produce({
    track: camera.getVideoTracks()[0],
    encodings: [{ scalabilityMode, maxBitrate: 1_500_000 }],
    codec: client.choose(out, ({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`),
  });
  const consumer = await client.subscribe(back, producer.id);
  window.picture = client.show(consumer.track);
  window.counts = async () => {
    const [sent, received] = await Promise.all([producer.getStats(), consumer.getStats()]);
    const outbound = [...sent.values()].find(({ type }) => type === "outbound-rtp");
    const inbound = [...received.values()].find(({ type }) => type === "inbound-rtp");
    const { framesDecoded: decoded = 0, pliCount: asked = 0 } = inbound ?? {};
    return { encoded: outbound.framesEncoded, mode: outbound.scalabilityMode, decoded, asked };
  };
  return { session: back.transport.id, subscription: consumer.id };
})
"""
HAS_CODEC = """
((codec) => [RTCRtpSender, RTCRtpReceiver].every((one) =>
  one.getCapabilities("video").codecs.some(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`)))
"""
WIDTH = 1280
# Pictures in which a rate is counted: whole groups of four, which is what three temporal layers repeat.
COUNTED = 24


class Viewer:
    """The subscription of the page, and what it decodes."""

    def __init__(self, window: Any, api: Api, session: str, subscription: str) -> None:
        self.window, self._api = window, api
        self._session, self._subscription = f"/sessions/{session}", subscription
        self._encoded = 0

    async def prefer(self, layers: dict[str, int] | None) -> None:
        """Ask for layers; None: for all."""
        path = f"{self._session}/subscriptions/{self._subscription}"
        await self._api.call("PATCH", path, {"preferred_layers": layers})

    async def until(self, spatial: int, temporal: int, width: int | None) -> None:
        """Wait until the server sends these layers and pictures so wide (None: of any size) are shown."""
        await self.window.until(
            f"picture.videoWidth === {width or 'picture.videoWidth'} && picture.videoWidth", PATIENCE
        )
        deadline, sent = time.monotonic() + PATIENCE, None
        while sent != {"spatial": spatial, "temporal": temporal}:
            assert time.monotonic() < deadline, f"layers {sent} come instead of {spatial}, {temporal}"
            (subscription,) = (await self._api.call("GET", self._session))["subscriptions"]
            sent = subscription["layers"]
            await asyncio.sleep(0.05)

    async def calibrate(self) -> None:
        """Count the encoded frames that make `COUNTED` pictures while all layers come: browsers count them each."""
        first = last = await self.counts()
        deadline = time.monotonic() + PATIENCE
        while last["decoded"] - first["decoded"] < COUNTED:
            assert time.monotonic() < deadline, f"the picture stands still: {first}, then {last}"
            await asyncio.sleep(0.05)
            last = await self.counts()
        self._encoded = last["encoded"] - first["encoded"]

    async def rate(self) -> float:
        """Which part of the pictures is decoded now, 0–1."""
        first = last = await self.counts()
        deadline = time.monotonic() + PATIENCE
        while last["encoded"] - first["encoded"] < self._encoded:
            assert time.monotonic() < deadline, f"nothing is encoded: {first}, then {last}"
            await asyncio.sleep(0.05)
            last = await self.counts()
        share = self._encoded / (last["encoded"] - first["encoded"])
        return float((last["decoded"] - first["decoded"]) / COUNTED * share)

    async def counts(self) -> dict[str, Any]:
        counted: dict[str, Any] = await self.window.evaluate("counts()")
        return counted


@pytest.mark.parametrize(
    ("codec", "mode", "spatial", "temporal"),
    [("av1", "L3T3_KEY", 2, 2), ("av1", "L3T3", 2, 2), ("av1", "L1T2", 0, 1), ("vp9", "L3T3", 2, 2)],
)
async def test_a_viewer_goes_down_and_up_and_is_never_stuck(
    codec: str, mode: str, spatial: int, temporal: int, server: ServerProcess, channel: str
) -> None:
    async with browsers() as open_window, Api(server.url) as api:
        window = await open_client(open_window, server)
        assert await window.evaluate(f"{HAS_CODEC}('{codec}')"), f"Debian's Chromium has {codec}"
        viewer = Viewer(window, api, **await window.evaluate(f"({LOOP})('{channel}', '{codec}', '{mode}')"))
        # Without layers of size the browser begins with a small picture, and takes its time to enlarge it.
        full = WIDTH if spatial else None
        await viewer.until(spatial, temporal, full)
        first = await viewer.counts()
        assert first["mode"] == mode
        await viewer.calibrate()

        if spatial:
            await viewer.prefer({"spatial": 0})
            await viewer.until(0, temporal, WIDTH >> spatial)
            await viewer.prefer({"spatial": 1})
            await viewer.until(1, temporal, WIDTH >> spatial - 1)
        for limit in range(temporal):
            await viewer.prefer({"spatial": spatial, "temporal": limit})
            await viewer.until(spatial, limit, full)
            expected = 1 / 2 ** (temporal - limit)
            rate = await viewer.rate()
            assert 0.6 * expected <= rate <= 1.4 * expected, f"{rate:.2f} of the pictures, not {expected}"
        await viewer.prefer(None)
        await viewer.until(spatial, temporal, full)
        assert await viewer.rate() > 0.7
        last = await viewer.counts()
        assert last["asked"] == first["asked"], f"the viewer got what it could not decode: {first}, then {last}"
