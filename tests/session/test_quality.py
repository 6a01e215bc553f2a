"""Scores fall with what hurts, and a session is called degraded once, not every second."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.session.names import DegradationCause, QualityMetric
from sluicegate.session.quality import (
    BEST_MOS,
    Finding,
    PathFigures,
    QualityWatch,
    Transition,
    mos,
    path_findings,
    stream_score,
)

UPLINK, DOWNLINK = DegradationCause.PUBLISHER_UPLINK, DegradationCause.SUBSCRIBER_DOWNLINK
LOSS = Finding(UPLINK, QualityMetric.LOSS, 0.2, 0.05, "t")
SLOW = Finding(DOWNLINK, QualityMetric.RTT, 0.5, 0.4, "t", "s")

figures = st.builds(
    PathFigures,
    loss=st.floats(0, 1),
    rtt=st.none() | st.floats(0, 10),
    jitter=st.floats(0, 10),
    delivered=st.floats(0, 1),
)


def test_a_clean_path_is_as_good_as_it_gets() -> None:
    clean = PathFigures(rtt=0.02)
    assert stream_score(clean) == 10
    assert 4.3 < mos(clean) <= BEST_MOS


def test_loss_costs_as_it_does_elsewhere() -> None:
    assert [stream_score(PathFigures(loss=loss)) for loss in (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)] == [10, 8, 7, 4, 0, 0]


@given(figures)
def test_scores_stay_in_their_ranges(value: PathFigures) -> None:
    assert 1 <= mos(value) <= 4.5
    assert 0 <= stream_score(value) <= 10


@given(figures, st.floats(0, 1), st.floats(0, 5))
def test_worse_figures_never_score_better(value: PathFigures, loss: float, more: float) -> None:
    worse = PathFigures(max(value.loss, loss), (value.rtt or 0.0) + more, value.jitter + more, value.delivered)
    assert mos(worse) <= mos(value)
    assert stream_score(worse) <= stream_score(value)


def test_one_bad_second_is_not_told() -> None:
    watch = QualityWatch()
    assert watch.observe([LOSS], 1.0) is None
    assert watch.observe([], 2.0) is None
    assert watch.observe([LOSS], 3.0) is None


def test_entering_and_leaving_are_told_once_each() -> None:
    watch = QualityWatch()
    told = [watch.observe([LOSS] if now < 10 else [], float(now)) for now in range(20)]
    assert [(now, transition) for now, transition in enumerate(told) if transition] == [
        (1, Transition(True, LOSS)),
        (11, Transition(False, LOSS)),
    ]


def test_never_more_than_one_event_in_five_seconds() -> None:
    watch = QualityWatch()
    times = []
    for now in range(100):
        findings = ([LOSS] if now % 4 < 2 else []) + ([SLOW] if now % 6 < 3 else [])
        if watch.observe(findings, float(now)):
            times.append(now)
    assert times
    assert all(later - earlier >= 5 for earlier, later in pairwise(times))


def test_a_second_cause_waits_for_its_turn() -> None:
    watch = QualityWatch()
    told = [watch.observe([LOSS, SLOW], float(now)) for now in range(10)]
    assert [(now, transition.finding.cause) for now, transition in enumerate(told) if transition] == [
        (1, UPLINK),
        (6, DOWNLINK),
    ]
    assert watch.limitation is UPLINK


def test_an_entitlement_hides_no_real_trouble() -> None:
    watch = QualityWatch()
    limited = Finding(DegradationCause.ENTITLEMENT, QualityMetric.BANDWIDTH, 2e5, 1.5e6)
    for now in range(5):
        watch.observe([limited], float(now))
    assert watch.limitation is DegradationCause.ENTITLEMENT
    told = [watch.observe([limited, SLOW], float(now)) for now in range(5, 12)]
    assert [transition.finding for transition in told if transition] == [SLOW]
    assert watch.limitation is DOWNLINK


def test_what_was_bad_must_get_clearly_better() -> None:
    between = PathFigures(loss=0.03)
    assert path_findings(UPLINK, between, frozenset()) == []
    again = path_findings(UPLINK, between, frozenset({(UPLINK, QualityMetric.LOSS)}))
    assert [finding.metric for finding in again] == [QualityMetric.LOSS]


def test_figures_that_are_no_numbers_are_no_findings() -> None:
    assert path_findings(UPLINK, PathFigures(float("nan"), float("inf"), float("nan")), frozenset()) == []
