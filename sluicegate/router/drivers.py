"""What turns a plane: a thread of its own that never takes the GIL, or the event loop.

Both run the same kernel. On the loop the plane can be stepped through, and the portable socket serves platforms
without recvmmsg: there Python moves the datagrams, one call each, and the kernel does all the rest.
"""

import asyncio
import contextlib
import ctypes
import os
import threading
from typing import Protocol

from sluicegate.clock import monotonic
from sluicegate.router.compilation import entry, warm_up
from sluicegate.router.encoding import address_of, sockaddr
from sluicegate.router.kernel import tick
from sluicegate.router.plane import Plane
from sluicegate.router.records import BATCH, NAME_BYTES, NEVER, NONE
from sluicegate.router.scheduling import name_this_thread, shorten_this_slice

DRAIN_INTERVAL = 0.25
"""Seconds after which the loop looks for events even if no wake-up came. Lower: idle wake-ups. Higher: an event whose
wake-up was missed (both sides may look past each other for an instant) waits longer."""


class Driver(Protocol):
    """Turns one plane from `start` to `stop`, which may be called without it."""

    @property
    def thread_id(self) -> int | None:
        """The system's number of the thread that turns the plane; None before `start`."""

    def start(self) -> None: ...

    async def stop(self) -> None: ...


class _Upward:
    """Hands what comes up from a plane to its handlers, on the loop."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._plane.wake_up, self._plane.drain)
        self._drain_again()

    def _drain_again(self) -> None:
        # First the next time, so that a handler that raises does not end it.
        self._timer = self._loop.call_later(DRAIN_INTERVAL, self._drain_again)
        self._plane.drain()

    def stop(self) -> None:
        self._loop.remove_reader(self._plane.wake_up)
        if self._timer is not None:
            self._timer.cancel()


class ThreadDriver:
    """The default: one thread that sleeps in poll(2) and runs compiled code only."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._upward = _Upward(plane)
        self._thread = threading.Thread(target=self._run, name=f"plane-{plane.index}", daemon=True)

    @staticmethod
    def compile(plane: Plane) -> float:
        """Compile what the thread runs; seconds. Must be called before `start`."""
        plane.tables.state[0].stop = 1
        try:
            return warm_up(tick.run, plane.handle)
        finally:
            plane.tables.state[0].stop = 0

    @property
    def thread_id(self) -> int | None:
        return self._thread.native_id

    def start(self) -> None:
        self._upward.start()
        self._thread.start()

    def _run(self) -> None:
        name_this_thread(self._thread.name)
        shorten_this_slice()
        entry(tick.run)(self._plane.handle)

    async def stop(self) -> None:
        if self._thread.ident is None:
            return
        self._plane.tables.state[0].stop = 1
        os.eventfd_write(self._plane.wake_down, 1)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._upward.stop()


class LoopDriver:
    """The plane on the event loop, woken by its socket, its commands and its timers."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._upward = _Upward(plane)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.thread_id: int | None = None

    @staticmethod
    def compile(plane: Plane) -> float:
        """Compile what the loop calls; seconds."""
        return warm_up(tick.turn, plane.handle, 1)

    def start(self) -> None:
        self.thread_id = threading.get_native_id()
        self._loop = asyncio.get_running_loop()
        self._upward.start()
        self._loop.add_reader(self._plane.socket.fileno(), self._turn)
        self._loop.add_reader(self._plane.wake_down, self._wake)
        self._turn()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._plane.wake_down)
        self._plane.command_ring.signalled = False
        self._turn()

    def _turn(self) -> None:
        self._move()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        state = self._plane.tables.state[0]
        waiting = state.waiting_head != state.waiting_tail
        if (waiting or state.next_due < NEVER) and self._loop is not None:
            wait = 0.0 if waiting else max(int(state.next_due) - int(state.now), 0) / 1e6
            self._timer = self._loop.call_later(wait, self._turn)

    def _move(self) -> None:
        entry(tick.turn)(self._plane.handle, 1)

    async def stop(self) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._plane.socket.fileno())
        self._loop.remove_reader(self._plane.wake_down)
        self._upward.stop()


class PortableDriver(LoopDriver):
    """The plane on the event loop with nothing of the platform but a datagram socket."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        plane.tables.state[0].portable = 1

    @staticmethod
    def compile(plane: Plane) -> float:
        """Compile what the loop calls; seconds."""
        return warm_up(tick.process, plane.handle, 0) + warm_up(tick.advance, plane.handle)

    def _move(self) -> None:
        plane = self._plane
        tables, state = plane.tables, plane.tables.state[0]
        state.now = int(monotonic() * 1e6)
        count = 0
        while count < BATCH:
            slot = tables.arena[(int(state.cursor) + count) % len(tables.arena)]
            try:
                length, address = plane.socket.recvfrom_into(memoryview(slot))
            except OSError:
                break
            tables.receive_messages[count].length = length
            name = sockaddr((address[0], address[1]), plane.socket.family)
            ctypes.memmove(tables.arena_names[count].ctypes.data, name, len(name))
            count += 1
        if count:
            entry(tick.process)(plane.handle, count)
        self._send()
        entry(tick.advance)(plane.handle)
        self._send()

    def _send(self) -> None:
        """Send what stands in the out arena, in the kernel's order for each transport."""
        tables, state = self._plane.tables, self._plane.tables.state[0]
        for index in range(int(state.dirty_count)):
            handle = int(tables.dirty[index])
            transport = tables.transports[handle]
            address = address_of(tables.names[handle, :NAME_BYTES].tobytes())
            slot = int(transport.pending_head)
            while slot != NONE:
                data = tables.out[slot, : int(tables.out_slots[slot].length)].tobytes()
                self._plane.send_datagram(data, address)
                slot = int(tables.out_slots[slot].next)
            transport.pending_count = 0
        state.dirty_count = 0
        state.out_count = 0
