"""The decisions about one session, in order: the answer to "why do I see this?"."""

from collections.abc import Callable

from sluicegate import clock
from sluicegate.session.views import Layers, TimelineEntry

# Decisions come in bursts when a path changes; 256 are some minutes of an unquiet session and about 80 KB at worst.
LENGTH = 256


class Timeline:
    """A bounded list of decisions; the oldest go first. `wall` gives Unix seconds."""

    def __init__(self, wall: Callable[[], float], length: int = LENGTH) -> None:
        self._wall = wall
        self._length = length
        self._entries: list[TimelineEntry] = []

    def add(
        self,
        cause: str,
        detail: str | None = None,
        *,
        track_id: str | None = None,
        subscription_id: str | None = None,
        layers: Layers | None = None,
        estimate: int | None = None,
        probes: int = 0,
    ) -> None:
        """Notes a decision, as of now."""
        self._entries.append(
            TimelineEntry(
                at=clock.rfc3339(self._wall()),
                cause=cause,
                detail=detail,
                estimate=estimate,
                track_id=track_id,
                subscription_id=subscription_id,
                layers=layers,
                probes=probes,
            )
        )
        if len(self._entries) > self._length:
            del self._entries[0]

    def entries(self, latest: int | None = None) -> tuple[TimelineEntry, ...]:
        """All entries, or only the `latest` so many; oldest first."""
        return tuple(self._entries if latest is None else self._entries[-latest:])
