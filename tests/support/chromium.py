"""The Chromium of the system, driven by Playwright."""

import asyncio
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page, async_playwright

from .tones import write_tone

FLAGS = (
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    # Windows that nobody looks at must keep time all the same.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
)


def executable() -> str | None:
    """The browser's path, None when it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class ChromiumWindow:
    """One browser process with one page; its microphone plays a swelling tone, its camera a moving pattern.

    `page` is Playwright's, for clicking and routing.
    """

    def __init__(self, page: Page, playwright: Any, directory: tempfile.TemporaryDirectory[str]) -> None:
        self.page = page
        self.console: list[str] = []
        self._playwright = playwright
        self._directory = directory
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))

    @classmethod
    async def open(
        cls,
        *,
        tone_hz: float = 440.0,
        video: Path | None = None,
        flags: tuple[str, ...] = (),
        size: tuple[int, int] = (1280, 800),
        timeout: float = 30.0,
    ) -> Self:
        """Start one. `video` (y4m or mjpeg) replaces the camera's pattern. Raises RuntimeError without a Chromium."""
        path = executable()
        if path is None:
            raise RuntimeError("no Chromium is installed: run scripts/system-packages")
        directory = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        wav = write_tone(Path(directory.name) / "microphone.wav", tone_hz)
        chosen = [*FLAGS, f"--use-file-for-fake-audio-capture={wav}", *flags]
        if video is not None:
            chosen.append(f"--use-file-for-fake-video-capture={video}")
        playwright = await async_playwright().start()
        try:
            browser = await playwright.chromium.launch(executable_path=path, args=chosen, timeout=timeout * 1000)
            page = await browser.new_page(viewport={"width": size[0], "height": size[1]})
        except BaseException:
            await playwright.stop()
            directory.cleanup()
            raise
        return cls(page, playwright, directory)

    async def goto(self, url: str) -> None:
        await self.page.goto(url)

    async def evaluate(self, expression: str) -> Any:
        try:
            text = await self.page.evaluate(f"(async () => JSON.stringify((await ({expression})) ?? null))()")
        except PlaywrightError as error:
            raise RuntimeError(error.message) from error
        return json.loads(text)

    async def until(self, expression: str, timeout: float = 15.0) -> Any:
        return await poll(self, expression, timeout)

    async def route_media(self, address: tuple[str, int], sessions: str = "**/sessions") -> None:
        """Make the page send its media to `address` (a relay's port), which replaces new sessions' candidates."""

        async def replace(route: Any) -> None:
            response = await route.fetch()
            body = await response.text()
            if route.request.method == "POST" and response.status == 201:
                session = json.loads(body)
                for candidate in session["ice_candidates"]:
                    candidate.update(ip=address[0], address=address[0], port=address[1])
                body = json.dumps(session)
            await route.fulfill(response=response, body=body)

        await self.page.route(sessions, replace)

    async def screenshot(self, path: Path) -> None:
        await self.page.screenshot(path=path)

    async def close(self) -> None:
        browser = self.page.context.browser
        try:
            if browser is not None:
                await browser.close()
        finally:
            await self._playwright.stop()
            self._directory.cleanup()


async def poll(window: Any, expression: str, timeout: float) -> Any:
    """What `Window.until` does."""
    deadline = time.monotonic() + timeout
    value = None
    while time.monotonic() < deadline:
        value = await window.evaluate(expression)
        if value:
            return value
        await asyncio.sleep(0.1)
    console = "\n".join(window.console[-30:])
    raise TimeoutError(f"{expression} is still {value!r}\n{console}")
