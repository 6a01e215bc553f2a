"""The rings upwards: events and punted datagrams, written by the plane and read on the loop.

Full rings drop what is new and count it: a punt that matters is sent again by its peer, an event is only news.
"""

from typing import Any

from sluicegate.compiled import kernel
from sluicegate.router.kernel.header import copy_bytes
from sluicegate.router.native import call, fence
from sluicegate.router.records import NAME_BYTES
from sluicegate.router.tables import EVENT_RING, PUNT_RING, Tables

STREAM_STARTED, LAYERS_CHANGED, BYE_RECEIVED = 1, 2, 3
"""Kinds of events."""
TOLD_AGAIN_US = 100_000
"""That a stream has begun, or ended, is told no more often. Lower: who sends under two SSRCs in turn keeps the event
loop busy. Higher: a timeline leaves out changes."""


@kernel
def push_event(t: Tables, kind: int, a: int, b: int, c: int) -> None:
    """Hand up one event of up to three words."""
    ring = t.rings[EVENT_RING]
    if ring.head - ring.tail >= len(t.events):
        t.counters[0].events_lost += 1
        return
    event = t.events[ring.head & (len(t.events) - 1)]
    event[0] = kind
    event[1] = a
    event[2] = b
    event[3] = c
    fence()
    ring.head += 1
    t.state[0].upward = 1


@kernel
def push_punt(t: Tables, row: Any, length: int, name: Any, transport: int) -> None:
    """Hand up one datagram with its sender's sockaddr and the transport that this address is bound to, if any."""
    ring = t.rings[PUNT_RING]
    if ring.head - ring.tail >= len(t.punts):
        t.counters[0].drop_punt_full += 1
        return
    slot = ring.head & (len(t.punts) - 1)
    copy_bytes(t.punts[slot], 0, row, 0, length)
    copy_bytes(t.punt_names[slot], 0, name, 0, NAME_BYTES)
    t.punt_meta[slot, 0] = length
    t.punt_meta[slot, 1] = transport
    fence()
    ring.head += 1
    t.counters[0].punted += 1
    t.state[0].upward = 1


@kernel
def wake_loop(t: Tables) -> None:
    """Signal the loop that something came up, once until it has looked."""
    state = t.state[0]
    if not state.upward:
        return
    state.upward = 0
    ring = t.rings[EVENT_RING]
    fence()
    if ring.signalled == 0:
        ring.signalled = 1
        t.scratch[0] = 1
        call(t.native[0].write, state.wake_up, t.pointers[0].scratch, 8, 0, 0)
