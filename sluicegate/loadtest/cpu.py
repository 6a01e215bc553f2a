"""Processor time of the server: of a process on this machine, thread by thread, or as its `/metrics` tells it."""

import os
import re
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

PROCESS_CPU = re.compile(r"^process_cpu_seconds_total\s+(\S+)", re.MULTILINE)
METRICS_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds since the start of the process; `threads` by name, where they can be told apart."""

    total: float
    threads: dict[str, float] = field(default_factory=dict)

    def since(self, earlier: "CpuTime") -> "CpuTime":
        threads = {name: seconds - earlier.threads.get(name, 0.0) for name, seconds in self.threads.items()}
        return CpuTime(self.total - earlier.total, threads)


class ProcessCpu:
    """A process of this machine, and its children (Janus and others are one; a cluster may be several)."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def read(self) -> CpuTime:
        """Raises OSError when the process is gone."""
        threads: dict[str, float] = {}
        tasks = sorted(Path(f"/proc/{self._pid}/task").iterdir(), key=lambda task: int(task.name))
        for number, task in enumerate(tasks):
            try:
                name = "main" if number == 0 else (task / "comm").read_text().strip()
                # Python names its threads for the system from 3.14 on; before, they differ by their order only.
                name = f"thread {number}" if name.startswith("python") else name
                threads[name] = threads.get(name, 0.0) + _task_seconds(task)
            except OSError:
                continue  # a thread that ended meanwhile
        return CpuTime(sum(threads.values()), threads)


class MetricsCpu:
    """What a server says of itself: `process_cpu_seconds_total`, to 10 ms."""

    def __init__(self, url: str, token: str | None) -> None:
        self._request = urllib.request.Request(url.rstrip("/") + "/metrics")
        if token:
            self._request.add_header("Authorization", f"Bearer {token}")

    def read(self) -> CpuTime:
        """Raises OSError (HTTP errors are that) or ValueError when it says nothing."""
        with urllib.request.urlopen(self._request, timeout=METRICS_TIMEOUT) as response:
            found = PROCESS_CPU.search(response.read().decode(errors="replace"))
        if found is None:
            raise ValueError("no process_cpu_seconds_total among the metrics")
        return CpuTime(float(found[1]))


def _task_seconds(task: Path) -> float:
    """The scheduler's own account to the nanosecond, where the kernel keeps it; else ticks."""
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
