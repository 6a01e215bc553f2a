"""The API as methods: one for each call, whoever makes it.

A method authorises, finds what the call names, changes it, and gives the view that answers it. It raises `ApiError`
subclasses and nothing else. No method waits: a call is one step of the event loop, so nobody ever sees a change half
made.

| grant | calls |
| --- | --- |
| join | sessions and what they tell, channels, events |
| publish | tracks |
| subscribe | subscriptions |
| admin | all of it, for everybody; and lists of sessions, routes |
"""

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import UNSET

from sluicegate.errors import ApiError, Invalid, NotFound, Unavailable
from sluicegate.ids import ChannelId, valid_name
from sluicegate.router.commands import Command
from sluicegate.router.events import LayersChanged, PlaneEvent, StreamStarted
from sluicegate.session import access, presenting, publishing, subscribing
from sluicegate.session.caller import Caller, Grant
from sluicegate.session.core import Core, Surroundings
from sluicegate.session.counts import Counts, count
from sluicegate.session.events import Snapshot, SubscriptionLayersEvent
from sluicegate.session.inbound import end_sessions
from sluicegate.session.layers import LayerPolicy, PreferenceLayerPolicy
from sluicegate.session.lifecycle import close_session, open_session
from sluicegate.session.monitor import Monitor, sample_session
from sluicegate.session.names import Kind, SessionState
from sluicegate.session.overload import Overload
from sluicegate.session.ports import (
    Directory,
    EventBus,
    NoPathObserver,
    PathObserver,
    PlanePort,
    RouterPort,
    ServiceSettings,
    TransportsPort,
    Watcher,
)
from sluicegate.session.requests import (
    Connect,
    CreateSession,
    Publish,
    Routes,
    SessionPatch,
    Subscribe,
    SubscriptionPatch,
    TrackPatch,
)
from sluicegate.session.routes import RouteTable
from sluicegate.session.session import Session
from sluicegate.session.shedding import ShedLimits
from sluicegate.session.stats import stats_view
from sluicegate.session.turn import ice_servers
from sluicegate.session.views import (
    ChannelList,
    ChannelView,
    IceRestarted,
    RoutesView,
    SessionCreated,
    SessionPage,
    SessionView,
    StatsView,
    SubscriptionCreated,
    SubscriptionView,
    TrackPublished,
    TrackUpdated,
    WhyView,
)

MAX_PAGE = 1000
RETRY_AFTER_DRAIN = 5.0
RETRY_AFTER_START = 2.0


@dataclass(frozen=True, slots=True)
class ChannelWatch:
    """A channel as it is, and the events that follow from there without a gap. Close the watcher when done."""

    snapshot: Snapshot
    watcher: Watcher


