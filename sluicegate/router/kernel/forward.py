"""Fan-out: for each subscription of a track decide whether this packet goes, under which number, and write it.

A send stream keeps the last received and the last sent number. A gap that the network made stays open: its numbers are
kept in the `sent` ring for the packets that may still come. A gap that we make (pause, switch, dropped layer) is
closed.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.egress import claim_slot, flush
from sluicegate.router.kernel.layers import (
    PASS,
    WAIT_FOR_KEY_FRAME,
    filter_layers,
    layers_taken,
    may_switch,
    synchronise_picture,
    was_taken,
)
from sluicegate.router.kernel.output import can_send, packet_index, queue_rtp
from sluicegate.router.kernel.repair import want_key_frame
from sluicegate.router.kernel.rewrite import write_packet
from sluicegate.router.kernel.rings import LAYERS_CHANGED, push_event
from sluicegate.router.native import prefetch
from sluicegate.router.records import (
    MARKER_SHIFT,
    MAX_PACKET,
    NONE,
    PICTURE_MASK,
    SEND_STREAM,
    SENT,
    SENT_ENTRY,
    TRANSPORT,
)
from sluicegate.router.tables import Tables
from sluicegate.rtp.names import MediaKind

OUT_LOAD = 128
"""So many packets in the out arena are sent before more are written. Lower: more system calls. Higher: the first wait
for the last, and 128 of them are what half a second-level cache holds."""
PADDING_SHIFT = 6
"""A packet is padded to its neighbours' length by at most this share of it, a 64th: 17 bytes of 1100. Lower: more
bandwidth for fewer messages."""
SRTP_OVERHEAD = 16  # the longest tag
TRANSPORT_BYTES, SEND_BYTES, SENT_BYTES = TRANSPORT.itemsize, SEND_STREAM.itemsize, SENT_ENTRY.itemsize
CACHE_LINE = 64
NUMBERS_AHEAD = 6  # of a frame of 1.5 Mbps


@kernel
def forward(t: Tables, receive: int, first: int, end: int) -> None:
    """Send a run of packets, `t.packets[first:end]`, all of one received stream, to every subscription that takes them.

    A subscription gets the whole run before the next has its turn: its row, its keys and its numbers are fetched from
    memory once, and what has been written leaves while it is in the cache. A run ends where a key frame begins.
    """
    if first == end:
        return
    counters = t.counters[0]
    stream = t.receive_streams[receive]
    track = t.tracks[stream.track]
    if end - first > 1:
        level(t, first, end)
    if track.paused:
        counters.drop_paused += end - first
        return
    handle = track.first_send
    ahead = look_ahead(t, look_ahead(t, handle))
    while handle >= 0:
        send = t.send_streams[handle]
        following = send.next_of_track
        ahead = look_ahead(t, ahead)
        if send.paused:
            counters.drop_paused += end - first
            send.synchronised = 0
        else:
            for index in range(first, end):
                offer(t, handle, send, receive, stream, index)
        if t.state[0].out_count >= OUT_LOAD:
            flush(t)
        handle = following


@kernel
def miss_key_frame(t: Tables, receive: int, stream: Any) -> None:
    """A subscription cannot go on without a key frame: there may be one among the packets that wait."""
    if stream.key_frame_waiting <= t.state[0].waiting_head:
        want_key_frame(t, receive)


@kernel
def look_ahead(t: Tables, handle: int) -> int:
    """Have the processor fetch what a subscription will need soon, and the row of the one behind it, whose handle is
    returned.

    Between two frames the rows of hundreds of subscriptions leave the cache; this way they are back when their turn
    comes.
    """
    if handle < 0:
        return NONE
    pointers = t.pointers[0]
    send = t.send_streams[handle]
    prefetch_lines(pointers.transports + send.transport * TRANSPORT_BYTES, TRANSPORT_BYTES)
    number = handle * SENT + ((send.last_out + 1) & (SENT - 1))
    prefetch_lines(pointers.sent + number * SENT_BYTES, NUMBERS_AHEAD * SENT_BYTES)
    following = send.next_of_track
    if following >= 0:
        prefetch_lines(pointers.send_streams + following * SEND_BYTES, SEND_BYTES)
    return i64(following)


@kernel
def prefetch_lines(address: int, length: int) -> None:
    for offset in range(0, length, CACHE_LINE):
        prefetch(address + offset)


@kernel
def level(t: Tables, first: int, end: int) -> None:
    """Have packets that are nearly as long as the longest of their run padded to its length, but for the last.

    Packetizers split a frame into parts that differ by a byte or two, and packets of one size leave as one message.
    """
    longest = 0
    for index in range(first, end):
        longest = max(longest, t.packets[index].payload_end - t.packets[index].payload_start)
    for index in range(first, end - 1):
        packet = t.packets[index]
        missing = longest - (packet.payload_end - packet.payload_start)
        packet.padding = missing if missing <= longest >> PADDING_SHIFT else 0


@kernel
def offer(t: Tables, handle: int, send: Any, receive: int, stream: Any, index: int) -> None:
    """Send a packet in hand to a subscription, if it takes it."""
    packet, descriptor = t.packets[index], t.descriptors[index]
    if packet.payload_end == packet.payload_start:  # padding only
        going_on = send.receive == receive and send.synchronised and send.epoch == packet.epoch
        if going_on and packet.sequence > send.last_in:
            skip(t.sent[handle], send, stream, packet.sequence)
        return
    number = admit(t, handle, send, receive, stream, packet, descriptor)
    if number >= 0:
        emit(t, handle, send, packet, descriptor, number)


@kernel
def admit(t: Tables, handle: int, send: Any, receive: int, stream: Any, packet: Any, descriptor: Any) -> int:
    """The number under which a subscription gets this packet, or NONE if it does not get it."""
    counters = t.counters[0]
    if not can_send(t.transports[send.transport]):
        send.synchronised = 0
        return NONE
    if send.receive != receive:
        if not may_switch(send, stream, descriptor):
            return NONE
        switch(t, send, receive, stream, packet)
    if not send.synchronised or send.epoch != packet.epoch:
        if send.epoch == packet.epoch and packet.sequence <= send.last_in:  # from before the pause
            counters.drop_late += 1
            return NONE
        if stream.kind == MediaKind.VIDEO and not descriptor.key_frame:
            miss_key_frame(t, receive, stream)
            counters.drop_waiting_key_frame += 1
            return NONE
        synchronise(send, stream, packet, descriptor)
    if packet.sequence <= send.last_in:
        number = find_reserved(t.sent[handle], send, packet.sequence * 4 + stream.encoding)
        if number < 0:
            counters.drop_late += 1
            return NONE
        entry = t.sent[handle, number & (SENT - 1)]
        if stream.kind == MediaKind.VIDEO and not was_taken(entry.picture, descriptor):
            entry.source = NONE  # nor may a NACK bring it
            counters.drop_layer += 1
            return NONE
        return number
    if packet.sequence - 1 > send.last_in:  # what is missing before it keeps what holds for its numbers until here
        reserve(t.sent[handle], send, stream, packet.sequence - 1)
    if not takes_format(send, packet.format):
        counters.drop_payload_type += 1
        skip(t.sent[handle], send, stream, packet.sequence)
        return NONE
    if stream.kind == MediaKind.VIDEO:
        verdict = filter_layers(send, descriptor)
        if verdict == WAIT_FOR_KEY_FRAME:
            miss_key_frame(t, receive, stream)
        if verdict != PASS:
            counters.drop_layer += 1
            skip(t.sent[handle], send, stream, packet.sequence)
            return NONE
        report_layers(t, handle, send, stream)
    reserve(t.sent[handle], send, stream, packet.sequence)
    return i64(send.last_out)


@kernel
def switch(t: Tables, send: Any, receive: int, stream: Any, packet: Any) -> None:
    """Go over to another encoding of the track with its key frame; timestamps meet by the publisher's reports (RFC
    3550 §6.4.1)."""
    if send.started:
        elapsed = (t.state[0].now - send.last_send) * send.clock_rate // 1_000_000
        expected = send.last_timestamp + max(elapsed, 1)
        old = t.receive_streams[send.receive] if send.receive >= 0 else stream
        if stream.report_known and old.report_known and send.receive >= 0:
            ntp = stream.report_ntp
            old_clock = old.report_rtp + old.timestamp_shift
            new_clock = stream.report_rtp + stream.timestamp_shift
            aligned = old_clock + (ntp - old.report_ntp) * send.clock_rate // 1_000_000 - new_clock
            candidate = packet.timestamp + aligned + send.timestamp_offset
            ahead = (candidate - send.last_timestamp) & 0xFFFFFFFF
            if 0 < ahead < 2 * max(elapsed, 0) + send.clock_rate:
                expected = candidate
        send.timestamp_offset = (expected - packet.timestamp) & 0xFFFFFFFF
    send.receive = receive
    send.last_in = NONE
    send.synchronised = 0


@kernel
def synchronise(send: Any, stream: Any, packet: Any, descriptor: Any) -> None:
    """Let this packet follow directly on the last one that was sent, or be the first."""
    if not send.started:
        send.started = 1
        send.last_out = send.first_sequence + 65535
        send.first_out = send.last_out + 1
        send.timestamp_offset = (send.first_timestamp - packet.timestamp) & 0xFFFFFFFF
    send.last_in = packet.sequence - 1
    send.epoch = packet.epoch
    send.synchronised = 1
    if stream.kind == MediaKind.VIDEO:
        synchronise_picture(send, descriptor)


@kernel
def reserve(sent: Any, send: Any, stream: Any, sequence: int) -> None:
    """Give `sequence` the next number, and the numbers before it to the packets that are missing between."""
    first = max(send.last_in + 1, sequence - SENT + 1)
    send.last_out += first - send.last_in - 1
    picture = (send.picture_offset & 0xFFFF) | ((send.tl0_offset & 0xFF) << 16) | layers_taken(send)
    for number in range(first, sequence + 1):
        send.last_out += 1
        entry = sent[send.last_out & (SENT - 1)]
        entry.source = number * 4 + stream.encoding
        entry.sent = 0
        entry.resent = 0
        entry.timestamp_offset = send.timestamp_offset
        entry.picture = picture
    send.last_in = sequence


@kernel
def skip(sent: Any, send: Any, stream: Any, sequence: int) -> None:
    """Let `sequence` go without a number; what is missing before it keeps theirs."""
    if sequence - 1 > send.last_in:
        reserve(sent, send, stream, sequence - 1)
    send.last_in = sequence


@kernel
def find_reserved(sent: Any, send: Any, source: int) -> int:
    """The number that was kept free for a late packet, or NONE.

    Numbers lag behind the received ones by what was skipped, so the search starts where nothing had been and goes up.
    """
    number = max(send.last_out - (send.last_in - (source >> 2)), send.last_out - SENT + 1, send.first_out)
    while number <= send.last_out:
        entry = sent[number & (SENT - 1)]
        if entry.source == source:
            return number if entry.sent == 0 else NONE
        if entry.source & 3 == source & 3 and entry.source > source:
            return NONE
        number += 1
    return NONE


@kernel
def emit(t: Tables, handle: int, send: Any, packet: Any, descriptor: Any, number: int) -> None:
    """Write, protect and queue one packet of a subscription."""
    counters = t.counters[0]
    state = t.state[0]
    slot = claim_slot(t)
    if slot < 0:
        return
    entry = t.sent[handle, number & (SENT - 1)]
    row = t.arena[packet.serial & (len(t.arena) - 1)]
    marker = packet.marker
    if send.spatial >= 0 and descriptor.end_of_frame:  # where layers above are left out; the top one has its own marker
        marker |= descriptor.spatial == send.spatial
    length = write_packet(t, slot, send, entry, row, packet, descriptor, number, marker, NONE)
    if length == 0 or length + SRTP_OVERHEAD > MAX_PACKET:
        counters.drop_too_long += 1
        return
    entry.sent = state.now
    entry.picture = (entry.picture & PICTURE_MASK) | (i64(marker) << MARKER_SHIFT)
    if not queue_rtp(t, slot, send.transport, length, packet_index(send, number)):
        return
    counters.packets_out += 1
    counters.bytes_out += length
    send.packets += 1
    send.bytes += length
    send.octets += packet.payload_end - packet.payload_start
    send.last_send = state.now
    timestamp = (packet.timestamp + entry.timestamp_offset) & 0xFFFFFFFF
    if number == send.last_out:
        send.last_timestamp = timestamp
        if descriptor.picture_id >= 0:
            send.last_picture = (descriptor.picture_id + send.picture_offset) & 0x7FFF
            send.last_tl0 = (descriptor.tl0 + send.tl0_offset) & 0xFF
    if timestamp != send.frame_timestamp:
        send.frame_timestamp = timestamp
        send.frames += 1


@kernel
def takes_format(send: Any, index: int) -> bool:
    """Whether a subscription takes a format; RED that it does not know is sent as the Opus that it carries."""
    return send.payload_types[index] >= 0 or (index > 0 and send.kind == MediaKind.AUDIO and send.payload_types[0] >= 0)


@kernel
def report_layers(t: Tables, handle: int, send: Any, stream: Any) -> None:
    """Tell the control plane when the layers that a subscription gets have changed."""
    spatial = min(send.spatial, stream.spatial_seen) if send.spatial >= 0 else stream.encoding
    temporal = min(send.temporal, stream.temporal_seen)
    if spatial != send.reported_spatial or temporal != send.reported_temporal:
        send.reported_spatial = spatial
        send.reported_temporal = temporal
        push_event(t, LAYERS_CHANGED, handle, spatial, temporal)
