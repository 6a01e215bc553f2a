"""Who dominates the conversation.

After Volfin & Cohen, "Dominant speaker identification for multipoint videoconferencing" (Computer Speech & Language
27, 2013).

The activity of every speaker is scored over three spans: immediate (one level of 20 ms), medium (5 levels) and long
(10 mediums, one second). Another speaker becomes dominant when all three of its scores beat those of the present one
by enough; so a cough or a word of agreement changes nothing, and a pause of the one who speaks neither.

Input is audio levels as RFC 6464 has them (−dBov: 0 is loudest, 127 silence), one for each 20 ms, newest last. Pure:
no clock. Until somebody has really spoken nobody is dominant; after that somebody is, also in silence, until the
speaker leaves.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Generic, TypeVar

T = TypeVar("T")

LEVEL_SECONDS = 0.020

# Constants of the paper as the public implementations have them.
MAX_LEVEL = 127
IMMEDIATE_STEPS = 13  # N1: levels are seen in this many steps …
STEP = math.ceil(MAX_LEVEL / IMMEDIATE_STEPS)  # … of 10 dB
MEDIUM_LENGTH = 5  # N2: immediates in a medium
LONG_LENGTH = 10  # N3: mediums in a long
BUFFER = MEDIUM_LENGTH * LONG_LENGTH
MEDIUM_THRESHOLD = 7  # an immediate above this counts as speech
LONG_THRESHOLD = 4  # a medium above this counts as speech
RATIO_IMMEDIATE = 3.0  # C1
RATIO_MEDIUM = 2.0  # C2
RATIO_LONG = 0.0  # C3
SPEECH = 0.5  # p
LAMBDA_IMMEDIATE = 0.78
LAMBDA_MEDIUM = 24.0
LAMBDA_LONG = 47.0
LEAST_SCORE = 1e-10
# The noise floor is learnt anew every 15 s of levels. Longer: an air conditioner that starts is speech for longer.
FLOOR_WINDOW = 750
# Above this (−42 dBov) a steady level is no noise floor, but music, a tone, or somebody who has not yet drawn breath.
# Readings are means over some hundred milliseconds, in which pauses between words drown; without a limit such a
# talker would never be heard.
FLOOR_LIMIT = 85


def _scores(length: int, decay: float) -> tuple[float, ...]:
    """The score of each possible count of active parts of `length`: the log-likelihood ratio of speech to silence."""

    def score(active: int) -> float:
        likelihood = (
            math.log(math.comb(length, active)) + active * math.log(SPEECH) + (length - active) * math.log(1 - SPEECH)
        )
        return max(LEAST_SCORE, likelihood - math.log(decay) + decay * active)

    return tuple(score(active) for active in range(length + 1))


IMMEDIATE_SCORES = _scores(IMMEDIATE_STEPS, LAMBDA_IMMEDIATE)
MEDIUM_SCORES = _scores(MEDIUM_LENGTH, LAMBDA_MEDIUM)
LONG_SCORES = _scores(LONG_LENGTH, LAMBDA_LONG)


@dataclass(frozen=True, slots=True)
class ActivityScores:
    """How active one speaker was, over the three spans."""

    immediate: float = LEAST_SCORE
    medium: float = LEAST_SCORE
    long: float = LEAST_SCORE

    @property
    def speaks(self) -> bool:
        """Whether this is speech at all, and not merely the loudest of several silences."""
        return self.immediate > LEAST_SCORE and self.medium > LEAST_SCORE and self.long > LEAST_SCORE


SILENCE = ActivityScores()


class _Speaker:
    """The last second of one speaker's levels, in steps above its noise floor."""

    __slots__ = ("_floor", "_next_floor", "_seen", "_silent", "_steps")

    def __init__(self) -> None:
        self._steps: deque[int] = deque([0] * BUFFER, maxlen=BUFFER)
        self._silent = BUFFER  # how many of the latest steps are 0: a buffer of zeros need not be looked at
        self._floor = 0.0
        self._next_floor = 0.0
        self._seen = 0

    def push(self, level: int, count: int) -> None:
        """`count` times the same level; 0 is loudest, 127 silence."""
        if count <= 0:
            return
        loudness = MAX_LEVEL - min(max(level, 0), MAX_LEVEL)
        self._learn_floor(loudness, count)
        step = 0 if loudness < min(self._floor, FLOOR_LIMIT) + STEP else loudness // STEP
        self._silent = 0 if step else min(self._silent + count, BUFFER)
        self._steps.extend(repeat(step, count))

    def _learn_floor(self, loudness: int, count: int) -> None:
        # Digital silence says nothing about the noise of a room, and would keep the floor at zero for ever.
        if loudness == 0:
            return
        if self._floor == 0 or loudness < self._floor:
            self._floor = self._next_floor = float(loudness)
            self._seen = 0
            return
        self._next_floor = loudness if self._seen == 0 else min(self._next_floor, loudness)
        self._seen += count
        if self._seen >= FLOOR_WINDOW:
            self._floor = math.sqrt(self._floor * self._next_floor)
            self._seen = 0

    def scores(self) -> ActivityScores:
        """The activity up to the newest level."""
        if self._silent >= BUFFER:
            return SILENCE
        speech = [step > MEDIUM_THRESHOLD for step in reversed(self._steps)]
        mediums = [sum(speech[start : start + MEDIUM_LENGTH]) for start in range(0, BUFFER, MEDIUM_LENGTH)]
        longs = sum(medium > LONG_THRESHOLD for medium in mediums)
        return ActivityScores(IMMEDIATE_SCORES[self._steps[-1]], MEDIUM_SCORES[mediums[0]], LONG_SCORES[longs])


