"""`python -m benchmarks.report`: the tables and the plot of `benchmarks/README.md`, from the kept results."""

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.sessions.table import sessions_table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
README = HERE / "README.md"
PLOT = HERE / "cost.png"
BEGIN, END = "<!-- figures: python -m benchmarks.report -->", "<!-- end of figures -->"
SESSIONS_BEGIN, SESSIONS_END = "<!-- sessions: python -m benchmarks.report -->", "<!-- end of sessions -->"
NO_LOSS = 0.001
QUIET = 0.05
"""The server's core belongs to the server when others take less than this share of it."""


def main() -> int:
    """Rewrite the parts of the README between their marks, as far as there are results."""
    forward, peers = _read(RESULTS / "forward.json"), _read(RESULTS / "peers.json")
    sessions = _read(RESULTS / "sessions.json")
    if forward is None and sessions is None:
        print("there is nothing in benchmarks/results; run `make bench` first", file=sys.stderr)
        return 1
    if sessions is not None:
        table = sessions_table(sessions["measurements"])
        _rewrite(SESSIONS_BEGIN, SESSIONS_END, [_machine(sessions["machine"]), table])
    if forward is not None:
        _rewrite(BEGIN, END, _forward_parts(forward, peers))
    print(f"wrote {README}")
    return 0


def _forward_parts(forward: Any, peers: Any) -> list[str]:
    compared = peers["measurements"] if peers else []
    parts = [_machine(forward["machine"]), _forward_table(forward["measurements"])]
    if compared:
        parts += ["### Beside other servers", _peers_table(compared)]
    _plot(forward["measurements"], compared)
    return [*parts, f"![CPU of a forwarded packet]({PLOT.name})"]


def _rewrite(begin: str, end: str, parts: list[str]) -> None:
    before, _, rest = README.read_text().partition(begin)
    _, _, after = rest.partition(end)
    README.write_text(before + "\n\n".join([begin, *parts, end]) + after)


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _machine(machine: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; Linux {machine['kernel']}; "
        f"Python {machine['python']}; {packages}."
    )


def _forward_table(measurements: list[dict[str, Any]]) -> str:
    lines = [
        "| load | SRTP | packets/s | µs a packet | plane | rest | floor | times the floor | core | lost | p50 | p99 |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(_forward_row(group) for group in _grouped(measurements)),
    ]
    return "\n".join([*lines, "", _note(measurements)])


