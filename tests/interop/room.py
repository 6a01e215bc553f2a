"""The product's page as a person sees it: who is there, whether their pictures move, what is heard of them."""

import asyncio
import time
from typing import Any
from urllib.parse import urlencode

from tests.support.browser import listen
from tests.support.server import ServerProcess

# Windows share two cores: a real room needs a few seconds, a busy machine many more.
PATIENCE = 40.0
TONE_TOLERANCE_HZ = 12.0

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

# Draws the video that an expression names into a canvas until two moments differ, and the picture is no single colour
# where `plain` does not allow that. Gives the size of the picture, null when it stands still for five seconds.
MOVES = """
(async (video, plain) => {
  const canvas = new OffscreenCanvas(64, 36);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const draw = () => {
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    return context.getImageData(0, 0, canvas.width, canvas.height).data;
  };
  for (let first = draw(), n = 0; n < 25; n++) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const second = draw();
    const changed = second.filter((value, index) => Math.abs(value - first[index]) > 8).length;
    const colours = new Set(second.filter((_, index) => index % 4 === 1).map((value) => value >> 4)).size;
    if (changed > 20 && (plain || colours > 1)) return { width: video.videoWidth, height: video.videoHeight };
  }
  return null;
})
"""


def address(server: ServerProcess, channel: str, name: str, *, host: str = "localhost", **query: Any) -> str:
    """The page's address that joins at once; the microphone is not processed, so that a tone stays one."""
    chosen = {"channel": channel, "name": name, "join": 1, "microphone": 1, "camera": 1, "processing": 0, **query}
    given = urlencode({key: value for key, value in chosen.items() if value is not None})
    return f"http://{host}:{server.environment['PORT']}/?{given}"


async def enter(window: Any, server: ServerProcess, channel: str, name: str, **query: Any) -> None:
    """Join through the page and wait until media goes out."""
    await window.goto(address(server, channel, name, **query))
    await connected(window)


async def connected(window: Any) -> None:
    """Wait until the page says so."""
    await window.until("window.sluicegate?.state.connection === 'connected'", PATIENCE)


async def sees(window: Any, user: str, *, plain: bool = False) -> dict[str, int]:
    """The size of the moving picture of `user`, once more frames of it are decoded and it really changes."""
    video = f"sluicegate.peers.get('{user}')?.videoElement"
    await window.until(f"({video}?.videoWidth ?? 0) > 0", PATIENCE)
    before = await frames_decoded(window, user)
    deadline = time.monotonic() + PATIENCE
    while (moving := await window.evaluate(f"({MOVES})({video}, {str(plain).lower()})")) is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"the picture of {user} stands still\n" + "\n".join(window.console[-30:]))
    assert await frames_decoded(window, user) > before
    size: dict[str, int] = moving
    return size


async def frames_decoded(window: Any, user: str) -> int:
    """How many pictures of `user` were decoded so far."""
    figures = await window.evaluate(f"sluicegate.stats().then((all) => all['{user}']?.camera?.framesDecoded ?? 0)")
    return int(figures)


async def hears(window: Any, user: str, tone_hz: float) -> None:
    """Wait until the strongest frequency in the decoded voice of `user` is the tone."""
    track = f"sluicegate.peers.get('{user}').audio.track"
    await window.until(f"Boolean(sluicegate.peers.get('{user}')?.audio.track)", PATIENCE)
    deadline = time.monotonic() + PATIENCE
    heard = -1.0
    while abs(heard - tone_hz) > TONE_TOLERANCE_HZ:
        assert time.monotonic() < deadline, f"{heard} Hz of {user} instead of {tone_hz}"
        heard = await listen(window, track, 0.5)


async def meet(windows: dict[str, Any], tones: dict[str, float], *, plain: frozenset[str] = frozenset()) -> None:
    """Everybody sees and hears everybody else; `plain` are those whose camera shows one colour at a time."""

    async def one(name: str) -> None:
        for other in windows.keys() - {name}:
            await sees(windows[name], other, plain=other in plain)
            await hears(windows[name], other, tones[other])

    await asyncio.gather(*(one(name) for name in windows))
