"""From a datagram to a packet of a known stream: classify, look up, unprotect, place in sequence, remember.

    first byte 0–3 STUN ─▶ answered, or punted    20–63 DTLS ─▶ punted if its address is bound
    128–191 ─▶ RTP or RTCP (RFC 7983, 5761)

No state comes into being for a packet that did not authenticate, and a transport's authenticated SSRCs are bounded.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.checks import answer_check
from sluicegate.router.kernel.header import copy_bytes, pack_text, parse_header, read_16, read_32, write_16, write_32
from sluicegate.router.kernel.maps import (
    find_transport,
    parse_name,
    stream_slot,
)
from sluicegate.router.kernel.police import TRANSPORT_PACKETS, police
from sluicegate.router.kernel.reception import note_arrival, place
from sluicegate.router.kernel.rings import push_punt
from sluicegate.router.kernel.strays import adopt_stray, give_back, has_room, note_stray
from sluicegate.router.native import call
from sluicegate.router.records import MAX_FORMATS, MAX_PACKET, NONE, SLOT_BYTES
from sluicegate.router.tables import Tables
from sluicegate.rtp.names import MediaKind

LEAST_AUDIO_COST, LEAST_VIDEO_COST = 100, 500
"""A packet counts for so many bytes of what its track may send, at least: a short one costs as much to forward."""

AUTHENTICATION_FAILED, REPLAY_FAILED, REPLAY_OLD = 7, 9, 10  # srtp_err_status_t
SRTP_MINIMUM = 22  # header and the shortest tag
SRTCP_MINIMUM = 22  # header, index and the shortest tag


@kernel
def classify(t: Tables, index: int, serial: int, length: int, truncated: int) -> int:
    """Sort one received datagram; what is not media is punted or dropped.

    The transport if it is media of a bound address whose transport has keys, else NONE.
    """
    counters = t.counters[0]
    row = t.arena[serial & (len(t.arena) - 1)]
    counters.bytes_in += length
    if truncated or length > MAX_PACKET:
        counters.drop_truncated += 1
        return NONE
    if length < 1 or not parse_name(t.arena_names[index], t.scratch):
        counters.drop_unclassified += 1
        return NONE
    handle = find_transport(t.addresses, t.scratch[0], t.scratch[1], t.scratch[2])
    first = i64(row[0])
    if first <= 3 and handle >= 0 and answer_check(t, handle, serial, length, t.arena_names[index]):
        counters.checks_answered += 1
        return NONE
    if first <= 3 or (20 <= first <= 63 and handle >= 0):
        push_punt(t, row, length, t.arena_names[index], handle)
        return NONE
    if first < 128 or first > 191:
        counters.drop_unclassified += 1
        return NONE
    if handle < 0:
        counters.drop_unknown_address += 1
        return NONE
    transport = t.transports[handle]
    if transport.receive_session == 0:
        counters.drop_no_keys += 1
        return NONE
    return handle


@kernel
def police_track(t: Tables, receive: int, length: int) -> bool:
    """Whether a packet is within what the track of its stream may send; RTX counts like media."""
    track = t.tracks[t.receive_streams[receive].track]
    least = LEAST_VIDEO_COST if track.kind == MediaKind.VIDEO else LEAST_AUDIO_COST
    return bool(track.police_rate == 0 or police(track, track.police_rate, max(length, least), t.state[0].now))


@kernel
def unprotect(t: Tables, transport: Any, function: int, serial: int, length: int) -> int:
    """Authenticate and decrypt a datagram in its arena slot; its new length, or 0 when it was dropped and counted."""
    counters = t.counters[0]
    address = t.pointers[0].arena + (serial & (len(t.arena) - 1)) * SLOT_BYTES
    t.scratch[0] = length
    status = call(function, transport.receive_session, address, t.pointers[0].scratch, 0, 0)
    if status == 0:
        transport.last_receive = t.state[0].now
        transport.packets_received += 1
        transport.bytes_received += length
        return i64(t.scratch[0] & 0xFFFFFFFF)
    if status == REPLAY_FAILED or status == REPLAY_OLD:
        counters.drop_replay += 1
        transport.replays += 1
    else:
        counters.drop_authentication += 1
        transport.authentication_failures += 1
    return 0


@kernel
def receive_rtp(t: Tables, handle: int, serial: int, length: int, packet: Any) -> int:
    """Read one RTP datagram into `packet`; the receive stream that it belongs to, or NONE when there is nothing to
    forward."""
    counters = t.counters[0]
    transport = t.transports[handle]
    row = t.arena[serial & (len(t.arena) - 1)]
    now = t.state[0].now
    if length < SRTP_MINIMUM:
        counters.drop_malformed += 1
        return NONE
    if not police(transport, TRANSPORT_PACKETS, 1, now):
        counters.drop_policed += 1
        return NONE
    slot = stream_slot(t.stream_keys, handle, read_32(row, 8))
    if slot < 0 and not has_room(t, transport):
        counters.drop_stream_limit += 1
        return NONE
    length = unprotect(t, transport, t.native[0].srtp_unprotect, serial, length)
    if length == 0:
        return NONE
    if slot < 0:
        slot = note_stray(t, handle, transport, read_32(row, 8))
        if slot < 0:
            return NONE
    if not parse_header(row, length, packet):
        counters.drop_malformed += 1
        return NONE
    packet.serial = serial
    key = t.stream_keys[slot]
    if key.receive >= 0 and not police_track(t, key.receive, length):  # before its arrival is acknowledged
        counters.drop_policed += 1
        return NONE
    if transport.transport_cc_id and transport.transport_cc_wanted:
        note_arrival(t, handle, transport, packet, row)
    if key.receive < 0 and not recognise(t, handle, transport, slot, row, packet):
        key.last = now
        counters.drop_unknown_stream += 1
        return NONE
    transport.remb_bytes += length
    if key.rtx:
        return receive_rtx(t, key.receive, row, packet)
    return place(t, key.receive, packet, row)


@kernel
def recognise(t: Tables, handle: int, transport: Any, slot: int, row: Any, packet: Any) -> bool:
    """Find the stream of a stray SSRC by its MID and RID, and bind it."""
    words = t.scratch
    element = packet.elements[transport.mid_id]
    mid_length = element & 0xFF
    if mid_length == 0:
        return False
    pack_text(row, element >> 8, mid_length, words[0:2])
    rid = packet.elements[transport.rid_id]
    repaired = packet.elements[transport.repaired_rid_id]
    index = transport.first_expectation
    while index >= 0:
        expected = t.expectations[index]
        index = expected.next
        if expected.mid_length != mid_length or expected.mid_low != words[0] or expected.mid_high != words[1]:
            continue
        stream = t.receive_streams[expected.receive]
        rtx = packet.payload_type == stream.rtx_payload_type
        if not rtx and not has_format(stream, packet.payload_type):
            continue
        if expected.rid_length:
            element = repaired if rtx and repaired else rid
            pack_text(row, element >> 8, element & 0xFF, words[2:4])
            if expected.rid_length != element & 0xFF or expected.rid_low != words[2] or expected.rid_high != words[3]:
                continue
        rebind(t, handle, transport, slot, expected.receive, i64(rtx))
        return True
    return False


@kernel
def has_format(stream: Any, payload_type: int) -> bool:
    """Whether a payload type is one of the stream's media formats."""
    for index in range(MAX_FORMATS):  # noqa: SIM110 (compiled code has no generator expressions)
        if stream.payload_types[index] == payload_type:
            return True
    return False