def _grouped(measurements: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Repetitions together; a stage of the saturation is a load of its own."""
    groups: dict[tuple[str, str, str, int], list[dict[str, Any]]] = {}
    for one in measurements:
        groups.setdefault((one["case"], one["server"], one["profile"], one["result"]["tracks"]), []).append(one)
    return list(groups.values())


def _forward_row(group: list[dict[str, Any]]) -> str:
    first, results = group[0], [one["result"] for one in group]
    cost, plane = _cost(group), _median(one["plane_us"] for one in group)
    floor = _floor(group)
    latency = [result["latency"] for result in results if result["latency"]]
    cells = [
        first["title"].replace("N ", f"{first['result']['tracks']} "),
        _profile(first),
        f"{_median(result['packets_received_per_second'] for result in results) or 0:,.0f}",
        _figure(cost),
        _figure(plane),
        _figure(cost - plane if cost is not None and plane is not None else None),
        _figure(floor),
        _figure(cost / floor if cost and floor else None),
        _percent(_median(result["server_cpu_load"] for result in results), 0),
        _loss(group, 2),
        _figure(_median(one["p50"] for one in latency)),
        _figure(_median(one["p99"] for one in latency)),
    ]
    return f"| {' | '.join(cells)} |"


def _peers_table(measurements: list[dict[str, Any]]) -> str:
    groups = _grouped(measurements)
    cases = list(dict.fromkeys(group[0]["title"] for group in groups))
    lines = [
        f"CPU in µs of a packet that arrived ({_profile(measurements[0])}); in brackets what was lost, where any was.",
        "",
        f"| server | {' | '.join(cases)} |",
        f"| --- | {' | '.join('---:' for _ in cases)} |",
    ]
    for server in dict.fromkeys(group[0]["server"] for group in groups):
        found = {group[0]["title"]: group for group in groups if group[0]["server"] == server}
        lines.append(f"| {server} | {' | '.join(_peer_cell(found.get(case, [])) for case in cases)} |")
    return "\n".join([*lines, "", _note(measurements)])


def _peer_cell(group: list[dict[str, Any]]) -> str:
    lost = any(one["result"]["loss"] > NO_LOSS for one in group)
    return _figure(_cost(group), 1) + (f" ({_loss(group, 0)} lost)" if lost else "")


def _loss(group: list[dict[str, Any]], digits: int) -> str:
    """What was lost; with a star where others used the core, so that it need not be the server's fault."""
    loss = _median(one["result"]["loss"] for one in group) or 0.0
    disturbed = any(one["foreign_load"] >= QUIET and one["result"]["loss"] > NO_LOSS for one in group)
    return _percent(loss, digits) + ("*" if disturbed else "")


def _note(measurements: list[dict[str, Any]]) -> str:
    """How far the figures may be trusted."""
    foreign = sorted(one["foreign_load"] for one in measurements)
    repeats = sorted({len(group) for group in _grouped(measurements)})
    runs = f"Medians of {repeats[0]} to {repeats[-1]} runs" if repeats[-1] > 1 else "One run of each"
    if foreign[-1] < QUIET:
        return f"{runs}; nothing else ran on the server's core."
    return (
        f"{runs}. **Not a quiet machine:** others took {_percent(foreign[0], 0)} to {_percent(foreign[-1], 0)} "
        "of the server's core meanwhile, which inflates CPU times (cold caches) and latencies (waiting for it). "
        f"A loss with a star happened while others had {_percent(QUIET, 0)} of that core or more. Who else used the "
        "load's core is not known."
    )


def _plot(forward: list[dict[str, Any]], peers: list[dict[str, Any]]) -> None:
    """Bars: each case against its floor, then each server in the cases that all were given."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 2 if peers else 1
    figure, axes = pyplot.subplots(1, columns, figsize=(6.5 * columns, 4.5), squeeze=False)
    groups = _grouped(one for one in forward if one["case"] != "e")
    labels = [f"{group[0]['case']} {_profile(group[0])}" for group in groups]
    costs = {
        "Sluicegate": [_cost(group) or 0.0 for group in groups],
        "floor": [_floor(group) or 0.0 for group in groups],
    }
    _bars(axes[0][0], labels, costs)
    if peers:
        cases = list(dict.fromkeys(one["case"] for one in peers))
        series = {}
        for server in dict.fromkeys(one["server"] for one in peers):
            mine = [one for one in peers if one["server"] == server]
            series[server] = [_cost(one for one in mine if one["case"] == case) or 0.0 for case in cases]
        _bars(axes[0][1], cases, series)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=110)
    pyplot.close(figure)


def _bars(axis: Any, labels: list[str], series: dict[str, list[float]]) -> None:
    width = 0.8 / len(series)
    for index, (name, values) in enumerate(series.items()):
        axis.bar([at + index * width for at in range(len(labels))], values, width, label=name)
    axis.set_xticks([at + 0.4 - width / 2 for at in range(len(labels))], labels, rotation=30, ha="right")
    axis.set_ylabel("CPU, µs a forwarded packet")
    axis.grid(axis="y", alpha=0.3)
    axis.legend()


def _cost(group: Iterable[dict[str, Any]]) -> float | None:
    return _median(one["result"]["server_cpu_us_per_packet"] for one in group)


def _floor(group: Iterable[dict[str, Any]]) -> float | None:
    return _median(one["floor"]["cpu_us_per_packet"] for one in group if one["floor"])


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _profile(one: dict[str, Any]) -> str:
    return "AES-GCM" if "GCM" in one["profile"] else "AES-CM"


def _figure(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


if __name__ == "__main__":
    sys.exit(main())
