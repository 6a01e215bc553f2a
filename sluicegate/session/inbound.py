"""Messages of other services that end sessions: `voice.session.ended` and `stream.stopped`.

A message is `{session_id}` or `{channel_id, user_id?}`, and closes the audio or the video sessions of this node that
it names, by exact ids: there are no patterns. Whatever else arrives closes nothing, and no message raises.
"""

from dataclasses import dataclass

import msgspec

from sluicegate.ids import valid_name
from sluicegate.session.core import Core
from sluicegate.session.lifecycle import close_session
from sluicegate.session.names import SessionType
from sluicegate.session.session import Session

SUBJECTS: dict[str, SessionType] = {"voice.session.ended": SessionType.AUDIO, "stream.stopped": SessionType.VIDEO}
MAX_MESSAGE = 4096
"""Bytes; a message that names its target has some hundred."""


class EndMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What the message may say; other fields are passed over."""

    session_id: str | None = None
    channel_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The sessions of one type that a message names."""

    type: SessionType
    session_id: str | None
    channel_id: str | None
    user_id: str | None

    def names(self, session: Session) -> bool:
        """Whether `session` is meant: every id that is given must be its own."""
        pairs = (
            (self.session_id, session.session_id),
            (self.channel_id, session.channel_id),
            (self.user_id, session.user_id),
        )
        return session.identity.type is self.type and all(said is None or said == own for said, own in pairs)


def parse_end(subject: str, payload: bytes) -> Target | None:
    """What a message asks for; None for anything that is not such a message."""
    session_type = SUBJECTS.get(subject)
    if session_type is None or len(payload) > MAX_MESSAGE:
        return None
    try:
        message = msgspec.json.decode(payload, type=EndMessage)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    said = [name for name in (message.session_id, message.channel_id, message.user_id) if name is not None]
    if not all(valid_name(name) for name in said):
        return None
    if message.session_id is None and message.channel_id is None:
        return None
    return Target(session_type, message.session_id, message.channel_id, message.user_id)


def end_sessions(core: Core, subject: str, payload: bytes) -> int:
    """Closes what a message names, and says how many sessions that were."""
    target = parse_end(subject, payload)
    if target is None:
        return 0
    named = [session for session in core.sessions.values() if target.names(session)]
    for session in named:
        close_session(core, session, subject)
    return len(named)
