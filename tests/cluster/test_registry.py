"""The registry of a node that is alone."""

from sluicegate.cluster.registry import ProcessRegistry, Registry, SessionPlace
from sluicegate.ids import ChannelId, NodeId, SessionId, UserId

NODE = NodeId("n")


async def test_what_is_announced_is_found_until_it_is_withdrawn() -> None:
    registry: Registry = ProcessRegistry(NODE)
    session, channel, user = SessionId("s"), ChannelId("c"), UserId("u")
    registry.channel_opened(channel)
    registry.session_opened(session, channel, user)
    assert await registry.channel_owner(channel) == NODE
    assert await registry.session_place(session) == SessionPlace(NODE, channel, user)
    assert await registry.nodes() == (NODE,)
    registry.session_closed(session)
    registry.channel_closed(channel)
    registry.channel_closed(channel)
    assert await registry.channel_owner(channel) is None
    assert await registry.session_place(session) is None
