"""Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01) against a decoder of the tests' own."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.rtp.rtcp.transport_cc import read_transport_cc, read_transport_cc_reference, write_transport_cc

RING = 1024
GUARD = 0xA5
REFERENCE_US = 64_000


def ring(base: int, arrivals: list[int], size: int = RING) -> np.ndarray:
    """`arrivals` (µs, -1 lost) of the packets from `base` on, in a ring where all other entries are of long ago."""
    out = np.full(size, 7, np.int64)
    for index, arrival in enumerate(arrivals):
        out[(base + index) % size] = arrival
    return out


def write(base: int, arrivals: list[int], capacity: int = 1200, count: int | None = None, size: int = RING):
    """(message, packets covered); checks that nothing outside offset and capacity is touched."""
    out = np.full(capacity + 16, GUARD, np.uint8)
    length, covered = write_transport_cc(
        out, 8, capacity, 0x11223344, 0xFFEEDDCC, base, len(arrivals) if count is None else count,
        ring(base, arrivals, size), size - 1, 0x5A,
    )  # fmt: skip
    assert length <= capacity
    assert set(out[:8].tolist() + out[8 + length :].tolist()) <= {GUARD}
    return out[8 : 8 + length].tobytes(), covered


def decode(message: bytes) -> tuple[int, int, list[int | None]]:
    """(base sequence number, reference in µs, arrivals in µs after it or None) as §3.1 has it; asserts its rules."""
    first, kind, words = struct.unpack_from("!BBH", message)
    assert (first, kind) == (0x80 | 15, 205)
    assert len(message) == 4 * (words + 1)
    base, count = struct.unpack_from("!HH", message, 12)
    reference = int.from_bytes(message[16:19], "big") * REFERENCE_US
    at = 20
    symbols: list[int] = []
    while len(symbols) < count:
        (chunk,) = struct.unpack_from("!H", message, at)
        at += 2
        bits = format(chunk, "016b")
        if bits[0] == "0":
            symbols += [int(bits[1:3], 2)] * int(bits[3:], 2)
        elif bits[1] == "0":
            symbols += [int(bit) for bit in bits[2:]]
        else:
            symbols += [int(bits[index : index + 2], 2) for index in range(2, 16, 2)]
    assert not any(symbols[count:])
    tick = 0
    arrivals: list[int | None] = []
    for symbol in symbols[:count]:
        assert symbol != 3
        if symbol == 0:
            arrivals.append(None)
            continue
        tick += struct.unpack_from("!B" if symbol == 1 else "!h", message, at)[0]
        at += symbol
        arrivals.append(tick * 250)
    assert len(message) - at < 4
    assert not any(message[at:])
    return base, reference, arrivals


def read(message: bytes, room: int = 70000, before: bytes = b"", after: bytes = b"", end: int | None = None):
    """The (sequence number, arrival) pairs, or None; checks that nothing behind the arrays' length is touched."""
    packet = np.frombuffer(before + message + after, np.uint8).copy()
    # Zeros: what an earlier message left there could pass for statuses of this one.
    sequences, arrivals = np.zeros(room + 8, np.int64), np.zeros(room + 8, np.int64)
    sequences[room:] = arrivals[room:] = 99
    stop = len(before) + (len(message) if end is None else end)
    count = read_transport_cc(packet, len(before), stop, sequences[:room], arrivals[:room])
    assert set(sequences[room:].tolist() + arrivals[room:].tolist()) == {99}
    if count < 0:
        assert count == -1
        return None
    assert count <= room
    return list(zip(sequences[:count].tolist(), arrivals[:count].tolist(), strict=True))


# RTPFB FMT 15, 6 words | sender 1 | media 2 | base 0xfffe, 5 packets | reference 3 (192 ms), feedback 9
# two-bit vector: small, large, lost, small, small, -, - | 4 (1 ms) | -4 | 0 | 255 | padding
VECTOR = bytes.fromhex("8fcd0006 00000001 00000002 fffe0005 00000309 d850 04 fffc 00 ff 00".replace(" ", ""))
VECTOR_SAYS = [(0xFFFE, 1000), (0xFFFF, 0), (0, -1), (1, 0), (2, 63750)]

# The chunks of the draft's examples (§3.1.3, §3.1.4): 221 lost | lost, 5 received, 3 lost, 3 received, 2 lost
EXAMPLES = bytes.fromhex("8fcd0007 00000001 00000002 000000eb 00000000 00dd 9f1c 0102030405060708".replace(" ", ""))


