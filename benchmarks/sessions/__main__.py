"""`python -m benchmarks.sessions [memory joins growth]`: measure, print a table, keep the figures as JSON."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import LOAD_CORE, Machine, pin
from benchmarks.sessions.measure import (
    Growth,
    Idle,
    Joining,
    Memory,
    as_dict,
    measure_growth,
    measure_joining,
    measure_memory,
)
from benchmarks.sessions.parts import Part, split

RESULTS = Path(__file__).resolve().parent.parent / "results"
CASES = ("memory", "joins", "growth")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"some of {', '.join(CASES)} (default: all)")
    parser.add_argument("--sessions", type=int, default=500, help="whose memory is measured (default: %(default)s)")
    parser.add_argument("--idle-seconds", type=float, default=10.0, help="watched (default: %(default)g)")
    parser.add_argument("--rate", type=float, default=100.0, help="joins a second (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of joining (default: %(default)g)")
    parser.add_argument("--churn", type=int, default=500, help="joins and leaves, twice (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS / "sessions.json", help="JSON (default: %(default)s)")
    options = parser.parse_args()
    unknown = [case for case in options.cases if case not in CASES]
    if unknown:
        print(f"no case {unknown[0]!r}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    pin(LOAD_CORE)
    found: list[Any] = []
    for case in options.cases or CASES:
        for one in asyncio.run(_case(case, options)):
            found.append(one)
            print(row(one), flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    fresh = [as_dict(one) for one in found]
    kept = [one for one in _earlier(options.output) if one["kind"] not in {new["kind"] for new in fresh}]
    result = {"machine": Machine.this().as_dict(), "measurements": fresh + kept}
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"kept in {options.output}")
    return 0


def _earlier(output: Path) -> list[dict[str, Any]]:
    """Measurements of the cases that were not asked for, from the time before."""
    return list(json.loads(output.read_text())["measurements"]) if output.exists() else []


async def _case(case: str, options: argparse.Namespace) -> list[Any]:
    if case == "memory":
        found = await measure_memory(options.sessions, options.idle_seconds)
        (memory,) = [one for one in found if isinstance(one, Memory)]
        return [*found, *split(memory.idle_bytes)]
    if case == "joins":
        return [await measure_joining(options.rate, options.seconds)]
    return [await measure_growth(options.churn, 0.3)]


def row(one: Memory | Idle | Joining | Growth | Part) -> str:
    """A line or two about one measurement."""
    match one:
        case Memory():
            return (
                f"memory    {one.sessions} sessions: {one.idle_bytes / 1000:.0f} KB each connected,"
                f" {one.talking_bytes / 1000:.0f} KB with a track and a subscription{_foreign(one)}"
            )
        case Part():
            return f"  of which {one.name}: {one.size_bytes / 1000:.1f} KB"
        case Idle():
            return (
                f"idle      {one.sessions} sessions: main thread {100 * one.main_load:.2f} % of a core,"
                f" others {100 * one.other_load:.2f} %{_foreign(one)}"
            )
        case Joining():
            call = one.call
            return (
                f"joins     {one.joins} at {one.rate:g}/s, {one.failures} failed: HTTP p99 {1e3 * one.http_p99:.0f} ms,"
                f" ICE+DTLS p95 {1e3 * one.handshake_p95:.0f} ms, server {100 * one.server_load:.0f} % of its core;"
                f" a call meanwhile: longest gap {1e3 * call['longest_gap']:.0f} ms"
                f" (as sent: {1e3 * call['longest_gap_sent']:.0f}), longest delay {1e3 * call['longest_delay']:.0f} ms,"
                f" {call['lost']} lost{_foreign(one)}"
            )
        case Growth():
            grown = ", ".join(f"{name} {before} → {after}" for name, (before, after) in one.grown.items())
            return (
                f"growth    {one.joins} joins, {one.killed} killed, after as many: memory"
                f" {one.rss_before / 1e6:.1f} → {one.rss_after / 1e6:.1f} MB ({100 * one.rss_growth:+.1f} %);"
                f" {grown or 'all counts as before'}{_foreign(one)}"
            )


def _foreign(one: Memory | Idle | Joining | Growth) -> str:
    return f"; others took {100 * one.foreign_load:.0f} % of the server's core"


if __name__ == "__main__":
    sys.exit(main())
