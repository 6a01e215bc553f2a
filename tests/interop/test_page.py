"""People meet on the product's own page, in real browsers; and what the page says when it cannot let them."""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.interop.room import PATIENCE, address, connected, enter, hears, meet
from tests.support.api import Api
from tests.support.browser import browsers
from tests.support.server import SECRET, ServerProcess

TONES = {"ada": 440.0, "ben": 660.0, "cem": 880.0}
FIGURES = r"/^\d+×\d+ · [\d.,]+ \S+ · [\d.,]+\s?% lost$/"
JOIN_ERROR = "document.querySelector('#join-error').textContent"
REFUSED = "--use-fake-ui-for-media-stream=deny"


async def test_three_people_meet_and_one_comes_back(server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window:
        opened = await asyncio.gather(*(open_window("chromium", tone_hz=tone) for tone in TONES.values()))
        windows = dict(zip(TONES, opened, strict=True))
        await asyncio.gather(*(enter(window, server, channel, name) for name, window in windows.items()))
        await meet(windows, TONES)
        for name, window in windows.items():
            await shows_who_is_there(window, name)
        await follows_who_speaks(windows)

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


async def shows_who_is_there(window: Any, own: str) -> None:
    """Everybody's name, and the size, bitrate and loss of everybody's picture, on their tiles."""
    for name in TONES:
        tile = f"document.querySelector('.tile[data-user={name}]')"
        shown = await window.evaluate(f"{tile}.querySelector('.name').textContent")
        assert shown == (f"{name} (you)" if name == own else name)
        await window.until(f"{FIGURES}.test({tile}.querySelector('.figures').textContent)", PATIENCE)


async def follows_who_speaks(windows: dict[str, Any]) -> None:
    """Ben's microphone is on, off and on again: the others' pages show it each time."""
    speaks, mute = (
        f"document.querySelector('.tile[data-user=ben]').matches('.{name}')" for name in ("speaking", "muted")
    )
    heard, silent = f"{speaks} && !{mute}", f"!{speaks} && {mute}"

    async def others_show(expected: str) -> None:
        await asyncio.gather(*(windows[name].until(expected, PATIENCE) for name in ("ada", "cem")))

    await others_show(heard)
    for expected in (silent, heard):
        await windows["ben"].page.click("#microphone")
        await others_show(expected)


async def test_a_full_server_says_that_there_is_no_room(
    start_server: Callable[..., ServerProcess], channel: str
) -> None:
    server = start_server(MAX_SESSIONS=1)
    async with Api(server.url) as api, browsers() as open_window:
        first = await api.create_session(channel, "first")
        window = await open_window("chromium")
        await window.goto(address(server, channel, "second"))
        assert "There is no room right now." in await window.until(JOIN_ERROR, PATIENCE)
        assert await window.evaluate("!document.querySelector('#lobby').hidden")
        await api.call("DELETE", f"/sessions/{first['session_id']}")
        await window.page.click("#join")
        await connected(window)


async def test_a_wrong_token_is_named_and_a_right_one_lets_in(
    start_server: Callable[..., ServerProcess], channel: str
) -> None:
    server = start_server(API_SECRET=SECRET)
    async with browsers() as open_window:
        window = await open_window("chromium")
        await window.goto(address(server, channel, "ada", token="wrong"))
        words = await window.until(JOIN_ERROR, PATIENCE)
        assert words.startswith("The server did not accept this token: it may be mistyped or expired.")
        assert "token" not in await window.evaluate("location.search")
        await window.page.fill("#token", server.token("ada", channel))
        await window.page.click("#join")
        await connected(window)
        assert await window.evaluate("sluicegate.state.userId") == "ada"


async def test_a_refused_microphone_is_told_and_the_others_are_heard_all_the_same(
    server: ServerProcess, channel: str
) -> None:
    async with browsers() as open_window:
        mute, speaker = await asyncio.gather(
            open_window("chromium", flags=(REFUSED,)), open_window("chromium", tone_hz=660.0)
        )
        await asyncio.gather(
            enter(mute, server, channel, "mute", camera=0), enter(speaker, server, channel, "speaker", camera=0)
        )
        words = await mute.until("document.querySelector('.toast[data-key=microphone]')?.textContent", PATIENCE)
        assert "The browser may not use your microphone. Allow it" in words
        assert await mute.evaluate("sluicegate.state.microphone") is False
        await hears(mute, "speaker", 660.0)
        assert await speaker.until("sluicegate.peers.get('mute')?.audio.muted", PATIENCE)
