"""RTCP from a peer: its reports, its requests, its goodbyes (RFC 3550 §6, RFC 4585, RFC 5104).

A peer speaks only of its own streams: what it receives is looked for among its transport's send streams, what it sends
among its receive streams, so nobody's feedback touches anybody else's media.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.header import read_16, read_32
from sluicegate.router.kernel.ingress import SRTCP_MINIMUM, unprotect
from sluicegate.router.kernel.maps import stream_slot
from sluicegate.router.kernel.police import TRANSPORT_PACKETS, police
from sluicegate.router.kernel.repair import insist_on_key_frame, retransmit
from sluicegate.router.kernel.rings import BYE_RECEIVED, TOLD_AGAIN_US, push_event
from sluicegate.router.kernel.strays import has_room, note_stray
from sluicegate.router.records import ARRIVALS, NONE
from sluicegate.router.tables import Tables
from sluicegate.rtp.rtcp.transport_cc import read_transport_cc

SENDER_REPORT, RECEIVER_REPORT, GOODBYE, TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK = 200, 201, 203, 205, 206
NACK, TRANSPORT_CC = 1, 15
PLI, FIR, APPLICATION_LAYER = 1, 4, 15
REMB_NAME = 0x52454D42  # "REMB"
MAX_NACKED = 64
"""Numbers that one RTCP packet may have sent again: a storm of requests costs its sender's own quality, nobody
else's."""
MAX_STATUSES = 4096
"""Packets that one transport-wide feedback may speak of: seconds of what a peer receives."""
MAX_RTT_US = 30_000_000
RTCP_COST = 4
"""A datagram of RTCP counts for so many packets of what a transport may send. Lower: `EFFORT` may be asked for more
often than a tenth of a core bears. Higher: who watches many on a bad network cannot ask for all that was lost."""
EFFORT = 32_768
"""Rows, numbers and statuses that are looked at for one datagram of RTCP, 100 µs at most: what thirty report blocks
need among a thousand streams. Lower: the last of those are not heard. Higher: others wait longer."""


@kernel
def receive_rtcp(t: Tables, handle: int, serial: int, length: int) -> None:
    """Authenticate and act on one compound (or reduced-size) RTCP datagram."""
    counters = t.counters[0]
    transport = t.transports[handle]
    row = t.arena[serial & (len(t.arena) - 1)]
    if length < SRTCP_MINIMUM:
        counters.drop_malformed += 1
        return
    if not police(transport, TRANSPORT_PACKETS, 1, t.state[0].now):
        counters.drop_policed += 1
        return
    slot = stream_slot(t.stream_keys, handle, read_32(row, 4))
    if slot < 0 and not has_room(t, transport):
        counters.drop_stream_limit += 1
        return
    length = unprotect(t, transport, t.native[0].srtp_unprotect_rtcp, serial, length)
    if length:
        transport.police_budget -= RTCP_COST - 1  # now that it is known to be the peer's
        if slot < 0:
            slot = note_stray(t, handle, transport, read_32(row, 4))
        if slot < 0:
            return
        t.stream_keys[slot].last = t.state[0].now
    start = 0
    budget = MAX_NACKED
    t.state[0].effort = EFFORT
    while start + 4 <= length:
        end = start + 4 * (read_16(row, start + 2) + 1)
        if i64(row[start]) >> 6 != 2 or end > length:
            counters.drop_rtcp += 1
            return
        budget = dispatch(t, handle, transport, row, start, end, budget)
        start = end


@kernel
def dispatch(t: Tables, handle: int, transport: Any, row: Any, start: int, end: int, budget: int) -> int:
    """Act on the RTCP packet `row[start:end]`; what is left of the budget for retransmissions."""
    count = i64(row[start]) & 0x1F
    kind = i64(row[start + 1])
    if kind == SENDER_REPORT and end - start >= 28:
        receive_sender_report(t, handle, transport, row, start)
        receive_blocks(t, transport, row, start + 28, end, count)
    elif kind == RECEIVER_REPORT and end - start >= 8:
        receive_blocks(t, transport, row, start + 8, end, count)
    elif kind == GOODBYE:
        for index in range(min(count, (end - start - 4) >> 2)):
            slot = stream_slot(t.stream_keys, handle, read_32(row, start + 4 + 4 * index))
            if slot >= 0 and not t.stream_keys[slot].rtx and t.stream_keys[slot].receive >= 0:
                stream = t.receive_streams[t.stream_keys[slot].receive]
                if stream.goodbye_told_at + TOLD_AGAIN_US <= t.state[0].now:
                    stream.goodbye_told_at = t.state[0].now
                    push_event(t, BYE_RECEIVED, stream.track, stream.encoding, 0)
    elif kind == TRANSPORT_FEEDBACK and end - start >= 16:
        if count == NACK:
            return receive_nack(t, transport, row, start, end, budget)
        if count == TRANSPORT_CC:
            receive_transport_cc(t, handle, transport, row, start, end)
    elif kind == PAYLOAD_FEEDBACK and end - start >= 12:
        receive_payload_feedback(t, transport, row, start, end, count)
    return budget


@kernel
def find_send(t: Tables, transport: Any, ssrc: int) -> int:
    """The transport's send stream with this media SSRC; NONE also when enough was looked at for this datagram."""
    state = t.state[0]
    handle = transport.first_send
    while handle >= 0 and state.effort > 0:
        state.effort -= 1
        if t.send_streams[handle].ssrc == ssrc:
            return i64(handle)
        handle = t.send_streams[handle].next_of_transport
    return NONE


