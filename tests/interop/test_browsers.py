"""Firefox and Chromium see and hear each other through the server, in every codec that both have; so do two Chromiums.

Firefox pairs no candidate on 127.0.0.1, so server and browsers share a network of their own there.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.namespace import own_network, run_as_root_of_a_namespace
from tests.interop.room import PATIENCE, enter, hears, meet, sees
from tests.support.browser import browsers
from tests.support.server import ServerProcess

TONES = {"ada": 440.0, "ben": 1000.0}
HAS_CODEC = """
((codec) => [RTCRtpSender, RTCRtpReceiver].every((one) =>
  one.getCapabilities("video").codecs.some(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`)))
"""


@pytest.fixture
def other_network() -> Iterator[ServerProcess | None]:
    """A server in a network of its own, where the test now is as well; None where only root may make one."""
    try:
        with own_network() as address, ServerProcess(ANNOUNCED_ADDRESSES=address) as started:
            yield started
    except PermissionError:
        yield None


@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264"])
async def test_firefox_and_chromium_meet(
    codec: str, other_network: ServerProcess | None, channel: str, request: pytest.FixtureRequest
) -> None:
    if other_network is None:
        await run_as_root_of_a_namespace(request.node.nodeid)
        return
    async with browsers() as open_window:
        windows = await open_both(open_window, "chromium", "firefox")
        both = [await window.evaluate(f"{HAS_CODEC}('{codec}')") for window in windows.values()]
        if not all(both):
            # A Firefox without Cisco's plugin knows no H.264: then it says so where the picture would be.
            await each_is_told_what_it_cannot_play(windows, other_network, channel, codec)
            return
        await meet_in(codec, windows, other_network, channel, plain=frozenset({"ben"}))


@pytest.mark.parametrize("codec", ["h264", "av1"])
async def test_two_chromiums_meet(codec: str, server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window:
        await meet_in(codec, await open_both(open_window, "chromium", "chromium"), server, channel)


async def open_both(open_window: Any, *kinds: str) -> dict[str, Any]:
    """A window for each of `TONES`."""
    opened = (open_window(kind, tone_hz=tone) for kind, tone in zip(kinds, TONES.values(), strict=True))
    return dict(zip(TONES, await asyncio.gather(*opened), strict=True))


async def meet_in(
    codec: str, windows: dict[str, Any], server: ServerProcess, channel: str, *, plain: frozenset[str] = frozenset()
) -> None:
    """All join asking for the codec, see and hear each other, and it is the codec."""
    await asyncio.gather(*(enter(window, server, channel, name, codec=codec) for name, window in windows.items()))
    await meet(windows, TONES, plain=plain)
    for name, window in windows.items():
        for other in windows.keys() - {name}:
            used = await window.evaluate(f"sluicegate.stats().then((all) => all['{other}'].camera.codec)")
            assert used.lower() == codec


async def each_is_told_what_it_cannot_play(
    windows: dict[str, Any], server: ServerProcess, channel: str, codec: str
) -> None:
    """Chromium publishes what Firefox cannot play; Firefox has its first codec instead, which Chromium plays."""
    await asyncio.gather(*(enter(window, server, channel, name, codec=codec) for name, window in windows.items()))
    words = "document.querySelector('.tile[data-user=ada] .tile-problem')?.textContent"
    assert await windows["ben"].until(words, PATIENCE) == "Your browser cannot play this stream."
    await sees(windows["ada"], "ben", plain=True)
    await hears(windows["ben"], "ada", TONES["ada"])
    await hears(windows["ada"], "ben", TONES["ben"])
