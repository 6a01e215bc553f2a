"""What receivers report, and what senders do: RR, SR (RFC 3550 §6.4) and transport-wide feedback, as often as
browsers."""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.loadtest.parameters import TRANSPORT_CC
from sluicegate.loadtest.tables import ARRIVALS, LoadTables
from sluicegate.router.kernel.header import read_16, write_16, write_24, write_32
from sluicegate.router.native import call

NTP_OFFSET = 2208988800
MAX_BLOCKS = 31
MSG_DONTWAIT = 0x40
MAX_FEEDBACK = 400
"""Packets that one feedback message covers; more than this arrive in 100 ms only where nobody looks at a picture."""


@kernel
def send_rtcp(t: LoadTables, client: Any, length: int) -> None:
    """Protect and send the RTCP packet in `t.rtcp`."""
    t.scratch[0] = length
    if call(t.native[0].srtp_protect_rtcp, client.transmit_session, t.pointers[0].rtcp, t.pointers[0].scratch, 0, 0):
        return
    t.send_iovecs[0].base = t.pointers[0].rtcp
    t.send_iovecs[0].length = t.scratch[0] & 0xFFFFFFFF
    call(t.native[0].sendmmsg, client.socket, t.pointers[0].send_messages, 1, MSG_DONTWAIT, 0)
    t.state[0].rtcp_out += 1


@kernel
def send_report(t: LoadTables, client: Any, now: int, real_time: int) -> None:
    """One compound: a sender report for each sent stream, receiver report blocks for what has come."""
    out = t.rtcp[0]
    offset = 0
    for index in range(client.first_send, client.first_send + client.send_count):
        send = t.sends[index]
        if send.packets == 0:
            continue
        out[offset] = 0x80
        out[offset + 1] = 200
        write_16(out, offset + 2, 6)
        write_32(out, offset + 4, send.ssrc)
        write_32(out, offset + 8, real_time // 1_000_000_000 + NTP_OFFSET)
        write_32(out, offset + 12, ((real_time % 1_000_000_000) << 32) // 1_000_000_000)
        write_32(out, offset + 16, send.timestamp)
        write_32(out, offset + 20, send.packets)
        write_32(out, offset + 24, send.octets)
        offset += 28
    reported = 0
    while reported < client.receive_count and offset < 1100:
        blocks = min(client.receive_count - reported, MAX_BLOCKS, 12)
        start = offset
        out[offset] = 0x80 | blocks
        out[offset + 1] = 201
        write_16(out, offset + 2, 1 + 6 * blocks)
        write_32(out, offset + 4, client.rtcp_ssrc)
        offset += 8
        for index in range(blocks):
            offset = write_block(out, offset, t.receives[client.first_receive + reported + index], now)
        reported += blocks
        if offset == start:
            break
    if offset:
        send_rtcp(t, client, offset)


@kernel
def write_block(out: Any, offset: int, stream: Any, now: int) -> int:
    """One report block; where it ends."""
    expected = stream.highest - stream.base + 1 if stream.base >= 0 else 0
    interval = expected - stream.prior_expected
    lost = interval - (stream.packets - stream.prior_packets)
    stream.prior_expected = expected
    stream.prior_packets = stream.packets
    write_32(out, offset, stream.ssrc)
    out[offset + 4] = min(255, (lost << 8) // interval) if interval > 0 and lost > 0 else 0
    write_24(out, offset + 5, max(expected - stream.packets, 0) & 0xFFFFFF)
    write_32(out, offset + 8, stream.highest)
    write_32(out, offset + 12, stream.jitter_q4 >> 4)
    write_32(out, offset + 16, stream.report_middle)
    write_32(out, offset + 20, ((now - stream.report_at) << 16) // 1_000_000 if stream.report_middle else 0)
    return offset + 24


@kernel
def note_sender_report(t: LoadTables, client: Any, ssrc: int, middle: int, now: int) -> None:
    """Keep what the next block about this stream must echo."""
    for index in range(client.first_receive, client.first_receive + client.receive_count):
        if t.receives[index].ssrc == ssrc:
            t.receives[index].report_middle = middle
            t.receives[index].report_at = now
            return


@kernel
def note_transport_sequence(t: LoadTables, index: int, client: Any, data: Any, length: int, ssrc: int, at: int) -> None:
    """Remember when a transport-wide number arrived. One-byte elements only: that is what was offered."""
    if not data[0] & 0x10 or length < 16 or read_16(data, 12) != 0xBEDE:
        return
    offset = 16
    end = min(16 + 4 * read_16(data, 14), length)
    while offset + 3 <= end:
        identifier = i64(data[offset]) >> 4
        if identifier == TRANSPORT_CC:
            number = read_16(data, offset + 1)
            if client.cc_started == 0:
                client.cc_started = 1
                client.cc_base = number + 65536
                client.cc_next = client.cc_base
            delta = (number - client.cc_next) & 0xFFFF
            if delta < 0x8000:
                for missing in range(max(client.cc_next, client.cc_next + delta - ARRIVALS), client.cc_next + delta):
                    t.arrivals[index, missing & (ARRIVALS - 1)] = 0
                client.cc_next += delta + 1
                t.arrivals[index, (client.cc_next - 1) & (ARRIVALS - 1)] = at // 1000
                client.cc_media_ssrc = ssrc
            return
        offset += 1 if identifier == 0 else 2 + (i64(data[offset]) & 0x0F)


@kernel
def send_feedback(t: LoadTables, index: int, client: Any) -> None:
    """Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1) about all that came since the
    last.

    Two-bit status vectors, with small or large deltas.
    """
    count = min(client.cc_next - client.cc_base, MAX_FEEDBACK)
    if count <= 0:
        return
    out = t.rtcp[0]
    base = client.cc_base
    client.cc_base = client.cc_next
    reference = 0
    for number in range(base, base + count):
        if reference == 0:
            reference = t.arrivals[index, number & (ARRIVALS - 1)]
    if reference == 0:
        return
    reference = reference // 64_000 * 64_000
    out[0] = 0x80 | 15
    out[1] = 205
    write_32(out, 4, client.rtcp_ssrc)
    write_32(out, 8, client.cc_media_ssrc)
    write_16(out, 12, base & 0xFFFF)
    write_16(out, 14, count)
    write_24(out, 16, (reference // 64_000) & 0xFFFFFF)
    out[19] = client.cc_count & 0xFF
    client.cc_count += 1
    chunks = (count + 6) // 7
    deltas = 20 + 2 * chunks
    last = reference
    for chunk in range(chunks):
        word = 0xC000
        for position in range(7):
            number = base + 7 * chunk + position
            at = t.arrivals[index, number & (ARRIVALS - 1)] if 7 * chunk + position < count else 0
            if at == 0:
                continue
            delta = (at - last) // 250
            last += delta * 250
            if 0 <= delta < 256:
                word |= 1 << (12 - 2 * position)
                out[deltas] = delta
                deltas += 1
            else:
                word |= 2 << (12 - 2 * position)
                write_16(out, deltas, max(min(delta, 32767), -32768) & 0xFFFF)
                deltas += 2
        write_16(out, 20 + 2 * chunk, word)
    while deltas & 3:
        out[deltas] = 0
        deltas += 1
    write_16(out, 2, deltas // 4 - 1)
    send_rtcp(t, client, deltas)
