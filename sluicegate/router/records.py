"""What the rows of the plane's tables hold, and how long its rings and histories are.

Every field is a 64-bit integer, so that compiled and interpreted arithmetic agree and a row can be handed over as a row
of words. Fields stand in the order in which the packet path reads them. Times are monotonic microseconds.
"""

from collections import namedtuple
from typing import Any

import numpy as np

NONE = -1
NEVER = 1 << 62
"""A due time that does not come."""
SLOT_BYTES = 1536
"""One datagram: an Ethernet MTU, and room for the SRTP trailer that is written behind an outgoing packet."""
MAX_PACKET = 1472
"""The longest datagram that is taken or sent: 1500 less IPv4 and UDP headers."""
MAX_FORMATS = 4
MAX_ENCODINGS = 4
HISTORY = 512
"""Packets of one received stream that can be asked for again: three seconds of video at 1.5 Mbps."""
SENT = 512
"""Packets of one send stream that a NACK may name."""
ARRIVALS = 1024
"""Transport-wide sequence numbers remembered for feedback, each way."""
BATCH = 64
"""Datagrams of one recvmmsg: more add latency for the first, fewer cost system calls."""
ROUNDS = 4
"""Batches of one turn before timers and commands are looked at again."""
NAME_BYTES = 28
"""sizeof(struct sockaddr_in6)."""
CNAME_BYTES = 32
EVENT_WORDS = 6
TURN_BUCKETS = 20
"""Turns by length: bucket k counts those shorter than 2^k µs (and no shorter than half of that), the last all longer
ones."""
BATCH_BUCKETS = 8
"""Batches by size, likewise in powers of two."""
DIGEST_WORDS = 5
DIGEST_BYTES = 4 * DIGEST_WORDS
LANES = 8
"""Packets whose digests are computed beside each other."""
CHECK_NAME_BYTES = 96
"""The longest username of a peer whose checks the plane answers: fragments of browsers have 4 to 8 characters."""
COMMAND_WORDS = 128
"""The longest command."""
SOL_UDP, UDP_SEGMENT = 17, 103


def _record(*fields: str, **arrays: int) -> np.dtype[Any]:
    plain: list[Any] = [(field, "i8") for field in fields]
    return np.dtype(plain + [(name, "i8", (length,)) for name, length in arrays.items()])


def row_type(name: str, dtype: np.dtype[Any]) -> Any:
    """A named tuple of a record's words, arrays spread out: one row read at once costs a hundredth of field by
    field."""
    fields: list[str] = []
    for field in dtype.names or ():
        shape = dtype[field].shape
        fields += [f"{field}_{index}" for index in range(shape[0])] if shape else [field]
    return namedtuple(name, fields)


TRANSPORT = _record(
    # receive path
    *("in_use", "receive_session", "last_receive", "packets_received", "bytes_received", "first_expectation"),
    *("mid_id", "rid_id", "repaired_rid_id", "transport_cc_id", "transport_cc_wanted"),
    # send path
    *("transmit_session", "has_destination", "name_length", "pending_head", "pending_tail", "pending_count"),
    *("cipher", "tagged", "salt_high", "salt_low"),
    *("packets_sent", "bytes_sent", "transport_cc_sequence"),
    # feedback owed to a publisher
    *("cc_started", "cc_base", "cc_max", "cc_feedback_count", "cc_media_ssrc"),
    *("remb_wanted", "remb_bps", "remb_bytes", "remb_at"),
    # lists and reports
    *("first_receive", "first_send", "local_ssrc", "ntp_shift", "ntp_known"),
    # figures
    *("authentication_failures", "replays", "stream_count", "first_stray", "address_count", "rtt", "remb_received_bps"),
    *("rate_bytes", "rate_at", "acknowledged_bps", "police_at", "police_budget"),
    # checks that the plane answers
    *("check_name_length", "check_tried", "last_check"),
)

