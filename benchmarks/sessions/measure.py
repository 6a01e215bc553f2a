"""The measurements, each on a server of its own: memory and idling, joining, coming and going."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.machine import SERVER_CORE, CoreTime
from benchmarks.process import SluicegateProcess
from benchmarks.sessions.crowd import Crowd, crowd
from benchmarks.sessions.observed import Standing, rss_bytes, standing, touch_arena
from benchmarks.sessions.talk import TalkProcess
from sluicegate.loadtest.cpu import CpuTime, ProcessCpu

SETTLE = 2.0
CONSENT_TIMEOUT = 30.0
PER_SECOND = 50.0
"""At which clients arrive where their arriving is not what is measured."""
IDLE_SESSIONS = 200


class Watch:
    """The server's core over a time, by everybody and by the server."""

    def __init__(self, pid: int) -> None:
        self._meter = ProcessCpu(pid)
        self._at, self._core, self._cpu = time.monotonic(), CoreTime.read(SERVER_CORE), self._meter.read()

    def read(self) -> tuple[CpuTime, float, float]:
        """Processor time of the server, seconds, and the share of its core that others took."""
        seconds = time.monotonic() - self._at
        cpu = self._meter.read().since(self._cpu)
        busy = CoreTime.read(SERVER_CORE).since(self._core).busy
        return cpu, seconds, max(0.0, (busy - cpu.total) / seconds)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of resident memory for each session: connected; and with a published track and a subscription as well."""

    sessions: int
    idle_bytes: float
    talking_bytes: float
    foreign_load: float


@dataclass(frozen=True, slots=True)
class Idle:
    """The share of a core that the main thread takes, and all others, with `sessions` connected."""

    sessions: int
    main_load: float
    other_load: float
    foreign_load: float


@dataclass(frozen=True, slots=True)
class Joining:
    """`rate` a second for `seconds`. Times in seconds, of the clients; the gap is that of a call which goes on."""

    rate: float
    seconds: float
    joins: int
    failures: int
    http_p99: float
    handshake_p95: float
    server_load: float
    call: dict[str, Any]
    foreign_load: float


@dataclass(frozen=True, slots=True)
class Growth:
    """`joins` came and went after the same number had warmed the server up. `grown`: what is not as it was before."""

    joins: int
    killed: int
    rss_before: int
    rss_after: int
    grown: dict[str, list[int]]
    foreign_load: float

    @property
    def rss_growth(self) -> float:
        return self.rss_after / self.rss_before - 1


def as_dict(one: Any) -> dict[str, Any]:
    return {"kind": type(one).__name__.lower(), **asdict(one)}


async def measure_memory(sessions: int, idle_seconds: float) -> list[Memory | Idle]:
    """Idling is looked at on the way, when `IDLE_SESSIONS` are there."""
    found: list[Memory | Idle] = []
    with SluicegateProcess(SERVER_CORE) as server:
        watch = Watch(server.pid)
        async with crowd(server.url) as people:
            await _warm_up(people, 40)
            await asyncio.sleep(SETTLE)
            found.append(await _idle(server.pid, 0, idle_seconds))
            before = rss_bytes(server.pid)
            await people.arrive(IDLE_SESSIONS, PER_SECOND, room_size=2)
            await asyncio.sleep(SETTLE)
            found.append(await _idle(server.pid, len(people.members), idle_seconds))
            await people.arrive(sessions - IDLE_SESSIONS, PER_SECOND, room_size=2)
            await asyncio.sleep(SETTLE)
            connected, count = rss_bytes(server.pid), len(people.members)
            await people.talk()
            await asyncio.sleep(SETTLE)
            talking = rss_bytes(server.pid)
            foreign = watch.read()[2]
            found.append(Memory(count, (connected - before) / count, (talking - before) / count, foreign))
    return found


async def _warm_up(people: Crowd, count: int) -> None:
    """Whatever is made once, and by use, is made now."""
    await people.arrive(count, PER_SECOND, room_size=2)
    first = people.members[0].peer.sock
    assert first is not None
    touch_arena(first.getpeername())
    await people.talk()
    await people.leave(people.members)


async def _idle(pid: int, sessions: int, seconds: float) -> Idle:
    watch = Watch(pid)
    await asyncio.sleep(seconds)
    cpu, elapsed, foreign = watch.read()
    main = cpu.threads["main"]
    return Idle(sessions, main / elapsed, (cpu.total - main) / elapsed, foreign)


async def measure_joining(rate: float, seconds: float) -> Joining:
    """While somebody talks."""
    with SluicegateProcess(SERVER_CORE) as server:
        async with crowd(server.url) as people:
            await _warm_up(people, 40)
            async with TalkProcess(server.url) as call:
                people.times.calls.clear()
                people.times.handshakes.clear()
                await asyncio.sleep(1.0)
                await call.mark()
                watch = Watch(server.pid)
                await people.arrive(round(rate * seconds), rate)
                cpu, elapsed, foreign = watch.read()
                await asyncio.sleep(1.0)
                harm = await call.mark()
            times = people.times
            return Joining(
                rate,
                seconds,
                len(times.handshakes),
                len(times.failures),
                _percentile(times.calls, 0.99),
                _percentile(times.handshakes, 0.95),
                cpu.total / elapsed,
                harm,
                foreign,
            )


async def measure_growth(joins: int, killed_share: float) -> Growth:
    """`joins` come and go twice; what the first round left is held against what the second leaves."""
    with SluicegateProcess(SERVER_CORE) as server:
        async with crowd(server.url) as people:
            await _warm_up(people, 40)
        standing(server.pid, server.url)  # the first scrape is counted by series of its own
        watch = Watch(server.pid)
        before = await _come_and_go(server, joins, killed_share)
        after = await _come_and_go(server, joins, killed_share)
        foreign = watch.read()[2]
    grown = {name: [count, after.exact[name]] for name, count in before.exact.items() if count != after.exact[name]}
    return Growth(joins, round(joins * killed_share), before.rss_bytes, after.rss_bytes, grown, foreign)


async def _come_and_go(server: SluicegateProcess, joins: int, killed_share: float) -> Standing:
    """In groups that publish and subscribe; of each some are gone without a word. Until the server has noticed it."""
    async with crowd(server.url) as people:
        for group in range(0, joins, 50):
            await people.arrive(min(50, joins - group), PER_SECOND, room_size=2)
            await people.talk()
            killed = round(len(people.members) * killed_share)
            people.vanish(people.members[:killed])
            await people.leave(people.members)
    await asyncio.sleep(CONSENT_TIMEOUT + SETTLE)
    server.check()
    return standing(server.pid, server.url)


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
