"""The bus: in order, bounded, and nobody waits for anybody."""

import asyncio

import pytest

from sluicegate.cluster.bus import ProcessBus
from sluicegate.errors import Unavailable
from sluicegate.ids import ChannelId, NodeId
from sluicegate.session.events import AnyEvent, EventsDroppedEvent, SpeakerChangedEvent

NODE, LOUNGE, ATTIC = NodeId("n"), ChannelId("lounge"), ChannelId("attic")


def event(number: int, channel_id: ChannelId = LOUNGE) -> AnyEvent:
    return SpeakerChangedEvent(
        event_id=str(number), at="2024-01-01T00:00:00Z", node_id=NODE, channel_id=channel_id, track_id=None
    )


async def drained(watcher: object) -> list[AnyEvent]:
    return [item async for item in watcher]  # type: ignore[attr-defined]


async def test_a_watcher_gets_its_channel_s_events_in_order() -> None:
    bus = ProcessBus(NODE)
    lounge, everything = bus.subscribe(LOUNGE), bus.subscribe()
    for number in range(4):
        bus.publish(event(number, LOUNGE if number % 2 else ATTIC))
    bus.close()
    assert [item.event_id for item in await drained(lounge)] == ["1", "3"]
    assert [item.event_id for item in await drained(everything)] == ["0", "1", "2", "3"]
    assert bus.watchers == 0


async def test_a_waiting_watcher_wakes_up() -> None:
    bus = ProcessBus(NODE)
    watcher = bus.subscribe(LOUNGE)
    waiting = asyncio.ensure_future(watcher.next_event())
    await asyncio.sleep(0)
    bus.publish(event(7))
    found = await waiting
    assert found is not None and found.event_id == "7"


async def test_a_slow_watcher_loses_the_oldest_and_is_told_how_many() -> None:
    bus = ProcessBus(NODE, queue_length=3)
    slow, other = bus.subscribe(LOUNGE), bus.subscribe(LOUNGE)
    for number in range(5):
        bus.publish(event(number))
    assert slow.dropped_total == other.dropped_total == 2
    slow.close()
    first, *rest = await drained(slow)
    assert isinstance(first, EventsDroppedEvent)
    assert (first.dropped, first.channel_id, first.node_id) == (2, LOUNGE, NODE)
    assert [item.event_id for item in rest] == ["2", "3", "4"]


async def test_a_closed_watcher_ends_and_gets_nothing_more() -> None:
    bus = ProcessBus(NODE)
    watcher = bus.subscribe(LOUNGE)
    waiting = asyncio.ensure_future(watcher.next_event())
    await asyncio.sleep(0)
    watcher.close()
    watcher.close()
    bus.publish(event(1))
    assert await waiting is None
    assert await watcher.next_event() is None


async def test_watchers_are_bounded() -> None:
    bus = ProcessBus(NODE, max_watchers=2)
    first, _ = bus.subscribe(LOUNGE), bus.subscribe()
    with pytest.raises(Unavailable) as caught:
        bus.subscribe(ATTIC)
    assert caught.value.retry_after
    first.close()
    bus.subscribe(ATTIC)
    assert bus.watchers == 2
