"""The domain's objects as the API shows them."""

from msgspec.structs import asdict

from sluicegate import clock
from sluicegate.ids import ChannelId, NodeId
from sluicegate.ortc.capabilities import ROUTER_CAPABILITIES
from sluicegate.ortc.negotiate import SubscribedMedia
from sluicegate.ortc.parameters import IceServer
from sluicegate.router.commands import TOP_SPATIAL, TOP_TEMPORAL
from sluicegate.session.channel import Channel
from sluicegate.session.names import SubscriptionType
from sluicegate.session.ports import PlanePort
from sluicegate.session.session import Session
from sluicegate.session.subscription import Subscription
from sluicegate.session.track import Track
from sluicegate.session.views import (
    ActiveSpeaker,
    ChannelView,
    Layers,
    MemberView,
    SessionCreated,
    SessionSummary,
    SessionView,
    SubscriptionCreated,
    SubscriptionView,
    TrackUpdated,
    TrackView,
)

CONNECT_SECONDS = 30.0
"""How long a new session may take to connect; the transport closes it then."""


def session_created(session: Session, node_id: NodeId, ice_servers: tuple[IceServer, ...]) -> SessionCreated:
    """The answer to whoever opened a session."""
    transport = session.transport
    return SessionCreated(
        session_id=session.session_id,
        type=session.identity.type,
        channel_id=session.channel_id,
        user_id=session.user_id,
        node_id=node_id,
        ice_servers=ice_servers,
        ice_parameters=transport.ice_parameters,
        ice_candidates=tuple(transport.ice_candidates),
        dtls_parameters=transport.dtls_parameters,
        rtp_capabilities=ROUTER_CAPABILITIES,
        expires_at=clock.rfc3339(session.identity.created_wall + CONNECT_SECONDS),
    )


def session_summary(session: Session, node_id: NodeId) -> SessionSummary:
    """A session in a list."""
    return SessionSummary(
        session_id=session.session_id,
        type=session.identity.type,
        channel_id=session.channel_id,
        user_id=session.user_id,
        node_id=node_id,
        state=session.state,
        created_at=clock.rfc3339(session.identity.created_wall),
    )


def session_view(session: Session, plane: PlanePort, node_id: NodeId) -> SessionView:
    """A session with all that is in it."""
    state = session.transport.state
    return SessionView(
        **asdict(session_summary(session, node_id)),
        ice_state=str(state.ice),
        dtls_state=str(state.dtls),
        tracks=tuple(track_view(session, track) for track in session.tracks.values()),
        subscriptions=tuple(subscription_view(one, plane) for one in session.subscriptions.values()),
        preset=session.preset,
        region=session.region,
        audio_processing=session.audio_processing,
        metadata=session.metadata,
    )


def track_view(session: Session, track: Track) -> TrackView:
    """A track of a session."""
    return TrackView(
        track_id=track.track_id,
        kind=track.kind,
        type=track.type,
        codec=track.codec,
        session_id=session.session_id,
        user_id=session.user_id,
        paused=track.paused,
        source=track.terms.source,
        preset=track.terms.preset,
    )


def track_updated(session: Session, track: Track) -> TrackUpdated:
    """A track after a change."""
    return TrackUpdated(**asdict(track_view(session, track)), encodings=track.advice())


def subscription_created(subscription: Subscription, subscribed: SubscribedMedia) -> SubscriptionCreated:
    """The answer to whoever subscribed."""
    return SubscriptionCreated(
        subscription_id=subscription.subscription_id,
        track_id=subscription.track.track_id,
        kind=subscription.track.kind,
        type=SubscriptionType(subscribed.type),
        rtp_parameters=subscribed.rtp_parameters,
        paused=subscription.paused,
        track_paused=subscription.track.paused,
    )


def subscription_view(subscription: Subscription, plane: PlanePort) -> SubscriptionView:
    """A subscription, with the layers that are sent at this moment."""
    track, sent = subscription.track, layers_sent(subscription, plane)
    return SubscriptionView(
        subscription_id=subscription.subscription_id,
        track_id=track.track_id,
        kind=track.kind,
        type=track.type,
        mid=subscription.media.mid,
        paused=subscription.paused,
        track_paused=track.paused,
        muted_by_route=subscription.muted_by_route,
        priority=subscription.terms.priority,
        layers=sent,
        target_layers=_target(subscription, sent),
        preferred_layers=subscription.terms.preferred_layers,
        preset=subscription.terms.preset,
        mode=subscription.mode,
    )


def _target(subscription: Subscription, sent: Layers | None) -> Layers | None:
    """What the server aims at. Where that is the top, what is sent shows layers that the publisher did not announce."""
    target, choice = subscription.target(), subscription.choice
    if target is None or sent is None:
        return target
    return Layers(
        spatial=max(target.spatial, sent.spatial) if choice.spatial == TOP_SPATIAL else target.spatial,
        temporal=max(target.temporal, sent.temporal) if choice.temporal == TOP_TEMPORAL else target.temporal,
    )


def layers_sent(subscription: Subscription, plane: PlanePort) -> Layers | None:
    """What the plane sends now; None for audio, and where it sends nothing."""
    if subscription.target() is None or subscription.stopped or subscription.track.stopped:
        return None
    figures = plane.send_statistics(subscription.handle)
    return layers(figures.spatial, figures.temporal) if figures.packets else None


def layers(spatial: int, temporal: int) -> Layers | None:
    """The plane's layers as a value; it says −1 for nothing."""
    return None if spatial < 0 else Layers(spatial=spatial, temporal=max(0, temporal))


def channel_view(channel: Channel, node_id: NodeId) -> ChannelView:
    """A channel with its members and tracks."""
    return ChannelView(
        channel_id=channel.channel_id,
        node_id=node_id,
        created_at=clock.rfc3339(channel.created_wall),
        members=tuple(
            MemberView(
                user_id=member.user_id,
                joined_at=clock.rfc3339(member.joined_wall),
                sessions=tuple(member.sessions),
                metadata=member.metadata,
            )
            for member in channel.members.values()
        ),
        tracks=tuple(track_view(session, track) for session, track in channel.tracks.values()),
        active_speaker=active_speaker(channel),
    )


def empty_channel_view(channel_id: ChannelId, node_id: NodeId, wall: float) -> ChannelView:
    """A channel in which nobody is: what a watcher sees who comes first."""
    return ChannelView(channel_id=channel_id, node_id=node_id, created_at=clock.rfc3339(wall), members=(), tracks=())


def active_speaker(channel: Channel) -> ActiveSpeaker | None:
    """Who dominates the conversation."""
    if channel.speaking is None:
        return None
    return ActiveSpeaker(user_id=channel.tracks[channel.speaking][0].user_id, track_id=channel.speaking)
