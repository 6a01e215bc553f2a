"""A packet of a known stream takes its place: its number, what is missing before it, the history, statistics; and for
feedback, when it arrived."""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.header import read_16
from sluicegate.router.kernel.repair import schedule_repair, want_key_frame
from sluicegate.router.kernel.rings import STREAM_STARTED, TOLD_AGAIN_US, push_event
from sluicegate.router.records import HISTORY, MAX_FORMATS, NEVER, NONE
from sluicegate.router.tables import Tables
from sluicegate.rtp.names import MediaKind

LATE_ARRIVALS = 128
"""A transport-wide number this far behind the highest is not reported any more. Higher: feedback repeats more of what
it has said."""
MAX_DROPOUT = 3000
"""A greater jump ahead is a restart (RFC 3550 A.1)."""
MAX_NACKED_GAP = 400
"""A greater gap is not asked for packet by packet: a key frame mends it sooner. Below HISTORY."""
FIRST_NACK_US = 10_000
"""How long a packet may merely be late. Lower: reordered packets are asked for in vain. Higher: repair comes later."""


@kernel
def note_arrival(t: Tables, handle: int, transport: Any, packet: Any, row: Any) -> None:
    """Remember when a transport-wide sequence number arrived, for the feedback that is due soon."""
    element = packet.elements[transport.transport_cc_id]
    if element & 0xFF != 2:
        return
    sequence = read_16(row, element >> 8)
    mask = len(t.arrivals[handle]) - 1
    if transport.cc_started == 0:
        transport.cc_started = 1
        transport.cc_base = sequence + 65536
        transport.cc_max = sequence + 65535
        t.feedback_due[handle] = t.state[0].now + 50_000
    delta = ((sequence - transport.cc_max) & 0xFFFF) - (((sequence - transport.cc_max) & 0x8000) << 1)
    extended = transport.cc_max + delta
    if delta > mask:  # nothing of what is remembered matters any more
        for stale in range(extended - LATE_ARRIVALS, extended):
            t.arrivals[handle, stale & mask] = NONE
        transport.cc_base = extended
        transport.cc_max = extended - 1
        delta = 1
    if delta > 0:
        for missing in range(transport.cc_max + 1, extended):
            t.arrivals[handle, missing & mask] = NONE
        transport.cc_max = extended
    elif extended <= transport.cc_max - LATE_ARRIVALS or t.arrivals[handle, extended & mask] >= 0:
        return
    transport.cc_base = min(transport.cc_base, extended)  # one reported as lost is taken back with the next feedback
    t.arrivals[handle, extended & mask] = t.state[0].now
    transport.cc_media_ssrc = packet.ssrc
    if t.feedback_due[handle] == NEVER:
        t.feedback_due[handle] = t.state[0].now + 50_000
    t.state[0].next_due = min(t.state[0].next_due, t.feedback_due[handle])


@kernel
def place(t: Tables, receive: int, packet: Any, row: Any) -> int:
    """Extend the sequence number, keep statistics and history; the stream, or NONE for what must not go on."""
    counters = t.counters[0]
    stream = t.receive_streams[receive]
    now = t.state[0].now
    packet.format = NONE
    for index in range(MAX_FORMATS):
        if stream.payload_types[index] == packet.payload_type:
            packet.format = index
    if packet.format < 0:
        counters.drop_payload_type += 1
        return NONE
    if not extend_sequence(t, receive, stream, packet):
        counters.drop_late += 1
        return NONE
    packet.epoch = stream.epoch
    entry = t.history[receive, packet.sequence & (HISTORY - 1)]
    if packet.sequence <= stream.max_sequence and entry.sequence == packet.sequence:
        if entry.serial >= 0:
            stream.duplicates += 1
            counters.drop_duplicate += 1
            return NONE
        if entry.next_nack < NEVER:
            stream.missing -= 1
        if packet.recovered:
            stream.retransmissions += 1
    elif packet.sequence > stream.max_sequence:
        note_gap(t, receive, stream, packet.sequence)
        stream.max_sequence = packet.sequence
    entry.sequence = packet.sequence
    entry.serial = packet.serial
    entry.length = packet.length
    entry.next_nack = NEVER
    count(stream, packet, row, now)
    return receive


