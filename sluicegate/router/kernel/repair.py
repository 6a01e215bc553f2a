"""Mending what was lost, on both sides: NACK and key frame requests out, retransmissions in answer to a subscriber's
NACK.

A gap is asked for 10 ms after it shows, then every 40 ms or round trip, ten times. After the last time, or 400 ms, a
key frame must do. Requests for key frames are gathered per received stream: one new request in 500 ms, one
repetition a second until the key frame comes.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.egress import claim_slot
from sluicegate.router.kernel.header import parse_header, write_16, write_32
from sluicegate.router.kernel.layers import read_descriptor, was_taken
from sluicegate.router.kernel.output import can_send, packet_index, queue_rtcp, queue_rtp
from sluicegate.router.kernel.police import police
from sluicegate.router.kernel.rewrite import write_packet
from sluicegate.router.records import HISTORY, MARKER_SHIFT, NEVER, NONE, PICTURE_MASK, SENT
from sluicegate.router.tables import Tables
from sluicegate.rtp.names import Codec, MediaKind
from sluicegate.rtp.payload.descriptor import reset_descriptor

NACK_INTERVAL_US = 40_000
MAX_NACKS = 10
KEY_FRAME_AFTER_US = 400_000
"""When a gap has been asked for about as long as this, twice at least, a key frame is wanted. Lower: key frames for
packets that still come. Higher: still pictures."""
MAX_NACK_ITEMS = 64
"""Feedback items of one NACK packet: 268 bytes, far below any MTU."""
PLI_SPACING_US = 500_000
"""Lower: a subscriber's requests cost all others bitrate. Higher: a late joiner waits longer for its first picture."""
PLI_REPEAT_US = 1_000_000
MIN_RESEND_US = 5_000
MAX_RESEND_US = 100_000
"""A packet is not sent again within one round trip of the last time, but never held back for longer than this."""
RESEND_PACKETS = SENT
"""Packets of a send stream that are sent again in a second, and at once: everything that is kept of it. Half of the
packets of 10 Mbps are as many."""

WANTED, ASKED = 1, 2


@kernel
def want_key_frame(t: Tables, receive: int) -> None:
    """Somebody cannot go on without a key frame; if one has been asked for already, it will serve."""
    stream = t.receive_streams[receive]
    if stream.kind == MediaKind.VIDEO and stream.key_frame_wanted == 0:
        stream.key_frame_wanted = WANTED
        schedule_repair(t, receive, t.state[0].now)


@kernel
def insist_on_key_frame(t: Tables, receive: int) -> None:
    """Somebody asks for a key frame by name: ask again, as soon as the spacing allows."""
    stream = t.receive_streams[receive]
    if stream.kind == MediaKind.VIDEO:
        stream.key_frame_wanted = WANTED
        schedule_repair(t, receive, t.state[0].now)


@kernel
def schedule_repair(t: Tables, receive: int, due: int) -> None:
    """Have `repair` look at a stream by `due`."""
    t.nack_due[receive] = min(t.nack_due[receive], due)
    t.state[0].next_due = min(t.state[0].next_due, due)


@kernel
def repair(t: Tables, receive: int) -> None:
    """Send the requests of one stream that are due, and set when to look again."""
    state = t.state[0]
    stream = t.receive_streams[receive]
    now = state.now
    due = NEVER
    if stream.missing > 0 and stream.ssrc >= 0:
        due = send_nack(t, receive, stream)
    if stream.key_frame_wanted:  # by what was given up just now, too
        wait = PLI_SPACING_US if stream.key_frame_wanted == WANTED else PLI_REPEAT_US
        if now - stream.key_frame_asked_at >= wait and stream.ssrc >= 0 and can_send(t.transports[stream.transport]):
            send_key_frame_request(t, stream)
            stream.key_frame_wanted = ASKED
            stream.key_frame_asked_at = now
            wait = PLI_REPEAT_US
        due = min(due, max(stream.key_frame_asked_at + wait, now + NACK_INTERVAL_US))
    t.nack_due[receive] = due


