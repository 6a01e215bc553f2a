"""The out arena: where outgoing packets are written, protected and queued for their transport, until egress sends them
all."""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.seal import seal
from sluicegate.router.native import call
from sluicegate.router.records import NONE, SLOT_BYTES
from sluicegate.router.tables import Tables

LENGTH_MASK = 0xFFFFFFFF


@kernel
def protect(t: Tables, function: int, transport_handle: int, slot: int, length: int) -> int:
    """Encrypt an out slot by one of libsrtp's functions; the new length, or 0 when it refuses (its `int *` is the low
    half of a word)."""
    t.scratch[0] = length
    session = t.transports[transport_handle].transmit_session
    if call(function, session, t.pointers[0].out + slot * SLOT_BYTES, t.pointers[0].scratch, 0, 0) != 0:
        return 0
    return i64(t.scratch[0] & LENGTH_MASK)


@kernel
def packet_index(send: Any, number: int) -> int:
    """The SRTP index of a number of a send stream: the rollovers that its receiver counts begin with the first packet
    that is sent under the keys in force. Negative for a number from before that.

    Numbers begin at 65,536, so a base of 0 is none yet.
    """
    if send.index_base == 0:
        send.index_base = number & ~0xFFFF
    return i64(number - send.index_base)


@kernel
def queue_rtp(t: Tables, slot: int, transport_handle: int, length: int, index: int) -> bool:
    """Protect the packet in an out slot, the `index`-th of its SSRC, and put it behind the others for its transport;
    False when it was dropped."""
    if t.transports[transport_handle].cipher == 0:
        length = protect(t, t.native[0].srtp_protect, transport_handle, slot, length)
    elif index >= 0:
        length = seal(t, transport_handle, slot, length, index)
    else:  # numbered under keys that are gone
        length = 0
    return enqueue_protected(t, slot, transport_handle, length)


@kernel
def queue_rtcp(t: Tables, slot: int, transport_handle: int, length: int) -> bool:
    """The same for RTCP, whose numbers are libsrtp's."""
    length = protect(t, t.native[0].srtp_protect_rtcp, transport_handle, slot, length)
    return enqueue_protected(t, slot, transport_handle, length)


@kernel
def enqueue_protected(t: Tables, slot: int, transport_handle: int, length: int) -> bool:
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
