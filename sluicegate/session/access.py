"""Who may do what. A refusal never tells whether something of another's exists.

First the grants (403, whatever the call names), then whose it is: a session of another user and a track of another
channel answer 404 in the same words as those that never were. Caps: a preset above the token's, or one track too
many, is 403.
"""

from typing import Any

import msgspec

from sluicegate.errors import ApiError, FieldError, Forbidden, Invalid, NotFound, TooManyRequests, Unavailable
from sluicegate.ids import ChannelId, SessionId, SubscriptionId, TrackId, valid_name
from sluicegate.session.caller import Caller, Grant
from sluicegate.session.channel import Channel
from sluicegate.session.core import ClosedSession, Core
from sluicegate.session.names import Kind, PresetName, SessionType
from sluicegate.session.presets import exceeds, fits
from sluicegate.session.requests import MAX_METADATA_BYTES, CreateSession
from sluicegate.session.session import Session
from sluicegate.session.subscription import Subscription
from sluicegate.session.track import Track

# A person has a few devices, each with a session or two; more is a client that leaks them. Admins are trusted to know.
MAX_SESSIONS_OF_USER = 16
RETRY_SECONDS = 2.0


def require(caller: Caller, grant: Grant) -> None:
    """Raises `Forbidden` unless the token grants it."""
    if not caller.may(grant):
        raise Forbidden(f"The token does not grant {grant}.")


def check_creation(core: Core, caller: Caller, request: CreateSession) -> None:
    """Whether this caller may open such a session, and whether there is room for it."""
    for pointer, name in (("/channel_id", request.channel_id), ("/user_id", request.user_id)):
        if not valid_name(name):
            raise Invalid("Must have 1 to 128 of A–Z a–z 0–9 . _ : -", pointer=pointer)
    errors = []
    if not caller.reaches(request.channel_id):
        errors.append(FieldError("/channel_id", "The token is for another channel."))
    if not caller.is_admin and request.user_id != caller.user_id:
        errors.append(FieldError("/user_id", "The token is for another user."))
    if errors:
        raise Forbidden("The token is for another user or channel.", errors=tuple(errors))
    check_preset(caller, request.preset, Kind.AUDIO if request.type is SessionType.AUDIO else Kind.VIDEO)
    check_metadata(request.metadata)
    if not caller.is_admin and core.sessions_of[caller.user_id] >= MAX_SESSIONS_OF_USER:
        raise TooManyRequests(
            f"This user has {MAX_SESSIONS_OF_USER} sessions already; close one.", retry_after=RETRY_SECONDS
        )
    if len(core.sessions) >= core.around.settings.max_sessions:
        raise Unavailable("This server has as many sessions as it may (MAX_SESSIONS).", retry_after=RETRY_SECONDS)


def check_preset(caller: Caller, preset: PresetName | None, kind: Kind) -> None:
    """Whether a preset that was asked for by name fits the kind (422) and the token (403)."""
    if preset is None:
        return
    if not fits(preset, kind):
        raise Invalid(f"The preset {preset} is for video; audio has low, medium and high.", pointer="/preset")
    if exceeds(preset, caller.max_preset):
        raise Forbidden(f"The token allows presets up to {caller.max_preset}.", pointer="/preset")


def check_metadata(metadata: dict[str, Any] | None) -> None:
    """Whether metadata is small enough to be shown to everybody in the channel."""
    if metadata is None:
        return
    try:
        size = len(msgspec.json.encode(metadata))
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise Invalid("The metadata cannot be written as JSON.", pointer="/metadata") from None
    if size > MAX_METADATA_BYTES:
        raise Invalid(f"The metadata has {size} bytes as JSON; {MAX_METADATA_BYTES} are allowed.", pointer="/metadata")


def own_session(core: Core, caller: Caller, session_id: str) -> Session:
    """The session, if it lives and is the caller's. The owner of one that has closed is told why."""
    session = core.sessions.get(SessionId(session_id))
    if session is not None and caller.owns(session.channel_id, session.user_id):
        return session
    past = own_closed_session(core, caller, session_id)
    if past is not None:
        raise NotFound(f"This session was closed: {past.reason}.")
    raise no_such_session()


def own_closed_session(core: Core, caller: Caller, session_id: str) -> ClosedSession | None:
    """What is remembered of a session of the caller that has closed."""
    past = core.closed.get(SessionId(session_id))
    if past is None or not caller.owns(past.identity.channel_id, past.identity.user_id):
        return None
    return past


def own_track(session: Session, track_id: str) -> Track:
    """A track that this session publishes."""
    track = session.tracks.get(TrackId(track_id))
    if track is None:
        raise NotFound("This session publishes no such track.")
    return track


def own_subscription(session: Session, subscription_id: str) -> Subscription:
    """A subscription of this session."""
    subscription = session.subscriptions.get(SubscriptionId(subscription_id))
    if subscription is None:
        raise NotFound("This session has no such subscription.")
    return subscription


def reachable_channel(core: Core, caller: Caller, channel_id: str) -> Channel:
    """A channel that exists and that the token is for."""
    channel = core.channels.get(ChannelId(channel_id))
    if channel is None or not caller.reaches(channel_id):
        raise NotFound("There is no such channel.")
    return channel


def no_such_session() -> ApiError:
    """The one answer for a session that never was and for one of another's."""
    return NotFound("There is no such session.")
