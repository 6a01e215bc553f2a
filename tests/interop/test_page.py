"""People meet on the product's own page, in real browsers; and what the page says when it cannot let them."""

import asyncio

import pytest

from tests.interop.room import PATIENCE, address, connected, enter, meet
from tests.support import chromium
from tests.support.browser import browsers
from tests.support.server import SECRET, ServerProcess

pytestmark = pytest.mark.skipif(not chromium.executable(), reason="no Chromium")

TONES = {"ada": 440.0, "ben": 660.0, "cem": 880.0}
NO_ERROR = "document.querySelector('#join-error').textContent"


async def test_three_people_meet_and_one_comes_back(server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window:
        opened = await asyncio.gather(*(open_window("chromium", tone_hz=tone) for tone in TONES.values()))
        windows = dict(zip(TONES, opened, strict=True))
        await asyncio.gather(*(enter(window, server, channel, name) for name, window in windows.items()))
        await meet(windows, TONES)

        await windows["cem"].page.click("#leave")
        await windows["cem"].until("sluicegate.state.connection === 'idle' && !document.querySelector('#lobby').hidden")
        for name in ("ada", "ben"):
            await windows[name].until("!document.querySelector('.tile[data-user=cem]')", PATIENCE)
            assert await windows[name].evaluate("sluicegate.peers.size") == 2

        await windows["cem"].page.click("#join")
        await connected(windows["cem"])
        await meet(windows, TONES)
        for window in windows.values():
            assert [line for line in window.console if line.startswith(("error", "uncaught"))] == []
