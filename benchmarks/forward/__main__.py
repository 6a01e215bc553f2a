"""`python -m benchmarks.forward [CASE …]`: measure, print a table, keep the figures as JSON."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from benchmarks.forward.measure import Measurement, measure
from benchmarks.forward.scenarios import CASES, PROFILES
from benchmarks.machine import LOAD_CORE, SERVER_CORE, Machine, pin
from benchmarks.process import SluicegateProcess
from sluicegate.loadtest.peer import JoinFailed
from sluicegate.loadtest.run import Options
from sluicegate.loadtest.server import ApiServer

RESULTS = Path(__file__).resolve().parent.parent / "results"
HEAD = (
    f"{'case':<32} {'SRTP':<4} {'packets/s':>10} {'µs/packet':>10} {'plane':>6} {'other':>6} {'floor':>6} {'ratio':>6}"
    f" {'core %':>7} {'lost %':>7} {'p50 ms':>7} {'p99 ms':>7} {'client %':>8} {'foreign %':>9}"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cases", nargs="*", help=f"some of {', '.join(CASES)} (default: all)")
    parser.add_argument("--profiles", default="gcm,cm", help="gcm, cm or both (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: %(default)g)")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each case (default: %(default)s)")
    parser.add_argument("--no-floor", action="store_true", help="measure the server only")
    parser.add_argument("--output", type=Path, default=RESULTS / "forward.json", help="JSON (default: %(default)s)")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forward", description=__doc__)
    arguments(parser)
    return run(parser.parse_args())


def run(options: argparse.Namespace) -> int:
    """Measure what was asked for; 1 when a case could not be run."""
    unknown = [key for key in options.cases if key not in CASES]
    if unknown:
        print(f"no case {unknown[0]!r}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    pin(LOAD_CORE)
    print("starting the server …", flush=True)
    measurements: list[Measurement] = []
    failed = False
    print(HEAD, flush=True)
    for key in options.cases or CASES:
        for name in options.profiles.split(","):
            for _ in range(options.repeat):
                try:
                    measurements += asyncio.run(_case(key, name, options))
                except JoinFailed as error:
                    failed = True
                    print(f"{CASES[key].title}: {error}", file=sys.stderr, flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": Machine.this().as_dict(), "measurements": [one.as_dict() for one in measurements]}
    options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(f"kept in {options.output}")
    return int(failed)


async def _case(key: str, profile: str, options: argparse.Namespace) -> list[Measurement]:
    """A server of its own for every case: none inherits what another left."""
    with SluicegateProcess(SERVER_CORE) as server:
        return await measure(
            CASES[key],
            PROFILES[profile],
            lambda: ApiServer(server.url),
            server.pid,
            Options(options.seconds, warm_up=2.0),
            with_floor=not options.no_floor,
            on_done=lambda one: print(row(one), flush=True),
        )


def row(one: Measurement) -> str:
    """One line of the table."""
    result = one.result
    cost, plane = result.server_cpu_us_per_packet, one.plane_us
    title = f"{one.title} (N={result.tracks})" if "N " in one.title else one.title
    latency = result.latency

    def show(value: float | None, digits: int = 2, scale: float = 1.0) -> str:
        return "-" if value is None else f"{value * scale:.{digits}f}"

    return (
        f"{title:<32} {'GCM' if 'GCM' in one.profile else 'CM':<4} {result.packets_received_per_second:>10,.0f}"
        f" {show(cost):>10} {show(plane):>6} {show(cost - plane if cost and plane else None):>6}"
        f" {show(one.floor.cpu_us_per_packet if one.floor else None):>6} {show(one.ratio):>6}"
        f" {show(result.server_cpu_load, 1, 100):>7} {show(result.loss, 3, 100):>7}"
        f" {show(latency.p50 if latency else None):>7} {show(latency.p99 if latency else None):>7}"
        f" {show(result.client_cpu_load, 0, 100):>8} {show(one.foreign_load, 0, 100):>9}"
    )


if __name__ == "__main__":
    sys.exit(main())
