"""What there is on this node, and the primitive changes to it: each keeps tables, plane and watchers in step."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sluicegate import clock as clocks
from sluicegate.ids import ChannelId, SessionId, TrackId, UserId, new_id
from sluicegate.router.commands import (
    Command,
    PauseSubscription,
    PauseTrack,
    RemoveSubscription,
    RemoveTrack,
    SelectLayers,
    SendHandle,
    TrackHandle,
)
from sluicegate.session.channel import Channel
from sluicegate.session.events import (
    AnyEvent,
    SpeakerChangedEvent,
    TrackAddedEvent,
    TrackPausedEvent,
    TrackRemovedEvent,
)
from sluicegate.session.layers import LayerChoice, LayerPolicy
from sluicegate.session.names import Kind
from sluicegate.session.ports import Directory, EventBus, RouterPort, ServiceSettings, TransportsPort
from sluicegate.session.session import Session, SessionIdentity
from sluicegate.session.shedding import Mode
from sluicegate.session.speakers import LevelReader
from sluicegate.session.subscription import Subscription, SubscriptionTerms
from sluicegate.session.track import Track
from sluicegate.session.views import TimelineEntry

STOP_WORDS = (
    ("subscription_paused", "subscription_resumed"),
    ("muted_by_route", "unmuted_by_route"),
    ("shed", "restored"),
)
"""How the timeline calls what stops a subscription, and its end."""


@dataclass(frozen=True, slots=True)
class ClosedSession:
    """What remains of a session: whose it was, why it closed, and its last decisions."""

    identity: SessionIdentity
    reason: str
    entries: tuple[TimelineEntry, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the domain is given. `clock`: monotonic seconds, `wall`: Unix seconds."""

    settings: ServiceSettings
    router: RouterPort
    transports: TransportsPort
    events: EventBus
    directory: Directory
    policy: LayerPolicy
    clock: Callable[[], float]
    wall: Callable[[], float]


