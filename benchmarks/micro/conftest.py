"""What the micro-benchmarks share: rigs, and a way to measure batches."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks.micro.rig import Rig
from benchmarks.micro.steps import entry

ROUNDS = 200


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    """Makes rigs, and closes them."""
    made: list[Rig] = []

    def make(*arguments: Any, **options: Any) -> Rig:
        made.append(Rig(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def measure(benchmark: Any) -> Callable[..., None]:
    """Measure a compiled step: `prepare` runs before each round, and gives the step's arguments.

    The step says how many packets it handled, which must be as many as expected.
    """

    def run(step: Callable[..., Any], prepare: Callable[[], tuple[Any, ...]], packets: int) -> None:
        compiled = entry(step)
        compiled(*prepare())

        def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
            return prepare(), {}

        handled = benchmark.pedantic(compiled, setup=setup, rounds=ROUNDS, warmup_rounds=5)
        assert handled == packets
        benchmark.extra_info["packets"] = packets
        if benchmark.stats is not None:
            benchmark.extra_info["ns_per_packet"] = round(benchmark.stats.stats.median / packets * 1e9, 1)

    return run
