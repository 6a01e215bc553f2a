"""The compiled loop, built once for each state of its sources; see `router/compilation.py` for why the cache has a
folder of its own."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numba

from sluicegate.compiled import INTERPRETED
from sluicegate.loadtest import engine
from sluicegate.loadtest.tables import LoadTables
from sluicegate.router.compilation import PACKAGE, cache_folder

SOURCES = ("compiled.py", "router/native.py", "router/kernel/header.py", "loadtest")


@cache
def _folder() -> Path:
    digest = hashlib.sha256(numba.__version__.encode())
    for source in SOURCES:
        path = PACKAGE / source
        for file in [path] if path.is_file() else sorted(path.glob("*.py")):
            digest.update(file.read_bytes())
    return cache_folder().parent / f"load-{digest.hexdigest()[:16]}"


@cache
def _entry() -> Any:
    if INTERPRETED:
        return engine.run
    numba.config.CACHE_DIR = str(_folder())
    return numba.njit(nogil=True, cache=True, error_model="numpy")(engine.run)


def is_cached() -> bool:
    """Whether the loop has been compiled here before."""
    return any(_folder().rglob("*.nbi"))


def compile_loop(tables: LoadTables) -> None:
    """Compile by a run that ends at once."""
    tables.state[0].stop = 1
    _entry()(tables)
    tables.state[0].stop = 0


def run_loop(tables: LoadTables) -> None:
    """Run until `state.stop`; holds no GIL."""
    _entry()(tables)
