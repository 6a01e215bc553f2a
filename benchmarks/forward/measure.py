"""One case: the server under load, then the floor at the same pace, both on the server's core, the load on another."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.forward.floor import Floor, Sink, make_script, measure_floor
from benchmarks.forward.scenarios import Case
from benchmarks.machine import SERVER_CORE, CoreTime
from sluicegate.loadtest.cpu import ProcessCpu
from sluicegate.loadtest.result import Joining, Result
from sluicegate.loadtest.run import Options, joined, make_result
from sluicegate.loadtest.server import Adapter
from sluicegate.loadtest.stages import Loop
from sluicegate.rtp.srtp import SrtpProfile

SLUICEGATE = "Sluicegate"
FULL_LOAD = 0.95
FULL_LOSS = 0.001
SAMPLE_EVERY = 16
"""In saturation the client decrypts every 16th packet only: it must not be the one that is full."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A server's result and the floor beside it, with what else the core did meanwhile (foreign: other processes)."""

    case: str
    title: str
    server: str
    profile: str
    result: Result
    floor: Floor | None
    foreign_load: float
    softirq_thread_load: float

    @property
    def ratio(self) -> float | None:
        """How many times the floor."""
        cost = self.result.server_cpu_us_per_packet
        return None if cost is None or self.floor is None else cost / self.floor.cpu_us_per_packet

    @property
    def plane_us(self) -> float | None:
        """Of the cost, what the thread that forwards takes."""
        if self.server != SLUICEGATE:
            return None
        threads = self.result.server_threads_us_per_packet
        named = [cost for name, cost in threads.items() if name.startswith("plane")]
        others = [cost for name, cost in threads.items() if name != "main"]
        return sum(named) if named else max(others, default=None)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "plane_us": self.plane_us}


async def measure(
    case: Case,
    profile: SrtpProfile,
    make_adapter: Callable[[], Adapter],
    pid: int,
    options: Options,
    *,
    server: str = SLUICEGATE,
    with_floor: bool = True,
    on_done: Callable[[Measurement], None] = lambda _: None,
) -> list[Measurement]:
    """The case's stages in order, a floor after each; `JoinFailed` when the server takes no clients."""
    scenario = case.scenario.altered(profile=profile)
    if case.steps:
        options = Options(options.seconds, options.warm_up, SAMPLE_EVERY, options.sweep_us)
    done: list[Measurement] = []
    pending: list[tuple[Measurement, Any]] = []
    async with joined(make_adapter(), scenario, options, ProcessCpu(pid)) as (loop, joining):
        for tracks in case.steps or (len(loop.tables.sends),):
            one = await _stage(case, server, scenario, loop, joining, tracks, options)
            pending.append((one, loop.tables))
            result = one.result
            if result.loss > FULL_LOSS or (result.server_cpu_load or 0) > FULL_LOAD:
                break
    for one, tables in pending:
        if with_floor:
            with Sink(len(tables.clients)) as sink:
                script = make_script(
                    tables, one.result.tracks, one.result.packet_bytes, sink.ports, SERVER_CORE, 0.5, options.seconds
                )
                floor = await measure_floor(script, sink)
            one = Measurement(**{**_fields(one), "floor": floor})
        done.append(one)
        on_done(one)
    return done


async def _stage(
    case: Case, server: str, scenario: Any, loop: Loop, joining: Joining, tracks: int, options: Options
) -> Measurement:
    core: list[CoreTime] = []

    def mark(_: object) -> None:
        core.append(CoreTime.read(SERVER_CORE))

    stage = await loop.stage(tracks, warm_up=options.warm_up, seconds=options.seconds, on_tick=mark)
    result = make_result(scenario, loop, stage, joining)
    spent = core[-1].since(core[0]) if len(core) > 1 else CoreTime(0.0, 0.0)
    # The marks lie one second into the stage and at its end.
    seconds = max(result.seconds - 1.0, 1e-9)
    foreign = max(0.0, spent.busy / seconds - (result.server_cpu_load or 0.0))
    return Measurement(
        case.key,
        case.title,
        server,
        scenario.profile.value,
        result,
        None,
        foreign,
        spent.softirq_thread / seconds,
    )


def _fields(one: Measurement) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Measurement.__slots__}
