"""All packet planes of the process, and which of them a channel lives on."""

from collections.abc import Callable, Sequence
from typing import Any

from sluicegate.ids import ChannelId
from sluicegate.router.compilation import PLANE
from sluicegate.router.drivers import Driver, LoopDriver, PortableDriver, ThreadDriver
from sluicegate.router.plane import Plane

DRIVERS: dict[tuple[str, str], Any] = {
    ("thread", "batch"): ThreadDriver,
    ("loop", "batch"): LoopDriver,
    ("loop", "portable"): PortableDriver,
    ("thread", "portable"): PortableDriver,  # without system calls by address there is no thread without the GIL
}


class Router:
    """Owns the planes. Channels are placed on the plane with the fewest of them and stay there."""

    def __init__(self, planes: Sequence[Plane], *, driver: str = "thread", socket: str = "batch") -> None:
        self.planes = tuple(planes)
        self._driver = DRIVERS[driver, socket]
        self._drivers: list[Driver] = [self._driver(plane) for plane in self.planes]
        self._channels: dict[ChannelId, Plane] = {}

    def compile(self, announce: Callable[[str], None]) -> float:
        """Compile the kernel, or load it from the cache; seconds. May take about a minute: not on the loop."""
        if not PLANE.is_filled():
            announce(f"compiling the packet plane for this machine, once, into {PLANE.folder}: about a minute")
        return float(self._driver.compile(self.planes[0]))

    def start(self) -> None:
        """Begin to move packets; on the event loop."""
        for driver in self._drivers:
            driver.start()

    def thread_ids(self) -> tuple[int, ...]:
        """The system's numbers of the threads that turn the planes."""
        return tuple(driver.thread_id for driver in self._drivers if driver.thread_id is not None)

    async def stop(self) -> None:
        for driver in self._drivers:
            await driver.stop()
        for plane in self.planes:
            plane.close()

    def plane_for_channel(self, channel_id: ChannelId) -> Plane:
        """The plane of a channel; a new channel goes where the fewest are."""
        plane = self._channels.get(channel_id)
        if plane is None:
            placed = list(self._channels.values())
            plane = min(self.planes, key=lambda candidate: (placed.count(candidate), candidate.index))
            self._channels[channel_id] = plane
        return plane

    def release_channel(self, channel_id: ChannelId) -> None:
        """The channel is gone; its next life may be elsewhere."""
        self._channels.pop(channel_id, None)
