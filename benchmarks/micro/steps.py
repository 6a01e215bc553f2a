"""One compiled loop for each step, so that what is measured is the step and not the call from Python."""

from collections.abc import Callable
from typing import Any

from sluicegate.compiled import kernel
from sluicegate.router import compilation
from sluicegate.router.kernel.egress import flush, group
from sluicegate.router.kernel.feedback import receive_rtcp
from sluicegate.router.kernel.header import write_16
from sluicegate.router.kernel.ingress import classify, receive_rtp
from sluicegate.router.kernel.rewrite import write_packet
from sluicegate.router.kernel.seal import seal
from sluicegate.router.kernel.tags import write_tags
from sluicegate.router.kernel.tick import process
from sluicegate.router.native import call
from sluicegate.router.records import NONE, SENT, SLOT_BYTES
from sluicegate.router.tables import Tables


@kernel
def ingress(t: Tables, count: int) -> int:
    """Classify, look up, unprotect, read and place a batch of RTP; how many packets were taken."""
    first = t.state[0].cursor
    t.state[0].cursor += count
    taken = 0
    for index in range(count):
        length = t.receive_messages[index].length
        handle = classify(t, index, first + index, length, 0)
        if handle >= 0 and receive_rtp(t, handle, first + index, length, t.packets[index]) >= 0:
            taken += 1
    return taken


@kernel
def feedback(t: Tables, count: int) -> int:
    """Classify, unprotect, parse and act on a batch of RTCP."""
    first = t.state[0].cursor
    t.state[0].cursor += count
    for index in range(count):
        length = t.receive_messages[index].length
        handle = classify(t, index, first + index, length, 0)
        if handle >= 0:
            receive_rtcp(t, handle, first + index, length)
    return count


@kernel
def rewrite(t: Tables, track: int) -> int:
    """Write the packet read last for every subscription of a track, under the number that it had last; how many."""
    packet, descriptor = t.packets[0], t.descriptors[0]
    row = t.arena[packet.serial & (len(t.arena) - 1)]
    handle = t.tracks[track].first_send
    written = 0
    while handle >= 0:
        send = t.send_streams[handle]
        number = send.last_out
        if write_packet(
            t, written, send, t.sent[handle, number & (SENT - 1)], row, packet, descriptor, number, 0, NONE
        ):
            written += 1
        handle = send.next_of_track
    return written


@kernel
def protect_each(t: Tables, first: int, count: int, length: int, sequence: int) -> int:
    """Encrypt out slots for the transports from `first` on, each with its own keys, under one number."""
    done = 0
    for index in range(count):
        write_16(t.out[index], 2, sequence)
        t.out_slots[index].length = seal(t, first + index, index, length, sequence)
        if t.out_slots[index].length:
            done += 1
    t.state[0].out_count = count
    write_tags(t)
    t.state[0].out_count = 0
    return done


@kernel
def unprotect_each(t: Tables, first: int, count: int, length: int) -> int:
    """Decrypt arena slots, all of one sender."""
    done = 0
    session = t.transports[first].receive_session
    for index in range(count):
        t.scratch[0] = length
        address = t.pointers[0].arena + index * SLOT_BYTES
        if call(t.native[0].srtp_unprotect, session, address, t.pointers[0].scratch, 0, 0) == 0:
            done += 1
    return done


@kernel
def fan_out(t: Tables, count: int) -> int:
    """Ingress and fan-out of a batch, up to the out arena, as a portable socket has it; how many packets wait there."""
    t.state[0].portable = 1
    process(t, count)
    t.state[0].portable = 0
    return t.state[0].out_count


@kernel
def grouping(t: Tables) -> int:
    """Make the messages of all that waits in the out arena, without sending; how many."""
    state = t.state[0]
    state.message_count = 0
    state.iovec_count = 0
    for index in range(state.dirty_count):
        group(t, t.dirty[index])
    return state.message_count


@kernel
def send(t: Tables) -> int:
    """Group and send what waits in the out arena."""
    count = t.state[0].out_count
    flush(t)
    return count


def entry(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step as Python may call it, cached with the kernel's own sources as key."""
    return compilation.entry(step)