def test_vector():
    assert read(VECTOR) == VECTOR_SAYS
    assert read_transport_cc_reference(np.frombuffer(VECTOR, np.uint8).copy(), 0, len(VECTOR)) == (192_000, 9)


def test_the_examples_of_the_draft():
    received = [(222, 1), (223, 3), (224, 6), (225, 10), (226, 15), (230, 21), (231, 28), (232, 36)]
    assert [(number, arrival // 250) for number, arrival in read(EXAMPLES) if arrival != -1] == received


def test_a_written_message_byte_by_byte():
    # arrivals 192.1 ms (tick 768), 192.6 (770), lost, 400.0 (1600: 830 later), 399.9 (1599)
    message, covered = write(0xFFFE, [192_100, 192_600, -1, 400_000, 399_900])
    assert covered == 5
    # two-bit vector: small small lost large large - - | 0 | 2 | 830 | -1 | padding
    assert message == bytes.fromhex(
        "8fcd0006 11223344 ffeeddcc fffe0005 0000035a d4a0 00 02 033e ffff".replace(" ", "")
    )


@pytest.mark.parametrize("message", [VECTOR, EXAMPLES], ids=["vector", "examples"])
def test_every_cut_is_refused(message):
    for size in range(len(message)):
        assert read(message[:size]) is None
        assert read(message, end=size) is None


@pytest.mark.parametrize("size", range(20, 28))
def test_a_message_whose_length_field_is_cut_too_is_refused_where_it_ends(size):
    cut = VECTOR[:2] + struct.pack("!H", 5 if size < 24 else 6) + VECTOR[4:size]
    assert read(cut) is None


def test_a_message_that_other_rtcp_follows():
    assert read(VECTOR, before=b"\xff" * 5, after=b"\xff" * 9, end=len(VECTOR) + 9) == VECTOR_SAYS


def test_padding_is_not_read_as_deltas():
    # 2 small: the second delta would be the padding's length
    head = "afcd0005 00000001 00000002 00000002 00000300 2002"
    assert read(bytes.fromhex((head + "0401").replace(" ", ""))) is None
    assert read(bytes.fromhex((head.replace("0005", "0006") + "0401 00000004").replace(" ", ""))) == [
        (0, 1000),
        (1, 1250),
    ]
    for padding in (0, 9, 255):
        assert (
            read(bytes.fromhex(head.replace("0005", "0006").replace(" ", "") + "04010000") + bytes([0, 0, 0, padding]))
            is None
        )


def test_padding_may_leave_nothing_but_not_half_a_chunk():
    # no packets | padding 4
    head = "afcd0005 00000001 00000002 00000000 00000300"
    assert read(bytes.fromhex(head.replace(" ", "") + "00000004")) == []
    assert read(bytes.fromhex(head.replace(" ", "") + "00000005")) is None
    # one packet | a run of one lost, whose second byte is padding 3
    assert read(bytes.fromhex(head.replace(" ", "") + "00010003")) == []
    one = bytes.fromhex(head.replace("00000000 00000300", "00000001 00000300").replace(" ", ""))
    assert read(one + bytes.fromhex("00010003")) is None
    assert read(one + bytes.fromhex("00010002")) == [(0, -1)]


def test_a_message_about_nothing():
    assert read(bytes.fromhex("8fcd0004 00000001 00000002 00050000 00000300".replace(" ", ""))) == []


@pytest.mark.parametrize(
    "head",
    ["8ecd0006", "8fce0006", "4fcd0006", "8fcd0007", "8fcd0003", "8fcdffff"],
    ids=["FMT 14", "PSFB", "version 1", "longer than the packet", "shorter than a header", "longest"],
)
def test_another_head_is_refused(head):
    assert read(bytes.fromhex(head) + VECTOR[4:]) is None


@pytest.mark.parametrize("chunk", ["6005", "f000"], ids=["run", "vector"])
def test_the_reserved_status_is_refused(chunk):
    assert read(VECTOR[:20] + bytes.fromhex(chunk) + VECTOR[22:]) is None


def test_a_count_of_65535_is_bounded_by_the_arrays():
    # nine runs of 8191 lost packets
    message = bytes.fromhex("8fcd0009 00000001 00000002 0001ffff 00000000".replace(" ", "")) + b"\x1f\xff" * 9 + b"\0\0"
    assert read(message, room=10) == [(number, -1) for number in range(1, 11)]
    assert len(read(message)) == 65535
    assert read(message[:2] + b"\0\5" + message[4:24]) is None
    # as many large deltas as a packet holds, and one packet more
    message = struct.pack("!BBHIIHHI", 0x8F, 205, 374, 1, 2, 0, 740, 0) + b"\x42\xe4" + b"\x7f\xff" * 739
    assert len(message) == 1500
    assert read(message) is None
    assert len(read(message, room=739)) == 739


def test_a_run_of_nothing_does_not_hang():
    message = struct.pack("!BBHIIHHI", 0x8F, 205, 54, 1, 2, 0, 65535, 0) + bytes(200)
    assert read(message) is None


def test_none_received_gives_no_message():
    assert write(5, [-1] * 20) == (b"", 0)
    assert write(5, []) == (b"", 0)


@pytest.mark.parametrize("capacity", [0, 19, 23])
def test_too_little_room_gives_no_message(capacity):
    assert write(5, [1, 2], capacity=capacity) == (b"", 0)


def test_a_buffer_that_is_shorter_than_the_capacity():
    out = np.zeros(30, np.uint8)
    length, covered = write_transport_cc(out, 4, 1200, 1, 2, 0, 9, ring(0, [250 * n for n in range(9)]), RING - 1, 0)
    assert (length, covered) == (24, 2)


@pytest.mark.parametrize(
    ("arrivals", "chunks"),
    [
        # a steady stream is one run
        ([250 * n for n in range(100)], ["2064"]),
        # 14 with a loss: one bit each
        ([-1 if n == 3 else 250 * n for n in range(14)], ["bbff"]),
        # 7 with a late one: two bits each
        ([100_000 if n == 6 else 250 * n for n in range(7)], ["d556"]),
        # 8 with a late one: seven of them, and one
        ([100_000 if n == 6 else 250 * n for n in range(7)] + [100_250], ["d556", "2001"]),
        # ten alike, then a late one: a run, and the rest
        ([250 * n for n in range(10)] + [100_000], ["200a", "4001"]),
        # a late one after a loss: seven of two bits, then the last three of one bit
        ([0, -1, *(250 * n for n in range(2, 9)), 100_000], ["d155", "d600"]),
        # a long loss
        ([0] + [-1] * 300 + [1000], ["a000", "011f", "2001"]),
    ],
)
def test_chunks_are_chosen_well(arrivals, chunks):
    message, covered = write(0, arrivals)
    assert covered == len(arrivals)
    assert [message[20 + 2 * n : 22 + 2 * n].hex() for n in range(len(chunks))] == chunks
    deltas = sum(1 if arrival >= 0 else 0 for arrival in arrivals) + (100_000 in arrivals)
    assert len(message) == -(-(20 + 2 * len(chunks) + deltas) // 4) * 4


def test_the_last_two_bytes_take_a_run_of_lost_packets():
    # 20 | vector: 8 received, 6 lost | run: 14 lost | 8 deltas
    message, covered = write(0, [250 * n for n in range(8)] + [-1] * 20, capacity=32)
    assert (len(message), covered) == (32, 28)
    assert message[20:24].hex() == "bfc0000e"


def test_a_delta_that_does_not_fit_ends_the_message():
    gap = 9_000_000
    arrivals = [0, 250, -1, gap, gap + 250]
    message, covered = write(10, arrivals)
    assert covered == 3
    assert decode(message)[2] == [0, 250, None]
    message, covered = write(13, arrivals[3:])
    assert covered == 2
    assert decode(message)[1:] == (gap // REFERENCE_US * REFERENCE_US, [gap % REFERENCE_US, gap % REFERENCE_US + 250])


@pytest.mark.parametrize("ticks", [-0x8001, -0x8000, -1, 0, 255, 256, 0x7FFF, 0x8000])
def test_the_reach_of_a_delta(ticks):
    start = 20_000_000 // REFERENCE_US * REFERENCE_US
    message, covered = write(0, [start, start + 250 * ticks])
    assert covered == (2 if -0x8000 <= ticks <= 0x7FFF else 1)
    assert decode(message)[2] == [0, 250 * ticks][:covered]
    if covered == 2:
        assert len(message) == (24 if 0 <= ticks <= 255 else 28)


def test_the_reference_time_wraps():
    arrival = (1 << 24) * REFERENCE_US + 3 * REFERENCE_US + 500
    message, _ = write(0, [arrival])
    assert decode(message) == (0, 3 * REFERENCE_US, [500])


def test_no_more_than_the_ring_and_the_count_field_hold():
    assert write(0, [0] * 16, count=100, size=16)[1] == 16
    message, covered = write(0, [0] * 131072, capacity=70000, count=131072, size=131072)
    assert covered == 65535
    assert len(decode(message)[2]) == 65535


@st.composite
def receptions(draw):
    """Arrivals as networks make them: steady, late, reordered, lost in runs."""
    now = draw(st.integers(10_000_000, 2**40))
    arrivals: list[int] = []
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(("steady", "lost", "jump", "mixed")))
        count = draw(st.integers(1, 30))
        if kind == "lost":
            arrivals += [-1] * count
            continue
        if kind == "jump":
            now = max(0, now + draw(st.integers(-9_000_000, 9_000_000)))
        for _ in range(count if kind != "jump" else 1):
            now = max(0, now + draw(st.integers(-70_000, 70_000)) if kind == "mixed" else now + 900)
            arrivals.append(-1 if kind == "mixed" and draw(st.integers(0, 3)) == 0 else now)
    return arrivals


@given(st.integers(0, 65535), receptions(), st.just(1200) | st.integers(24, 300))
def test_what_was_written_is_read(base, arrivals, capacity):
    rest, position = arrivals, base
    while any(arrival >= 0 for arrival in rest):
        message, covered = write(position, rest, capacity)
        assert 0 < covered <= len(rest)
        sequence, reference, decoded = decode(message)
        assert sequence == position
        assert len(decoded) == covered
        first = next((arrival for arrival in rest if arrival >= 0), 0)
        assert reference == first // REFERENCE_US * REFERENCE_US % (REFERENCE_US << 24)
        origin = first // REFERENCE_US * REFERENCE_US
        for arrival, said in zip(rest, decoded, strict=False):
            assert (said is None) == (arrival < 0)
            assert said is None or origin + said == arrival // 250 * 250
        said_by_reader = read(message, before=b"\xff" * 3, after=b"\xff" * 40)
        assert said_by_reader == read(message)
        assert said_by_reader == [
            ((position + index) & 0xFFFF, -1 if said is None else said) for index, said in enumerate(decoded)
        ]
        if covered < len(rest) and capacity == 1200:
            # All fit in 1200 bytes: it stopped because it had to, at a delta that no message holds.
            last = next(arrival for arrival in reversed(rest[:covered]) if arrival >= 0)
            assert not -0x8000 <= rest[covered] // 250 - last // 250 <= 0x7FFF
        rest, position = rest[covered:], (position + covered) & 0xFFFF


@given(receptions(), st.integers(0, 40))
def test_short_arrays_get_the_first_packets(arrivals, room):
    if all(arrival < 0 for arrival in arrivals):
        return
    message, _ = write(0, arrivals)
    assert read(message, room=room) == read(message)[:room]


@given(st.binary(max_size=80), st.integers(0, 200), st.booleans())
def test_any_bytes(body, room, honest):
    head = struct.pack("!BBH", 0x8F, 205, max(4, (16 + len(body)) // 4)) + bytes(8) if honest else b""
    message = head + body
    said = read(message, room=room)
    for around in (b"\xff" * 300, b"\x00" * 300):
        assert read(message, room=room, before=around[:3], after=around) == said
    packet = np.frombuffer(message, np.uint8).copy()
    reference, count = read_transport_cc_reference(packet, 0, len(message))
    assert (reference < 0) == (count < 0) == (len(message) < 20)


@given(receptions(), st.data())
def test_a_damaged_message(arrivals, data):
    if all(arrival < 0 for arrival in arrivals):
        return
    message = bytearray(write(0, arrivals)[0])
    for position in data.draw(st.lists(st.integers(0, 8 * len(message) - 1), min_size=1, max_size=4)):
        message[position >> 3] ^= 0x80 >> (position & 7)
    said = read(bytes(message))
    assert said == read(bytes(message), before=b"\xff" * 3, after=b"\xff" * 300)
    assert said is None or [number for number, _ in said] == [
        (struct.unpack_from("!H", message, 12)[0] + index) & 0xFFFF for index in range(len(said))
    ]
