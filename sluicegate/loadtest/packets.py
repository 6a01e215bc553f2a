"""The packets of a load client: a VP8 or Opus packet in shape, in substance a mark, the sender, a number, and when it
was sent.

    payload: VP8 descriptor and frame header (16 bytes) or Opus (16)  ·  mark (4)  ssrc (4)  index (4)  stamp (8)  ·
    filling
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.loadtest.tables import HISTORY, SLOT_BYTES, LoadTables
from sluicegate.router.kernel.header import read_16, read_32, write_16, write_24, write_32
from sluicegate.router.native import call
from sluicegate.rtp.names import MediaKind

MARK = 0x534C4347  # "SLCG"
MARK_AT = 16
SHORTEST_PAYLOAD = MARK_AT + 20
MSG_DONTWAIT = 0x40
NTP_OFFSET = 2208988800


@kernel
def build_frame(t: LoadTables, index: int, send: Any, count: int, stamp: int) -> None:
    """Build, protect and send the next `count` packets of the frame in hand."""
    state = t.state[0]
    client = t.clients[send.client]
    built = 0
    for _ in range(count):
        slot = index * HISTORY + (send.sequence & (HISTORY - 1))
        length = build_packet(t, index, send, client, t.sent[slot], stamp)
        t.scratch[0] = length
        address = t.pointers[0].sent + slot * SLOT_BYTES
        if call(t.native[0].srtp_protect, client.transmit_session, address, t.pointers[0].scratch, 0, 0) == 0:
            length = t.scratch[0] & 0xFFFFFFFF
            t.sent_lengths[slot] = length
            t.send_iovecs[built].base = address
            t.send_iovecs[built].length = length
            built += 1
            state.bytes_out += length
        send.sequence = (send.sequence + 1) & 0xFFFF
        send.packets += 1
        send.frame_left -= 1
        send.frame_first = 0
    if send.frame_left == 0:
        send.timestamp = (send.timestamp + send.timestamp_step) & 0xFFFFFFFF
        send.picture = (send.picture + 1) & 0x7FFF
        send.key_frame = 0
    done = 0
    while done < built:
        messages = t.pointers[0].send_messages + done * 64
        sent = call(t.native[0].sendmmsg, client.socket, messages, built - done, MSG_DONTWAIT, 0)
        if sent <= 0:
            state.send_errors += built - done
            break
        done += sent
    state.packets_out += done


@kernel
def build_packet(t: LoadTables, index: int, send: Any, client: Any, row: Any, stamp: int) -> int:
    """Write one plain packet; its length."""
    head = t.heads[index]
    for at in range(send.head_length):
        row[at] = head[at]
    last = send.frame_left == 1
    row[1] = send.payload_type | (128 if last and send.kind == MediaKind.VIDEO else 0)
    write_16(row, 2, send.sequence)
    write_32(row, 4, send.timestamp)
    write_32(row, 8, send.ssrc)
    seconds_q18 = (stamp // 1000 % 64_000_000 * (1 << 18)) // 1_000_000
    write_24(row, send.abs_send_time_at, seconds_q18 & 0xFFFFFF)
    if send.transport_cc_at:
        write_16(row, send.transport_cc_at, client.transport_sequence & 0xFFFF)
        client.transport_sequence += 1
    start = send.head_length
    size = send.payload_bytes
    if send.payload_spread > 1:
        send.seed = (send.seed * 1103515245 + 12345) & 0x7FFFFFFF
        size += (send.seed >> 16) % send.payload_spread
    size = max(size, SHORTEST_PAYLOAD)
    write_payload_head(send, row, start)
    write_32(row, start + MARK_AT, MARK)
    write_32(row, start + MARK_AT + 4, send.ssrc)
    write_32(row, start + MARK_AT + 8, send.packets)
    write_32(row, start + MARK_AT + 12, stamp >> 32)
    write_32(row, start + MARK_AT + 16, stamp & 0xFFFFFFFF)
    send.octets += size
    return i64(start + size)


@kernel
def write_payload_head(send: Any, row: Any, start: int) -> None:
    """VP8: descriptor with picture id, TL0PICIDX and layer (RFC 7741 §4.2), then a frame header; Opus: its first
    byte."""
    if send.kind == MediaKind.AUDIO:
        row[start] = 0x78  # CELT, 20 ms, mono
        return
    first = send.frame_first == 1
    row[start] = 0x80 | (0x10 if first else 0)
    row[start + 1] = 0xE0
    write_16(row, start + 2, 0x8000 | send.picture)
    row[start + 4] = send.picture & 0xFF
    row[start + 5] = 0x20
    key = send.key_frame or send.packets < send.packets_of_frame
    row[start + 6] = 0x10 if key else 0x11  # P
    row[start + 9] = 0x9D
    row[start + 10] = 0x01
    row[start + 11] = 0x2A


@kernel
def read_stamp(row: Any, length: int, sender: int) -> tuple[int, int]:
    """When a decrypted packet was sent (ns) and its index; (0, 0) if it is not what `sender` sends."""
    if length < 12:
        return 0, 0
    start = 12 + 4 * (i64(row[0]) & 0x0F)
    if row[0] & 0x10:
        if start + 4 > length:
            return 0, 0
        start += 4 + 4 * read_16(row, start + 2)
    if start + SHORTEST_PAYLOAD > length or read_32(row, start + MARK_AT) != MARK:
        return 0, 0
    if read_32(row, start + MARK_AT + 4) != sender:
        return 0, 0
    stamp = (read_32(row, start + MARK_AT + 12) << 32) | read_32(row, start + MARK_AT + 16)
    return stamp, read_32(row, start + MARK_AT + 8)


@kernel
def resend(t: LoadTables, index: int, send: Any, first: int, bits: int) -> None:
    """Send what one NACK item asks for again, as it was (RFC 4585 §6.2.1)."""
    client = t.clients[send.client]
    for offset in range(17):
        if offset and not (bits >> (offset - 1)) & 1:
            continue
        number = (first + offset) & 0xFFFF
        behind = (send.sequence - number) & 0xFFFF
        if behind == 0 or behind > HISTORY - 1 or behind > send.packets:
            continue
        slot = index * HISTORY + (number & (HISTORY - 1))
        t.send_iovecs[0].base = t.pointers[0].sent + slot * SLOT_BYTES
        t.send_iovecs[0].length = t.sent_lengths[slot]
        call(t.native[0].sendmmsg, client.socket, t.pointers[0].send_messages, 1, MSG_DONTWAIT, 0)
        t.state[0].resent += 1