@kernel
def rebind(t: Tables, handle: int, transport: Any, slot: int, receive: int, rtx: int) -> None:
    """Make a stray SSRC the one that a receive stream now comes with; a change of the media SSRC starts a new epoch."""
    key = t.stream_keys[slot]
    stream = t.receive_streams[receive]
    adopt_stray(t.stream_keys, transport, slot)
    key.receive = receive
    key.rtx = rtx
    known = stream.rtx_ssrc if rtx else stream.ssrc
    if known >= 0:
        give_back(t, receive, known, stream.started)
    if rtx:
        stream.rtx_ssrc = key.ssrc
        return
    stream.ssrc = key.ssrc
    if stream.started:
        stream.started = 2  # the next packet continues the numbering of the stream that this one replaces


@kernel
def receive_rtx(t: Tables, receive: int, row: Any, packet: Any) -> int:
    """Put a retransmitted packet (RFC 4588 §4) back into the form it first had, in place."""
    counters = t.counters[0]
    stream = t.receive_streams[receive]
    if packet.payload_end - packet.payload_start < 2 or stream.ssrc < 0 or not stream.started:
        counters.drop_padding += 1  # a probe: RTX padding carries no original sequence number
        return NONE
    if packet.payload_type != stream.rtx_payload_type:
        counters.drop_payload_type += 1
        return NONE
    original = read_16(row, packet.payload_start)
    behind = packet.payload_start + 2
    copy_bytes(row, packet.payload_start, row, behind, packet.payload_end - behind)
    row[0] = i64(row[0]) & 0xDF  # the padding stays behind
    row[1] = (packet.marker << 7) | stream.payload_types[0]
    write_16(row, 2, original)
    write_32(row, 8, stream.ssrc)
    packet.payload_end -= 2
    packet.length = packet.payload_end
    packet.payload_type = stream.payload_types[0]
    packet.sequence = original
    packet.ssrc = stream.ssrc
    packet.recovered = 1
    return place(t, receive, packet, row)
