"""Channels: members, routes, and events that follow a snapshot without a gap."""

import json

import msgspec
import pytest

from sluicegate.errors import NotFound
from sluicegate.session.events import AnyEvent
from sluicegate.session.names import SessionType, Source
from sluicegate.session.requests import RouteGain, Routes
from tests.session.fakes import ADMIN, ANN, BEN, CAT, CHANNEL, NODE, Node, member, simulcast


def gain(listener: str, speaker: str, value: float) -> RouteGain:
    return RouteGain(listener=listener, speaker=speaker, gain=value)


async def test_a_channel_shows_members_and_tracks() -> None:
    node = Node()
    first, second = await node.join(ANN, SessionType.AUDIO), await node.join(ANN)
    await node.join(BEN)
    track = await node.film(ANN, second.session_id, simulcast(), source=Source.SCREEN)
    view = await node.service.get_channel(BEN, CHANNEL)
    assert view.node_id == NODE
    assert [(member.user_id, len(member.sessions)) for member in view.members] == [("ann", 2), ("ben", 1)]
    assert view.members[0].sessions == (first.session_id, second.session_id)
    (shown,) = view.tracks
    assert (shown.track_id, shown.user_id, shown.type, shown.source) == (track.track_id, "ann", "simulcast", "screen")
    assert view.active_speaker is None and view.recording is None


async def test_a_list_shows_what_the_token_is_for() -> None:
    node = Node()
    await node.join(ANN)
    await node.join(ADMIN, channel_id="attic")

    async def listed(caller: object) -> list[str]:
        return [view.channel_id for view in (await node.service.list_channels(caller)).channels]  # type: ignore[arg-type]

    assert await listed(ADMIN) == [CHANNEL, "attic"]
    assert await listed(ANN) == [CHANNEL]
    assert await listed(member("eve", "attic")) == ["attic"]


async def test_a_foreign_channel_and_none_look_the_same() -> None:
    node = Node()
    await node.join(ANN)
    details = []
    for channel_id in (CHANNEL, "nowhere"):
        with pytest.raises(NotFound) as caught:
            await node.service.get_channel(member("eve", "attic"), channel_id)
        details.append(caught.value.detail)
    assert details[0] == details[1]


async def muted(node: Node) -> list[bool]:
    return [node.plane.paused_sends[send] for send in node.plane.sends]


async def three() -> tuple[Node, list[str]]:
    """Ann and Ben speak; Ann hears Ben, Ben hears Ann, Cat hears both."""
    node = Node()
    ids = [(await node.join(caller)).session_id for caller in (ANN, BEN, CAT)]
    ann, ben = (await node.speak(ANN, ids[0])).track_id, (await node.speak(BEN, ids[1])).track_id
    for caller, session_id, track_id in (
        (ANN, ids[0], ben),
        (BEN, ids[1], ann),
        (CAT, ids[2], ann),
        (CAT, ids[2], ben),
    ):
        await node.watch(caller, session_id, track_id)
    return node, ids


async def test_routes_mute_forwarded_audio() -> None:
    node, ids = await three()
    routes = Routes(gains=(gain("cat", "ben", 0), gain("ann", "*", 0.5)))
    view = await node.service.set_routes(ADMIN, CHANNEL, routes)
    assert (view.default, view.gains) == (1.0, routes.gains)
    assert await muted(node) == [False, False, False, True]
    shown = (await node.service.get_session(CAT, ids[2])).subscriptions[1]
    assert shown.muted_by_route and not shown.paused
    await node.service.set_routes(ADMIN, CHANNEL, Routes(default=0, gains=(gain("ben", "ann", 2),)))
    assert await muted(node) == [True, False, True, True]
    await node.service.set_routes(ADMIN, CHANNEL, Routes())
    assert await muted(node) == [False] * 4


async def test_routes_hold_for_those_who_come_later_and_do_not_touch_video() -> None:
    node, ids = await three()
    await node.service.set_routes(ADMIN, CHANNEL, Routes(default=0))
    dan = member("dan")
    session_id = (await node.join(dan)).session_id
    sound = (await node.service.get_channel(dan, CHANNEL)).tracks[0].track_id
    picture = (await node.film(CAT, ids[2])).track_id
    await node.watch(dan, session_id, sound)
    await node.watch(dan, session_id, picture)
    assert (await muted(node))[-2:] == [True, False]


async def test_a_route_and_a_pause_do_not_undo_each_other() -> None:
    from sluicegate.session.requests import SubscriptionPatch

    node, ids = await three()
    subscription = (await node.service.get_session(ANN, ids[0])).subscriptions[0].subscription_id
    await node.service.set_routes(ADMIN, CHANNEL, Routes(default=0))
    await node.service.update_subscription(ANN, ids[0], subscription, SubscriptionPatch(paused=True))
    await node.service.set_routes(ADMIN, CHANNEL, Routes())
    assert (await muted(node))[0]
    await node.service.update_subscription(ANN, ids[0], subscription, SubscriptionPatch(paused=False))
    assert not (await muted(node))[0]


async def test_a_watcher_sees_the_channel_and_then_everything_that_happens() -> None:
    node = Node()
    ann = await node.join(ANN)
    watch = await node.service.watch_channel(BEN, CHANNEL)
    assert watch.snapshot.type == "snapshot"
    assert [member.user_id for member in watch.snapshot.channel.members] == ["ann"]
    await node.speak(ANN, ann.session_id)
    await node.join(ADMIN, channel_id="attic")
    await node.service.delete_session(ANN, ann.session_id)
    watch.watcher.close()
    seen = [event.type async for event in watch.watcher]
    assert seen == ["track.added", "track.removed", "session.closed"]


async def test_a_channel_may_be_watched_before_anybody_is_there() -> None:
    node = Node()
    watch = await node.service.watch_channel(ANN, CHANNEL)
    assert watch.snapshot.channel.members == ()
    await node.join(ANN)
    watch.watcher.close()
    assert [event.type async for event in watch.watcher] == ["session.created"]
    for channel_id in ("attic", "a\nb", ""):
        with pytest.raises(NotFound):
            await node.service.watch_channel(ANN, channel_id)
    assert node.bus.watchers == 1  # the test's own


async def test_every_event_says_who_where_and_when() -> None:
    node, _ = await three()
    node.service.close_all("shutdown")
    events: list[AnyEvent] = node.news()
    assert len({event.event_id for event in events}) == len(events)
    for event in events:
        said = json.loads(msgspec.json.encode(event))
        assert said["schema"] == 1 and said["node_id"] == NODE and said["channel_id"] == CHANNEL
        assert said["at"].endswith("Z") and said["type"] == event.type
        assert {"user_id", "session_id", "event_id"} <= said.keys()
        assert event.subject == "media." + event.type
