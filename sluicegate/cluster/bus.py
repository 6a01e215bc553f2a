"""Events within one process: every watcher has a bounded queue of its own, and none delays another or the publisher."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from sluicegate import clock
from sluicegate.errors import Unavailable
from sluicegate.ids import ChannelId, NodeId, new_id
from sluicegate.session.events import AnyEvent, EventsDroppedEvent

# A burst of joins in a large channel is some hundreds of events. Lower: a watcher on a slow phone loses some of them.
# Higher: a watcher that stopped reading holds more memory (about 1 KB an event).
QUEUE_LENGTH = 512
MAX_WATCHERS = 4096


class ProcessWatcher:
    """One reader's events. When the queue is full the oldest event goes, and the reader is told how many went."""

    def __init__(self, node_id: NodeId, channel_id: ChannelId | None, limit: int, on_close: Callable[[], None]) -> None:
        self._node_id = node_id
        self._channel_id = channel_id
        self._events: deque[AnyEvent] = deque()
        self._limit = limit
        self._ready = asyncio.Event()
        self._on_close = on_close
        self._dropped = 0
        self._dropped_in = channel_id
        self.dropped_total = 0
        self.closed = False

    def push(self, event: AnyEvent) -> None:
        """Queues `event`; a full queue loses its oldest."""
        if self.closed:
            return
        if len(self._events) >= self._limit:
            self._dropped_in = self._events.popleft().channel_id
            self._dropped += 1
            self.dropped_total += 1
        self._events.append(event)
        self._ready.set()

    async def next_event(self) -> AnyEvent | None:
        """The next event, when there is one; None once the watcher is closed and its queue is empty."""
        while not (self._events or self._dropped or self.closed):
            self._ready.clear()
            await self._ready.wait()
        if self._dropped:
            return self._confess()
        return self._events.popleft() if self._events else None

    def _confess(self) -> EventsDroppedEvent:
        dropped, self._dropped = self._dropped, 0
        return EventsDroppedEvent(
            event_id=new_id(),
            at=clock.rfc3339(time.time()),
            node_id=self._node_id,
            channel_id=self._channel_id or self._dropped_in or ChannelId(""),
            dropped=dropped,
        )

    async def __aiter__(self) -> AsyncIterator[AnyEvent]:
        while (event := await self.next_event()) is not None:
            yield event

    def close(self) -> None:
        """Ends the iteration after what is queued. May be called again."""
        if not self.closed:
            self.closed = True
            self._on_close()
            self._ready.set()


class ProcessBus:
    """The bus of one process. `publish` takes time in proportion to the watchers of that channel."""

    def __init__(self, node_id: NodeId, *, queue_length: int = QUEUE_LENGTH, max_watchers: int = MAX_WATCHERS) -> None:
        self._node_id = node_id
        self._queue_length = queue_length
        self._max_watchers = max_watchers
        # Ordered sets: a dict's keys keep the order of arrival, so that delivery does not depend on hashes.
        self._watchers: dict[ChannelId | None, dict[ProcessWatcher, None]] = {}
        self._count = 0
        self.published = 0

    @property
    def watchers(self) -> int:
        """How many watchers there are."""
        return self._count

    def publish(self, event: AnyEvent) -> None:
        """Hands `event` to the watchers of its channel and to those of all channels."""
        self.published += 1
        for key in (event.channel_id, None):
            for watcher in self._watchers.get(key, ()):
                watcher.push(event)

    def subscribe(self, channel_id: ChannelId | None = None) -> ProcessWatcher:
        """Watches one channel, or all; raises `Unavailable` when `max_watchers` do already."""
        if self._count >= self._max_watchers:
            raise Unavailable("Too many watchers of events; try again later.", retry_after=5)
        watcher = ProcessWatcher(
            self._node_id, channel_id, self._queue_length, lambda: self._remove(channel_id, watcher)
        )
        self._watchers.setdefault(channel_id, {})[watcher] = None
        self._count += 1
        return watcher

    def _remove(self, channel_id: ChannelId | None, watcher: ProcessWatcher) -> None:
        watchers = self._watchers[channel_id]
        del watchers[watcher]
        self._count -= 1
        if not watchers:
            del self._watchers[channel_id]

    def close(self) -> None:
        """Closes every watcher; each still gets what is queued for it."""
        for watchers in list(self._watchers.values()):
            for watcher in list(watchers):
                watcher.close()
