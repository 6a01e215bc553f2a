"""The table of `benchmarks/README.md` about sessions, from kept results."""

from typing import Any

MEMORY_LIMIT = "150 KB"


def sessions_table(measurements: list[dict[str, Any]]) -> str:
    """What was promised beside what was measured; each measurement is told with what others took of the core."""
    rows = []
    for one in measurements:
        match one["kind"]:
            case "memory":
                rows += _memory(one)
            case "part":
                rows.append((f"of it, {one['name']}", "", f"{one['size_bytes'] / 1000:.1f} KB", None))
            case "idle":
                title = f"main thread with {one['sessions']} idle sessions"
                rows.append((title, "", f"{100 * one['main_load']:.2f} % of a core", one["foreign_load"]))
            case "joining":
                rows += _joining(one)
            case "growth":
                rows += _growth(one)
    lines = ["| what | promised | measured | others on the server's core |", "| --- | --- | --- | ---: |"]
    for title, limit, figure, foreign in rows:
        lines.append(f"| {title} | {limit} | {figure} | {'' if foreign is None else f'{100 * foreign:.0f} %'} |")
    return "\n".join(lines)


Row = tuple[str, str, str, float | None]


def _memory(one: dict[str, Any]) -> list[Row]:
    foreign = one["foreign_load"]
    return [
        (f"memory of a session, of {one['sessions']}", MEMORY_LIMIT, f"{one['idle_bytes'] / 1000:.0f} KB", foreign),
        ("with a track and a subscription", MEMORY_LIMIT, f"{one['talking_bytes'] / 1000:.0f} KB", foreign),
    ]


def _joining(one: dict[str, Any]) -> list[Row]:
    call, foreign = one["call"], one["foreign_load"]
    gap = f"{1e3 * call['longest_gap']:.0f} ms (as sent: {1e3 * call['longest_gap_sent']:.0f} ms)"
    title = f"{one['joins']} joins, {one['rate']:g} a second: failed"
    return [
        (title, "0", str(one["failures"]), foreign),
        ("HTTP p99", "250 ms", f"{1e3 * one['http_p99']:.0f} ms", foreign),
        ("ICE and DTLS p95", "1 s", f"{1e3 * one['handshake_p95']:.0f} ms", foreign),
        ("the server's core", "one", f"{100 * one['server_load']:.0f} %", foreign),
        ("a call meanwhile: longest gap", "100 ms", gap, foreign),
        ("longest delay; packets lost", "", f"{1e3 * call['longest_delay']:.0f} ms; {call['lost']}", foreign),
    ]


def _growth(one: dict[str, Any]) -> list[Row]:
    before, after, foreign = one["rss_before"], one["rss_after"], one["foreign_load"]
    memory = f"{before / 1e6:.1f} → {after / 1e6:.1f} MB ({100 * (after / before - 1):+.1f} %)"
    grown = ", ".join(f"{name} {was} → {now}" for name, (was, now) in one["grown"].items())
    title = f"{one['joins']} joins and leaves after as many, {one['killed']} killed: memory"
    return [
        (title, "5 %", memory, foreign),
        ("descriptors, threads, rows, sessions, series", "as before", grown or "as before", foreign),
    ]
