"""The fuzzers in their short form, each in a process of its own; `make fuzz` runs the long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import seeds
from tests.fuzz.mutations import Mutator

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, interpreted: bool) -> str:
    """What a fuzzer says at its end; its error is the test's."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1" if interpreted else "0"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_same_seed_makes_the_same_datagrams() -> None:
    inputs = seeds.rtp("VP8", 1, 96)
    assert [Mutator(1).mutated(inputs) for _ in range(50)] == [Mutator(1).mutated(inputs) for _ in range(50)]
    draw, other = Mutator(1), Mutator(2)
    assert [draw.mutated(inputs) for _ in range(50)] != [other.mutated(inputs) for _ in range(50)]


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_way_of_a_datagram_interpreted(seed: str) -> None:
    """Every read is checked: of the datagram by its guard, of tables by numpy."""
    assert "datagrams" in run("tests.fuzz.path", "--count", "1500", "--seed", seed, interpreted=True)


def test_every_parser_by_itself() -> None:
    assert "mutations each" in run("tests.fuzz.targets", "--seeded", "500", interpreted=True)


def test_the_real_process() -> None:
    assert "innocent" in run("tests.fuzz.process", "--count", "12000", interpreted=False)
