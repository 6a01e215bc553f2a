"""What a node gives up when its processor is full, and when it takes it back; as pure code.

`Shedder` is shown how loaded the packet planes are (0–1), smooths that, and decides on a `Mode`: above
`ShedLimits.enter` one step less is done, below `leave` one step more. No layer comes and goes with a burst: a load of
1 must last about seven seconds before anything happens, and changes are far apart:

- any change comes at least `dwell` seconds after the one before,
- but for the second step down, from REDUCED on to AUDIO_ONLY, which waits only until the first has had time to help.

So the direction turns at most once a minute, and no two minutes see more than three changes.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

# A process that was stopped for a while has one sample from then, which says little of the time between.
LONGEST_STEP = 2.0


class Mode(IntEnum):
    """How much is done: everything; no new sessions and no top layers; no video at all."""

    NORMAL = 0
    REDUCED = 1
    AUDIO_ONLY = 2


@dataclass(frozen=True, slots=True)
class ShedLimits:
    """Loads are 0–1, times in seconds. 0.90 and 0.72 are those of Jitsi Videobridge's load reducer, as is the minute.

    `smoothing` is a time constant: lower, and a flood of two seconds costs everybody the picture; higher, and sound
    is lost before anything is done. `onward` is three of them: what the first step saves shows by then.
    """

    enter: float = 0.90
    leave: float = 0.72
    smoothing: float = 3.0
    onward: float = 10.0
    dwell: float = 60.0


NO_SHEDDING = ShedLimits(enter=math.inf)
"""The load is measured and shown, and nothing follows."""


class Shedder:
    """Decides how much a node does. `load` is smoothed, `peak` what it was when the mode last went down a step."""

    def __init__(self, limits: ShedLimits) -> None:
        self.limits = limits
        self.mode = Mode.NORMAL
        self.load = 0.0
        self.peak = 0.0
        self.changes = 0
        self._at: float | None = None
        self._changed = -math.inf
        self._worsened = False

    def observe(self, load: float, now: float) -> bool:
        """Takes the load since the last call (`now`: monotonic seconds); whether `mode` is another one now."""
        step = 0.0 if self._at is None else min(max(now - self._at, 0.0), LONGEST_STEP)
        self._at = now
        weight = 1.0 - math.exp(-step / self.limits.smoothing)
        self.load += (min(max(load, 0.0), 1.0) - self.load) * weight
        wanted = self._wanted()
        if wanted is self.mode or now - self._changed < self._patience(wanted):
            return False
        self._worsened = wanted > self.mode
        if self._worsened:
            self.peak = self.load
        self.mode, self._changed = wanted, now
        self.changes += 1
        return True

    def _wanted(self) -> Mode:
        if self.load > self.limits.enter:
            return Mode(min(self.mode + 1, Mode.AUDIO_ONLY))
        if self.load < self.limits.leave:
            return Mode(max(self.mode - 1, Mode.NORMAL))
        return self.mode

    def _patience(self, wanted: Mode) -> float:
        """How long the mode must have lasted before it may become another."""
        onward = self._worsened and wanted > self.mode
        return self.limits.onward if onward else self.limits.dwell
