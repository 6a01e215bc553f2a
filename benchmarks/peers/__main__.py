"""`python -m benchmarks.peers [CASE …]`: the same load, one server after the other, with the floor beside the first."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.forward.__main__ import HEAD, RESULTS, row
from benchmarks.forward.measure import SLUICEGATE, Measurement, measure
from benchmarks.forward.scenarios import CASES, PROFILES
from benchmarks.machine import LOAD_CORE, SERVER_CORE, Machine, pin
from benchmarks.peers.janus import JanusServer
from benchmarks.peers.janus_process import JanusProcess
from benchmarks.peers.plain import PlainProcess, PlainServer
from benchmarks.process import SluicegateProcess
from sluicegate.loadtest.peer import JoinFailed
from sluicegate.loadtest.run import Options
from sluicegate.loadtest.server import Adapter, ApiServer

DEFAULT_CASES = ("a50", "a200", "b", "c")


@dataclass(frozen=True, slots=True)
class Server:
    """How one kind of server is started, and joined at its URL."""

    title: str
    start: Callable[[], Any]
    adapter: Callable[[str], Adapter]


SERVERS: dict[str, Server] = {
    "sluicegate": Server(SLUICEGATE, lambda: SluicegateProcess(SERVER_CORE), ApiServer),
    "janus": Server("Janus, tuned", lambda: JanusProcess(SERVER_CORE, tuned=True), JanusServer),
    "janus-installed": Server("Janus, as installed", lambda: JanusProcess(SERVER_CORE, tuned=False), JanusServer),
    "plain": Server("plain Python, no rewriting", lambda: PlainProcess(SERVER_CORE), PlainServer),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"some of {', '.join(CASES)} (default: {' '.join(DEFAULT_CASES)})")
    parser.add_argument("--servers", default=",".join(SERVERS), help="(default: %(default)s)")
    parser.add_argument("--profile", choices=PROFILES, default="cm", help="for all of them (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: %(default)g)")
    parser.add_argument("--repeat", type=int, default=1, help="runs of everything (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS / "peers.json", help="JSON (default: %(default)s)")
    return run(parser.parse_args())


def run(options: argparse.Namespace) -> int:
    """Measure; 1 when a server could not take a case."""
    names = options.servers.split(",")
    for what, known in ((options.cases, CASES), (names, SERVERS)):
        unknown = [one for one in what if one not in known]
        if unknown:
            print(f"no {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
            return 2
    pin(LOAD_CORE)
    print(f"{'server':<28} {HEAD}", flush=True)
    found: list[Measurement] = []
    failed = False
    for key in [key for _ in range(options.repeat) for key in options.cases or DEFAULT_CASES]:
        for name in names:
            try:
                found += _measure(key, name, options)
            except (JoinFailed, RuntimeError, TimeoutError) as error:
                failed = True
                print(f"{SERVERS[name].title}: {error}", file=sys.stderr, flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    kept = {"machine": Machine.this().as_dict(), "measurements": [one.as_dict() for one in found]}
    options.output.write_text(json.dumps(kept, indent=1) + "\n")
    print(f"kept in {options.output}")
    return int(failed)


def _measure(key: str, name: str, options: argparse.Namespace) -> list[Measurement]:
    server = SERVERS[name]
    with server.start() as process:
        return asyncio.run(
            measure(
                CASES[key],
                PROFILES[options.profile],
                lambda: server.adapter(process.url),
                process.pid,
                Options(options.seconds, warm_up=2.0),
                server=server.title,
                with_floor=name == "sluicegate",
                on_done=lambda one: print(f"{server.title:<28} {row(one)}", flush=True),
            )
        )


if __name__ == "__main__":
    sys.exit(main())