@kernel
def receive_sender_report(t: Tables, handle: int, transport: Any, row: Any, start: int) -> None:
    """Keep the publisher's mapping from RTP to NTP time, and how its clock stands to ours."""
    slot = stream_slot(t.stream_keys, handle, read_32(row, start + 4))
    if slot < 0 or t.stream_keys[slot].rtx or t.stream_keys[slot].receive < 0:
        return
    stream = t.receive_streams[t.stream_keys[slot].receive]
    seconds, fraction = read_32(row, start + 8), read_32(row, start + 12)
    now = t.state[0].now
    stream.report_ntp = seconds * 1_000_000 + ((fraction * 1_000_000) >> 32)
    stream.report_rtp = read_32(row, start + 16)
    stream.report_middle = ((seconds & 0xFFFF) << 16) | (fraction >> 16)
    stream.report_arrival = now
    stream.report_known = 1
    # One shift for all streams of a peer keeps them together; the quickest report is the truest, a second off is a new
    # clock.
    shift = now + t.state[0].ntp_offset - stream.report_ntp
    if not transport.ntp_known or shift < transport.ntp_shift or shift > transport.ntp_shift + 1_000_000:
        transport.ntp_shift = shift
        transport.ntp_known = 1


@kernel
def receive_blocks(t: Tables, transport: Any, row: Any, offset: int, end: int, count: int) -> None:
    """What the peer says of the streams that we send it (RFC 3550 §6.4.1); no times below zero, whatever its clock
    does."""
    now = t.state[0].now
    ntp = now + t.state[0].ntp_offset
    compact = ((ntp // 1_000_000 & 0xFFFF) << 16) | ((ntp % 1_000_000 << 16) // 1_000_000)
    for _ in range(count):
        if offset + 24 > end:
            return
        handle = find_send(t, transport, read_32(row, offset))
        if handle >= 0:
            send = t.send_streams[handle]
            send.fraction_lost = i64(row[offset + 4])
            lost = read_32(row, offset + 4) & 0xFFFFFF
            send.lost = lost - ((lost & 0x800000) << 1)
            send.jitter = read_32(row, offset + 12)
            middle, delay = read_32(row, offset + 16), read_32(row, offset + 20)
            if middle:
                rtt = (((compact - middle - delay) & 0xFFFFFFFF) * 1_000_000) >> 16
                if rtt < MAX_RTT_US:
                    send.rtt = rtt
                    transport.rtt = rtt if transport.rtt == 0 else (7 * transport.rtt + rtt) >> 3
        offset += 24


@kernel
def receive_nack(t: Tables, transport: Any, row: Any, start: int, end: int, budget: int) -> int:
    """Send again what a generic NACK (RFC 4585 §6.2.1) names, within the budget; what is left of that."""
    handle = find_send(t, transport, read_32(row, start + 8))
    if handle < 0:
        return budget
    send = t.send_streams[handle]
    send.nacks += 1
    for offset in range(start + 12, end - 3, 4):
        first = read_16(row, offset)
        bits = (read_16(row, offset + 2) << 1) | 1
        for index in range(17):
            if bits >> index & 1 and budget > 0 and t.state[0].effort > 0:
                t.state[0].effort -= 1
                budget -= retransmit(t, handle, send, (first + index) & 0xFFFF)
    return budget


@kernel
def receive_payload_feedback(t: Tables, transport: Any, row: Any, start: int, end: int, kind: int) -> None:
    """PLI and FIR ask for a key frame; REMB says what the peer thinks that it can receive."""
    if kind == PLI:
        request_key_frame(t, transport, read_32(row, start + 8), NONE)
    elif kind == FIR:
        for offset in range(start + 12, end - 7, 8):
            request_key_frame(t, transport, read_32(row, offset), i64(row[offset + 4]))
    elif kind == APPLICATION_LAYER and end - start >= 20 and read_32(row, start + 12) == REMB_NAME:
        word = read_32(row, start + 16)
        exponent = (word >> 18) & 0x3F
        if exponent <= 32:
            transport.remb_received_bps = min((word & 0x3FFFF) << exponent, 1_000_000_000)


@kernel
def request_key_frame(t: Tables, transport: Any, ssrc: int, command: int) -> None:
    """A subscriber asks for a key frame of what it is sent; a FIR with the command number of the last is that one
    again (RFC 5104 §4.3.1.1)."""
    handle = find_send(t, transport, ssrc)
    if handle < 0:
        return
    send = t.send_streams[handle]
    if command != NONE:
        if send.fir_heard == command + 1:
            return
        send.fir_heard = command + 1
    send.plis += 1
    if send.receive >= 0:
        insist_on_key_frame(t, send.receive)


@kernel
def receive_transport_cc(t: Tables, handle: int, transport: Any, row: Any, start: int, end: int) -> None:
    """Sum up what arrived since the last feedback, and at which rate."""
    state, statuses = t.state[0], read_16(row, start + 14)
    if statuses > min(MAX_STATUSES, state.effort):
        return
    state.effort -= statuses
    count = read_transport_cc(row, start, end, t.feedback_sequences, t.feedback_arrivals)
    for index in range(count):
        slot = t.feedback_sequences[index] & (ARRIVALS - 1)
        departure = t.departures[handle, slot]
        if departure == 0:
            continue
        if t.feedback_arrivals[index] < 0 and index + 1 < count:
            continue
        t.departures[handle, slot] = 0
        transport.rate_bytes += departure & 2047
    now = t.state[0].now
    elapsed = now - transport.rate_at
    if elapsed >= 500_000:
        if elapsed < 5_000_000:
            transport.acknowledged_bps = transport.rate_bytes * 8_000_000 // elapsed
        transport.rate_bytes = 0
        transport.rate_at = now
