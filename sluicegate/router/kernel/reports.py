"""RTCP that is due by the clock: sender and receiver reports, transport-wide feedback, REMB.

A sender report carries the publisher's own mapping of RTP to NTP time, moved to our clock by one shift for all its
streams: what belonged together when it was captured still does (RFC 3550 §6.4.1).
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.egress import claim_slot
from sluicegate.router.kernel.header import write_16, write_24, write_32
from sluicegate.router.kernel.output import can_send, queue_rtcp
from sluicegate.router.kernel.repair import write_feedback_head
from sluicegate.router.records import NEVER, NONE
from sluicegate.router.tables import Tables
from sluicegate.rtp.rtcp.transport_cc import write_transport_cc

REPORT_INTERVAL_US = 1_000_000
FEEDBACK_INTERVAL_US = 100_000
FEEDBACK_CAPACITY = 1150
COMPOUND_CAPACITY = 1100
"""Bytes of one RTCP datagram: below every path's MTU, SRTCP trailer included."""
MAX_BLOCKS = 31
SENDER_REPORT_BYTES = 28
BLOCK_BYTES = 24

# Receiver-side estimate for publishers without transport-cc, by loss alone: two per cent and ten per cent of loss are
# the borders between growing by eight per cent a second, keeping, and falling by half the loss.
REMB_START_BPS = 1_000_000
REMB_MIN_BPS, REMB_MAX_BPS = 100_000, 10_000_000
LOSS_GROW, LOSS_FALL = 5, 26  # of 256


@kernel
def report(t: Tables, handle: int) -> None:
    """Send one transport its reports, in as few datagrams as they need, and set the next time."""
    state = t.state[0]
    transport = t.transports[handle]
    t.report_due[handle] = state.now + REPORT_INTERVAL_US - (handle * 7919 % 100_000)
    if not can_send(transport):
        return
    send = transport.first_send
    receive = transport.first_receive
    while send >= 0 or receive >= 0:
        slot = claim_slot(t)
        if slot < 0:
            return
        before_send, before_receive = send, receive
        offset, send, receive = write_compound(t, slot, transport, send, receive)
        if offset > 8:
            queue_rtcp(t, slot, handle, offset)
        if send == before_send and receive == before_receive:
            return
    if transport.remb_wanted:
        send_remb(t, handle, transport)


@kernel
def write_compound(t: Tables, slot: int, transport: Any, send: int, receive: int) -> tuple[int, int, int]:
    """Write one compound: a report with blocks, further sender reports, SDES; (length, next send, next receive
    stream)."""
    out = t.out[slot]
    offset = 0
    chunks_at = 0
    room = COMPOUND_CAPACITY
    first = NONE
    while send >= 0 and room > SENDER_REPORT_BYTES + 48 + BLOCK_BYTES:
        row = t.send_streams[send]
        if row.packets and write_sender_report(t, out, offset, row):
            if first < 0:
                first = send
                blocks, receive = write_blocks(t, out, offset + SENDER_REPORT_BYTES, receive, 8)
                finish(out, offset, 200, blocks, SENDER_REPORT_BYTES + blocks * BLOCK_BYTES)
                offset += SENDER_REPORT_BYTES + blocks * BLOCK_BYTES
                room -= blocks * BLOCK_BYTES
            else:
                finish(out, offset, 200, 0, SENDER_REPORT_BYTES)
                offset += SENDER_REPORT_BYTES
            room -= SENDER_REPORT_BYTES + 48
        send = row.next_of_transport
    if first < 0:
        write_32(out, 4, transport.local_ssrc)
        blocks, receive = write_blocks(t, out, 8, receive, MAX_BLOCKS)
        if blocks == 0:
            return 0, send, receive
        finish(out, 0, 201, blocks, 8 + blocks * BLOCK_BYTES)
        offset = 8 + blocks * BLOCK_BYTES
    chunks_at = offset
    offset += 4
    chunks = 0
    at = 0
    while at < chunks_at:  # a chunk for each SSRC that reported above
        ssrc_offset = at + 4
        if i64(out[at + 1]) == 200 or at == 0:
            offset = write_description(t, out, offset, ssrc_offset, transport)
            chunks += 1
        at += 4 * (((i64(out[at + 2]) << 8) | i64(out[at + 3])) + 1)
    finish(out, chunks_at, 202, chunks, offset - chunks_at)
    return offset, send, receive


@kernel
def finish(out: Any, offset: int, kind: int, count: int, length: int) -> None:
    """The first word of an RTCP packet."""
    out[offset] = 0x80 | count
    out[offset + 1] = kind
    write_16(out, offset + 2, (length >> 2) - 1)


@kernel
def write_description(t: Tables, out: Any, offset: int, ssrc_offset: int, transport: Any) -> int:
    """One SDES chunk with the CNAME of the SSRC that stands at `ssrc_offset`; the offset behind it (RFC 3550 §6.5)."""
    for index in range(4):
        out[offset + index] = out[ssrc_offset + index]
    send = transport.first_send
    length = 0
    while send >= 0:
        row = t.send_streams[send]
        matches = True
        for index in range(4):
            matches = matches and i64(out[ssrc_offset + index]) == (row.ssrc >> (24 - 8 * index)) & 0xFF
        if matches:
            length = row.cname_length
            for index in range(length):
                out[offset + 6 + index] = t.cnames[send, index]
            break
        send = row.next_of_transport
    if length == 0:
        length = 10
        for index in range(length):
            out[offset + 6 + index] = 48 + (transport.local_ssrc >> (3 * index)) % 10
    out[offset + 4] = 1
    out[offset + 5] = length
    offset += 6 + length
    out[offset] = 0
    offset += 1
    while offset & 3:
        out[offset] = 0
        offset += 1
    return offset


