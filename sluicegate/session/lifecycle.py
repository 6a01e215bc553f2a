"""The first and the last moment of a session, and of the channel that comes and goes with its sessions."""

from secrets import token_urlsafe

from sluicegate.ids import ChannelId, SessionId, UserId, new_id
from sluicegate.session.channel import Channel, Member
from sluicegate.session.core import ClosedSession, Core
from sluicegate.session.events import SessionClosedEvent, SessionCreatedEvent
from sluicegate.session.names import SessionState
from sluicegate.session.ports import TransportStateLike
from sluicegate.session.requests import CreateSession
from sluicegate.session.session import Session, SessionIdentity, state_of
from sluicegate.session.timeline import Timeline

# Closed sessions are remembered so that their owner may delete them again and ask why. When there are more, the
# oldest go.
CLOSED_KEPT = 2048
CLOSED_ENTRIES = 32


def open_session(core: Core, request: CreateSession) -> Session:
    """Opens a transport, in a new channel if need be. `Unavailable` when the plane is full; nothing is left behind."""
    around = core.around
    channel_id, user_id = ChannelId(request.channel_id), UserId(request.user_id)
    channel = core.channels.get(channel_id)
    plane = around.router.plane_for_channel(channel_id) if channel is None else channel.plane
    session_id = SessionId(new_id())
    try:
        transport = around.transports.open(
            session_id, plane, lambda state, reason: _transport_changed(core, session_id, state, reason)
        )
    except BaseException:
        if channel is None:
            around.router.release_channel(channel_id)
        raise
    if channel is None:
        channel = core.channels[channel_id] = Channel(channel_id, plane, around.wall())
        around.directory.channel_opened(channel_id)
    core.numbers += 1
    identity = SessionIdentity(
        session_id, request.type, channel_id, user_id, core.numbers, around.wall(), around.clock()
    )
    session = Session(
        identity,
        transport,
        Timeline(around.wall),
        request.preset,
        request.region,
        request.audio_processing,
        request.metadata,
    )
    _join(core, channel, session)
    return session


def _join(core: Core, channel: Channel, session: Session) -> None:
    core.sessions[session.session_id] = channel.sessions[session.session_id] = session
    core.sessions_of[session.user_id] += 1
    member = channel.members.get(session.user_id)
    if member is None:
        member = channel.members[session.user_id] = Member(session.user_id, core.around.wall(), token_urlsafe(12))
    member.sessions[session.session_id] = session
    core.around.directory.session_opened(session.session_id, session.channel_id, session.user_id)
    session.timeline.add("session_created")
    core.emit(SessionCreatedEvent, session.channel_id, session, session_type=session.identity.type)


def close_session(core: Core, session: Session, reason: str) -> None:
    """Ends a session with all that it publishes and receives. May be called again, and while it is under way."""
    if session.closed:
        return
    session.closed = True
    channel = core.channels[session.channel_id]
    for subscription in list(session.subscriptions.values()):
        core.remove_subscription(session, subscription, reason)
    for track in list(session.tracks.values()):
        core.remove_track(session, track, reason)
    session.transport.close(reason)
    _leave(core, channel, session)
    session.timeline.add("session_closed", reason)
    _remember(core, session, reason)
    core.emit(
        SessionClosedEvent,
        session.channel_id,
        session,
        session_type=session.identity.type,
        reason=reason,
        duration=round(core.around.clock() - session.identity.created, 3),
    )
    if not channel.sessions:
        del core.channels[channel.channel_id]
        core.around.router.release_channel(channel.channel_id)
        core.around.directory.channel_closed(channel.channel_id)


def _leave(core: Core, channel: Channel, session: Session) -> None:
    del core.sessions[session.session_id]
    del channel.sessions[session.session_id]
    core.sessions_of[session.user_id] -= 1
    if not core.sessions_of[session.user_id]:
        del core.sessions_of[session.user_id]
    member = channel.members[session.user_id]
    del member.sessions[session.session_id]
    if not member.sessions:
        del channel.members[session.user_id]
    core.around.directory.session_closed(session.session_id)


def _remember(core: Core, session: Session, reason: str) -> None:
    entries = session.timeline.entries(CLOSED_ENTRIES)
    core.closed[session.session_id] = ClosedSession(session.identity, reason, entries)
    if len(core.closed) > CLOSED_KEPT:
        core.closed.popitem(last=False)


def _transport_changed(core: Core, session_id: SessionId, state: TransportStateLike, reason: str | None) -> None:
    session = core.sessions.get(session_id)
    if session is None or session.closed:
        return
    session.timeline.add("transport", f"ice {state.ice}, dtls {state.dtls}" + (f": {reason}" if reason else ""))
    if state_of(state) is SessionState.CLOSED:
        close_session(core, session, reason or "transport closed")