class Core:
    """Sessions, channels, tracks and subscriptions, by every key that they are looked up by."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.sessions: dict[SessionId, Session] = {}
        self.channels: dict[ChannelId, Channel] = {}
        self.closed: OrderedDict[SessionId, ClosedSession] = OrderedDict()
        self.sessions_of: Counter[UserId] = Counter()
        # Handles count within a plane; with its index they are unique.
        self.tracks: dict[tuple[int, TrackHandle], tuple[Session, Track]] = {}
        self.sends: dict[tuple[int, SendHandle], tuple[Session, Subscription]] = {}
        self.numbers = 0
        self.mode = Mode.NORMAL
        """How much the node does at its load; `Overload` changes it and what follows from it."""

    def emit(
        self, make: Callable[..., AnyEvent], channel_id: ChannelId, session: Session | None = None, **fields: Any
    ) -> None:
        """Publishes one event; `fields` are those that are its own."""
        self.around.events.publish(self.event(make, channel_id, session, **fields))

    def event(
        self, make: Callable[..., AnyEvent], channel_id: ChannelId, session: Session | None = None, **fields: Any
    ) -> AnyEvent:
        """An event with the fields that all have."""
        return make(
            event_id=new_id(),
            at=clocks.rfc3339(self.around.wall()),
            node_id=self.around.settings.node_id,
            channel_id=channel_id,
            user_id=None if session is None else session.user_id,
            session_id=None if session is None else session.session_id,
            **fields,
        )

    # Tracks

    def add_track(self, session: Session, track: Track) -> None:
        """Makes a track known that the plane was told of."""
        channel = self.channels[session.channel_id]
        session.tracks[track.track_id] = track
        channel.tracks[track.track_id] = self.tracks[channel.plane.index, track.handle] = (session, track)
        if track.is_speech:
            channel.speakers.add(track.track_id)
            channel.levels[track.track_id] = LevelReader()
        session.timeline.add("track_published", f"{track.kind}, {track.codec}, {track.type}", track_id=track.track_id)
        self.emit(
            TrackAddedEvent,
            session.channel_id,
            session,
            track_id=track.track_id,
            kind=track.kind,
            codec=track.codec,
            source=track.terms.source,
            paused=track.paused,
        )

    def remove_track(self, session: Session, track: Track, reason: str) -> None:
        """Ends a track and every subscription to it."""
        channel = self.channels[session.channel_id]
        for subscriber, subscription in self.subscriptions_to(session, track):
            self.remove_subscription(subscriber, subscription, "the track was removed")
        del session.tracks[track.track_id]
        del channel.tracks[track.track_id]
        del self.tracks[channel.plane.index, track.handle]
        channel.plane.submit(RemoveTrack(track.handle))
        session.timeline.add("track_removed", reason, track_id=track.track_id)
        self.emit(
            TrackRemovedEvent, session.channel_id, session, track_id=track.track_id, kind=track.kind, reason=reason
        )
        channel.levels.pop(track.track_id, None)
        channel.speakers.remove(track.track_id)
        if channel.speaking == track.track_id:
            self.change_speaker(channel, None, session.user_id)

    def stop_track(
        self, session: Session, track: Track, *, paused: bool | None = None, held: bool | None = None
    ) -> None:
        """Changes whether a track is forwarded: by its publisher (`paused`) or by the server (`held`)."""
        before = track.stopped, track.paused
        track.paused = track.paused if paused is None else paused
        track.held = track.held if held is None else held
        if track.stopped != before[0]:
            self.channels[session.channel_id].plane.submit(PauseTrack(track.handle, track.stopped))
        if track.paused != before[1]:
            session.timeline.add("track_paused" if track.paused else "track_resumed", track_id=track.track_id)
            self.emit(
                TrackPausedEvent,
                session.channel_id,
                session,
                track_id=track.track_id,
                kind=track.kind,
                paused=track.paused,
            )

    def change_speaker(self, channel: Channel, track_id: TrackId | None, previous: UserId | None) -> None:
        """Tells who dominates the conversation from now on."""
        channel.speaking = track_id
        session = None if track_id is None else channel.tracks[track_id][0]
        self.emit(SpeakerChangedEvent, channel.channel_id, session, track_id=track_id, previous_user_id=previous)

    # Subscriptions

    def add_subscription(self, session: Session, subscription: Subscription) -> None:
        """Makes a subscription known that the plane was told of."""
        channel = self.channels[session.channel_id]
        session.subscriptions[subscription.subscription_id] = subscription
        subscription.track.subscriptions.add(subscription.subscription_id)
        channel.outgoing_ssrcs |= subscription.ssrcs()
        channel.subscribers[subscription.subscription_id] = session
        self.sends[channel.plane.index, subscription.handle] = (session, subscription)

    def remove_subscription(self, session: Session, subscription: Subscription, reason: str) -> None:
        """Ends a subscription."""
        channel = self.channels[session.channel_id]
        del session.subscriptions[subscription.subscription_id]
        del channel.subscribers[subscription.subscription_id]
        subscription.track.subscriptions.discard(subscription.subscription_id)
        channel.outgoing_ssrcs -= subscription.ssrcs()
        del self.sends[channel.plane.index, subscription.handle]
        channel.plane.submit(RemoveSubscription(subscription.handle))
        session.timeline.add(
            "subscription_closed",
            reason,
            track_id=subscription.track.track_id,
            subscription_id=subscription.subscription_id,
        )

    def stop_subscription(self, session: Session, subscription: Subscription, *, paused: bool | None = None) -> None:
        """Changes whether a subscription is sent: by its subscriber (`paused`), and as the channel's routes say."""
        commands = self.stop_commands(session, subscription, paused=paused)
        if commands:
            self.channels[session.channel_id].plane.submit(*commands)

    def stop_commands(
        self, session: Session, subscription: Subscription, *, paused: bool | None = None
    ) -> list[Command]:
        """What the plane has to be told after `paused`, the routes or the node's mode changed; the timeline too."""
        before = subscription.stopped, subscription.paused, subscription.muted_by_route, subscription.shed
        subscription.paused = subscription.paused if paused is None else paused
        subscription.muted_by_route = self.muted_by_route(session, subscription.track)
        subscription.shed = self.sheds(subscription.track)
        after = subscription.stopped, subscription.paused, subscription.muted_by_route, subscription.shed
        for was, now, words in zip(before[1:], after[1:], STOP_WORDS, strict=True):
            if was != now:
                session.timeline.add(
                    words[0] if now else words[1],
                    track_id=subscription.track.track_id,
                    subscription_id=subscription.subscription_id,
                )
        if subscription.stopped == before[0]:
            return []
        return [PauseSubscription(subscription.handle, subscription.stopped)]

    def subscriptions_to(self, publisher: Session, track: Track) -> list[tuple[Session, Subscription]]:
        """Who receives a track."""
        channel = self.channels[publisher.channel_id]
        subscribers = [
            (subscription_id, channel.subscribers[subscription_id]) for subscription_id in track.subscriptions
        ]
        return [(session, session.subscriptions[subscription_id]) for subscription_id, session in subscribers]

    def choose_layers(self, session: Session, subscription: Subscription) -> None:
        """Asks the policy again, and tells the plane where the answer has changed."""
        commands = self.layer_commands(session, subscription)
        if commands:
            self.channels[session.channel_id].plane.submit(*commands)

    def layer_commands(self, session: Session, subscription: Subscription) -> list[Command]:
        """Asks the policy again; what the plane has to be told where the answer has changed."""
        choice = self.choose(subscription.terms, subscription.track)
        before, subscription.choice = subscription.choice, choice
        if (choice.spatial, choice.temporal) == (before.spatial, before.temporal):
            return []
        session.timeline.add(
            "layers_selected",
            choice.cause,
            track_id=subscription.track.track_id,
            subscription_id=subscription.subscription_id,
            layers=subscription.target(),
        )
        return [SelectLayers(subscription.handle, choice.spatial, choice.temporal)]

    def choose(self, terms: SubscriptionTerms, track: Track) -> LayerChoice:
        """What the policy says of a subscription to the track, as busy as the node is."""
        return self.around.policy.choose(terms.wish(without_top=self.mode is not Mode.NORMAL), track.offer())

    def sheds(self, track: Track) -> bool:
        """Whether the node is too busy to forward the track at all."""
        return self.mode is Mode.AUDIO_ONLY and track.kind is Kind.VIDEO

    def muted_by_route(self, session: Session, track: Track) -> bool:
        """Whether the channel's routes keep this track's sound from the session."""
        channel = self.channels[session.channel_id]
        speaker = channel.tracks[track.track_id][0].user_id
        return track.kind is Kind.AUDIO and channel.routes.mutes(session.user_id, speaker)
