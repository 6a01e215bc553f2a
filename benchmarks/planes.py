"""`python -m benchmarks.planes`: what a second plane thread adds, by what a packet costs with one and with two.

Two planes that share no line of memory and no lock forward twice what one does, as long as a packet costs each of them
the same. So rooms of speakers are spread over one plane and over two, each on a core of its own, at the same pace for
each plane, in turns; the load runs on a third core where there is one, else beside the last plane, which that slows.
"""

import argparse
import asyncio
import os
import statistics
import sys

from benchmarks.machine import SERVER_CORE, pin
from benchmarks.process import SluicegateProcess
from sluicegate.loadtest.cpu import ProcessCpu
from sluicegate.loadtest.plan import AUDIO, Scenario
from sluicegate.loadtest.result import Result
from sluicegate.loadtest.run import Options, run
from sluicegate.loadtest.server import ApiServer


async def measure(planes: int, rooms: int, seconds: float) -> Result:
    """A server with so many planes on the first cores, and `rooms` rooms of five speakers for each."""
    with SluicegateProcess(SERVER_CORE, cores=planes, PLANE_THREADS=str(planes)) as server:
        scenario = Scenario("planes", rooms=rooms * planes, publishers=5, kinds=AUDIO, mesh=True)
        return await run(ApiServer(server.url), scenario, Options(seconds, warm_up=2.0), ProcessCpu(server.pid))


def plane_costs(result: Result) -> list[float]:
    """CPU µs of each thread that forwards, for each packet of the whole server."""
    return [cost for name, cost in result.server_threads_us_per_packet.items() if name.startswith("plane")]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planes", description=__doc__)
    parser.add_argument("--rooms", type=int, default=25, help="for each plane (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default: %(default)g)")
    parser.add_argument("--repeat", type=int, default=3, help="turns (default: %(default)s)")
    options = parser.parse_args()
    pin(min(2, (os.cpu_count() or 1) - 1))
    costs: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.repeat):
        for planes, found in costs.items():
            result = asyncio.run(measure(planes, options.rooms, options.seconds))
            threads = plane_costs(result)
            found.append(sum(threads))
            shares = " + ".join(f"{cost:.2f}" for cost in threads)
            pace = result.packets_received_per_second
            print(
                f"{planes} plane(s): {pace:8,.0f} packets/s, µs a packet {shares}, lost {result.loss:.3%}", flush=True
            )
    one, two = statistics.median(costs[1]), statistics.median(costs[2])
    print(f"a packet costs {one:.2f} µs with one plane, {two:.2f} with two")
    print(f"two planes do {2 * one / two:.2f} times what one does")
    return 0


if __name__ == "__main__":
    sys.exit(main())
