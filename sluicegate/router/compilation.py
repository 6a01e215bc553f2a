"""Compiling the kernel, once for each machine and state of its sources.

Numba notices when the file of a cached function changes, not when a function that it calls does. So the cache lies in
a folder whose name is a digest over all sources that are compiled; what older versions left there is simply not looked
at.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import numba

from sluicegate.compiled import INTERPRETED

try:
    import fcntl
except ImportError:  # not a Unix: nobody waits for anybody
    fcntl = None  # type: ignore[assignment]

PACKAGE = Path(__file__).resolve().parent.parent


class SourceCache:
    """Compiled functions of some sources, files and folders of the package, in a cache folder of their own."""

    def __init__(self, prefix: str, *sources: str) -> None:
        self._prefix = prefix
        self._sources = sources

    @cached_property
    def folder(self) -> Path:
        """Below `NUMBA_CACHE_DIR`, or the user's cache folder; one for each copy of the package, as numba has it."""
        digest = hashlib.sha256(f"{numba.__version__} {numba.config.BOUNDSCHECK} {PACKAGE}".encode())
        for source in self._sources:
            path = PACKAGE / source
            for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
                digest.update(file.read_bytes())
        base = os.environ.get("NUMBA_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        return Path(base) / "sluicegate" / f"{self._prefix}{digest.hexdigest()[:16]}"

    def is_filled(self) -> bool:
        """Whether this state of the sources has been compiled here before."""
        return any(self.folder.rglob("*.nbi"))

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function as called from Python: compiled without the GIL and cached, or itself when interpreted."""
        if INTERPRETED:
            return function
        numba.config.CACHE_DIR = str(self.folder)
        return cast(Callable[..., Any], numba.njit(nogil=True, cache=True, error_model="numpy")(function))

    def address(self, function: Callable[..., int], arguments: int) -> int:
        """The address of a C function that does the same with so many integers of 64 bits, and must not be
        interpreted."""
        numba.config.CACHE_DIR = str(self.folder)
        form = numba.types.int32(*[numba.types.int64] * arguments)
        return int(numba.cfunc(form, cache=True)(function).address)


PLANE = SourceCache(
    "",
    "compiled.py",
    *("router/native.py", "router/handle.py", "router/records.py", "router/tables.py", "router/kernel"),
    "rtp",
)


@cache
def entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel function as called from Python."""
    return function if INTERPRETED else PLANE.compile(function.py_func)  # type: ignore[attr-defined]


def warm_up(function: Callable[..., Any], *arguments: Any) -> float:
    """Compile a kernel function by calling it with arguments on which it does nothing; how long that took, in
    seconds."""
    began = time.perf_counter()
    with _alone():
        entry(function)(*arguments)
    return time.perf_counter() - began


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process compile while others wait and then find its result, where the system has flock(2)."""
    if INTERPRETED or fcntl is None:
        yield
        return
    folder = PLANE.folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
