"""Sessions that are left to themselves, in a thread with a loop of its own, and what became of each."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self

from tests.support.api import Api
from tests.support.rtc_client import ScriptedClient
from tests.support.sources import AudioSource

LONGEST = 90.0


@dataclass(slots=True)
class Death:
    """How a session ended: the event that told of it, and how long after its last sign of life."""

    reason: str
    after: float
    seen: dict[str, Any] = field(default_factory=dict)


class Deaths:
    """Futures of `Death`, by name."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="deaths", daemon=True)
        self._futures: dict[str, Future[Death]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        scenes: dict[str, Callable[[str], Coroutine[Any, Any, Death]]] = {
            "silent": self._silent,
            "never connected": self._never_connected,
            "half a handshake": self._half_a_handshake,
            "vanished": self._vanished,
        }
        for name, scene in scenes.items():
            channel = f"deaths-{uuid.uuid4().hex[:12]}"
            self._futures[name] = asyncio.run_coroutine_threadsafe(scene(channel), self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def of(self, name: str) -> Death:
        """Wait for one of them."""
        return await asyncio.wait_for(asyncio.wrap_future(self._futures[name]), LONGEST)

    # -- how they die

    async def _silent(self, channel: str) -> Death:
        """A listener that sends nothing more, though it still takes what it is sent."""
        async with (
            ScriptedClient.joined(self._url, channel, "alice") as alice,
            ScriptedClient.joined(self._url, channel, "bob", consent=False) as bob,
        ):
            published = await alice.publish("opus", ssrc=1)
            subscription = await bob.subscribe(published.track_id)
            await bob.check()
            last = time.monotonic()
            source = AudioSource(ssrc=1, payload_type=109, interval=0.1)
            playing = asyncio.create_task(alice.play(source, seconds=LONGEST))
            death = await _watch(alice.api, channel, bob.session_id, last)
            await asyncio.sleep(1.0)
            playing.cancel()
            until = bob.rtp_log[-1].at - last
            death.seen = {"media_for": until, "sent_after": len(alice.published), "heard": len(bob.media(subscription))}
            return death

    async def _vanished(self, channel: str) -> Death:
        """A publisher whose socket is gone: its track goes with it."""
        async with Api(self._url) as api, ScriptedClient(self._url, channel, "alice") as alice:
            await alice.create()
            await alice.connect()
            await alice.publish("opus", ssrc=1)
            await alice.check()
            last = time.monotonic()
            await alice.shut()
            return await _watch(api, channel, alice.session_id, last)

    async def _never_connected(self, channel: str) -> Death:
        """A session that nobody ever came for."""
        async with Api(self._url) as api:
            last = time.monotonic()
            session = await api.create_session(channel, "nobody")
            return await _watch(api, channel, session["session_id"], last)

    async def _half_a_handshake(self, channel: str) -> Death:
        """One flight of DTLS, until the server has answered it, and nothing after that."""
        async with Api(self._url) as api, ScriptedClient(self._url, channel, "mallory") as mallory:
            await mallory.create()
            await mallory.signal_connect()
            await mallory.open()
            await mallory.check()
            last = time.monotonic()
            mallory.dtls.handshake()
            flight, answers = list(mallory.dtls.datagrams()), []
            mallory.dtls.receive = answers.append  # type: ignore[method-assign]
            while not answers:  # others flood this server meanwhile: a datagram may be lost
                for datagram in flight:
                    mallory.send_raw(datagram)
                await asyncio.sleep(0.2)
            await mallory.shut()
            return await _watch(api, channel, mallory.session_id, last)


async def _watch(api: Api, channel: str, session_id: str, last: float) -> Death:
    """Wait for the event that a session was closed."""
    async with api.events(channel) as events:
        while True:
            event = await events.receive_json(timeout=LONGEST)
            if event["type"] == "session.closed" and event["session_id"] == session_id:
                return Death(event["reason"], time.monotonic() - last)
