"""What happens in a channel, as values: the events of the WebSocket, of `text/event-stream` and of the bus.

Every event has the fields of `Event`; `type` is its name on the wire, and `subject` the name under which the bus
publishes it. `msgspec.json.encode(event)` is its JSON.
"""

from dataclasses import dataclass, field

from sluicegate.ids import ChannelId, NodeId, SessionId, SubscriptionId, TrackId, UserId
from sluicegate.session.names import DegradationCause, Kind, QualityMetric, SessionType, Source
from sluicegate.session.views import ChannelView, Layers

SCHEMA = 1
SUBJECT_PREFIX = "media."


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event says. `user_id` and `session_id` are None where it is about nobody in particular."""

    type: str = field(init=False, default="")
    event_id: str
    at: str
    node_id: NodeId
    channel_id: ChannelId
    user_id: UserId | None = None
    session_id: SessionId | None = None
    schema: int = SCHEMA

    @property
    def subject(self) -> str:
        """The name of the event on the bus, e.g. `media.session.created`."""
        return SUBJECT_PREFIX + self.type


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(Event):
    """The channel as it is: what a watcher gets first, before the events that follow from it."""

    type: str = field(init=False, default="snapshot")
    channel: ChannelView


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreatedEvent(Event):
    type: str = field(init=False, default="session.created")
    session_type: SessionType


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosedEvent(Event):
    """`reason` in words (`deleted`, `consent lost`, …); `duration` in seconds, since the session was created."""

    type: str = field(init=False, default="session.closed")
    session_type: SessionType
    reason: str
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackAddedEvent(Event):
    type: str = field(init=False, default="track.added")
    track_id: TrackId
    kind: Kind
    codec: str
    source: Source | None
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRemovedEvent(Event):
    """The track is gone, and every subscription to it with it."""

    type: str = field(init=False, default="track.removed")
    track_id: TrackId
    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPausedEvent(Event):
    """The publisher paused the track, or resumed it (`paused` false)."""

    type: str = field(init=False, default="track.paused")
    track_id: TrackId
    kind: Kind
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerChangedEvent(Event):
    """Who dominates the conversation now; `user_id`, `session_id` and `track_id` are None when nobody does."""

    type: str = field(init=False, default="speaker.changed")
    track_id: TrackId | None
    previous_user_id: UserId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityDegradedEvent(Event):
    """A session's quality fell below what it should be (`degraded` true), or is back (false).

    `value` and `threshold` are figures of `metric`: loss 0–1, rtt and jitter in seconds, bandwidth in bits per
    second, cpu 0–1.
    """

    type: str = field(init=False, default="quality.degraded")
    degraded: bool
    cause: DegradationCause
    metric: QualityMetric
    value: float
    threshold: float
    score: int
    mos: float
    track_id: TrackId | None = None
    subscription_id: SubscriptionId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionLayersEvent(Event):
    """A subscription is sent other layers than before; `layers` None: nothing at the moment."""

    type: str = field(init=False, default="subscription.layers")
    subscription_id: SubscriptionId
    track_id: TrackId
    layers: Layers | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsDroppedEvent(Event):
    """The watcher was too slow: the `dropped` oldest events are gone. It should read the channel afresh."""

    type: str = field(init=False, default="events.dropped")
    dropped: int


AnyEvent = (
    Snapshot
    | SessionCreatedEvent
    | SessionClosedEvent
    | TrackAddedEvent
    | TrackRemovedEvent
    | TrackPausedEvent
    | SpeakerChangedEvent
    | QualityDegradedEvent
    | SubscriptionLayersEvent
    | EventsDroppedEvent
)