RECEIVE_STREAM = _record(
    *("in_use", "transport", "track", "encoding", "ssrc"),
    *("rtx_ssrc", "kind", "codec", "clock_rate", "rtx_payload_type"),
    *("audio_level_id", "video_orientation_id", "playout_delay_id", "dependency_descriptor_id"),
    # sequence and statistics (RFC 3550 A.1, A.3, A.8)
    *("started", "epoch", "max_sequence", "bad_sequence"),
    *("sequence_shift", "timestamp_shift", "base_sequence", "last_timestamp"),
    *("packets", "bytes", "last_packet", "jitter_q4", "transit", "expected_prior", "received_prior", "fraction_lost"),
    *("received", "duplicates", "frames", "key_frames", "spatial_seen", "temporal_seen", "frame_timestamp"),
    *("level_sum", "level_count"),
    # repair
    *("nack", "pli", "fir", "missing", "missing_from", "nacks", "plis", "retransmissions", "fir_sequence"),
    *("key_frame_wanted", "key_frame_asked_at", "key_frame_waiting", "given_up_at"),
    *("start_told_at", "goodbye_told_at"),
    # the publisher's clock
    *("report_known", "report_ntp", "report_rtp", "report_arrival", "report_middle"),
    *("next_of_transport", "previous_of_transport"),
    payload_types=MAX_FORMATS,
)

TRACK = _record(
    *("in_use", "transport", "kind", "codec", "paused", "encodings", "first_send"),
    *("police_rate", "police_at", "police_budget"),
    receive=MAX_ENCODINGS,
)

SEND_STREAM = _record(
    *("in_use", "transport", "paused", "ssrc", "receive", "epoch", "next_of_track"),
    *("last_in", "last_out", "index_base", "timestamp_offset", "last_timestamp", "last_send"),
    *("started", "synchronised"),
    *("spatial", "temporal", "spatial_wanted", "temporal_wanted"),
    *("encoding_wanted", "reported_spatial", "reported_temporal"),
    *("mid_id", "audio_level_id", "video_orientation_id", "playout_delay_id", "dependency_descriptor_id"),
    *("abs_send_time_id", "transport_cc_id", "mid_length", "mid_low", "mid_high"),
    *("picture_offset", "tl0_offset", "last_picture", "last_tl0"),
    *("packets", "bytes", "octets", "frames", "frame_timestamp"),
    *("track", "nack", "rtx_ssrc", "rtx_payload_type", "rtx_sequence", "clock_rate", "kind", "codec", "first_out"),
    *("nacks", "plis", "retransmissions", "lost", "fraction_lost", "jitter", "rtt"),
    *("first_sequence", "first_timestamp", "cname_length", "fir_heard", "police_at", "police_budget"),
    *("previous_of_track", "next_of_transport", "previous_of_transport"),
    payload_types=MAX_FORMATS,
)

HISTORY_ENTRY = _record("sequence", "serial", "length", "next_nack", "tries")
"""One received packet. `serial` names its arena slot while that is not reused; −1: known to be missing."""

SENT_ENTRY = _record("source", "sent", "resent", "timestamp_offset", "picture")
"""One number of a send stream. `source` = received sequence · 4 + encoding; `sent` = when, 0 = kept free for a late
packet. `picture` = what is added to the picture id (16 bits) and to TL0PICIDX (8 bits above), and the marker as it was
sent."""
MARKER_SHIFT = 32
TEMPORAL_SHIFT, SPATIAL_SHIFT = 40, 48
"""While a number is kept free: the layers that were being sent, the spatial one plus 1."""
PICTURE_MASK = 0xFFFFFF

EXPECTATION = _record(
    "in_use", "receive", "mid_length", "mid_low", "mid_high", "rid_length", "rid_low", "rid_high", "next"
)
"""How a stream that was announced without SSRC is found: by MID, and RID where there are several (RFC 8852, 9143)."""

ADDRESS = _record("state", "high", "low", "port", "transport")
"""One slot of the open-addressing map from remote address to transport. `state`: 0 empty, 1 used, 2 deleted."""

STREAM_KEY = _record("state", "transport", "ssrc", "receive", "rtx", "next", "last")
"""One slot of the open-addressing map from (transport, SSRC) to receive stream. `receive` NONE: an SSRC that
authenticated but is no stream of the session's (the sender of RTCP, a stray); these are chained by `next` from their
transport, and `last` is when such a one was last heard."""

