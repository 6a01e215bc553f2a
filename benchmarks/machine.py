"""The machine under the figures: what it is, which cores are used for what, and who else used them meanwhile."""

import importlib.metadata
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

SERVER_CORE, LOAD_CORE = 0, 1
PACKAGES = ("numba", "numpy", "pylibsrtp", "pyOpenSSL", "cryptography", "uvloop", "aiohttp")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader must know to compare."""

    processor: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    packages: dict[str, str]

    @classmethod
    def this(cls) -> "Machine":
        info = Path("/proc/cpuinfo").read_text()
        names = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        packages = {name: importlib.metadata.version(name) for name in PACKAGES}
        return cls(
            names[0] if names else platform.processor(),
            os.cpu_count() or 1,
            round(memory, 1),
            platform.release(),
            platform.python_version(),
            packages,
        )

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def pin(core: int, cores: int = 1) -> None:
    """Keep this process, and what it will start, on one core, or some from there on; without so many, where it is."""
    if core + cores <= (os.cpu_count() or 1):
        os.sched_setaffinity(0, range(core, core + cores))


@dataclass(frozen=True, slots=True)
class CoreTime:
    """Busy seconds of one core, and of its ksoftirqd, which delivers to loopback what a sender left undone."""

    busy: float
    softirq_thread: float

    @classmethod
    def read(cls, core: int) -> "CoreTime":
        """Now."""
        ticks = os.sysconf("SC_CLK_TCK")
        for line in Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name == f"cpu{core}":
                user, nice, system, _, _, interrupt, soft, *_ = (int(one) for one in fields)
                return cls((user + nice + system + interrupt + soft) / ticks, _softirq_thread(core))
        return cls(0.0, 0.0)

    def since(self, earlier: "CoreTime") -> "CoreTime":
        return CoreTime(self.busy - earlier.busy, self.softirq_thread - earlier.softirq_thread)


_SOFTIRQ_THREADS: dict[int, Path] = {}


def _softirq_thread(core: int) -> float:
    """Processor time of `ksoftirqd/CORE`, in seconds."""
    if core not in _SOFTIRQ_THREADS:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "comm").read_text().strip() == f"ksoftirqd/{core}":
                    _SOFTIRQ_THREADS[core] = process
            except OSError:
                continue
    try:
        return int((_SOFTIRQ_THREADS[core] / "schedstat").read_text().split()[0]) / 1e9
    except (KeyError, OSError, ValueError, IndexError):
        return 0.0
