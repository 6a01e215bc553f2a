"""The load generator's own arithmetic: schedules, buckets, scenarios, what the command line allows."""

import argparse

import numpy as np
import pytest

from sluicegate.errors import ConfigurationError
from sluicegate.loadtest.command import add_arguments, build_scenario
from sluicegate.loadtest.engine import latency_bucket
from sluicegate.loadtest.plan import SCENARIOS, Scenario
from sluicegate.loadtest.result import bucket_top, percentile
from sluicegate.loadtest.tables import LATENCY_OCTAVES, LATENCY_STEPS

BUCKETS = LATENCY_OCTAVES * LATENCY_STEPS
# The Python behind a compiled function, whether it is compiled here or not.
bucket = getattr(latency_bucket, "py_func", latency_bucket)


@pytest.mark.parametrize("value", [0, 1, 31, 32, 63, 64, 65, 127, 128, 1000, 12_345, 1_000_000, 60_000_000])
def test_a_latency_lies_in_a_bucket_that_ends_less_than_four_percent_above_it(value: int) -> None:
    top = bucket_top(bucket(value, BUCKETS))
    assert value < top <= value * 1.04 + 1


def test_buckets_never_go_down() -> None:
    found = [bucket(value, BUCKETS) for value in range(100_000)]
    assert found == sorted(found)


def test_a_latency_beyond_all_buckets_is_counted_in_the_last() -> None:
    assert bucket(1 << 60, BUCKETS) == BUCKETS - 1


def test_percentiles_are_of_the_counts() -> None:
    counts = np.zeros(BUCKETS, np.int64)
    counts[10], counts[20] = 99, 1
    assert percentile(counts, 0.5) == pytest.approx(0.011)
    assert percentile(counts, 0.999) == pytest.approx(0.021)
    assert percentile(np.zeros(BUCKETS, np.int64), 0.5) == 0.0


def test_everybody_in_a_mesh_receives_all_others() -> None:
    scenario = SCENARIOS["audio-mesh"]
    assert scenario.clients == 20
    assert scenario.receivers_of_a_track == 19
    assert all(member.receives and member.publishes for member in scenario.members())


def test_publishers_of_a_fan_out_receive_nothing() -> None:
    members = list(Scenario("one", publishers=1, subscribers=3).members())
    assert [member.receives for member in members] == [False, True, True, True]


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(list(words))


def test_the_command_line_changes_a_scenario() -> None:
    scenario = build_scenario(parse("--subscribers", "7", "--profile", "AES128_CM_SHA1_80", "--pacing", "paced"))
    assert (scenario.subscribers, scenario.profile.name, scenario.media.pacing.name) == (
        7,
        "AES128_CM_SHA1_80",
        "PACED",
    )


def test_a_load_is_bounded_in_clients() -> None:
    with pytest.raises(ConfigurationError, match="too many"):
        build_scenario(parse("--subscribers", "100000"))


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "4000"])
def test_a_load_is_bounded_in_time(seconds: str) -> None:
    with pytest.raises(SystemExit):
        parse("--seconds", seconds)
