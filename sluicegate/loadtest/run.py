"""One load test from joining to leaving."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sluicegate import clock
from sluicegate.loadtest.compilation import compile_loop
from sluicegate.loadtest.peer import JoinFailed
from sluicegate.loadtest.plan import Member, Scenario
from sluicegate.loadtest.result import Joining, Result
from sluicegate.loadtest.server import Adapter, Published
from sluicegate.loadtest.stages import CpuMeter, Loop, Stage, Tick
from sluicegate.loadtest.tables import empty_tables, make_tables

JOIN_AT_ONCE = 8
"""Clients that join at the same time: enough to keep a server busy, too few to be a flood."""
CONSENT_INTERVAL = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """How long, and how closely to look."""

    seconds: float = 10.0
    warm_up: float = 1.0
    verify_every: int = 1
    sweep_us: int = 1000


async def run(
    adapter: Adapter,
    scenario: Scenario,
    options: Options,
    meter: CpuMeter | None = None,
    on_tick: Callable[[Tick], None] = lambda _: None,
) -> Result:
    """Join everybody, load for `warm_up` + `seconds`, leave. `JoinFailed` when a client could not join."""
    async with joined(adapter, scenario, options, meter) as (loop, joining):
        tracks = len(loop.tables.sends)
        stage = await loop.stage(tracks, warm_up=options.warm_up, seconds=options.seconds, on_tick=on_tick)
        return make_result(scenario, loop, stage, joining)


async def ramp(
    adapter: Adapter,
    scenario: Scenario,
    options: Options,
    meter: CpuMeter | None,
    steps: Sequence[int],
    enough: Callable[[Result], bool],
) -> list[Result]:
    """Join everybody, then send more and more of the tracks, a stage for each of `steps`, until one is `enough`."""
    results = []
    async with joined(adapter, scenario, options, meter) as (loop, joining):
        for tracks in steps:
            stage = await loop.stage(tracks, warm_up=options.warm_up, seconds=options.seconds)
            results.append(make_result(scenario, loop, stage, joining))
            if enough(results[-1]):
                break
    return results


@asynccontextmanager
async def joined(
    adapter: Adapter, scenario: Scenario, options: Options, meter: CpuMeter | None
) -> AsyncIterator[tuple[Loop, Joining]]:
    """Everybody is in, and the compiled loop serves them; afterwards everybody leaves."""
    compile_loop(empty_tables(0, 0, 0))
    try:
        await adapter.start(scenario)
        joining = await _join(adapter, scenario)
        tables = make_tables(
            adapter.peers, scenario.media, verify_every=options.verify_every, sweep_us=options.sweep_us
        )
        async with Loop(tables, meter) as loop:
            yield loop, joining
    finally:
        await adapter.stop()


async def _join(adapter: Adapter, scenario: Scenario) -> Joining:
    """Everybody enters and publishes, then everybody who wants to subscribes."""
    began = clock.monotonic()
    times: list[float] = []
    tracks: list[Published] = []
    members = list(scenario.members())

    async def enter(member: Member) -> None:
        start = clock.monotonic()
        tracks.extend(await adapter.enter(member))
        times.append(clock.monotonic() - start)

    async def watch(member: Member) -> None:
        others = [track for track in by_room.get(member.room, ()) if track.owner != member.name]
        await adapter.watch(member, others)

    consent = asyncio.create_task(_keep_consent(adapter))
    try:
        await _each(enter, members)
        by_room: dict[int, list[Published]] = {}
        for track in tracks:
            by_room.setdefault(track.room, []).append(track)
        await _each(watch, [member for member in members if member.receives])
    finally:
        consent.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await consent
    times.sort()
    return Joining(len(members), clock.monotonic() - began, times[len(times) // 2], times[-1])


async def _each(action: Callable[[Member], Awaitable[None]], members: Sequence[Member]) -> None:
    """Do it for all, a few at a time; the first failure ends it."""
    waiting = iter(members)

    async def worker(queue: Iterable[Member]) -> None:
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


def make_result(scenario: Scenario, loop: Loop, stage: Stage, joining: Joining) -> Result:
    """What one stage says about the server."""
    state, sends = loop.tables.state[0], loop.tables.sends[: stage.tracks]
    seconds, packets, cpu = stage.seconds, stage.packets, stage.cpu
    per_packet = 1e6 / packets if packets else 0.0
    threads = {name: spent * per_packet for name, spent in cpu.threads.items() if spent > 0} if cpu else {}
    return Result(
        scenario=scenario.name,
        profile=scenario.profile.value,
        clients=scenario.clients,
        tracks=stage.tracks,
        subscriptions=int(sends["receivers"].sum()),
        seconds=seconds,
        packets_sent_per_second=(stage.last.packets_out - stage.first.packets_out) / seconds,
        packets_received_per_second=packets / seconds,
        megabits_received_per_second=(stage.last.bytes_in - stage.first.bytes_in) * 8e-6 / seconds,
        packet_bytes=stage.packet_bytes,
        expected=stage.expected,
        received=stage.received,
        loss=stage.loss,
        latency=stage.latency,
        joining=joining,
        server_cpu_seconds=cpu.total if cpu else None,
        server_cpu_us_per_packet=cpu.total * per_packet if cpu and packets else None,
        server_cpu_load=cpu.total / seconds if cpu else None,
        server_threads_us_per_packet=threads if packets else {},
        client_cpu_load=(stage.last.own_cpu - stage.first.own_cpu) / seconds,
        verified=int(state.verified),
        failed_authentication=int(state.failed_authentication),
        wrong_payload=int(state.wrong_payload),
        latest_send_ms=int(state.late_us) / 1000,
        late_packets=int(loop.tables.receives["late"].sum()),
        key_frame_requests=int(state.plis_in),
        nacks=int(state.nacks_in),
    )
