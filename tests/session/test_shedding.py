"""When a node gives something up, and that it does not change its mind all the time."""

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.session.shedding import LONGEST_STEP, NO_SHEDDING, Mode, Shedder, ShedLimits

LIMITS = ShedLimits()


class Run:
    """A shedder that is shown a load once a second; what it did, and when."""

    def __init__(self, limits: ShedLimits = LIMITS) -> None:
        self.shedder = Shedder(limits)
        self.now = 0.0
        self.modes: list[tuple[float, Mode]] = []

    def load(self, load: float, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.show(load, 1.0)

    def show(self, load: float, step: float) -> None:
        self.now += step
        if self.shedder.observe(load, self.now):
            self.modes.append((self.now, self.shedder.mode))


def test_an_overload_that_lasts_costs_the_top_layers_then_video() -> None:
    run = Run()
    run.load(1.0, 30)
    assert run.modes == [(8.0, Mode.REDUCED), (18.0, Mode.AUDIO_ONLY)]
    assert run.shedder.peak > LIMITS.enter


def test_what_helps_is_not_followed_by_more() -> None:
    run = Run()
    run.load(1.0, 8)
    run.load(0.6, 50)
    assert run.modes == [(8.0, Mode.REDUCED)]


def test_it_comes_back_step_by_step() -> None:
    run = Run()
    run.load(1.0, 20)
    run.load(0.1, 150)
    assert run.modes[2:] == [(78.0, Mode.REDUCED), (138.0, Mode.NORMAL)]


def test_between_the_limits_nothing_changes() -> None:
    run = Run()
    run.load(0.89, 300)
    assert run.modes == []
    run.load(1.0, 8)
    run.load(0.75, 600)
    assert [mode for _, mode in run.modes] == [Mode.REDUCED]


def test_a_burst_is_no_overload() -> None:
    run = Run()
    for _ in range(20):
        run.load(1.0, 4)
        run.load(0.1, 4)
    assert run.modes == []


def test_one_sample_after_a_long_silence_decides_nothing() -> None:
    run = Run()
    run.load(0.1, 10)
    run.show(1.0, 3600)
    assert LIMITS.smoothing > LONGEST_STEP and run.modes == []


def test_a_load_that_follows_its_mode_does_not_swing() -> None:
    """What is given back brings the overload back: the worst that a loop of this kind can be given."""
    run = Run()
    while run.now < 3600:
        run.show({Mode.NORMAL: 1.0, Mode.REDUCED: 1.0, Mode.AUDIO_ONLY: 0.1}[run.shedder.mode], 1.0)
    assert run.shedder.changes == len(run.modes) <= 62


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 100), st.floats(0.1, 5.0)),  # load, for how long, sampled how often
        max_size=40,
    )
)
def test_modes_change_less_than_twice_a_minute(phases: list[tuple[float, float, float]]) -> None:
    run = Run()
    for load, seconds, step in phases:
        end = run.now + seconds
        while run.now < end:
            run.show(load, step)
    times = [at for at, _ in run.modes]
    modes = [Mode.NORMAL, *(mode for _, mode in run.modes)]
    steps = [after - before for before, after in zip(modes, modes[1:], strict=False)]
    assert set(steps) <= {-1, 1}
    for earlier, later, first, second in zip(times, times[1:], steps, steps[1:], strict=False):
        onward = first == second == 1
        assert later - earlier >= (LIMITS.onward if onward else LIMITS.dwell)
    # Fewer than four in any two minutes.
    assert all(later - earlier >= 120.0 for earlier, later in zip(times, times[3:], strict=False))


def test_switched_off_it_only_looks() -> None:
    run = Run(NO_SHEDDING)
    run.load(1.0, 600)
    assert run.modes == [] and run.shedder.load > 0.99


@given(st.floats(0, 0.89), st.integers(1, 200))
def test_below_the_limit_all_is_served(load: float, seconds: int) -> None:
    run = Run()
    run.load(load, seconds)
    assert run.modes == []