class Service:
    """The domain of one node. `clock` gives monotonic, `wall` Unix seconds; all calls are made on the event loop."""

    def __init__(
        self,
        settings: ServiceSettings,
        router: RouterPort,
        transports: TransportsPort,
        events: EventBus,
        directory: Directory,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        policy: LayerPolicy | None = None,
        paths: PathObserver | None = None,
        limits: ShedLimits | None = None,
    ) -> None:
        self._settings = settings
        self._core = Core(
            Surroundings(
                settings, router, transports, events, directory, policy or PreferenceLayerPolicy(), clock, wall
            )
        )
        self.overload = Overload(self._core, limits or ShedLimits())
        self._monitor = Monitor(self._core, paths or NoPathObserver(), self.overload)
        self.draining = False
        self.starting = False
        """The packet plane does not run yet: a client could not connect."""

    # Sessions

    async def create_session(self, caller: Caller, request: CreateSession) -> SessionCreated:
        """Opens a session. 503: starting, draining, overloaded, full; 429: a user has too many; 403: another's ids."""
        access.require(caller, Grant.JOIN)
        if self.starting:
            raise Unavailable("This node is starting and takes no sessions yet.", retry_after=RETRY_AFTER_START)
        if self.draining:
            raise Unavailable("This node is draining and takes no new sessions.", retry_after=RETRY_AFTER_DRAIN)
        self.overload.check_admission()
        access.check_creation(self._core, caller, request)
        session = open_session(self._core, request)
        servers = ice_servers(self._settings, session.user_id, self._core.around.wall())
        return presenting.session_created(session, self._settings.node_id, servers)

    async def connect(self, caller: Caller, session_id: str, request: Connect) -> None:
        """Tells the transport whom to expect. 409 when it was told before, 422 for fingerprints that it cannot use."""
        session = self._session(caller, Grant.JOIN, session_id)
        try:
            session.transport.connect(request.dtls_parameters, request.ice_parameters)
        except ApiError as error:
            raise error.below("/dtls_parameters") from None
        session.timeline.add("connect", f"role {request.dtls_parameters.role}")

    async def restart_ice(self, caller: Caller, session_id: str) -> IceRestarted:
        """New ICE credentials for a client that changes networks."""
        session = self._session(caller, Grant.JOIN, session_id)
        parameters = session.transport.restart_ice()
        session.timeline.add("ice_restarted")
        return IceRestarted(ice_parameters=parameters, ice_candidates=tuple(session.transport.ice_candidates))

    async def update_session(self, caller: Caller, session_id: str, request: SessionPatch) -> SessionView:
        """Changes audio processing or metadata."""
        session = self._session(caller, Grant.JOIN, session_id)
        if request.metadata is not UNSET:
            access.check_metadata(request.metadata)
            session.metadata = request.metadata
        if request.audio_processing is not UNSET:
            session.audio_processing = request.audio_processing
        return presenting.session_view(session, self._plane(session.channel_id), self._settings.node_id)

    async def get_session(self, caller: Caller, session_id: str) -> SessionView:
        """The state of a session; of one that has closed, 404 with the reason for its owner."""
        session = self._session(caller, Grant.JOIN, session_id)
        return presenting.session_view(session, self._plane(session.channel_id), self._settings.node_id)

    async def why(self, caller: Caller, session_id: str) -> WhyView:
        """The timeline of decisions; also for a while after the session has closed."""
        access.require(caller, Grant.JOIN)
        past = access.own_closed_session(self._core, caller, session_id)
        if past is not None:
            return WhyView(
                session_id=past.identity.session_id,
                state=SessionState.CLOSED,
                closed_reason=past.reason,
                entries=past.entries,
            )
        session = access.own_session(self._core, caller, session_id)
        return WhyView(session_id=session.session_id, state=session.state, entries=session.timeline.entries())

    async def stats(self, caller: Caller, session_id: str) -> StatsView:
        """The figures of a session, at most about a second old."""
        session = self._session(caller, Grant.JOIN, session_id)
        channel, now = self._core.channels[session.channel_id], self._core.around.clock()
        if session.sample.due(now):
            sample_session(session, channel, now)
        return stats_view(session, channel, now)

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """Closes a session; closing one again is no error, as long as it is remembered."""
        access.require(caller, Grant.JOIN)
        if access.own_closed_session(self._core, caller, session_id) is None:
            close_session(self._core, access.own_session(self._core, caller, session_id), "deleted")

    async def list_sessions(
        self,
        caller: Caller,
        *,
        channel_id: str | None = None,
        user_id: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> SessionPage:
        """For admins: a page of sessions, oldest first; `cursor` is the `next_cursor` of the page before."""
        access.require(caller, Grant.ADMIN)
        if not 1 <= limit <= MAX_PAGE:
            raise Invalid(f"The limit must be between 1 and {MAX_PAGE}.")
        after = _cursor_number(cursor)
        wanted = [
            session
            for session in self._core.sessions.values()
            if session.identity.number > after
            and (channel_id is None or session.channel_id == channel_id)
            and (user_id is None or session.user_id == user_id)
        ]
        page = wanted[:limit]
        return SessionPage(
            sessions=tuple(presenting.session_summary(session, self._settings.node_id) for session in page),
            next_cursor=str(page[-1].identity.number) if len(wanted) > limit else None,
        )

    # Tracks

    async def publish(self, caller: Caller, session_id: str, request: Publish) -> TrackPublished:
        """Publishes a track, and says what its publisher should send."""
        session = self._session(caller, Grant.PUBLISH, session_id)
        track = publishing.publish(self._core, caller, session, request)
        return TrackPublished(track_id=track.track_id, kind=track.kind, encodings=track.advice())

    async def update_track(self, caller: Caller, session_id: str, track_id: str, request: TrackPatch) -> TrackUpdated:
        """Pauses, resumes or caps a track."""
        session = self._session(caller, Grant.PUBLISH, session_id)
        track = access.own_track(session, track_id)
        publishing.update_track(self._core, caller, session, track, request)
        return presenting.track_updated(session, track)

    async def unpublish(self, caller: Caller, session_id: str, track_id: str) -> None:
        """Ends a track, and every subscription to it."""
        session = self._session(caller, Grant.PUBLISH, session_id)
        self._core.remove_track(session, access.own_track(session, track_id), "unpublished")

    # Subscriptions

    async def subscribe(self, caller: Caller, session_id: str, request: Subscribe) -> SubscriptionCreated:
        """Subscribes to a track of the session's channel."""
        session = self._session(caller, Grant.SUBSCRIBE, session_id)
        subscription, subscribed = subscribing.subscribe(self._core, caller, session, request)
        return presenting.subscription_created(subscription, subscribed)

    async def update_subscription(
        self, caller: Caller, session_id: str, subscription_id: str, request: SubscriptionPatch
    ) -> SubscriptionView:
        """Changes a subscription; answers with the layers that are sent now."""
        session = self._session(caller, Grant.SUBSCRIBE, session_id)
        subscription = access.own_subscription(session, subscription_id)
        subscribing.update_subscription(self._core, caller, session, subscription, request)
        return presenting.subscription_view(subscription, self._plane(session.channel_id))

    async def unsubscribe(self, caller: Caller, session_id: str, subscription_id: str) -> None:
        """Ends a subscription."""
        session = self._session(caller, Grant.SUBSCRIBE, session_id)
        subscription = access.own_subscription(session, subscription_id)
        self._core.remove_subscription(session, subscription, "unsubscribed")

    # Channels

    async def list_channels(self, caller: Caller) -> ChannelList:
        """The channels that the token is for, as far as they exist."""
        access.require(caller, Grant.JOIN)
        channels = (channel for channel in self._core.channels.values() if caller.reaches(channel.channel_id))
        return ChannelList(
            channels=tuple(presenting.channel_view(channel, self._settings.node_id) for channel in channels)
        )

    async def get_channel(self, caller: Caller, channel_id: str) -> ChannelView:
        """A channel with its members and tracks."""
        access.require(caller, Grant.JOIN)
        channel = access.reachable_channel(self._core, caller, channel_id)
        return presenting.channel_view(channel, self._settings.node_id)

    async def set_routes(self, caller: Caller, channel_id: str, request: Routes) -> RoutesView:
        """For admins: who hears whom, for as long as the channel lives."""
        access.require(caller, Grant.ADMIN)
        channel = access.reachable_channel(self._core, caller, channel_id)
        channel.routes = RouteTable.of(request)
        commands: list[Command] = []
        for session in channel.sessions.values():
            for subscription in session.subscriptions.values():
                if subscription.track.kind is Kind.AUDIO:
                    commands += self._core.stop_commands(session, subscription)
        if commands:
            channel.plane.submit(*commands)
        return RoutesView(channel_id=channel.channel_id, default=channel.routes.default, gains=channel.routes.gains)

    async def channel_snapshot(self, caller: Caller, channel_id: str) -> Snapshot:
        """The channel as it is, as an event. A channel in which nobody is yet may be looked at, and is empty."""
        access.require(caller, Grant.JOIN)
        if not valid_name(channel_id) or not caller.reaches(channel_id):
            raise NotFound("There is no such channel.")
        name = ChannelId(channel_id)
        channel = self._core.channels.get(name)
        view = (
            presenting.empty_channel_view(name, self._settings.node_id, self._core.around.wall())
            if channel is None
            else presenting.channel_view(channel, self._settings.node_id)
        )
        snapshot = self._core.event(Snapshot, name, channel=view)
        assert isinstance(snapshot, Snapshot)
        return snapshot

    async def watch_channel(self, caller: Caller, channel_id: str) -> ChannelWatch:
        """A snapshot, and the events from there on. 503 when there are too many watchers."""
        # Nothing between these two lines lets another task run, so no event is missed and none is told twice.
        snapshot = await self.channel_snapshot(caller, channel_id)
        return ChannelWatch(snapshot, self._core.around.events.subscribe(ChannelId(channel_id)))

    # What the process around it calls

    def handle_plane_event(self, plane: PlanePort, event: PlaneEvent) -> None:
        """News from a plane. Events about what has just been removed are passed over."""
        if isinstance(event, LayersChanged):
            self._layers_changed(plane, event)
        elif (found := self._core.tracks.get((plane.index, event.track))) is not None:
            session, track = found
            if isinstance(event, StreamStarted):
                detail = f"encoding {event.encoding}, ssrc {event.ssrc}"
                session.timeline.add("stream_started", detail, track_id=track.track_id)
            else:
                session.timeline.add("stream_ended", f"encoding {event.encoding}: BYE", track_id=track.track_id)

    def _layers_changed(self, plane: PlanePort, event: LayersChanged) -> None:
        found = self._core.sends.get((plane.index, event.send))
        if found is None or found[1].track.kind is Kind.AUDIO:
            return
        session, subscription = found
        sent = presenting.layers(event.spatial, event.temporal)
        ids = (subscription.track.track_id, subscription.subscription_id)
        session.timeline.add(
            "layers_changed", subscription.choice.cause, track_id=ids[0], subscription_id=ids[1], layers=sent
        )
        self._core.emit(
            SubscriptionLayersEvent,
            session.channel_id,
            session,
            track_id=ids[0],
            subscription_id=ids[1],
            layers=sent,
        )

    def handle_message(self, subject: str, payload: bytes) -> int:
        """A message of another service; closes the sessions that it names. Never raises, whatever it holds."""
        return end_sessions(self._core, subject, payload)

    def poll(self, now: float, load: float | None = None) -> None:
        """Every 300 ms: speakers, statistics, quality. `load`: the planes', 0–1, where it was measured again."""
        if load is not None:
            self.overload.observe(load, now)
        self._monitor.poll(now)

    def close_all(self, reason: str) -> None:
        """Closes every session, and takes no new ones from now on."""
        self.draining = True
        for session in list(self._core.sessions.values()):
            close_session(self._core, session, reason)

    def counts(self) -> Counts:
        """How much there is."""
        return count(self._core)

    def _session(self, caller: Caller, grant: Grant, session_id: str) -> Session:
        access.require(caller, grant)
        return access.own_session(self._core, caller, session_id)

    def _plane(self, channel_id: ChannelId) -> PlanePort:
        return self._core.channels[channel_id].plane


def _cursor_number(cursor: str | None) -> int:
    """The number of the last session of the page before; 0 without one."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18):
        raise Invalid("The cursor is not one that this server gave.")
    return int(cursor)
