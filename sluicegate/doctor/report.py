"""The doctor's report, for people (a table) or for machines (one JSON object)."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

from sluicegate import __version__
from sluicegate.config import SettingRow, Settings
from sluicegate.doctor import machine, ports, services
from sluicegate.doctor.check import Check, Status


def run(settings: Settings, environ: Mapping[str, str], *, as_json: bool = False) -> int:
    """Print the report; returns 1 when a check failed, else 0."""
    rows = _rows(settings, environ)
    checks = list(examine(settings, environ))
    if as_json:
        report = {
            "version": __version__,
            "settings": [asdict(row) for row in rows],
            "checks": [asdict(c) for c in checks],
        }
        print(json.dumps(report, indent=2))
    else:
        _print_report(rows, checks)
    return 1 if any(check.status is Status.FAIL for check in checks) else 0


def examine(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """Every check, in the order of the report."""
    yield from machine.check_software()
    yield from machine.check_processors(settings)
    yield from machine.check_offload()
    yield from machine.check_socket_buffers()
    yield from machine.check_open_files(settings)
    yield from machine.check_crypto()
    yield machine.check_opus()
    yield machine.check_compile_cache()
    yield ports.check_http_port(settings)
    yield ports.check_media_ports(settings)
    yield ports.check_candidates(settings)
    yield from services.check_services(settings, environ)


def _rows(settings: Settings, environ: Mapping[str, str]) -> list[SettingRow]:
    """The rows of `settings`; a node id that nobody set is another one at each start, so it is not shown."""
    unnamed = not environ.get("NODE_ID", "").strip()
    return [
        replace(row, value="(random at each start)", is_default=True) if row.variable == "NODE_ID" and unnamed else row
        for row in settings.describe()
    ]


def _print_report(rows: list[SettingRow], checks: list[Check]) -> None:
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    paint = {Status.OK: "32", Status.WARN: "33", Status.FAIL: "31"} if colours else {}
    print(f"sluicegate {__version__}\n\nSettings (* set by you)")
    for row in rows:
        print(f"  {' ' if row.is_default else '*'} {row.variable:<20} {row.value:<28} {row.meaning}")
    print("\nThis machine")
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = f"{check.status.value:<4}"
        mark = f"\x1b[{paint[check.status]}m{mark}\x1b[0m" if check.status in paint else mark
        print(f"  {mark}  {check.name:<{width}}  {check.detail}")
    failed = sum(check.status is Status.FAIL for check in checks)
    warned = sum(check.status is Status.WARN for check in checks)
    print(f"\n{len(checks)} checks: {failed} failed, {warned} with a warning.")
