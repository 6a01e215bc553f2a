"""Sending: what is queued for one transport leaves together.

Neighbours of one size become one message with a UDP_SEGMENT control message (GSO), of which the last may be shorter;
one sendmmsg carries up to `MESSAGES` of them. What the kernel refuses is counted and forgotten: media is never queued
behind a full socket.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.tags import write_tags
from sluicegate.router.native import call, last_errno
from sluicegate.router.records import CONTROL_BYTES, MESSAGES, NAME_BYTES, NONE, SLOT_BYTES
from sluicegate.router.tables import Tables

MAX_SEGMENTS = 64
MAX_GROUP_BYTES = 65_000  # a UDP payload of 65,507 bytes at most, before segmentation
MSG_DONTWAIT = 0x40
EIO, EINVAL, EMSGSIZE, EOPNOTSUPP = 5, 22, 90, 95
IOVEC_BYTES, MESSAGE_BYTES = 16, 64


@kernel
def flush(t: Tables) -> None:
    """Send everything that is queued and empty the out arena; not with a portable socket, where Python does."""
    state = t.state[0]
    if state.portable:
        return
    write_tags(t)
    state.message_count = 0
    state.iovec_count = 0
    for index in range(state.dirty_count):
        handle = t.dirty[index]
        group(t, handle)
        t.transports[handle].pending_count = 0
    if state.message_count:
        send_messages(t)
    state.dirty_count = 0
    state.out_count = 0


@kernel
def claim_slot(t: Tables) -> int:
    """The next free out slot, sending what is queued when there is none; NONE if that did not help."""
    if t.state[0].out_count >= len(t.out):
        flush(t)
        if t.state[0].out_count >= len(t.out):
            t.counters[0].drop_send_error += 1
            return NONE
    return i64(t.state[0].out_count)


@kernel
def group(t: Tables, handle: int) -> None:
    """Make the messages of one transport's queue."""
    state = t.state[0]
    transport = t.transports[handle]
    slot = transport.pending_head
    while slot >= 0:
        size = t.out_slots[slot].length
        total = 0
        segments = 0
        first = state.iovec_count
        while slot >= 0 and segments < MAX_SEGMENTS:
            length = t.out_slots[slot].length
            if segments and (not state.gso or length > size or total + length > MAX_GROUP_BYTES):
                break
            iovec = t.iovecs[state.iovec_count]
            iovec.base = t.pointers[0].out + slot * SLOT_BYTES
            iovec.length = length
            state.iovec_count += 1
            segments += 1
            total += length
            slot = t.out_slots[slot].next
            if length < size:  # a shorter one ends the group
                break
        add_message(t, handle, transport, first, segments, size)


@kernel
def add_message(t: Tables, handle: int, transport: Any, first: int, segments: int, size: int) -> None:
    """Append one message to the send array, sending what is there when it is full."""
    state = t.state[0]
    if state.message_count == MESSAGES:
        send_messages(t)
        state.message_count = 0
    index = state.message_count
    message = t.send_messages[index]
    message.name = t.pointers[0].names + handle * (NAME_BYTES + 4)
    message.name_length = transport.name_length
    message.iovecs = t.pointers[0].iovecs + first * IOVEC_BYTES
    message.iovec_count = segments
    message.control = 0
    message.control_length = 0
    if segments > 1:
        message.control = t.pointers[0].controls + index * CONTROL_BYTES
        message.control_length = CONTROL_BYTES
        t.controls[index, 16] = size & 0xFF
        t.controls[index, 17] = size >> 8
    state.message_count += 1


@kernel
def send_messages(t: Tables) -> None:
    """Send the message array; a message that fails is dropped, a kernel that refuses GSO is not asked for it again."""
    state = t.state[0]
    counters = t.counters[0]
    native = t.native[0]
    done = 0
    while done < state.message_count:
        address = t.pointers[0].send_messages + done * MESSAGE_BYTES
        sent = call(native.sendmmsg, state.socket, address, state.message_count - done, MSG_DONTWAIT, 0)
        counters.send_calls += 1
        if sent > 0:
            done += sent
            counters.messages_out += sent
            continue
        error = last_errno(native.errno_location)
        message = t.send_messages[done]
        if message.iovec_count > 1 and (error == EIO or error == EINVAL or error == EMSGSIZE or error == EOPNOTSUPP):
            state.gso = 0
            send_segments(t, message)
        else:
            counters.drop_send_error += message.iovec_count
        done += 1


@kernel
def send_segments(t: Tables, message: Any) -> None:
    """Send the segments of one refused GSO message one by one, each in the same message record."""
    state = t.state[0]
    address = t.pointers[0].send_messages + (state.message_count - 1) * MESSAGE_BYTES
    spare = t.send_messages[state.message_count - 1]
    name, name_length, iovecs, count = message.name, message.name_length, message.iovecs, message.iovec_count
    kept = (spare.name, spare.name_length, spare.iovecs, spare.iovec_count, spare.control, spare.control_length)
    for index in range(count):
        spare.name = name
        spare.name_length = name_length
        spare.iovecs = iovecs + index * IOVEC_BYTES
        spare.iovec_count = 1
        spare.control = 0
        spare.control_length = 0
        if call(t.native[0].sendmmsg, state.socket, address, 1, MSG_DONTWAIT, 0) < 1:
            t.counters[0].drop_send_error += 1
    spare.name, spare.name_length, spare.iovecs, spare.iovec_count, spare.control, spare.control_length = kept
