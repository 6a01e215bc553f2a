"""Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

     0                   1                   2                   3
    |V=2|P|  FMT=15 |    PT=205     |           length              |
    |                     SSRC of packet sender                     |
    |                      SSRC of media source                     |
    |      base sequence number     |      packet status count      |
    |           reference time, 64 ms units         | fb pkt. count |
    |         packet chunk          |         packet chunk …        |
    |         … receive deltas, 1 or 2 bytes, 250 µs units          |

A chunk of 16 bits gives the status of 7, 14 or up to 8191 packets: 0 not received, 1 received with a delta of one byte,
2 with a signed delta of two bytes.
"""

import numpy as np
import numpy.typing as npt

from sluicegate.compiled import compiled

FIRST_HALF = 0x8FCD
"""Version 2, no padding, FMT 15, RTPFB: the first 16 bits of the message."""
PADDING = 0x20
HEADER_SIZE = 20
MINIMUM_SIZE = 24
"""Header, one chunk, one delta, padding."""

LOST = 0
SMALL = 1
LARGE = 2
BEYOND = 3
"""Not on the wire: a delta that no feedback can hold; the next one must begin here, with its own reference time."""

TICK_US = 250
REFERENCE_TICKS = 256
"""Ticks in one unit of the reference time (64 ms)."""
REFERENCE_US = 64_000

SHORT_VECTOR = 7
LONG_VECTOR = 14
LONGEST_RUN = 0x1FFF

Bytes = npt.NDArray[np.uint8]
Microseconds = npt.NDArray[np.int64]


