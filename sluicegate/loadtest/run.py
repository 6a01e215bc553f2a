"""One load test from joining to leaving."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sluicegate import clock
from sluicegate.loadtest.compilation import compile_loop, run_loop
from sluicegate.loadtest.cpu import CpuTime
from sluicegate.loadtest.peer import JoinFailed
from sluicegate.loadtest.plan import Media, Scenario
from sluicegate.loadtest.result import Joining, Latency, Result, percentile
from sluicegate.loadtest.server import Adapter, Published
from sluicegate.loadtest.tables import LoadTables, make_tables

JOIN_AT_ONCE = 8
"""Clients that join at the same time: enough to keep a server busy, too few to be a flood."""
CONSENT_INTERVAL = 5.0
DRAIN_SECONDS = 0.3


class CpuMeter(Protocol):
    def read(self) -> CpuTime: ...


@dataclass(frozen=True, slots=True)
class Options:
    """How long, and what to look at."""

    seconds: float = 10.0
    warm_up: float = 1.0
    verify_every: int = 1
    sweep_us: int = 1000


@dataclass(frozen=True, slots=True)
class Tick:
    """One second of a run, for the live table."""

    seconds: float
    packets_sent: int
    packets_received: int
    bytes_received: int
    cpu_seconds: float | None


@dataclass(frozen=True, slots=True)
class _Reading:
    """The counters at one moment."""

    at: float
    packets_out: int
    packets_in: int
    bytes_in: int
    cpu: CpuTime | None
    own_cpu: float


async def run(
    adapter: Adapter,
    scenario: Scenario,
    options: Options,
    meter: CpuMeter | None = None,
    on_tick: Callable[[Tick], None] = lambda _: None,
) -> Result:
    """Join everybody, load for `warm_up` + `seconds`, leave. `JoinFailed` when a client could not join."""
    compile_loop(make_tables((), Media()))
    await adapter.start(scenario)
    try:
        joining = await _join(adapter, scenario)
        tables = make_tables(
            adapter.peers, scenario.media, verify_every=options.verify_every, sweep_us=options.sweep_us
        )
        first, last = await _load(tables, options, meter, on_tick)
        return _result(scenario, tables, first, last, joining)
    finally:
        await adapter.stop()


async def _join(adapter: Adapter, scenario: Scenario) -> Joining:
    """Everybody enters and publishes, then everybody who wants to subscribes."""
    began = clock.monotonic()
    times: list[float] = []
    tracks: list[Published] = []
    members = list(scenario.members())

    async def enter(member: Any) -> None:
        start = clock.monotonic()
        tracks.extend(await adapter.enter(member))
        times.append(clock.monotonic() - start)

    consent = asyncio.create_task(_keep_consent(adapter))
    try:
        await _each(enter, members)
        by_room: dict[int, list[Published]] = {}
        for track in tracks:
            by_room.setdefault(track.room, []).append(track)

        async def watch(member: Any) -> None:
            others = [track for track in by_room.get(member.room, ()) if track.owner != member.name]
            await adapter.watch(member, others)

        await _each(watch, [member for member in members if member.receives])
    finally:
        consent.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await consent
    times.sort()
    return Joining(len(members), clock.monotonic() - began, times[len(times) // 2], times[-1])


async def _each(action: Callable[[Any], Awaitable[None]], members: Sequence[Any]) -> None:
    """Do it for all, a few at a time; the first failure ends it."""
    waiting = iter(members)

    async def worker(queue: Iterable[Any]) -> None:
        for member in queue:
            await action(member)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(JOIN_AT_ONCE):
                group.create_task(worker(waiting))
    except* JoinFailed as failures:
        raise failures.exceptions[0] from None


async def _keep_consent(adapter: Adapter) -> None:
    """Those who are in already must not lose consent while others still join."""
    while True:
        await asyncio.sleep(CONSENT_INTERVAL)
        for peer in adapter.peers:
            if peer.sessions is not None:
                peer.send(peer.consent_request)


async def _load(
    tables: LoadTables, options: Options, meter: CpuMeter | None, on_tick: Callable[[Tick], None]
) -> tuple[_Reading, _Reading]:
    """Run the compiled loop; the counters at both ends of the measured time."""
    state = tables.state[0]
    thread = threading.Thread(target=run_loop, args=(tables,), name="load", daemon=True)
    thread.start()
    try:
        state.sending = 1
        await asyncio.sleep(options.warm_up)
        state.measuring = 1
        first = last = _read(tables, meter)
        end = first.at + options.seconds
        while (left := end - clock.monotonic()) > 0.05:
            await asyncio.sleep(min(1.0, left))
            before, last = last, _read(tables, meter)
            on_tick(_tick(first, before, last))
        state.measuring = 0
        state.sending = 0
        await asyncio.sleep(DRAIN_SECONDS)
        return first, last
    finally:
        state.stop = 1
        await asyncio.to_thread(thread.join)


def _read(tables: LoadTables, meter: CpuMeter | None) -> _Reading:
    state = tables.state[0]
    cpu = None
    if meter is not None:
        with contextlib.suppress(OSError, ValueError):
            cpu = meter.read()
    counts = int(state.packets_out), int(state.packets_in), int(state.bytes_in)
    return _Reading(clock.monotonic(), *counts, cpu, time.process_time())


def _tick(first: _Reading, before: _Reading, now: _Reading) -> Tick:
    cpu = now.cpu.since(before.cpu).total if now.cpu and before.cpu else None
    return Tick(
        now.at - first.at,
        now.packets_out - before.packets_out,
        now.packets_in - before.packets_in,
        now.bytes_in - before.bytes_in,
        cpu,
    )


def _result(scenario: Scenario, tables: LoadTables, first: _Reading, last: _Reading, joining: Joining) -> Result:
    state = tables.state[0]
    seconds = last.at - first.at
    received = last.packets_in - first.packets_in
    cpu = last.cpu.since(first.cpu) if last.cpu and first.cpu else None
    sends = [row for row in tables.sends if row.interval_us]
    expected = sum(int(row.packets) * int(row.receivers) for row in sends)
    latency = None
    if tables.latency.sum():
        p50, p99, p999 = (percentile(tables.latency, share) for share in (0.5, 0.99, 0.999))
        latency = Latency(p50, p99, p999, int(state.latency_max) / 1000)
    total = int(state.packets_in)
    return Result(
        scenario=scenario.name,
        profile=scenario.profile.value,
        clients=scenario.clients,
        tracks=len(sends),
        subscriptions=sum(int(row.receivers) for row in sends),
        seconds=seconds,
        packets_sent_per_second=(last.packets_out - first.packets_out) / seconds,
        packets_received_per_second=received / seconds,
        megabits_received_per_second=(last.bytes_in - first.bytes_in) * 8e-6 / seconds,
        average_packet_bytes=int(state.bytes_in) / max(total, 1),
        expected=expected,
        received=total,
        loss=max(0.0, 1 - total / expected) if expected else 0.0,
        latency=latency,
        joining=joining,
        server_cpu_seconds=cpu.total if cpu else None,
        server_cpu_us_per_packet=cpu.total / received * 1e6 if cpu and received else None,
        server_cpu_load=cpu.total / seconds if cpu else None,
        server_threads_us_per_packet={name: one / received * 1e6 for name, one in cpu.threads.items() if one > 0}
        if cpu and received
        else {},
        client_cpu_load=(last.own_cpu - first.own_cpu) / seconds,
        verified=int(state.verified),
        failed_authentication=int(state.failed_authentication),
        wrong_payload=int(state.wrong_payload),
        latest_send_ms=int(state.late_us) / 1000,
        late_packets=sum(int(row.late) for row in tables.receives),
        key_frame_requests=int(state.plis_in),
        nacks=int(state.nacks_in),
    )
