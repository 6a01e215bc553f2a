"""Who hears whom in a channel, and how loud."""

from collections.abc import Iterable

from sluicegate.errors import Invalid
from sluicegate.ids import UserId
from sluicegate.session.requests import RouteGain, Routes

ANYBODY = "*"


class RouteTable:
    """The gains of one channel; 1 for everybody until something else is said."""

    def __init__(self, default: float = 1.0, gains: Iterable[RouteGain] = ()) -> None:
        self.default = default
        self.gains = tuple(gains)
        self._gains = {(route.listener, route.speaker): route.gain for route in self.gains}

    @classmethod
    def of(cls, routes: Routes) -> "RouteTable":
        """The table that a request describes; `Invalid` where one pair has two gains."""
        seen: set[tuple[str, str]] = set()
        for index, route in enumerate(routes.gains):
            pair = (route.listener, route.speaker)
            if pair in seen:
                raise Invalid(
                    f"There is more than one gain for listener {route.listener} and speaker {route.speaker}.",
                    pointer=f"/gains/{index}",
                )
            seen.add(pair)
        return cls(routes.default, routes.gains)

    def gain(self, listener: UserId, speaker: UserId) -> float:
        """0–2. The exact pair beats `listener` to `*`, that `*` to `speaker`, that `*` to `*`, that the default."""
        for pair in ((listener, speaker), (listener, ANYBODY), (ANYBODY, speaker), (ANYBODY, ANYBODY)):
            if pair in self._gains:
                return self._gains[pair]
        return self.default

    def mutes(self, listener: UserId, speaker: UserId) -> bool:
        """Whether forwarded audio, which cannot be scaled, must not reach the listener."""
        return self.gain(listener, speaker) == 0
