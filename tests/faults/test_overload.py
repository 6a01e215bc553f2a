"""Row 23: others burn all cores while the plane has much to do."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.innocent import InnocentCall
from tests.behaviour.scene import PATIENCE, people
from tests.faults.figures import Figures
from tests.faults.harmed import HarmedServer
from tests.faults.test_load import stop_reading
from tests.faults.viewer import Timetable, experience
from tests.support.api import Api, ApiFailure
from tests.support.payloads import read_mark
from tests.support.rtc_client import Published, ScriptedClient, Subscribed
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

LOW, MIDDLE, HIGH, SCREEN, SOUND = 10, 20, 30, 40, 50
NORMAL, REDUCED, AUDIO_ONLY = 0, 1, 2
# What the plane is given to do, of one core, with nobody beside it: much, and far from too much. It takes hundreds of
# subscriptions rather than many packets, for the publisher is Python and must not starve first.
DEMAND = 0.42
# What is left to the plane of a core is a quarter: too little for the top layer, and for the screen.
BURNERS_A_CORE = 3
CROWD, MOST_OF_ONE = 4, 960  # clients, and subscriptions of each
# The usual limits and weights, in a fraction of the time.
HURRIED = {"smoothing": 1.5, "onward": 5.0, "dwell": 6.0}


@contextmanager
def burners() -> Iterator[None]:
    """Processes that keep every core busy, each in a session of its own, lest they share one process's time."""
    count = BURNERS_A_CORE * len(os.sched_getaffinity(0))
    command = [sys.executable, "-c", "while True: pass"]
    burning = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
        for process in burning:
            process.wait()


