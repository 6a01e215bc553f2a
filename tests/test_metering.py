"""What the meter makes of the planes' counters."""

from types import SimpleNamespace
from typing import Any

from sluicegate.metering import Meter


def test_a_plane_that_holds_video_back_is_full() -> None:
    """However little it works meanwhile; and only while it does."""
    drops = {"overrun": 0}
    router: Any = SimpleNamespace(thread_ids=tuple, planes=[SimpleNamespace(drops=lambda: drops)])
    nothing: Any = None
    meter = Meter(nothing, router, nothing, nothing, nothing)
    assert meter.load(0.0) is None
    quiet = meter.load(1.0)
    assert quiet is not None and quiet < 1.0
    drops["overrun"] += 5
    assert meter.load(1.5) is None, "not measured again yet"
    assert meter.load(2.0) == 1.0
    after = meter.load(3.0)
    assert after is not None and after < 1.0
