"""The compiled loop of all clients: send what is due, read every socket, keep sessions alive, sleep until the next
sweep.

Sockets are read in turn, without epoll: a sleeping reader would be woken by the sender, at the sender's cost, and on
one machine that sender is the server that is measured. Latency does not suffer: the kernel noted when each datagram
came.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.loadtest.feedback import note_sender_report, note_transport_sequence, send_feedback, send_report
from sluicegate.loadtest.packets import build_frame, read_stamp, resend
from sluicegate.loadtest.tables import (
    BATCH,
    CONTROL_WORDS,
    LATENCY_STEPS,
    NEVER,
    SLOT_BYTES,
    STUN_BYTES,
    LoadTables,
)
from sluicegate.router.kernel.header import read_16, read_32
from sluicegate.router.native import call

CLOCK_REALTIME, CLOCK_MONOTONIC, TIMER_ABSTIME = 0, 1, 1
MSG_DONTWAIT = 0x40
CONSENT_US = 2_500_000
REPORT_US = 1_000_000
FEEDBACK_US = 100_000
SOCKETS_BETWEEN_SENDS = 16
"""Lower costs clock readings; higher lets packets leave late while much arrives."""


@kernel
def clock(t: LoadTables, which: int) -> int:
    """Nanoseconds."""
    call(t.native[0].clock_gettime, which, t.pointers[0].time, 0, 0, 0)
    return i64(t.time[0] * 1_000_000_000 + t.time[1])


@kernel
def send_due(t: LoadTables) -> int:
    """Send the packets whose time has come; when the next are due (µs)."""
    state = t.state[0]
    state.now = clock(t, CLOCK_MONOTONIC) // 1000
    due = NEVER
    for index in range(min(state.sending, len(t.sends))):
        send = t.sends[index]
        if send.interval_us == 0:
            continue
        if send.next_due == 0:
            send.next_due = state.now + send.phase_us
            send.next_frame = send.next_due
        while send.next_due <= state.now:
            state.late_us = max(state.late_us, state.now - send.next_due)
            count = 1
            if send.frame_left == 0:
                send.frame_left = send.packets_of_frame
                send.frame_first = 1
            if state.pacing == 0:
                count = send.frame_left
            build_frame(t, index, send, count, clock(t, CLOCK_REALTIME))
            if send.frame_left == 0:
                send.next_frame += send.interval_us
                send.next_due = send.next_frame
            else:
                send.next_due += send.interval_us // send.packets_of_frame
        due = min(due, send.next_due)
    return due


@kernel
def keep_alive(t: LoadTables) -> None:
    """Consent checks and reports of all clients, each in its own rhythm."""
    state = t.state[0]
    now = state.now
    for index in range(len(t.clients)):
        client = t.clients[index]
        if client.socket == 0:
            continue
        if client.consent_due == 0:  # spread the first ones, or all clients would go on doing it at once
            client.consent_due = now + CONSENT_US * index // len(t.clients)
            client.report_due = now + REPORT_US * index // len(t.clients)
            client.feedback_due = now + FEEDBACK_US * index // len(t.clients)
        if client.consent_due <= now:
            client.consent_due += CONSENT_US
            if client.stun_length:
                transmit(t, client, t.pointers[0].stun + index * STUN_BYTES, client.stun_length)
        if client.report_due <= now:
            client.report_due += REPORT_US
            send_report(t, client, now, clock(t, CLOCK_REALTIME))
        if state.transport_cc and client.feedback_due <= now:
            client.feedback_due += FEEDBACK_US
            send_feedback(t, index, client)


@kernel
def transmit(t: LoadTables, client: Any, address: int, length: int) -> None:
    """Send one datagram."""
    t.send_iovecs[0].base = address
    t.send_iovecs[0].length = length
    if call(t.native[0].sendmmsg, client.socket, t.pointers[0].send_messages, 1, MSG_DONTWAIT, 0) < 1:
        t.state[0].send_errors += 1


@kernel
def read_socket(t: LoadTables, index: int) -> None:
    """Take everything that one client's socket holds."""
    client = t.clients[index]
    count = BATCH
    while count == BATCH:
        count = call(t.native[0].recvmmsg, client.socket, t.pointers[0].receive_messages, BATCH, MSG_DONTWAIT, 0)
        for row in range(count):
            message = t.receive_messages[row]
            stamped = message.control_length >= 32
            at = t.controls[row, 2] * 1_000_000_000 + t.controls[row, 3] if stamped else clock(t, CLOCK_REALTIME)
            take(t, index, client, row, message.length, at)
            message.control_length = CONTROL_WORDS * 8
            message.flags = 0


