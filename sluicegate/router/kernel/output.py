"""The out arena: where outgoing packets are written, protected and queued for their transport, until egress sends them
all."""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.native import call
from sluicegate.router.records import NONE, SLOT_BYTES
from sluicegate.router.tables import Tables

LENGTH_MASK = 0xFFFFFFFF


@kernel
def protect(t: Tables, function: int, session: int, address: int, length: int) -> int:
    """Encrypt in place by one of libsrtp's functions; the new length, or 0 when it refuses (its `int *` is the low
    half of a word)."""
    t.scratch[0] = length
    if call(function, session, address, t.pointers[0].scratch, 0, 0) != 0:
        return 0
    return i64(t.scratch[0] & LENGTH_MASK)


@kernel
def queue(t: Tables, slot: int, transport_handle: int, length: int, rtcp: int) -> bool:
    """Protect what stands in an out slot and put it behind the others for its transport; False when it was dropped."""
    transport = t.transports[transport_handle]
    native = t.native[0]
    function = native.srtp_protect_rtcp if rtcp else native.srtp_protect
    length = protect(t, function, transport.transmit_session, t.pointers[0].out + slot * SLOT_BYTES, length)
    if length == 0:
        t.counters[0].drop_protect += 1
        return False
    enqueue(t, slot, transport_handle, length)
    return True


@kernel
def enqueue(t: Tables, slot: int, transport_handle: int, length: int) -> None:
    """Put what stands in an out slot, as it shall leave, behind the others for its transport."""
    transport = t.transports[transport_handle]
    out = t.out_slots[slot]
    out.length = length
    out.next = NONE
    if transport.pending_count == 0:
        state = t.state[0]
        t.dirty[state.dirty_count] = transport_handle
        state.dirty_count += 1
        transport.pending_head = slot
    else:
        t.out_slots[transport.pending_tail].next = slot
    transport.pending_tail = slot
    transport.pending_count += 1
    transport.packets_sent += 1
    transport.bytes_sent += length
    t.state[0].out_count = slot + 1


@kernel
def can_send(transport: Any) -> bool:
    """Whether a transport has both a verified destination and keys."""
    return bool(transport.has_destination != 0 and transport.transmit_session != 0)
