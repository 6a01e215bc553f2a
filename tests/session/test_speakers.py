"""Who dominates: speech beats silence and noise, a click changes nothing, and the dominant one may breathe."""

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.session.speakers import (
    BUFFER,
    IMMEDIATE_SCORES,
    LONG_SCORES,
    MAX_LEVEL,
    MEDIUM_SCORES,
    DominantSpeakerDetector,
    LevelReader,
)

SPEECH, LOUDER, HUM, SILENCE = 30, 20, 62, MAX_LEVEL
TICK = 15  # levels of 20 ms between two evaluations


def detector(*speakers: str) -> DominantSpeakerDetector[str]:
    made: DominantSpeakerDetector[str] = DominantSpeakerDetector()
    for speaker in speakers:
        made.add(speaker)
    return made


def run(made: DominantSpeakerDetector[str], ticks: int, **levels: int) -> str | None:
    for _ in range(ticks):
        for speaker, level in levels.items():
            made.push(speaker, [(level, TICK)])
        made.evaluate()
    return made.dominant


def test_scores_are_those_of_the_paper_s_formula() -> None:
    # ln C(n,v) + v ln ½ + (n−v) ln ½ − ln λ + λ v, floor 1e-10
    assert IMMEDIATE_SCORES[0] == 1e-10
    assert round(IMMEDIATE_SCORES[9], 4) == 4.8298
    assert round(MEDIUM_SCORES[5], 4) == 113.3562
    assert round(LONG_SCORES[10], 4) == 459.2184


def test_nobody_dominates_a_silent_room() -> None:
    assert run(detector("a", "b"), 10, a=SILENCE, b=SILENCE) is None


def test_a_steady_hum_is_no_speech() -> None:
    assert run(detector("a", "b"), 100, a=HUM, b=SILENCE) is None


def test_whoever_speaks_first_dominates_within_a_second() -> None:
    made = detector("a", "b")
    assert run(made, 3, a=SILENCE, b=SPEECH) == "b"


def test_a_steady_tone_is_heard() -> None:
    assert run(detector("a"), 20, a=SPEECH) == "a"


def test_a_pause_does_not_take_dominance_away() -> None:
    made = detector("a", "b")
    run(made, 4, a=SPEECH, b=SILENCE)
    assert run(made, 100, a=SILENCE, b=SILENCE) == "a"


def test_another_speaker_takes_over_when_the_first_is_silent() -> None:
    made = detector("a", "b")
    run(made, 4, a=SPEECH, b=SILENCE)
    assert run(made, 3, a=SILENCE, b=SPEECH) == "b"


def test_talking_over_somebody_is_not_enough() -> None:
    made = detector("a", "b")
    run(made, 4, a=SPEECH, b=SILENCE)
    assert run(made, 20, a=SPEECH, b=LOUDER) == "a"


def test_a_click_of_forty_milliseconds_changes_nothing() -> None:
    made = detector("a", "b")
    run(made, 4, a=SPEECH, b=SILENCE)
    made.push("a", [(SILENCE, TICK)])
    made.push("b", [(SILENCE, TICK - 2), (LOUDER, 2)])
    assert made.evaluate() == "a"


def test_who_leaves_dominates_no_more_and_may_come_back() -> None:
    made = detector("a", "b")
    run(made, 4, a=SPEECH, b=SILENCE)
    made.remove("a")
    assert made.dominant is None
    assert run(made, 4, b=SILENCE) is None
    made.add("a")
    assert run(made, 4, a=SPEECH, b=SILENCE) == "a"


runs = st.lists(st.tuples(st.integers(-5, 300), st.integers(0, 2 * BUFFER)), max_size=10)


@given(st.lists(runs, min_size=1, max_size=8))
def test_any_levels_give_a_speaker_that_exists(rounds: list[list[tuple[int, int]]]) -> None:
    made = detector("a", "b", "c")
    for said in rounds:
        made.push("a", said)
        made.push("b", reversed(said))
        assert made.evaluate() in (None, "a", "b", "c")


def levels(runs: tuple[tuple[int, int], ...]) -> list[int]:
    return [level for level, count in runs for _ in range(count)]


def test_levels_are_the_mean_of_the_packets_since_the_last_reading() -> None:
    reader = LevelReader()
    assert levels(reader.read(0, 0, 10.0, 10.0)) == []
    assert levels(reader.read(15 * 40, 15, 10.29, 10.3)) == [40] * 15
    assert levels(reader.read(15 * 40 + 10 * 20, 25, 10.59, 10.6)) == [20] * 15


def test_what_did_not_arrive_is_silence() -> None:
    reader = LevelReader()
    reader.read(0, 0, 10.0, 10.0)
    assert levels(reader.read(0, 0, 10.0, 10.3)) == [MAX_LEVEL] * 15
    # Five packets, then nothing for 200 ms.
    assert levels(reader.read(5 * 30, 5, 10.4, 10.6)) == [30] * 5 + [MAX_LEVEL] * 10


def test_a_long_absence_of_readings_is_bounded() -> None:
    reader = LevelReader()
    reader.read(0, 0, 10.0, 10.0)
    assert len(levels(reader.read(30, 1, 5000.0, 5000.0))) == BUFFER