@kernel
def write_sender_report(t: Tables, out: Any, offset: int, send: Any) -> bool:
    """The 28 bytes of a sender report without blocks; False while there is nothing to say."""
    state = t.state[0]
    if send.receive < 0 or not send.started:
        return False
    stream = t.receive_streams[send.receive]
    transport = t.transports[stream.transport]
    ntp = state.now + state.ntp_offset
    if stream.report_known and transport.ntp_known:
        elapsed = ntp - transport.ntp_shift - stream.report_ntp
        source = stream.report_rtp + stream.timestamp_shift + elapsed * stream.clock_rate // 1_000_000
    else:
        source = stream.last_timestamp + (state.now - stream.last_packet) * stream.clock_rate // 1_000_000
    write_32(out, offset + 4, send.ssrc)
    write_32(out, offset + 8, ntp // 1_000_000)
    write_32(out, offset + 12, ((ntp % 1_000_000) << 32) // 1_000_000)
    write_32(out, offset + 16, source + send.timestamp_offset)
    write_32(out, offset + 20, send.packets)
    write_32(out, offset + 24, send.octets)
    return True


@kernel
def write_blocks(t: Tables, out: Any, offset: int, receive: int, limit: int) -> tuple[int, int]:
    """Up to `limit` report blocks from `receive` on; how many, and the next stream."""
    now = t.state[0].now
    blocks = 0
    while receive >= 0 and blocks < limit:
        stream = t.receive_streams[receive]
        receive = stream.next_of_transport
        if not stream.started or stream.ssrc < 0:
            continue
        expected = stream.max_sequence - stream.base_sequence + 1
        interval = expected - stream.expected_prior
        lost = interval - (stream.received - stream.received_prior)
        stream.expected_prior = expected
        stream.received_prior = stream.received
        stream.fraction_lost = min(255, (lost << 8) // interval) if interval > 0 and lost > 0 else 0
        total = min(max(expected - stream.received, -0x800000), 0x7FFFFF)
        write_32(out, offset, stream.ssrc)
        out[offset + 4] = stream.fraction_lost
        write_24(out, offset + 5, total)
        write_32(out, offset + 8, stream.max_sequence - stream.sequence_shift)
        write_32(out, offset + 12, stream.jitter_q4 >> 4)
        known = stream.report_known
        write_32(out, offset + 16, stream.report_middle if known else 0)
        write_32(out, offset + 20, ((now - stream.report_arrival) << 16) // 1_000_000 if known else 0)
        offset += BLOCK_BYTES
        blocks += 1
    return blocks, receive


@kernel
def send_transport_feedback(t: Tables, handle: int) -> None:
    """Tell a publisher when its packets arrived since the last time."""
    transport = t.transports[handle]
    t.feedback_due[handle] = NEVER
    arrivals = t.arrivals[handle]
    mask = len(arrivals) - 1
    while transport.cc_base <= transport.cc_max and can_send(transport):
        slot = claim_slot(t)
        if slot < 0:
            return
        length, covered = write_transport_cc(
            t.out[slot],
            0,
            FEEDBACK_CAPACITY,
            transport.local_ssrc,
            transport.cc_media_ssrc,
            transport.cc_base & 0xFFFF,
            transport.cc_max - transport.cc_base + 1,
            arrivals,
            mask,
            transport.cc_feedback_count,
        )
        if length == 0:
            transport.cc_base = transport.cc_max + 1
            return
        transport.cc_base += covered
        transport.cc_feedback_count = (transport.cc_feedback_count + 1) & 0xFF
        queue_rtcp(t, slot, handle, length)


@kernel
def send_remb(t: Tables, handle: int, transport: Any) -> None:
    """Tell a publisher without transport-cc what seems to come through (draft-alvestrand-rmcat-remb-03)."""
    state = t.state[0]
    elapsed = state.now - transport.remb_at
    worst = 0
    count = 0
    slot = claim_slot(t)
    if slot < 0:
        return
    out = t.out[slot]
    receive = transport.first_receive
    while receive >= 0 and count < MAX_BLOCKS:
        stream = t.receive_streams[receive]
        receive = stream.next_of_transport
        if stream.started and stream.ssrc >= 0:
            worst = max(worst, stream.fraction_lost)
            write_32(out, 20 + 4 * count, stream.ssrc)
            count += 1
    if count == 0 or elapsed <= 0:
        return
    rate = transport.remb_bytes * 8_000_000 // elapsed
    transport.remb_bytes = 0
    transport.remb_at = state.now
    estimate = transport.remb_bps if transport.remb_bps else REMB_START_BPS
    if worst < LOSS_GROW:
        estimate = max(estimate, min(estimate * 108 // 100, 2 * rate + 10_000))
    elif worst > LOSS_FALL:
        estimate -= estimate * worst // 512
    estimate = min(max(estimate, REMB_MIN_BPS), REMB_MAX_BPS)
    transport.remb_bps = estimate
    exponent = 0
    while estimate >> exponent > 0x3FFFF:
        exponent += 1
    write_feedback_head(out, 206, 15, transport.local_ssrc, 0, 4 + count)
    write_32(out, 12, 0x52454D42)
    write_32(out, 16, (count << 24) | (exponent << 18) | (estimate >> exponent))
    queue_rtcp(t, slot, handle, 20 + 4 * count)
