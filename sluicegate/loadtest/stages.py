"""The measured part of a load test: the compiled loop in its thread, and what it counts from one moment to another.

A stage sends some of the tracks for a while. Between stages nothing is sent until everything has arrived that ever
will, so that what was lost in a stage is known to the packet.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sluicegate import clock
from sluicegate.loadtest.compilation import run_loop
from sluicegate.loadtest.cpu import CpuTime
from sluicegate.loadtest.result import Latency, percentile
from sluicegate.loadtest.tables import LoadTables
from sluicegate.rtp.names import MediaKind

DRAIN_SECONDS = 0.4
"""For what is under way, in queues and socket buffers. Lower counts late packets as lost."""


class CpuMeter(Protocol):
    """Processor time of the server. `read` raises OSError or ValueError when there is none to be had."""

    def read(self) -> CpuTime: ...


@dataclass(frozen=True, slots=True)
class Tick:
    """About one second of a run, for the live table."""

    seconds: float
    packets_sent: int
    packets_received: int
    bytes_received: int
    cpu_seconds: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment."""

    at: float
    packets_out: int
    packets_in: int
    bytes_in: int
    cpu: CpuTime | None
    own_cpu: float


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage gave: between `first` and `last` it was measured; `expected` counts all that was sent."""

    tracks: int
    first: Reading
    last: Reading
    expected: int
    received: int
    latency: Latency | None
    packet_bytes: dict[str, float]

    @property
    def seconds(self) -> float:
        return self.last.at - self.first.at

    @property
    def packets(self) -> int:
        """Received in the measured time."""
        return self.last.packets_in - self.first.packets_in

    @property
    def cpu(self) -> CpuTime | None:
        return self.last.cpu.since(self.first.cpu) if self.last.cpu and self.first.cpu else None

    @property
    def loss(self) -> float:
        return max(0.0, 1 - self.received / self.expected) if self.expected else 0.0


class Loop:
    """`async with Loop(tables) as loop: await loop.stage(...)`; it reads all sockets until the block ends."""

    def __init__(self, tables: LoadTables, meter: CpuMeter | None = None) -> None:
        self.tables = tables
        self._meter = meter
        self._thread = threading.Thread(target=run_loop, args=(tables,), name="load", daemon=True)

    async def __aenter__(self) -> "Loop":
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.tables.state[0].sending = 0
        self.tables.state[0].stop = 1
        await asyncio.to_thread(self._thread.join)

    async def stage(
        self, tracks: int, *, warm_up: float, seconds: float, on_tick: Callable[[Tick], None] = lambda _: None
    ) -> Stage:
        """Send the first `tracks` tracks for `warm_up` + `seconds`."""
        state = self.tables.state[0]
        sent, received, sizes = self._expected(), int(state.packets_in), self._sizes()
        self.tables.latency[:] = 0
        state.latency_max = 0
        self.tables.sends["next_due"] = 0
        state.sending = tracks
        await asyncio.sleep(warm_up)
        state.measuring = 1
        first = last = self.read()
        end = first.at + seconds
        while (left := end - clock.monotonic()) > 0:
            await asyncio.sleep(min(1.0, left))
            before, last = last, self.read()
            on_tick(_tick(first, before, last))
        state.measuring = 0
        state.sending = 0
        await asyncio.sleep(DRAIN_SECONDS)
        return Stage(
            tracks,
            first,
            last,
            self._expected() - sent,
            int(state.packets_in) - received,
            self._latency(),
            _average(self._sizes(), sizes),
        )

    def read(self) -> Reading:
        """The counters now."""
        state = self.tables.state[0]
        cpu = None
        if self._meter is not None:
            with contextlib.suppress(OSError, ValueError):
                cpu = self._meter.read()
        counts = int(state.packets_out), int(state.packets_in), int(state.bytes_in)
        return Reading(clock.monotonic(), *counts, cpu, time.process_time())

    def _expected(self) -> int:
        """What all receivers together should have by now."""
        sends = self.tables.sends
        return int((sends["packets"] * sends["receivers"]).sum())

    def _sizes(self) -> dict[str, tuple[int, int]]:
        """Packets and bytes received so far, by kind of media."""
        kinds = {int(row.ssrc): MediaKind(int(row.kind)).name.lower() for row in self.tables.sends if row.ssrc}
        sizes: dict[str, tuple[int, int]] = {}
        for row in self.tables.receives:
            kind = kinds.get(int(row.sender))
            if kind is not None:
                packets, size = sizes.get(kind, (0, 0))
                sizes[kind] = packets + int(row.packets), size + int(row.bytes)
        return sizes

    def _latency(self) -> Latency | None:
        buckets: Any = self.tables.latency
        if not buckets.sum():
            return None
        p50, p99, p999 = (percentile(buckets, share) for share in (0.5, 0.99, 0.999))
        return Latency(p50, p99, p999, int(self.tables.state[0].latency_max) / 1000)


def _average(now: dict[str, tuple[int, int]], before: dict[str, tuple[int, int]]) -> dict[str, float]:
    """Bytes of a packet, by kind."""
    averages = {}
    for kind, (packets, size) in now.items():
        earlier = before.get(kind, (0, 0))
        if packets > earlier[0]:
            averages[kind] = (size - earlier[1]) / (packets - earlier[0])
    return averages


def _tick(first: Reading, before: Reading, now: Reading) -> Tick:
    cpu = now.cpu.since(before.cpu).total if now.cpu and before.cpu else None
    return Tick(
        now.at - first.at,
        now.packets_out - before.packets_out,
        now.packets_in - before.packets_in,
        now.bytes_in - before.bytes_in,
        cpu,
    )