@kernel
def send_nack(t: Tables, receive: int, stream: Any) -> int:
    """Ask for the missing packets that are due (RFC 4585 §6.2.1); when the next will be."""
    state = t.state[0]
    now = state.now
    transport = t.transports[stream.transport]
    interval = max(NACK_INTERVAL_US, min(transport.rtt, 500_000))
    slot = claim_slot(t)
    if slot < 0:
        return i64(now + interval)
    out = t.out[slot]
    history = t.history[receive]
    due = NEVER
    items = 0
    first = NONE
    base = NONE
    bits = 0
    for sequence in range(max(stream.missing_from, stream.max_sequence - HISTORY + 1), stream.max_sequence):
        entry = history[sequence & (HISTORY - 1)]
        if entry.sequence != sequence or entry.next_nack == NEVER:
            continue
        if entry.next_nack <= now:
            if entry.tries >= MAX_NACKS:
                entry.next_nack = NEVER
                stream.missing -= 1
                want_key_frame(t, receive)
                continue
            distance = sequence - base
            if base < 0 or distance > 16:
                if items == MAX_NACK_ITEMS:
                    due = now
                    break
                items += 1
                base = sequence
                bits = 0
                write_16(out, 8 + 4 * items, sequence - stream.sequence_shift)
            else:
                bits |= 1 << (distance - 1)
            write_16(out, 10 + 4 * items, bits)
            if entry.tries == max(2, (KEY_FRAME_AFTER_US + interval // 2) // interval):
                want_key_frame(t, receive)
            entry.tries += 1
            entry.next_nack = now + interval
        if first < 0:
            first = sequence
        due = min(due, entry.next_nack)
    stream.missing_from = first if first >= 0 else stream.max_sequence
    if items and can_send(transport):
        stream.nacks += 1
        write_feedback_head(out, 205, 1, transport.local_ssrc, stream.ssrc, 2 + items)
        queue_rtcp(t, slot, stream.transport, 12 + 4 * items)
    return due


@kernel
def write_feedback_head(out: Any, kind: int, form: int, sender: int, media: int, words: int) -> None:
    """The common head of feedback messages (RFC 4585 §6.1); `words` is the length field."""
    out[0] = 0x80 | form
    out[1] = kind
    write_16(out, 2, words)
    write_32(out, 4, sender)
    write_32(out, 8, media)


@kernel
def send_key_frame_request(t: Tables, stream: Any) -> None:
    """PLI where the publisher takes it, else FIR with a fresh command number (RFC 5104 §4.3.1)."""
    slot = claim_slot(t)
    if slot < 0:
        return
    out = t.out[slot]
    local = t.transports[stream.transport].local_ssrc
    if stream.pli:
        write_feedback_head(out, 206, 1, local, stream.ssrc, 2)
        length = 12
    elif stream.fir:
        write_feedback_head(out, 206, 4, local, 0, 4)
        write_32(out, 12, stream.ssrc)
        stream.fir_sequence = (stream.fir_sequence + 1) & 0xFF
        write_32(out, 16, stream.fir_sequence << 24)
        length = 20
    else:
        return
    stream.plis += 1
    queue_rtcp(t, slot, stream.transport, length)


@kernel
def retransmit(t: Tables, handle: int, send: Any, number: int) -> int:
    """Send one number of a send stream again, as RTX where that was negotiated; 1 if it was sent, or too many have
    been."""
    state = t.state[0]
    transport = t.transports[send.transport]
    if not send.started or not send.nack or send.paused or not can_send(transport):
        return 0
    extended = send.last_out - ((send.last_out - number) & 0xFFFF)
    if extended < send.first_out or extended <= send.last_out - SENT:
        return 0
    entry = t.sent[handle, extended & (SENT - 1)]
    wait = min(max(transport.rtt, MIN_RESEND_US), MAX_RESEND_US)
    if entry.source < 0 or state.now - entry.resent < wait:
        return 0
    receive = t.tracks[send.track].receive[entry.source & 3]
    if receive < 0:
        return 0
    sequence = entry.source >> 2
    kept = t.history[receive, sequence & (HISTORY - 1)]
    if kept.sequence != sequence or kept.serial < 0 or kept.serial <= state.cursor - len(t.arena):
        return 0
    stream = t.receive_streams[receive]
    if sequence < stream.base_sequence - HISTORY:  # from before a restart, whose timestamps were moved otherwise
        return 0
    row = t.arena[kept.serial & (len(t.arena) - 1)]
    if not police(send, RESEND_PACKETS, 1, state.now):
        return 1
    packet, descriptor = t.packets[0], t.descriptors[0]
    if not reread(t, receive, stream, row, kept, packet, descriptor):
        return 0
    if entry.sent == 0 and stream.kind == MediaKind.VIDEO and not was_taken(entry.picture, descriptor):
        return 0
    slot = claim_slot(t)
    if slot < 0:
        return 0
    original = NONE
    if send.rtx_ssrc >= 0 and send.rtx_payload_type >= 0:
        original = extended & 0xFFFF
    number = extended if original < 0 else send.rtx_sequence
    marker = entry.picture >> MARKER_SHIFT if entry.sent else packet.marker
    length = write_packet(t, slot, send, entry, row, packet, descriptor, number, marker, original)
    if length == 0:
        return 0
    if original >= 0:
        send.rtx_sequence += 1
    entry.resent = state.now
    entry.sent = state.now
    entry.picture = (entry.picture & PICTURE_MASK) | (i64(marker) << MARKER_SHIFT)
    index = packet_index(send, number) if original < 0 else number
    if not queue_rtp(t, slot, send.transport, length, index):
        return 0
    send.retransmissions += 1
    t.counters[0].packets_out += 1
    t.counters[0].bytes_out += length
    return 1


@kernel
def reread(t: Tables, receive: int, stream: Any, row: Any, kept: Any, packet: Any, descriptor: Any) -> bool:
    """Read a packet of the history again: its header, its place in the stream, its payload descriptor."""
    if not parse_header(row, kept.length, packet):
        return False
    packet.format = NONE
    for index in range(len(stream.payload_types)):
        if stream.payload_types[index] == packet.payload_type:
            packet.format = index
    if packet.format < 0:
        return False
    packet.sequence = kept.sequence
    packet.timestamp = (packet.timestamp + stream.timestamp_shift) & 0xFFFFFFFF
    packet.serial = kept.serial
    if stream.codec == Codec.VP8 or stream.codec == Codec.VP9:
        read_descriptor(t, receive, stream, row, packet, descriptor)
    else:  # nothing to move; and an old dependency descriptor must not replace the structure that is in force
        reset_descriptor(descriptor)
    return True
