"""A channel: the sessions that meet in it, who hears whom, and who speaks. It lives as long as it has a session."""

from dataclasses import dataclass, field
from typing import Any

from sluicegate.ids import ChannelId, SessionId, SubscriptionId, TrackId, UserId
from sluicegate.session.ports import PlanePort
from sluicegate.session.routes import RouteTable
from sluicegate.session.session import Session
from sluicegate.session.speakers import DominantSpeakerDetector, LevelReader
from sluicegate.session.track import Track


@dataclass(slots=True)
class Member:
    """A user with at least one session in the channel.

    `cname` is random (RFC 7022 §4.2) and the same for all tracks of the user, so that a receiver plays them in step.
    """

    user_id: UserId
    joined_wall: float
    cname: str
    sessions: dict[SessionId, Session] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What the newest session that says something says of the user."""
        said = [session.metadata for session in self.sessions.values() if session.metadata is not None]
        return said[-1] if said else None

    def track_count(self) -> int:
        return sum(len(session.tracks) for session in self.sessions.values())


@dataclass(slots=True, eq=False)
class Channel:
    """Sessions of one channel, all on one plane. `tracks` and `sessions` are in the order in which they came."""

    channel_id: ChannelId
    plane: PlanePort
    created_wall: float
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    members: dict[UserId, Member] = field(default_factory=dict)
    tracks: dict[TrackId, tuple[Session, Track]] = field(default_factory=dict)
    subscribers: dict[SubscriptionId, Session] = field(default_factory=dict)
    routes: RouteTable = field(default_factory=RouteTable)
    speakers: DominantSpeakerDetector[TrackId] = field(default_factory=DominantSpeakerDetector)
    levels: dict[TrackId, LevelReader] = field(default_factory=dict)
    speaking: TrackId | None = None
    outgoing_ssrcs: set[int] = field(default_factory=set)
