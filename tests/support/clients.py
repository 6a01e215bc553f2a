"""Real clients in Python: the same few methods whatever library is underneath.

async with join("aiortc", server.url, "room", "alice") as alice:
    await alice.publish_audio(440)
    await alice.publish_video()
    for meter in (await alice.subscribe_all()).values():
        await meter.until(frames=30)
        meter.frequency(), meter.counters
"""

from contextlib import AbstractAsyncContextManager
from typing import Any

from .aiortc_client import AiortcClient
from .media_tracks import CounterTrack, Meter, ToneTrack
from .pymediasoup_client import PymediasoupClient

__all__ = ["CLIENTS", "AiortcClient", "CounterTrack", "Meter", "PymediasoupClient", "ToneTrack", "join"]

CLIENTS: dict[str, type[AiortcClient] | type[PymediasoupClient]] = {
    "aiortc": AiortcClient,
    "pymediasoup": PymediasoupClient,
}


def join(library: str, url: str, channel: str, user: str, **options: Any) -> AbstractAsyncContextManager[Any]:
    """A client of `library` ("aiortc" or "pymediasoup"). Options: `token`, `media_address` (a relay's port)."""
    return CLIENTS[library].joined(url, channel, user, **options)
