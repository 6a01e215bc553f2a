"""Which node has which channel and session. In one process the answer is always "this one", or nothing."""

from dataclasses import dataclass
from typing import Protocol

from sluicegate.ids import ChannelId, NodeId, SessionId, UserId


@dataclass(frozen=True, slots=True)
class SessionPlace:
    """Where a session is, and whose it is."""

    node_id: NodeId
    channel_id: ChannelId
    user_id: UserId


class Registry(Protocol):
    """Who is where.

    The four announcements neither wait nor fail: an implementation with a store behind it writes in the background,
    and media and calls of the API never depend on that store. The questions are asked of the store.
    """

    def session_opened(self, session_id: SessionId, channel_id: ChannelId, user_id: UserId) -> None: ...

    def session_closed(self, session_id: SessionId) -> None: ...

    def channel_opened(self, channel_id: ChannelId) -> None: ...

    def channel_closed(self, channel_id: ChannelId) -> None: ...

    async def channel_owner(self, channel_id: ChannelId) -> NodeId | None:
        """The node on which the channel lives."""

    async def session_place(self, session_id: SessionId) -> SessionPlace | None:
        """Where the session is."""

    async def nodes(self) -> tuple[NodeId, ...]:
        """The nodes that are alive."""


class ProcessRegistry:
    """The registry of a node that is alone; bounded by the sessions that the node has."""

    def __init__(self, node_id: NodeId) -> None:
        self._node_id = node_id
        self._sessions: dict[SessionId, SessionPlace] = {}
        self._channels: set[ChannelId] = set()

    def session_opened(self, session_id: SessionId, channel_id: ChannelId, user_id: UserId) -> None:
        self._sessions[session_id] = SessionPlace(self._node_id, channel_id, user_id)

    def session_closed(self, session_id: SessionId) -> None:
        self._sessions.pop(session_id, None)

    def channel_opened(self, channel_id: ChannelId) -> None:
        self._channels.add(channel_id)

    def channel_closed(self, channel_id: ChannelId) -> None:
        self._channels.discard(channel_id)

    async def channel_owner(self, channel_id: ChannelId) -> NodeId | None:
        return self._node_id if channel_id in self._channels else None

    async def session_place(self, session_id: SessionId) -> SessionPlace | None:
        return self._sessions.get(session_id)

    async def nodes(self) -> tuple[NodeId, ...]:
        return (self._node_id,)