PACKET = _record(
    *("serial", "length", "payload_start", "payload_end", "payload_type", "marker", "sequence", "timestamp", "ssrc"),
    *("format", "recovered", "epoch", "padding"),
    elements=16,
)
"""What the header of a packet in hand says; offsets are bytes from its first.

`sequence` is 16 bits as parsed, and the stream's extended number once ingress has placed it; `epoch` is the stream's
from then. `padding` is what makes it as long as its neighbours. `elements[id]` is offset
· 256 + length of the header extension element with that id (RFC 8285), 0 where there is none; ids above 15 are not
looked at.
"""

OUT = _record("length", "next", "untagged")
"""One outgoing datagram in the out arena. `next` is the one behind it for the same transport; `untagged` the transport
whose tag it waits for, or NONE."""

LANE = _record("slot", "blocks")
"""A packet that is hashed beside others: its out slot, and of how many blocks it is."""

COUNTERS = _record(
    *("turns", "batches", "datagrams", "packets_in", "bytes_in"),
    *("packets_out", "bytes_out", "messages_out", "send_calls"),
    *("punted", "commands", "events_lost", "turn_us", "longest_turn_us", "checks_answered"),
    # drops, by reason
    *("drop_truncated", "drop_unclassified", "drop_unknown_address", "drop_punt_full", "drop_no_keys"),
    *("drop_malformed", "drop_authentication", "drop_replay", "drop_unknown_stream", "drop_stream_limit"),
    *("drop_duplicate", "drop_payload_type", "drop_padding", "drop_policed", "drop_paused", "drop_layer"),
    *("drop_waiting_key_frame", "drop_late", "drop_too_long", "drop_send_error", "drop_protect", "drop_rtcp"),
    *("drop_overrun",),
)

STATE = _record(
    *("now", "ntp_offset", "next_due", "cursor"),
    *("out_count", "dirty_count", "message_count", "iovec_count", "untagged"),
    *("socket", "wake_down", "wake_up", "gso", "portable"),
    *("stop", "upward", "streams_high", "transports_high", "tracks_high"),
    *("crowded", "taken", "load_at", "load_turn_us"),
    *("behind", "waiting_head", "waiting_tail", "effort"),
)
"""The plane's scalars: the batch's time, microseconds from monotonic to NTP time, when a timer is next due, the serial
of the next arena slot, how much of the out arena, the dirty list and the message arrays is filled, how many packets
wait for their tag, the file descriptors; whether the core is nearly full, how many datagrams the last turn took, and
since when `turn_us` was what, by which that is judged; whether video has to wait, and how much of it has ever ceased to
and begun to; what may still be done for the RTCP datagram in hand."""

WAITING_ENTRY = _record("receive", "since")
"""A packet that waits to be forwarded: its stream, NONE once that has ended, and since when."""
WAITING = 8192
"""Packets that may wait, a power of two: what 44 videos of 1.5 Mbps send in a second."""

POINTERS = _record(
    *("arena", "arena_names", "receive_messages", "out", "names", "send_messages", "iovecs", "controls"),
    *("send_streams", "transports", "sent", "scratch", "poll", "time", "key_block", "hash_context", "digest", "nonce"),
    *("lane_states", "lane_addresses", "lane_blocks"),
)
"""Addresses of the arrays that the kernel hands to C functions."""

IOVEC = np.dtype([("base", "i8"), ("length", "i8")])
"""struct iovec."""

MESSAGE = np.dtype(
    [
        *((field, "i8") for field in ("name", "name_length", "iovecs", "iovec_count", "control", "control_length")),
        ("message_flags", "i4"),
        ("padding", "i4"),
        ("length", "i4"),
        ("padding_2", "i4"),
    ]
)
"""struct mmsghdr on 64-bit Linux; `name_length` is its 32-bit field with the padding behind it (little endian)."""
CONTROL_BYTES = 24
"""One UDP_SEGMENT control message: cmsghdr (16), segment size (2), padding."""
MESSAGES = 512
"""Messages of one sendmmsg."""

RING = _record("head", "tail", "signalled")
"""A single-producer, single-consumer ring: `head` is written by its producer, `tail` by its consumer."""