class DominantSpeakerDetector(Generic[T]):
    """The speakers of one channel. Feed levels as they come, `evaluate` every 300 ms."""

    def __init__(self) -> None:
        self._speakers: dict[T, _Speaker] = {}
        self.dominant: T | None = None

    def add(self, speaker: T) -> None:
        """Begins to listen to `speaker`."""
        self._speakers.setdefault(speaker, _Speaker())

    def remove(self, speaker: T) -> None:
        """Forgets `speaker`; who was dominant is so no more."""
        self._speakers.pop(speaker, None)
        if self.dominant == speaker:
            self.dominant = None

    def push(self, speaker: T, runs: Iterable[tuple[int, int]]) -> None:
        """The newest levels of `speaker`, one for each 20 ms, as (level, how many times in a row)."""
        heard = self._speakers[speaker]
        for level, count in runs:
            heard.push(level, min(count, BUFFER))

    def evaluate(self) -> T | None:
        """Who is dominant now."""
        scores = {speaker: heard.scores() for speaker, heard in self._speakers.items()}
        present = scores[self.dominant] if self.dominant is not None else None
        best, best_ratio = self.dominant, RATIO_MEDIUM
        for speaker, score in scores.items():
            if speaker == self.dominant or not score.speaks:
                continue
            ratio = math.log(score.medium / (present or SILENCE).medium)
            if ratio > best_ratio and (present is None or _beats(score, present)):
                best, best_ratio = speaker, ratio
        self.dominant = best
        return best


def _beats(challenger: ActivityScores, present: ActivityScores) -> bool:
    return (
        math.log(challenger.immediate / present.immediate) > RATIO_IMMEDIATE
        and math.log(challenger.medium / present.medium) > RATIO_MEDIUM
        and math.log(challenger.long / present.long) > RATIO_LONG
    )


@dataclass(slots=True)
class LevelReader:
    """Turns the plane's running totals of one stream into levels of 20 ms each.

    Between two readings only the mean level is known; it stands for the whole interval, except for a tail in which
    nothing arrived (a sender with discontinuous transmission is silent then).
    """

    # Lower: packets of 60 ms, or a little jitter, look like silence. Higher: the end of a word is noticed late.
    IDLE_SECONDS = 0.100

    level_sum: int = 0
    level_count: int = 0
    read_at: float | None = None

    def pause(self) -> None:
        """Nobody listens: what comes before the next reading counts for nothing."""
        self.read_at = None

    def read(self, level_sum: int, level_count: int, last_packet: float, now: float) -> tuple[tuple[int, int], ...]:
        """The levels since the last reading, newest last, as (level, how many times in a row); at most one second."""
        total, count = level_sum - self.level_sum, level_count - self.level_count
        since = now if self.read_at is None else self.read_at
        self.level_sum, self.level_count, self.read_at = level_sum, level_count, now
        length = min(BUFFER, round((now - since) / LEVEL_SECONDS))
        if count <= 0:
            return ((MAX_LEVEL, length),)
        idle = now - last_packet
        silent = min(length, round(idle / LEVEL_SECONDS)) if idle >= self.IDLE_SECONDS else 0
        return (round(total / count), length - silent), (MAX_LEVEL, silent)
