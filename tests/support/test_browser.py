"""Both browsers start, take the fake devices, and play what a loopback connection brings."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.browser import browsers, listen

# A camera and a microphone through two connections of the page itself.
LOOPBACK = """
(async () => {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  const [out, back] = [new RTCPeerConnection(), new RTCPeerConnection()];
  out.onicecandidate = ({ candidate }) => back.addIceCandidate(candidate);
  back.onicecandidate = ({ candidate }) => out.addIceCandidate(candidate);
  window.received = {};
  back.ontrack = ({ track }) => {
    window.received[track.kind] = track;
    const element = document.createElement(track.kind);
    element.srcObject = new MediaStream([track]);
    element.autoplay = true;
    document.body.append(element);
  };
  for (const track of stream.getTracks()) out.addTrack(track, stream);
  await out.setLocalDescription(await out.createOffer());
  await back.setRemoteDescription(out.localDescription);
  await back.setLocalDescription(await back.createAnswer());
  await out.setRemoteDescription(back.localDescription);
  window.framesDecoded = async () => {
    const stats = [...(await back.getStats()).values()];
    return stats.find(({ type, kind }) => type === "inbound-rtp" && kind === "video")?.framesDecoded ?? 0;
  };
  return true;
})()
"""


@pytest.fixture
async def page() -> AsyncIterator[str]:
    async def blank(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>blank</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", blank)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("kind", "tone_hz"),
    [
        ("chromium", 620.0),
        ("firefox", 700.0),
    ],
)
async def test_a_browser_sends_and_receives_media(kind: str, tone_hz: float, page: str, tmp_path: Path) -> None:
    async with browsers() as open_window:
        window = await open_window(kind, tone_hz=tone_hz)
        await window.goto(page)
        assert await window.evaluate("document.title") == "blank"
        assert await window.evaluate("undefined") is None
        with pytest.raises(RuntimeError, match="oh dear"):
            await window.evaluate("Promise.reject(new Error('oh dear'))")
        await window.evaluate("console.warn('a word')")
        await window.evaluate(LOOPBACK)
        assert await window.until("framesDecoded().then((frames) => frames > 10 && frames)") > 10
        assert abs(await listen(window, "received.audio") - tone_hz) < 12
        await window.screenshot(tmp_path / "window.png")
        assert (tmp_path / "window.png").read_bytes().startswith(b"\x89PNG")
        assert any("a word" in line for line in window.console)
