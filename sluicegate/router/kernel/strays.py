"""SSRCs that authenticated and are no stream of the session's: senders of RTCP, packets ahead of their `publish`,
tracks that have ended.

libsrtp keeps state for every SSRC, so a transport may have `MAX_STREAMS` of them. Beyond that the stray that has been
silent longest gives way, once it has been for `STRAY_KEPT_US`; until then new ones are refused. A track that ends
leaves its SSRCs as strays: published again they go on under the same rollover counter.
"""

from typing import Any

from sluicegate.compiled import kernel
from sluicegate.router.kernel.maps import bind_stream, release_slot, stream_slot
from sluicegate.router.native import call
from sluicegate.router.records import NONE
from sluicegate.router.tables import Tables

MAX_STREAMS = 256
"""Authenticated SSRCs of one transport, known to the session or not."""
STRAY_KEPT_US = 10_000_000
"""Lower: a hostile member can have state made and freed faster. Higher: one who changes SSRCs often waits longer."""


@kernel
def has_room(t: Tables, transport: Any) -> bool:
    """Whether another SSRC of this transport would be taken."""
    return transport.stream_count < MAX_STREAMS or oldest_stray(t, transport) >= 0


@kernel
def note_stray(t: Tables, handle: int, transport: Any, ssrc: int) -> int:
    """Remember an SSRC that has authenticated for the first time, so that it is counted once; its slot or NONE."""
    if transport.stream_count >= MAX_STREAMS:
        oldest = oldest_stray(t, transport)
        if oldest < 0:
            return NONE
        adopt_stray(t.stream_keys, transport, oldest)
        forget_stream(t, transport.receive_session, t.stream_keys[oldest].ssrc)
        transport.stream_count -= 1
        release_slot(t.stream_keys, oldest)
    if not bind_stream(t.stream_keys, handle, ssrc, NONE, 0):
        return NONE
    transport.stream_count += 1
    slot = stream_slot(t.stream_keys, handle, ssrc)
    make_stray(t, transport, slot)
    return slot


@kernel
def make_stray(t: Tables, transport: Any, slot: int) -> None:
    """The SSRC in a slot that is on no chain yet is no stream of the session's, or no longer; it goes on counting."""
    key = t.stream_keys[slot]
    key.receive = NONE
    key.rtx = 0
    key.last = t.state[0].now
    key.next = transport.first_stray
    transport.first_stray = slot


@kernel
def give_back(t: Tables, receive: int, ssrc: int, used: int) -> None:
    """A receive stream has done with an SSRC: a stray if it has been heard, else nothing at all.

    Nothing happens where the SSRC is another stream's by now, as one that came by MID and was announced later for
    another track is.
    """
    handle = t.receive_streams[receive].transport
    transport = t.transports[handle]
    slot = stream_slot(t.stream_keys, handle, ssrc)
    if slot < 0 or t.stream_keys[slot].receive != receive:
        return
    if used:
        make_stray(t, transport, slot)
        return
    if transport.receive_session:
        forget_stream(t, transport.receive_session, ssrc)
    release_slot(t.stream_keys, slot)
    transport.stream_count -= 1


@kernel
def adopt_stray(stream_keys: Any, transport: Any, slot: int) -> None:
    """Take a slot off the transport's chain of strays: it has become a stream."""
    if transport.first_stray == slot:
        transport.first_stray = stream_keys[slot].next
        return
    index = transport.first_stray
    while index >= 0:
        if stream_keys[index].next == slot:
            stream_keys[index].next = stream_keys[slot].next
            return
        index = stream_keys[index].next


@kernel
def oldest_stray(t: Tables, transport: Any) -> int:
    """The slot of the stray that has been silent longest, if that is long enough, else NONE."""
    oldest = NONE
    last = t.state[0].now - STRAY_KEPT_US
    index = transport.first_stray
    while index >= 0:
        key = t.stream_keys[index]
        if key.last <= last:
            last = key.last
            oldest = index
        index = key.next
    return oldest


@kernel
def forget_strays(stream_keys: Any, transport: Any) -> None:
    """Free the slots of a transport's strays."""
    index = transport.first_stray
    while index >= 0:
        following = stream_keys[index].next
        release_slot(stream_keys, index)
        index = following
    transport.first_stray = NONE


@kernel
def forget_stream(t: Tables, session: int, ssrc: int) -> None:
    """Have libsrtp free what it keeps for an SSRC, which it takes in network order."""
    swapped = (ssrc & 0xFF) << 24 | (ssrc & 0xFF00) << 8 | (ssrc >> 8) & 0xFF00 | (ssrc >> 24) & 0xFF
    call(t.native[0].srtp_remove_stream, session, swapped, 0, 0, 0)