@compiled
def write_transport_cc(
    out: Bytes,
    offset: int,
    capacity: int,
    sender_ssrc: int,
    media_ssrc: int,
    base_sequence: int,
    count: int,
    arrivals: Microseconds,
    mask: int,
    feedback_count: int,
) -> tuple[int, int]:
    """Write one feedback message about the packets `base_sequence` … `base_sequence + count - 1` at `out[offset:]`.

    `arrivals[sequence & mask]` is a packet's arrival in µs (0 or later, on any clock), or -1 if it has not come; `mask`
    is `len(arrivals) - 1`, a power of two less one. At most `capacity` bytes are written.

    Returns (length in bytes, how many of the `count` packets it covers). It covers fewer where the capacity ends or
    where two arrivals lie more than 8 s apart; the next message takes the rest. (0, 0): none of them came, or there is
    no room.
    """
    count = min(count, mask + 1, 0xFFFF)
    capacity = min(capacity, len(out) - offset) & ~3
    first = 0
    while first < count and arrivals[(base_sequence + first) & mask] < 0:
        first += 1
    if first >= count or capacity < MINIMUM_SIZE:
        return 0, 0
    reference = arrivals[(base_sequence + first) & mask] // REFERENCE_US
    origin = reference * REFERENCE_TICKS

    size, delta_bytes, covered, tick = HEADER_SIZE, 0, 0, origin
    more = True
    while more and size + delta_bytes + 2 <= capacity:
        chunk, symbols, used, tick, more = _choose_chunk(
            arrivals, mask, base_sequence + covered, count - covered, tick, capacity - size - delta_bytes - 2
        )
        if symbols > 0:
            _put16(out, offset + size, chunk)
            size += 2
            delta_bytes += used
            covered += symbols
    size = _write_deltas(out, offset, size, arrivals, mask, base_sequence, covered, origin)
    while size & 3:
        out[offset + size] = 0
        size += 1
    _put32(out, offset, FIRST_HALF << 16 | size // 4 - 1)
    _put32(out, offset + 4, sender_ssrc)
    _put32(out, offset + 8, media_ssrc)
    _put32(out, offset + 12, (base_sequence & 0xFFFF) << 16 | covered)
    _put32(out, offset + 16, (reference & 0xFFFFFF) << 8 | feedback_count & 0xFF)
    return size, covered


@compiled
def _put32(out: Bytes, at: int, value: int) -> None:
    _put16(out, at, value >> 16)
    _put16(out, at + 2, value)


@compiled
def _put16(out: Bytes, at: int, value: int) -> None:
    out[at] = value >> 8 & 0xFF
    out[at + 1] = value & 0xFF


@compiled
def _get8(packet: Bytes, at: int) -> int:
    return np.int64(packet[at])  # type: ignore[return-value]


@compiled
def _get16(packet: Bytes, at: int) -> int:
    return _get8(packet, at) << 8 | _get8(packet, at + 1)


@compiled
def _status(arrival: int, tick: int) -> int:
    """The status of a packet that came at `arrival` when the one before it came at `tick`."""
    if arrival < 0:
        return LOST
    delta = arrival // TICK_US - tick
    if 0 <= delta <= 0xFF:
        return SMALL
    return LARGE if -0x8000 <= delta <= 0x7FFF else BEYOND


@compiled
def _choose_chunk(
    arrivals: Microseconds, mask: int, sequence: int, limit: int, tick: int, room: int
) -> tuple[int, int, int, int, bool]:
    """The chunk that covers most packets from `sequence` on: a run while all are alike, else a vector.

    Returns (chunk, packets it covers, bytes of their deltas, tick of the last that came, whether packets may follow).
    None follow where `limit` packets, `room` for deltas or the reach of a delta ends. Only then may a vector be part
    empty.
    """
    status, alike, large, more = LOST, True, False, False
    count, first, used, bits, pairs = 0, LOST, 0, 0, 0
    used_short, tick_short = 0, tick  # as they were after the first seven
    while count < limit:
        arrival = arrivals[(sequence + count) & mask]
        status = _status(arrival, tick)
        if status == BEYOND or used + status > room:  # a status is as many bytes of delta
            break
        if count == 0:
            first = status
        fits_vector = count < SHORT_VECTOR or (count < LONG_VECTOR and not large and status != LARGE)
        if not (fits_vector or (alike and status == first and count < LONGEST_RUN)):
            more = True
            break
        alike = alike and status == first
        large = large or status == LARGE
        if status != LOST:
            tick = arrival // TICK_US
        used += status
        count += 1
        if count <= LONG_VECTOR:
            bits |= (status & 1) << (LONG_VECTOR - count)
        if count <= SHORT_VECTOR:
            pairs |= status << 2 * (SHORT_VECTOR - count)
            used_short, tick_short = used, tick
    if alike:
        return first << 13 | count, count, used, tick, more
    if not large and (count == LONG_VECTOR or not more):
        return 0x8000 | bits, count, used, tick, more
    return 0xC000 | pairs, min(count, SHORT_VECTOR), used_short, tick_short, more


@compiled
def _write_deltas(
    out: Bytes,
    offset: int,
    size: int,
    arrivals: Microseconds,
    mask: int,
    base_sequence: int,
    count: int,
    tick: int,
) -> int:
    """Write the deltas of the packets that came, from `out[offset + size]` on. Returns the new size."""
    for index in range(count):
        arrival = arrivals[(base_sequence + index) & mask]
        status = _status(arrival, tick)
        if status == LOST:
            continue
        delta = arrival // TICK_US - tick
        tick += delta
        if status == SMALL:
            out[offset + size] = delta
        else:
            _put16(out, offset + size, delta)
        size += status
    return size


@compiled
def read_transport_cc(
    packet: Bytes, start: int, end: int, sequences_out: Microseconds, arrivals_out: Microseconds
) -> int:
    """Read the feedback message at `packet[start:end]` (it may be followed by other RTCP).

    Fills `sequences_out` with transport-wide sequence numbers (0…65535) and `arrivals_out` with the arrival of each in
    µs after the reference time (a multiple of 250, perhaps negative), or -1 if it was not received. Returns how many:
    the status count or the length of the shorter array, whichever is less; -1 if the message is malformed (the arrays
    then hold anything).
    """
    end = _message_end(packet, start, end)
    if end < 0:
        return -1
    base = _get16(packet, start + 12)
    count = _get16(packet, start + 14)
    room = min(count, len(sequences_out), len(arrivals_out))
    at = _read_statuses(packet, start + HEADER_SIZE, end, count, arrivals_out, room)
    if at < 0:
        return -1
    tick = 0
    for index in range(room):
        status = arrivals_out[index]
        sequences_out[index] = (base + index) & 0xFFFF
        if status == LOST:
            arrivals_out[index] = -1
            continue
        if at + status > end:
            return -1
        if status == SMALL:
            tick += _get8(packet, at)
        else:
            delta = _get16(packet, at)
            tick += delta - ((delta & 0x8000) << 1)
        at += status
        arrivals_out[index] = tick * TICK_US
    return room


@compiled
def read_transport_cc_reference(packet: Bytes, start: int, end: int) -> tuple[int, int]:
    """The reference time of a feedback message in µs, and its feedback packet count; (-1, -1) if it is too short.

    The reference time has 24 bits of 64 ms: it wraps to 0 after 12.4 days.
    """
    if end - start < HEADER_SIZE:
        return -1, -1
    reference = _get16(packet, start + 16) << 8 | _get8(packet, start + 18)
    return reference * REFERENCE_US, _get8(packet, start + 19)


@compiled
def _message_end(packet: Bytes, start: int, end: int) -> int:
    """Where the message at `start` ends, without padding; -1 if it is not this kind of feedback or not whole."""
    if end - start < HEADER_SIZE or _get16(packet, start) & ~(PADDING << 8) != FIRST_HALF:
        return -1
    size = 4 * (_get16(packet, start + 2) + 1)
    if size < HEADER_SIZE or size > end - start:
        return -1
    if _get8(packet, start) & PADDING == 0:
        return start + size
    padding = _get8(packet, start + size - 1)
    if padding == 0 or padding > size - HEADER_SIZE:
        return -1
    return start + size - padding


@compiled
def _read_statuses(packet: Bytes, at: int, end: int, count: int, statuses: Microseconds, room: int) -> int:
    """Walk the chunks of `count` packets and write the first `room` statuses. Returns where the deltas begin, or -1."""
    done = 0
    while done < count:
        if at + 2 > end:
            return -1
        chunk = _get16(packet, at)
        at += 2
        if chunk & 0x8000 == 0:
            symbols, width = chunk & LONGEST_RUN, 0
        elif chunk & 0x4000 == 0:
            symbols, width = LONG_VECTOR, 1
        else:
            symbols, width = SHORT_VECTOR, 2
        symbols = min(symbols, count - done)
        for index in range(symbols):
            if width == 0:
                status = chunk >> 13
            else:
                status = chunk >> (LONG_VECTOR - width * (index + 1)) & (2 * width - 1)
            if status == BEYOND:
                return -1
            if done + index < room:
                statuses[done + index] = status
        done += symbols
    return at
