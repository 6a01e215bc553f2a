"""A screen is shared with its sound, and no longer."""

import asyncio
import time

from tests.interop.room import MOVES, PATIENCE, enter
from tests.support.browser import browsers, listen
from tests.support.server import ServerProcess

TILE = "document.querySelector('.tile[data-user=ada][data-shows=screen]')"
SCREEN = "sluicegate.peers.get('ada')?.screenElement"
SOUND = f"{TILE}.querySelector('audio').srcObject?.getAudioTracks()[0]"


async def test_a_screen_is_seen_and_heard_until_it_is_shared_no_more(server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window:
        ada, ben = await asyncio.gather(open_window("chromium"), open_window("chromium"))
        await asyncio.gather(
            *(
                enter(window, server, channel, name, microphone=0, camera=0)
                for window, name in ((ada, "ada"), (ben, "ben"))
            )
        )
        await ada.page.click("#screen")
        # Chromium's fake user agrees to the first thing that there is to share, and to its sound.
        await ada.until("sluicegate.state.screen", PATIENCE)
        await ben.until(f"({SCREEN}?.videoWidth ?? 0) > 0", PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while (picture := await ben.evaluate(f"({MOVES})({SCREEN}, false)")) is None:
            assert time.monotonic() < deadline, "the screen stands still\n" + "\n".join(ben.console[-30:])
        shared = await ada.evaluate(
            f"(({{ videoWidth: width, videoHeight: height }}) => ({{ width, height }}))({SCREEN})"
        )
        assert picture == shared
        assert await ben.evaluate(f"{TILE}.getAttribute('aria-label')") == "ada’s screen"
        await ben.until(f"Boolean({SOUND})", PATIENCE)
        while not await listen(ben, SOUND, 0.5):
            assert time.monotonic() < deadline + PATIENCE, "the screen is silent"

        await ada.page.click("#screen")
        await ben.until(f"!{TILE}", PATIENCE)
        assert await ben.evaluate("sluicegate.peers.size") == 2
        assert await ada.evaluate("sluicegate.state.screen") is False
        for window in (ada, ben):
            assert [line for line in window.console if line.startswith(("error", "uncaught"))] == []
