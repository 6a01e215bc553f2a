"""The memory of the compiled loop: one row for each client, sent stream and received stream, and the arrays of system
calls.

Every field is a 64-bit integer, as in the packet plane. Times are microseconds of the monotonic clock, stamps inside
packets are nanoseconds of the real-time clock, since that is what the kernel notes for a received datagram.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sluicegate.loadtest.parameters import ABS_SEND_TIME, AUDIO_LEVEL, MID, TRANSPORT_CC
from sluicegate.loadtest.peer import Peer
from sluicegate.loadtest.plan import Feedback, Media, Pacing
from sluicegate.router.native import libc_address, srtp_address
from sluicegate.rtp.names import MediaKind
from sluicegate.rtp.srtp import session_pointer

NEVER = 1 << 62
SLOT_BYTES = 1536
BATCH = 64
"""Datagrams of one recvmmsg on one socket."""
HISTORY = 256
"""Sent packets of a stream kept for NACK: 1.7 s of 1.5 Mbps."""
ARRIVALS = 512
"""Transport-wide sequence numbers kept for feedback: 100 ms at 5,000 packets a second."""
CONTROL_WORDS = 8
LATENCY_OCTAVES, LATENCY_STEPS = 32, 32
"""Latency is counted in µs, exactly up to 32, then in 32 steps an octave: 3 % at most."""
HEAD_BYTES = 64
STUN_BYTES = 160
MESSAGES = 64
"""Packets of one frame, at most."""

Record = Any


def _record(*fields: str) -> "np.dtype[Any]":
    return np.dtype([(name, "i8") for name in fields])


NATIVE = _record(
    *("recvmmsg", "sendmmsg", "clock_gettime", "clock_nanosleep"),
    *("srtp_protect", "srtp_unprotect", "srtp_protect_rtcp", "srtp_unprotect_rtcp"),
)

STATE = _record(
    *("stop", "sending", "measuring", "now", "verify_every", "sweep_us", "pacing", "transport_cc"),
    # counted as long as the loop runs
    *("packets_in", "bytes_in", "packets_out", "bytes_out", "rtcp_in", "rtcp_out", "nacks_in", "plis_in", "resent"),
    *(
        "verified",
        "wrong_payload",
        "failed_authentication",
        "strays",
        "send_errors",
        "sweeps",
        "late_us",
        "latency_max",
    ),
)

POINTERS = _record("data", "controls", "receive_messages", "sent", "send_messages", "time", "scratch", "stun", "rtcp")

CLIENT = _record(
    *("socket", "receive_session", "transmit_session", "rtcp_ssrc", "consent_due", "report_due", "feedback_due"),
    *("stun_length", "first_send", "send_count", "first_receive", "receive_count"),
    *("transport_sequence", "cc_base", "cc_next", "cc_started", "cc_count", "cc_media_ssrc"),
)

SEND = _record(
    *("client", "kind", "ssrc", "payload_type", "head_length", "abs_send_time_at", "transport_cc_at", "receivers"),
    *("sequence", "timestamp", "timestamp_step", "interval_us", "phase_us"),
    *("next_due", "next_frame", "frame_left", "frame_first"),
    *("packets_of_frame", "payload_bytes", "payload_spread", "key_frame", "picture", "seed", "packets", "octets"),
)

RECEIVE = _record(
    *("client", "ssrc", "sender", "clock_rate", "packets", "bytes", "base", "highest", "first_index", "seen"),
    *("prior_expected", "prior_packets", "transit", "jitter_q4", "report_middle", "report_at", "late"),
)

KEY = _record("used", "client", "ssrc", "receive")


IOVEC = np.dtype([("base", "i8"), ("length", "i8")])
"""struct iovec."""
MESSAGE = np.dtype(
    [
        *((field, "i8") for field in ("name", "name_length", "iovecs", "iovec_count", "control", "control_length")),
        *((field, "i4") for field in ("flags", "padding", "length", "padding_2")),
    ]
)
"""struct mmsghdr on 64-bit Linux."""


class LoadTables(NamedTuple):
    """Everything that the compiled loop reads and writes."""

    native: Any
    state: Any
    pointers: Any
    clients: Any
    sends: Any
    receives: Any
    keys: Any
    heads: Any
    stun: Any
    sent: Any
    sent_lengths: Any
    arrivals: Any
    data: Any
    controls: Any
    receive_messages: Any
    receive_iovecs: Any
    send_messages: Any
    send_iovecs: Any
    rtcp: Any
    latency: Any
    scratch: Any
    time: Any


def _records(count: int, dtype: "np.dtype[Any]") -> Any:
    return np.zeros(max(count, 1), dtype).view(np.recarray)


def make_tables(peers: Sequence[Peer], media: Media, *, verify_every: int = 1, sweep_us: int = 1000) -> LoadTables:
    """Tables for connected peers."""
    send_count = sum(len(peer.sends) for peer in peers)
    receive_count = sum(len(peer.receives) for peer in peers)
    tables = empty_tables(len(peers), send_count, receive_count, with_feedback=media.feedback is Feedback.TRANSPORT_CC)
    state = tables.state[0]
    state.verify_every, state.sweep_us = verify_every, sweep_us
    state.pacing = int(media.pacing is Pacing.PACED)
    _fill(tables, peers, media)
    return tables


def empty_tables(clients: int, send_count: int, receive_count: int, *, with_feedback: bool = False) -> LoadTables:
    """Tables without anybody in them: to compile the loop, or to read sockets that have no peer."""
    slots = 1 << max(4, (4 * receive_count).bit_length())
    tables = LoadTables(
        native=_records(1, NATIVE),
        state=_records(1, STATE),
        pointers=_records(1, POINTERS),
        clients=_records(clients, CLIENT),
        sends=_records(send_count, SEND),
        receives=_records(receive_count, RECEIVE),
        keys=_records(slots, KEY),
        heads=np.zeros((max(send_count, 1), HEAD_BYTES), np.uint8),
        stun=np.zeros((max(clients, 1), STUN_BYTES), np.uint8),
        sent=np.zeros((max(send_count, 1) * HISTORY, SLOT_BYTES), np.uint8),
        sent_lengths=np.zeros(max(send_count, 1) * HISTORY, np.int64),
        arrivals=np.zeros((max(clients, 1) if with_feedback else 1, ARRIVALS), np.int64),
        data=np.zeros((BATCH, SLOT_BYTES), np.uint8),
        controls=np.zeros((BATCH, CONTROL_WORDS), np.int64),
        receive_messages=_records(BATCH, MESSAGE),
        receive_iovecs=_records(BATCH, IOVEC),
        send_messages=_records(MESSAGES, MESSAGE),
        send_iovecs=_records(MESSAGES, IOVEC),
        rtcp=np.zeros((1, SLOT_BYTES), np.uint8),
        latency=np.zeros(LATENCY_OCTAVES * LATENCY_STEPS, np.int64),
        scratch=np.zeros(4, np.int64),
        time=np.zeros(2, np.int64),
    )
    _point(tables)
    tables.state[0].verify_every = 1
    tables.state[0].sweep_us = 1000
    tables.state[0].transport_cc = int(with_feedback)
    return tables


def _point(tables: LoadTables) -> None:
    native, pointers = tables.native[0], tables.pointers[0]
    for name in ("recvmmsg", "sendmmsg", "clock_gettime", "clock_nanosleep"):
        native[name] = libc_address(name)
    for name in ("srtp_protect", "srtp_unprotect", "srtp_protect_rtcp", "srtp_unprotect_rtcp"):
        native[name] = srtp_address(name)
    for name in POINTERS.names or ():
        pointers[name] = getattr(tables, name).ctypes.data
    rows = np.arange(BATCH)
    iovecs, messages = tables.receive_iovecs, tables.receive_messages
    iovecs["base"] = tables.data.ctypes.data + rows * SLOT_BYTES
    iovecs["length"] = SLOT_BYTES
    messages["iovecs"] = iovecs.ctypes.data + rows * IOVEC.itemsize
    messages["iovec_count"] = 1
    messages["control"] = tables.controls.ctypes.data + rows * CONTROL_WORDS * 8
    tables.send_messages["iovecs"] = tables.send_iovecs.ctypes.data + np.arange(MESSAGES) * IOVEC.itemsize
    tables.send_messages["iovec_count"] = 1


def _fill(tables: LoadTables, peers: Sequence[Peer], media: Media) -> None:
    random = np.random.default_rng(len(peers))
    send = receive = 0
    for index, peer in enumerate(peers):
        assert peer.sock is not None and peer.sessions is not None, "only connected peers can be loaded"
        client = tables.clients[index]
        client.socket = peer.sock.fileno()
        client.receive_session, client.transmit_session = map(session_pointer, peer.sessions)
        client.rtcp_ssrc = peer.sends[0].ssrc if peer.sends else int(random.integers(1, 1 << 31))
        client.stun_length = len(peer.consent_request)
        tables.stun[index, : len(peer.consent_request)] = np.frombuffer(peer.consent_request, np.uint8)
        client.first_send, client.send_count = send, len(peer.sends)
        client.first_receive, client.receive_count = receive, len(peer.receives)
        for track in peer.sends:
            row = tables.sends[send]
            row.client, row.ssrc, row.payload_type, row.receivers = (
                index,
                track.ssrc,
                track.payload_type,
                track.receivers,
            )
            _describe(row, tables.heads[send], track.kind, track.mid, media)
            row.sequence, row.timestamp, row.seed = random.integers(0, 1 << 15), random.integers(0, 1 << 31), send + 1
            # Publishers are not in step: their first frames are spread over one interval.
            row.phase_us = int(random.integers(0, row.interval_us))
            send += 1
        for ssrc, sender in peer.receives.items():
            row = tables.receives[receive]
            row.client, row.ssrc, row.sender, row.base = index, ssrc, sender, -1
            row.first_index, row.clock_rate = -1, 90000
            _bind(tables.keys, index, ssrc, receive)
            receive += 1


def _describe(row: Record, head: Any, kind: MediaKind, mid: str, media: Media) -> None:
    """The constant parts of a stream's packets: the header with its extensions, sizes and steps."""
    elements = bytearray()
    elements += bytes([MID << 4 | len(mid) - 1]) + mid.encode()
    row.abs_send_time_at = 12 + 4 + len(elements) + 1
    elements += bytes([ABS_SEND_TIME << 4 | 2, 0, 0, 0])
    if media.feedback is Feedback.TRANSPORT_CC:
        row.transport_cc_at = 12 + 4 + len(elements) + 1
        elements += bytes([TRANSPORT_CC << 4 | 1, 0, 0])
    if kind is MediaKind.AUDIO:
        elements += bytes([AUDIO_LEVEL << 4, 0x80 | 30])  # speech, at −30 dBov
    elements += bytes(-len(elements) & 3)
    written = bytes([0x90]) + bytes(11) + b"\xbe\xde" + bytes([0, len(elements) // 4]) + elements
    head[: len(written)] = np.frombuffer(written, np.uint8)
    row.kind, row.head_length = int(kind), len(written)
    if kind is MediaKind.AUDIO:
        row.interval_us = 1_000_000 // media.audio_packets_per_second
        row.timestamp_step = 48000 // media.audio_packets_per_second
        row.packets_of_frame = 1
        row.payload_bytes, row.payload_spread = media.audio_bytes[0], media.audio_bytes[1] - media.audio_bytes[0] + 1
    else:
        row.interval_us = 1_000_000 // media.frames_per_second
        row.timestamp_step = 90000 // media.frames_per_second
        frame = media.video_bitrate_bps // 8 // media.frames_per_second
        room = media.packet_bytes - len(written)
        row.packets_of_frame = min(max(1, -(-frame // room)), MESSAGES)
        row.payload_bytes, row.payload_spread = min(frame // row.packets_of_frame, room), 1


def _bind(keys: Any, client: int, ssrc: int, receive: int) -> None:
    slot = key_slot(client, ssrc, len(keys) - 1)
    while keys[slot].used:
        slot = (slot + 1) & (len(keys) - 1)
    keys[slot].used, keys[slot].client, keys[slot].ssrc, keys[slot].receive = 1, client, ssrc, receive


def key_slot(client: int, ssrc: int, mask: int) -> int:
    """Where the search for a received stream begins; the compiled loop computes the same."""
    return ((ssrc ^ (client * 40503)) * 2654435761 >> 12) & mask