@kernel
def extend_sequence(t: Tables, receive: int, stream: Any, packet: Any) -> bool:
    """Replace the 16-bit number by one that never wraps and never jumps: a restart goes on where the stream was."""
    raw = packet.sequence
    if stream.started == 0 or stream.started == 2:
        if packet.recovered:
            return False
        start_stream(t, receive, stream, packet)
        return True
    highest = (stream.max_sequence - stream.sequence_shift) & 0xFFFF
    delta = ((raw - highest) & 0xFFFF) - (((raw - highest) & 0x8000) << 1)
    if delta > MAX_DROPOUT or delta <= -MAX_DROPOUT:
        if packet.recovered:
            return False
        if raw != stream.bad_sequence:  # two in a row make a restart, one is an accident
            stream.bad_sequence = (raw + 1) & 0xFFFF
            return False
        start_stream(t, receive, stream, packet)
        return True
    stream.bad_sequence = NONE
    packet.sequence = stream.max_sequence + delta
    packet.timestamp = (packet.timestamp + stream.timestamp_shift) & 0xFFFFFFFF
    return bool(delta > -HISTORY)


@kernel
def start_stream(t: Tables, receive: int, stream: Any, packet: Any) -> None:
    """Begin the numbering, or go on with it after a change of SSRC or a restart by the publisher."""
    raw = packet.sequence
    now = t.state[0].now
    if stream.started == 0:
        stream.sequence_shift = 65536
        stream.timestamp_shift = 0
        packet.sequence = raw + 65536
        stream.max_sequence = packet.sequence - 1
    else:
        # Numbers are left free for packets that come late from before this one: they are none of the old epoch's.
        packet.sequence = stream.max_sequence + HISTORY + 1
        stream.max_sequence = packet.sequence - 1
        stream.sequence_shift = packet.sequence - raw
        elapsed = (now - stream.last_packet) * stream.clock_rate // 1_000_000
        expected = stream.last_timestamp + max(elapsed, 1)
        stream.timestamp_shift = (expected - packet.timestamp) & 0xFFFFFFFF
        stream.epoch += 1
        for index in range(HISTORY):
            t.history[receive, index].next_nack = NEVER
        stream.missing = 0
    packet.timestamp = (packet.timestamp + stream.timestamp_shift) & 0xFFFFFFFF
    stream.started = 1
    stream.base_sequence = packet.sequence
    stream.received = 0
    stream.expected_prior = 0
    stream.received_prior = 0
    stream.bad_sequence = NONE
    stream.transit = NEVER
    stream.report_known = 0
    if stream.start_told_at + TOLD_AGAIN_US <= t.state[0].now:
        stream.start_told_at = t.state[0].now
        push_event(t, STREAM_STARTED, stream.track, stream.encoding, stream.ssrc)


@kernel
def note_gap(t: Tables, receive: int, stream: Any, sequence: int) -> None:
    """Mark the numbers that were skipped as missing, and have them asked for soon, unless they are too many."""
    state = t.state[0]
    gap = sequence - stream.max_sequence - 1
    history = t.history[receive]
    if gap == 0:
        forget(stream, history[sequence & (HISTORY - 1)])
        return
    ask = stream.nack and gap <= MAX_NACKED_GAP
    for missing in range(max(stream.max_sequence + 1, sequence - HISTORY + 1), sequence):
        entry = history[missing & (HISTORY - 1)]
        forget(stream, entry)
        entry.sequence = missing
        entry.serial = NONE
        entry.tries = 0
        entry.next_nack = state.now + FIRST_NACK_US if ask else NEVER
    forget(stream, history[sequence & (HISTORY - 1)])
    if ask:
        if stream.missing == 0:
            stream.missing_from = stream.max_sequence + 1
        stream.missing += gap
        schedule_repair(t, receive, state.now + FIRST_NACK_US)
    elif stream.kind == MediaKind.VIDEO:
        want_key_frame(t, receive)


@kernel
def forget(stream: Any, entry: Any) -> None:
    """A history entry is about to be used again: if it was being asked for, no longer."""
    if entry.next_nack < NEVER:
        stream.missing -= 1
        entry.next_nack = NEVER


@kernel
def count(stream: Any, packet: Any, row: Any, now: int) -> None:
    """Statistics of one packet: RFC 3550 A.8 jitter (only of packets that came by themselves), frames, voice level."""
    stream.packets += 1
    stream.received += 1
    stream.bytes += packet.payload_end - packet.payload_start
    if not packet.recovered:
        transit = now * stream.clock_rate // 1_000_000 - packet.timestamp
        if stream.transit != NEVER:
            difference = abs(transit - stream.transit) & 0xFFFFFFFF
            difference = min(difference, (1 << 32) - difference)
            stream.jitter_q4 += difference - ((stream.jitter_q4 + 8) >> 4)
        stream.transit = transit
        stream.last_packet = now
        stream.last_timestamp = packet.timestamp
    if packet.timestamp != stream.frame_timestamp:
        stream.frame_timestamp = packet.timestamp
        stream.frames += 1
    element = packet.elements[stream.audio_level_id]
    if element & 0xFF == 1:
        stream.level_sum += i64(row[element >> 8]) & 0x7F
        stream.level_count += 1