def gauge(server: ServerProcess, name: str) -> float:
    found = re.search(rf"^sluicegate_{name} (\S+)$", server.get("/metrics", timeout=30.0)[1].decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def mode_becomes(server: ServerProcess, mode: int, within: float) -> float:
    """Wait for a mode; the seconds that it took."""
    began = time.monotonic()
    while (now := await asyncio.to_thread(gauge, server, "shedding_mode")) != mode:
        if time.monotonic() > began + within:
            load = await asyncio.to_thread(gauge, server, "load")
            raise AssertionError(f"mode {now:g} and not {mode} after {within} s; load {load:.2f}")
        await asyncio.sleep(0.25)
    return time.monotonic() - began


async def plane_share(server: ServerProcess, seconds: float = 1.0) -> float:
    """How much of a core the busiest thread has, leaving out the event loop's."""

    def spent() -> dict[str, int]:
        tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
        return {task.name: int((task / "schedstat").read_text().split()[0]) for task in tasks}

    before = spent()
    await asyncio.sleep(seconds)
    after = spent()
    loop = str(server.process.pid)
    return max(after[name] - before.get(name, 0) for name in after if name != loop) / seconds / 1e9


class Watch:
    """What a viewer sees: which encoding each packet of the camera is of."""

    def __init__(self, client: ScriptedClient) -> None:
        self.origins: list[int] = []
        self._client = client
        client.on_rtp.append(self._note)

    def _note(self, packet: RtpPacket, now: float) -> None:
        origin = read_mark(packet.payload)[0]
        if origin in (LOW, MIDDLE, HIGH):
            self.origins.append(origin)

    async def shows(self, origin: int) -> None:
        """Wait until the camera comes as this encoding."""
        seen = len(self.origins)
        await self._client.until(lambda: origin in self.origins[seen:], PATIENCE)

    async def silent(self, seconds: float) -> bool:
        """Whether nothing more comes, once what was under way has arrived."""
        await asyncio.sleep(0.5)
        seen = len(self.origins)
        await asyncio.sleep(seconds)
        return len(self.origins) == seen


async def subscribe_crowd(
    server: ServerProcess, crowd: Sequence[ScriptedClient], demand: float, *tracks: Published
) -> None:
    """As many subscriptions to each track as it takes to keep the plane at its demand."""
    there, most = 0, MOST_OF_ONE // len(tracks)

    async def subscribe(times: int) -> None:
        nonlocal there
        for _ in range(min(times, most * len(crowd) - there)):
            for track in tracks:
                await crowd[there // most].subscribe(track.track_id)
            there += 1

    await subscribe(60)
    for one in crowd:
        stop_reading(one)
    # Measured where there is room, and more than once: a busy machine makes a few subscriptions look like many.
    roomy, share = min(demand, DEMAND), 0.0
    for _ in range(4):
        await asyncio.sleep(0.5)
        share = await plane_share(server)
        if share >= 0.9 * roomy:
            break
        await subscribe(round(there * min(roomy / share - 1, 3)))
    await subscribe(round(there * (demand / share - 1)))


async def refused(url: str) -> ApiFailure:
    """Ask for a session, and be turned away."""
    async with Api(url) as api:
        with pytest.raises(ApiFailure) as caught:
            await api.create_session("elsewhere", "newcomer")
    return caught.value


async def cpu_events(socket: Any, found: list[tuple[str, bool]]) -> None:
    """Note who is told that the processor is full, and that it is not any more."""
    while True:
        event = await socket.receive_json()
        if event["type"] == "quality.degraded" and event["cause"] == "server_cpu":
            found.append((event["user_id"], event["degraded"]))


@asynccontextmanager
async def running(*coroutines: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Beside what is done in the block."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pause(alice: ScriptedClient, track: Published, paused: bool) -> None:
    await alice.api.call("PATCH", f"/sessions/{alice.session_id}/tracks/{track.track_id}", {"paused": paused})


@dataclass(frozen=True, slots=True)
class Scene:
    """Alice films and speaks, and may share her screen; bob watches, and is told of the processor."""

    server: ServerProcess
    alice: ScriptedClient
    bob: ScriptedClient
    crowd: Sequence[ScriptedClient]
    camera: Published
    screen: Published
    heard: Subscribed
    watch: Watch
    audio: AudioSource
    sent: Timetable
    told: list[tuple[str, bool]]

    async def share_screen(self, shared: bool) -> None:
        path = f"/sessions/{self.alice.session_id}/tracks/{self.screen.track_id}"
        await self.alice.api.call("PATCH", path, {"paused": not shared})

    def sound(self, ordinals: range) -> tuple[float, float]:
        """How much of it was lost, and how much came later than 300 ms or not at all."""
        delays = experience(self.sent, self.audio, self.bob, self.heard).delays
        lost, late = [sum(delays[one] > limit for one in ordinals) for limit in (1e9, 0.3)]
        return lost / len(ordinals), late / len(ordinals)


@asynccontextmanager
async def scene(server: ServerProcess, channel: str, packets_per_frame: int, size_bytes: int) -> AsyncIterator[Scene]:
    """They have met; the top layer of the camera, and the screen, have so many packets a frame, of this size."""
    encodings = [{"ssrc": ssrc, "rtx": {"ssrc": ssrc + 1}} for ssrc in (LOW, MIDDLE, HIGH)]
    audio = AudioSource(ssrc=SOUND, payload_type=109)
    video = [
        VideoSource(ssrc=ssrc, payload_type=120, packets_per_frame=count, size_bytes=size_bytes)
        for ssrc, count in ((LOW, 1), (MIDDLE, 1), (HIGH, packets_per_frame), (SCREEN, packets_per_frame))
    ]
    told: list[tuple[str, bool]] = []
    async with (
        people(server.url, channel, alice={}, bob={}, **{f"crowd{one}": {} for one in range(CROWD)}) as everybody,
        everybody[1].api.events(channel) as socket,
    ):
        alice, bob, *crowd = everybody
        camera = await alice.publish("VP8", encodings=encodings)
        screen = await alice.publish("VP8", ssrc=SCREEN, body={"paused": True})
        sound = await alice.publish("opus", ssrc=SOUND)
        await bob.subscribe(camera.track_id)
        heard = await bob.subscribe(sound.track_id)
        watch, sent = Watch(bob), Timetable(alice)
        async with running(cpu_events(socket, told), alice.play(audio, *video, seconds=600)):
            yield Scene(server, alice, bob, crowd, camera, screen, heard, watch, audio, sent, told)


@dataclass(frozen=True, slots=True)
class Trial:
    """Two overloads, one after the other, and the way back."""

    server: ServerProcess
    figures: Figures
    patience: float
    label: str

    def note(self, name: str, value: float) -> None:
        self.figures.note("B23", name + self.label, value)

    async def burn(self, on: Scene) -> range:
        """Until the top layer is given up, and with more to do all video; the ordinals of the sound meanwhile."""
        first = on.audio.packets_sent
        with burners():
            self.note("top layer given up after, seconds", await mode_becomes(self.server, REDUCED, self.patience))
            answer = await refused(self.server.url)
            assert (answer.status, int(answer.headers["Retry-After"])) == (503, 30)
            began = time.monotonic()
            await on.watch.shows(MIDDLE)
            self.note("then the middle one seen after, seconds", time.monotonic() - began)
            await on.share_screen(True)
            self.note("with a screen, video after, seconds", await mode_becomes(self.server, AUDIO_ONLY, self.patience))
            return range(first, on.audio.packets_sent)

    async def recover(self, on: Scene) -> None:
        """All is given back, step by step."""
        await mode_becomes(self.server, REDUCED, self.patience)
        await on.watch.shows(MIDDLE)
        assert (await refused(self.server.url)).status == 503
        await mode_becomes(self.server, NORMAL, self.patience)
        await on.watch.shows(HIGH)

    async def run(self, channel: str) -> tuple[float, float]:
        """All of it; changes of mode, and minutes."""
        async with scene(self.server, channel, 10, 1000) as on:
            await subscribe_crowd(self.server, on.crowd, DEMAND, on.camera, on.screen)
            await on.watch.shows(HIGH)
            began = time.monotonic()
            during = await self.burn(on)
            assert await on.watch.silent(1.0)
            await on.share_screen(False)
            await self.recover(on)
            minutes = (time.monotonic() - began) / 60
            async with people(self.server.url, channel, dave={}):
                pass  # newcomers are welcome again
            await on.bob.until(lambda: ("bob", False) in on.told, PATIENCE)
            lost, late = on.sound(during)
        self.figures.check("B23", "sound lost while all cores burn" + self.label, lost, at_most=0.01)
        # Publisher and viewer starve as well, and their part in it is not known.
        self.figures.check("B23", "sound later than 300 ms" + self.label, late, at_most=0.3)
        assert [degraded for user, degraded in on.told if user == "bob"] == [True, False]
        assert "Traceback" not in self.server.log()
        return await asyncio.to_thread(gauge, self.server, "shedding_changes_total"), minutes


@pytest.fixture
def hurried() -> Iterator[HarmedServer]:
    with HarmedServer(shedding=HURRIED) as started:
        yield started


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts how long a thread waits")


@needs_linux
async def test_a_full_processor_costs_video_and_no_sound(hurried: HarmedServer, channel: str, figures: Figures) -> None:
    """At the usual load, with a tenth of the usual patience."""
    changes, _ = await Trial(hurried, figures, 20.0, " (hurried)").run(channel)
    figures.check("B23", "changes of mode, two each way (hurried)", changes, at_most=4, at_least=4)


@needs_linux
async def test_a_plane_that_fills_its_core_is_relieved_at_once(
    hurried: HarmedServer, channel: str, figures: Figures
) -> None:
    """Nobody burns anything: there is a third more to send than one core can do, nearly all of it of the top layer."""
    async with scene(hurried, channel, 34, 600) as on:
        first = on.audio.packets_sent
        await subscribe_crowd(hurried, on.crowd, 1.3, on.camera)
        await mode_becomes(hurried, REDUCED, 20.0)
        await on.watch.shows(MIDDLE)
        relieved = on.audio.packets_sent
        await asyncio.sleep(HURRIED["dwell"] - 2)  # before the top layer is tried again
        lost, late = on.sound(range(first, relieved))
        figures.check("B23", "sound lost until a full plane is relieved", lost, at_most=0.01)
        figures.check("B23", "sound later than 300 ms, until then", late, at_most=0.05)
        figures.check(
            "B23",
            "sound later than 300 ms, afterwards",
            on.sound(range(relieved + 25, on.audio.packets_sent - 25))[1],
            at_most=0.01,
        )


@needs_linux
@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_a_full_processor_as_shipped(
    start_server: Callable[..., ServerProcess], channel: str, figures: Figures
) -> None:
    changes, minutes = await Trial(start_server(), figures, 150.0, "").run(channel)
    figures.note("B23", "changes of mode, two each way", changes)
    figures.check("B23", "changes of mode a minute", changes / minutes, at_most=1.99)


@needs_linux
async def test_busy_neighbours_alone_are_no_overload(hurried: HarmedServer, channel: str, figures: Figures) -> None:
    """Two people talk and film beside burnt cores: the plane gets its turn at once, so nothing is refused."""
    with InnocentCall(hurried.url) as call, burners():
        call.mark()
        loads = []
        for _ in range(5):
            await asyncio.sleep(1.0)
            loads.append(await asyncio.to_thread(gauge, hurried, "load"))
        harm = call.mark()
        async with people(hurried.url, channel, dave={}):
            pass
    figures.check("B23", "load of a quiet server beside burnt cores", max(loads), at_most=0.5)
    figures.check("B23", "lost by it", harm.fraction, at_most=0.01)
    assert await asyncio.to_thread(gauge, hurried, "shedding_changes_total") == 0
