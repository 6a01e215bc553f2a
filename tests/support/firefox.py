"""The Firefox of the system over WebDriver BiDi, its own remote protocol: no driver in between."""

import asyncio
import base64
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import tempfile
from itertools import count
from pathlib import Path
from typing import Any, Self

import aiohttp

from .chromium import poll

PREFERENCES: dict[str, bool | int | str] = {
    # WebRTC with fake devices, on loopback
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    # a clock of its own in place of an audio device: without either, nothing would pull the decoded sound
    "media.cubeb.force_mock_context": True,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    # no word to anybody
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.region.network.url": "",
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage": "about:blank",
    "browser.startup.page": 0,
    "captivedetect.canonicalURL": "",
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.push.connection.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.url": "",
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "network.prefetch-next": False,
    "network.trr.mode": 5,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.server": "",
    # tests end it at any moment
    "browser.sessionstore.resume_from_crash": False,
    "toolkit.startup.max_resumed_crashes": -1,
}
LISTENING = re.compile(rb"WebDriver BiDi listening on (ws://\S+)")
PR_SET_PDEATHSIG = 1
CALL_TIMEOUT = 30.0
_libc = ctypes.CDLL(None)


def executable() -> str | None:
    """The browser's path, None when it is not installed."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


class FirefoxWindow:
    """One browser process with one page; its microphone plays a steady tone, its camera a changing colour."""

    def __init__(self, process: asyncio.subprocess.Process, directory: tempfile.TemporaryDirectory[str]) -> None:
        self.console: list[str] = []
        self._process = process
        self._directory = directory
        self._ids = count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._client: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._context = ""

    @classmethod
    async def open(
        cls,
        *,
        tone_hz: float = 1000.0,
        size: tuple[int, int] = (1280, 800),
        preferences: dict[str, bool | int | str] | None = None,
        timeout: float = 60.0,
    ) -> Self:
        """Start one. Raises RuntimeError where there is no Firefox, TimeoutError when it does not come up."""
        path = executable()
        if path is None:
            raise RuntimeError("no Firefox is installed: run scripts/system-packages")
        directory = tempfile.TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True)
        chosen = {**PREFERENCES, "media.navigator.audio.fake_frequency": round(tone_hz), **(preferences or {})}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in chosen.items()]
        (Path(directory.name) / "user.js").write_text("".join(lines))
        process = await asyncio.create_subprocess_exec(
            path,
            *("--headless", "--no-remote", "--remote-debugging-port=0", "--profile", directory.name),
            *(f"--width={size[0]}", f"--height={size[1]}", "about:blank"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # one system call, no lock
            env={
                **os.environ,
                "HOME": directory.name,
                "MOZ_CRASHREPORTER_DISABLE": "1",
                "MOZ_REMOTE_ALLOW_SYSTEM_ACCESS": "",
            },
        )
        window = cls(process, directory)
        try:
            async with asyncio.timeout(timeout):
                await window._connect()
        except BaseException:
            await window.close()
            raise
        return window

    async def goto(self, url: str) -> None:
        await self._call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        wrapped = f"(async () => JSON.stringify((await ({expression})) ?? null))()"
        answer = await self._call(
            "script.evaluate",
            expression=wrapped,
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        if answer["type"] == "exception":
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])

    async def until(self, expression: str, timeout: float = 15.0) -> Any:
        return await poll(self, expression, timeout)

    async def screenshot(self, path: Path) -> None:
        answer = await self._call("browsingContext.captureScreenshot", context=self._context)
        path.write_bytes(base64.b64decode(answer["data"]))

    async def close(self) -> None:
        if self._socket is not None and not self._socket.closed:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5):
                    await self._call("browser.close")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        # With media running it takes many seconds to end by itself; its profile is thrown away anyhow.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        self._directory.cleanup()

    async def _connect(self) -> None:
        assert self._process.stderr is not None
        while (found := LISTENING.search(line := await self._process.stderr.readline())) is None:
            if not line:
                raise RuntimeError(f"Firefox ended with {await self._process.wait()}")
        self._tasks.append(asyncio.create_task(self._discard_output()))
        self._client = aiohttp.ClientSession()
        self._socket = await self._client.ws_connect(found[1].decode() + "/session", max_msg_size=64 << 20)
        self._tasks.append(asyncio.create_task(self._read()))
        await self._call("session.new", capabilities={})
        tree = await self._call("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]
        await self._call("session.subscribe", events=["log.entryAdded"])

    async def _call(self, method: str, **params: Any) -> dict[str, Any]:
        assert self._socket is not None
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(CALL_TIMEOUT):
            return await answer

    async def _read(self) -> None:
        assert self._socket is not None
        try:
            async for message in self._socket:
                self._handle(json.loads(message.data))
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("Firefox has gone"))

    def _handle(self, message: dict[str, Any]) -> None:
        if message.get("method") == "log.entryAdded":
            entry = message["params"]
            self.console.append(f"{entry['level']}: {entry['text']}")
        answer = self._answers.pop(message.get("id") or 0, None)
        if answer is None or answer.done():
            return
        if message["type"] == "error":
            answer.set_exception(RuntimeError(f"{message['error']}: {message['message']}"))
        else:
            answer.set_result(message["result"])

    async def _discard_output(self) -> None:
        assert self._process.stderr is not None
        while await self._process.stderr.readline():
            pass


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
