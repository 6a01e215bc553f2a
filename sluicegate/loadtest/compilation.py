"""The compiled loop, built once for each state of its sources."""

from functools import cache
from typing import Any

from sluicegate.loadtest import engine
from sluicegate.loadtest.tables import LoadTables
from sluicegate.router.compilation import SourceCache

LOAD = SourceCache("load-", "compiled.py", "router/native.py", "router/kernel/header.py", "loadtest")


@cache
def _entry() -> Any:
    return LOAD.compile(engine.run)


def compile_loop(tables: LoadTables) -> None:
    """Compile by a run that ends at once."""
    tables.state[0].stop = 1
    _entry()(tables)
    tables.state[0].stop = 0


def run_loop(tables: LoadTables) -> None:
    """Run until `state.stop`; holds no GIL."""
    _entry()(tables)
