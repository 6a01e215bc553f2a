"""A subscriber asks for less of a picture than there is, gets it, and gets the whole again.

VP8 is sent as simulcast (three streams), VP9 with its layers inside one stream.
"""

import asyncio
from typing import Any

import pytest

from tests.interop.room import PATIENCE, enter, sees
from tests.support.api import Api
from tests.support.browser import browsers
from tests.support.server import ServerProcess

# Chromium's own camera, as the page asks for it.
LINES, RATE = 720, 20


class Viewer:
    """A window that sees `ada`, and the subscription behind her picture."""

    def __init__(self, window: Any, api: Api, path: str) -> None:
        self.window, self._api, self._path = window, api, path

    @classmethod
    async def of(cls, window: Any, api: Api) -> "Viewer":
        session = await window.evaluate("sluicegate.state.sessions.receive")
        view = await api.call("GET", f"/sessions/{session}")
        (picture,) = (one for one in view["subscriptions"] if one["kind"] == "video")
        return cls(window, api, f"/sessions/{session}/subscriptions/{picture['subscription_id']}")

    async def prefer(self, layers: dict[str, int] | None) -> dict[str, Any]:
        """Ask for layers (null: for all of them); the subscription as it answers."""
        answer: dict[str, Any] = await self._api.call("PATCH", self._path, {"preferred_layers": layers})
        assert answer["preferred_layers"] == (layers and {"temporal": None, **layers})
        return answer

    async def until(self, condition: str) -> None:
        """Wait for what is decoded: `height` in lines, `framesPerSecond`."""
        figures = "({ height, framesPerSecond })"
        measured = "sluicegate.stats().then((all) => all.ada.camera)"
        await self.window.until(f"{measured}.then({figures} => {condition})", PATIENCE)


@pytest.mark.parametrize(("codec", "kind"), [("vp8", "simulcast"), ("vp9", "svc")])
async def test_a_viewer_gets_the_layers_it_prefers(codec: str, kind: str, server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window, Api(server.url) as api:
        sender, receiver = await asyncio.gather(open_window("chromium"), open_window("chromium"))
        await asyncio.gather(
            enter(sender, server, channel, "ada", codec=codec, microphone=0),
            enter(receiver, server, channel, "ben", camera=0, microphone=0),
        )
        await sees(receiver, "ada")
        viewer = await Viewer.of(receiver, api)
        await viewer.until(f"height === {LINES} && framesPerSecond > {0.7 * RATE}")

        answer = await viewer.prefer({"spatial": 0})
        assert answer["type"] == kind
        assert answer["target_layers"]["spatial"] == 0
        await viewer.until(f"height === {LINES // 4} && framesPerSecond > {0.7 * RATE}")
        assert await sees(receiver, "ada") == {"width": LINES * 16 // 9 // 4, "height": LINES // 4}

        await viewer.prefer({"spatial": 0, "temporal": 0})
        await viewer.until(f"height === {LINES // 4} && framesPerSecond > 0 && framesPerSecond < {0.4 * RATE}")

        await viewer.prefer({"spatial": 2, "temporal": 0})
        await viewer.until(f"height === {LINES} && framesPerSecond > 0 && framesPerSecond < {0.4 * RATE}")

        await viewer.prefer(None)
        await viewer.until(f"height === {LINES} && framesPerSecond > {0.7 * RATE}")
        assert await sees(receiver, "ada") == {"width": LINES * 16 // 9, "height": LINES}


async def test_the_quality_chosen_in_a_tiles_menu_is_what_comes(server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window:
        sender, receiver = await asyncio.gather(open_window("chromium"), open_window("chromium"))
        await asyncio.gather(
            enter(sender, server, channel, "ada", microphone=0),
            enter(receiver, server, channel, "ben", camera=0, microphone=0),
        )
        height = "sluicegate.peers.get('ada').videoElement.videoHeight"
        await sees(receiver, "ada")
        await receiver.until(f"{height} === {LINES}", PATIENCE)
        tile = receiver.page.locator(".tile[data-user=ada]")
        await tile.hover()
        await tile.locator(".more").click()
        for quality, lines in (("low", LINES // 4), ("medium", LINES // 2), ("high", LINES)):
            await tile.locator("[name=quality]").select_option(quality)
            await receiver.until(f"{height} === {lines}", PATIENCE)
