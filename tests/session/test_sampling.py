"""Rates are those of the last window, not of the whole life."""

from sluicegate.session.sampling import RateWindow, SessionSample


def test_a_rate_is_the_difference_of_two_samples() -> None:
    window = RateWindow()
    window.advance(10.0, 1_000_000, 500)
    assert (window.bitrate_bps, window.frames_per_second) == (0, 0.0)
    window.advance(12.0, 1_250_000, 560)
    assert (window.bitrate_bps, window.frames_per_second) == (1_000_000, 30.0)
    window.advance(13.0, 1_250_000, 560)
    assert (window.bitrate_bps, window.frames_per_second) == (0, 0.0)


def test_totals_that_went_back_begin_anew() -> None:
    window = RateWindow()
    window.advance(10.0, 1_000_000, 500)
    window.advance(11.0, 1_000, 1)
    assert window.bitrate_bps == 0
    window.advance(12.0, 126_000, 31)
    assert (window.bitrate_bps, window.frames_per_second) == (1_000_000, 30.0)


def test_a_sample_is_due_after_a_window() -> None:
    sample = SessionSample()
    assert sample.due(5.0)
    sample.taken = 5.0
    assert not sample.due(5.9)
    assert sample.due(6.0)