@kernel
def take(t: LoadTables, index: int, client: Any, row: int, length: int, at: int) -> None:
    """Handle one datagram: media is counted, RTCP obeyed, anything else passed over."""
    data = t.data[row]
    if length < 12 or data[0] < 128 or data[0] > 191:
        return
    second = i64(data[1]) & 0x7F
    if 64 <= second <= 95:
        take_rtcp(t, client, row, length)
        return
    ssrc = read_32(data, 8)
    mask = len(t.keys) - 1
    slot = ((ssrc ^ (index * 40503)) * 2654435761 >> 12) & mask
    while t.keys[slot].used:
        if t.keys[slot].ssrc == ssrc and t.keys[slot].client == index:
            take_media(t, index, client, t.receives[t.keys[slot].receive], row, length, at)
            return
        slot = (slot + 1) & mask
    t.state[0].strays += 1


@kernel
def take_media(t: LoadTables, index: int, client: Any, stream: Any, row: int, length: int, at: int) -> None:
    """Count one media packet, place its number, and look into it if its turn has come."""
    state = t.state[0]
    data = t.data[row]
    number = read_16(data, 2)
    if stream.base < 0:
        stream.base = number + 65536
        stream.highest = stream.base - 1
    delta = (number - stream.highest) & 0xFFFF
    if delta < 0x8000:
        stream.highest += delta
    else:
        stream.late += 1
    stream.packets += 1
    stream.bytes += length
    state.packets_in += 1
    state.bytes_in += length
    if state.transport_cc:
        note_transport_sequence(t, index, client, data, length, stream.ssrc, at)
    if stream.first_index >= 0 and stream.packets % state.verify_every:
        return
    t.scratch[0] = length
    if call(
        t.native[0].srtp_unprotect,
        client.receive_session,
        t.pointers[0].data + row * SLOT_BYTES,
        t.pointers[0].scratch,
        0,
        0,
    ):
        state.failed_authentication += 1
        return
    stamp, position = read_stamp(data, t.scratch[0] & 0xFFFFFFFF, stream.sender)
    if stamp == 0:
        state.wrong_payload += 1
        return
    state.verified += 1
    if stream.first_index < 0:
        stream.first_index = position
    if state.measuring:
        latency = max(at - stamp, 0) // 1000
        state.latency_max = max(state.latency_max, latency)
        t.latency[latency_bucket(latency, len(t.latency))] += 1


@kernel
def latency_bucket(value: int, buckets: int) -> int:
    """The bucket of a latency in µs; see `LATENCY_STEPS`."""
    octave = 0
    while value >= 2 * LATENCY_STEPS:
        value >>= 1
        octave += 1
    return min(octave * LATENCY_STEPS + value, buckets - 1)


@kernel
def take_rtcp(t: LoadTables, client: Any, row: int, length: int) -> None:
    """Key frames for PLI and FIR, packets for NACK; sender reports are kept for the receiver reports."""
    state = t.state[0]
    data = t.data[row]
    t.scratch[0] = length
    address = t.pointers[0].data + row * SLOT_BYTES
    if call(t.native[0].srtp_unprotect_rtcp, client.receive_session, address, t.pointers[0].scratch, 0, 0):
        state.failed_authentication += 1
        return
    state.rtcp_in += 1
    length = t.scratch[0] & 0xFFFFFFFF
    start = 0
    while start + 12 <= length:
        end = start + 4 * (read_16(data, start + 2) + 1)
        if end > length:
            return
        form, kind = i64(data[start]) & 0x1F, i64(data[start + 1])
        if kind == 200 and end - start >= 28:
            note_sender_report(t, client, read_32(data, start + 4), read_32(data, start + 10), state.now)
        for index in range(client.first_send, client.first_send + client.send_count):
            send = t.sends[index]
            if kind == 206 and form == 1 and read_32(data, start + 8) == send.ssrc:
                state.plis_in += 1
                send.key_frame = 1
            elif kind == 206 and form == 4 and end - start >= 20 and read_32(data, start + 12) == send.ssrc:
                state.plis_in += 1
                send.key_frame = 1
            elif kind == 205 and form == 1 and read_32(data, start + 8) == send.ssrc:
                for at in range(start + 12, end - 3, 4):
                    state.nacks_in += 1
                    resend(t, index, send, read_16(data, at), read_16(data, at + 2))
        start = end


def run(t: LoadTables) -> None:
    """Run until `state.stop`. The first `state.sending` streams are sent; 0 is a pause."""
    state = t.state[0]
    for row in range(BATCH):
        t.receive_messages[row].control_length = CONTROL_WORDS * 8
    while state.stop == 0:
        began = clock(t, CLOCK_MONOTONIC) // 1000
        due = send_due(t)
        keep_alive(t)
        for index in range(len(t.clients)):
            if t.clients[index].socket:
                read_socket(t, index)
            if index % SOCKETS_BETWEEN_SENDS == SOCKETS_BETWEEN_SENDS - 1:
                due = send_due(t)
        state.sweeps += 1
        wake = min(due, began + state.sweep_us)
        if wake > clock(t, CLOCK_MONOTONIC) // 1000:
            t.time[0] = wake // 1_000_000
            t.time[1] = wake % 1_000_000 * 1000
            call(t.native[0].clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, t.pointers[0].time, 0, 0)
