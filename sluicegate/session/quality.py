"""How good a session is, and when it is worth a word.

`mos` is the E-model (ITU-T G.107) simplified to what an SFU sees: delay and loss take from a base rating of 93.2.
`stream_score` is the share of packets that arrived, to the fourth power, out of ten. `QualityWatch` decides when a
session counts as degraded and by what, with hysteresis in both value and time, and never speaks more than once in 5
s.
"""

import math
from dataclasses import dataclass

import msgspec

from sluicegate.session.names import DegradationCause, QualityMetric

BASE_RATING = 93.2
BEST_MOS = 4.4
CODEC_DELAY = 0.010  # seconds that coding and packing add
# Jitter costs its double, for a jitter buffer is about that deep. Delay hurts gently up to 160 ms and ten times as
# much from there.
GENTLE_DELAY_MS = 160.0
LOSS_WEIGHT = 2.5
SHORTFALL_WEIGHT = 25.0

EVENT_INTERVAL = 5.0
"""Seconds between two events of one session."""
CONFIRMATIONS = 2
"""Observations in a row (one a second) before anything is told. One: every burst is news. More: news is late."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Degraded above `enter`, well again below `leave`."""

    enter: float
    leave: float


THRESHOLDS: dict[QualityMetric, Threshold] = {
    QualityMetric.LOSS: Threshold(0.05, 0.02),
    QualityMetric.RTT: Threshold(0.400, 0.300),
    QualityMetric.JITTER: Threshold(0.060, 0.030),
}


class PathFigures(msgspec.Struct, frozen=True):
    """What a stream went through: loss 0–1, times in seconds; `delivered`: its bitrate over what it should be."""

    loss: float = 0.0
    rtt: float | None = None
    jitter: float = 0.0
    delivered: float = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason to call a session degraded, with the figure that shows it."""

    cause: DegradationCause
    metric: QualityMetric
    value: float
    threshold: float
    track_id: str | None = None
    subscription_id: str | None = None

    @property
    def key(self) -> tuple[DegradationCause, QualityMetric]:
        """What makes two findings the same trouble."""
        return self.cause, self.metric

    @property
    def severity(self) -> float:
        """How far past its threshold, as a ratio; for bandwidth, of which too little is bad, the other way round."""
        if self.metric is QualityMetric.BANDWIDTH:
            return self.threshold / max(self.value, 1.0)
        return self.value / self.threshold if self.threshold else 0.0


@dataclass(frozen=True, slots=True)
class Transition:
    """A session became degraded, or is well again."""

    degraded: bool
    finding: Finding


def mos(figures: PathFigures) -> float:
    """Mean opinion score, 1–4.4."""
    delay_ms = 1000 * ((figures.rtt or 0.0) / 2 + 2 * figures.jitter + CODEC_DELAY)
    rating = BASE_RATING - (delay_ms / 40 if delay_ms < GENTLE_DELAY_MS else (delay_ms - 120) / 10)
    rating -= LOSS_WEIGHT * 100 * min(max(figures.loss, 0.0), 1.0)
    rating -= SHORTFALL_WEIGHT * (1 - min(max(figures.delivered, 0.0), 1.0)) ** 2
    rating = min(max(rating, 0.0), 100.0)
    return max(1.0, 1 + 0.035 * rating + 7e-6 * rating * (rating - 60) * (100 - rating))


def stream_score(figures: PathFigures) -> int:
    """0–10: the worse of what arrived and of what it is like to listen to."""
    delivered = round(10 * (1 - min(max(figures.loss, 0.0), 1.0)) ** 4)
    heard = round(10 * (mos(figures) - 1) / (BEST_MOS - 1))
    return max(0, min(10, delivered, heard))


def path_findings(
    cause: DegradationCause,
    figures: PathFigures,
    degraded: frozenset[tuple[DegradationCause, QualityMetric]],
    *,
    track_id: str | None = None,
    subscription_id: str | None = None,
) -> list[Finding]:
    """What is wrong with a path. `degraded`: what was wrong before, and has to get clearly better to be well."""
    findings = []
    for metric, value in (
        (QualityMetric.LOSS, figures.loss),
        (QualityMetric.RTT, figures.rtt or 0.0),
        (QualityMetric.JITTER, figures.jitter),
    ):
        limit = THRESHOLDS[metric]
        threshold = limit.leave if (cause, metric) in degraded else limit.enter
        if math.isfinite(value) and value > threshold:
            findings.append(Finding(cause, metric, value, threshold, track_id, subscription_id))
    return findings


@dataclass(slots=True)
class _Trouble:
    """One cause: what is told of it now, and for how many observations it has been otherwise."""

    told: Finding | None = None
    streak: int = 0


class QualityWatch:
    """The quality of one session over time. `observe` once a second.

    Each cause enters and leaves by itself; transitions that are due together wait for their turn, entering and the
    worst first.
    """

    def __init__(self) -> None:
        self._troubles: dict[DegradationCause, _Trouble] = {}
        self._last_event: float | None = None

    @property
    def degraded(self) -> frozenset[tuple[DegradationCause, QualityMetric]]:
        """The troubles that the session is in, for `path_findings`."""
        return frozenset(finding.key for finding in self._told())

    @property
    def troubled(self) -> bool:
        """Whether anything is told to be wrong, or about to be."""
        return bool(self._troubles) and any(one.told is not None or one.streak for one in self._troubles.values())

    @property
    def limitation(self) -> DegradationCause | None:
        """What limits the session most; an entitlement only where nothing else does."""
        worst = max(self._told(), key=_urgency, default=None)
        return None if worst is None else worst.cause

    def observe(self, findings: list[Finding], now: float) -> Transition | None:
        """Takes what is wrong at `now` (monotonic seconds), and gives the transition that is told now, if any."""
        found: dict[DegradationCause, Finding] = {}
        for finding in sorted(findings, key=lambda finding: finding.severity):
            found[finding.cause] = finding
            self._troubles.setdefault(finding.cause, _Trouble())
        due: list[DegradationCause] = []
        for cause, trouble in self._troubles.items():
            present = found.get(cause)
            trouble.streak = trouble.streak + 1 if (present is None) != (trouble.told is None) else 0
            if trouble.told is not None and present is not None:
                trouble.told = present
            if trouble.streak >= CONFIRMATIONS:
                due.append(cause)
        if not due or (self._last_event is not None and now - self._last_event < EVENT_INTERVAL):
            return None
        self._last_event = now
        entering = [found[cause] for cause in due if cause in found]
        if entering:
            return self._enter(max(entering, key=_urgency))
        return self._leave(due[0])

    def _enter(self, finding: Finding) -> Transition:
        self._troubles[finding.cause] = _Trouble(finding)
        return Transition(True, finding)

    def _leave(self, cause: DegradationCause) -> Transition:
        over = self._troubles.pop(cause).told
        assert over is not None, "only what was told is over"
        return Transition(False, over)

    def _told(self) -> list[Finding]:
        return [trouble.told for trouble in self._troubles.values() if trouble.told is not None]


def _urgency(finding: Finding) -> tuple[bool, float]:
    return finding.cause is not DegradationCause.ENTITLEMENT, finding.severity
