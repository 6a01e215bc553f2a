"""Real browsers with fake microphones and cameras, one process for each window.

    async with browsers() as open_window:
        alice = await open_window("chromium", tone_hz=440)
        bob = await open_window("firefox", tone_hz=1000)
        await alice.goto(server.url)
        await alice.evaluate("document.title")

Both kinds have the methods of `Window`. What `evaluate` gives is JSON; a promise is awaited.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from .chromium import ChromiumWindow
from .firefox import FirefoxWindow

__all__ = ["LISTEN", "ChromiumWindow", "FirefoxWindow", "Window", "browsers", "listen"]


class Window(Protocol):
    """One browser with one page. `console` collects what the page logs, and its uncaught errors."""

    console: list[str]

    async def goto(self, url: str) -> None:
        """Load a page."""

    async def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression; raises RuntimeError for an exception of its."""

    async def until(self, expression: str, timeout: float = 15.0) -> Any:
        """Evaluate until the value is truthy; raises TimeoutError with the last value and the console."""

    async def screenshot(self, path: Path) -> None:
        """What the window shows, as a PNG."""

    async def close(self) -> None:
        """End the browser and all of its processes."""


Opener = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def browsers() -> AsyncIterator[Opener]:
    """`await open_window(kind, **options)` for "chromium" and "firefox"; all are closed in the end."""
    async with AsyncExitStack() as stack:

        async def open_window(kind: str, **options: Any) -> Window:
            opened: Window
            if kind == "chromium":
                opened = await ChromiumWindow.open(**options)
            elif kind == "firefox":
                opened = await FirefoxWindow.open(**options)
            else:
                raise ValueError(kind)
            stack.push_async_callback(opened.close)
            return opened

        yield open_window


# Evaluates to a function (MediaStreamTrack, seconds) → {frequency, level}: the strongest frequency in Hz in what the
# track plays, and its level in dB; frequency 0 means silence. The loudest of several moments rides over the swelling.
LISTEN = """
(async (track, seconds = 1) => {
  const context = new AudioContext();
  await context.resume();
  const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
  const source = context.createMediaStreamSource(new MediaStream([track]));
  source.connect(analyser);
  const bins = new Float32Array(analyser.frequencyBinCount);
  let best = { frequency: 0, level: -Infinity };
  for (let n = 0; n < seconds * 10; n++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    analyser.getFloatFrequencyData(bins);
    const level = Math.max(...bins);
    const frequency = (bins.indexOf(level) * context.sampleRate) / analyser.fftSize;
    if (level > best.level) best = { frequency, level };
  }
  source.disconnect();
  await context.close();
  return best.level > -70 ? best : { frequency: 0, level: best.level };
})
"""


async def listen(window: Window, track: str, seconds: float = 1.0) -> float:
    """The strongest frequency (within 6 Hz) of the audio track that a JavaScript expression names; 0.0 for silence."""
    heard = await window.evaluate(f"({LISTEN})({track}, {seconds})")
    return float(heard["frequency"])
