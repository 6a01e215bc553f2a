"""How much there is on a node, by kind."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sluicegate.session.core import Core


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is on this node now."""

    sessions: int
    channels: int
    tracks: int
    subscriptions: int
    sessions_by_type: Mapping[str, int]
    tracks_by_kind: Mapping[str, int]
    subscriptions_by_kind: Mapping[str, int]


def count(core: Core) -> Counts:
    """Counts all of it."""
    return Counts(
        sessions=len(core.sessions),
        channels=len(core.channels),
        tracks=len(core.tracks),
        subscriptions=len(core.sends),
        sessions_by_type=Counter(session.identity.type.value for session in core.sessions.values()),
        tracks_by_kind=Counter(track.kind.value for _, track in core.tracks.values()),
        subscriptions_by_kind=Counter(subscription.track.kind.value for _, subscription in core.sends.values()),
    )
