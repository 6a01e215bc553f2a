"""The plane's memory: tables of records, rings and arenas, all of a stated size, all made once.

A table is an array of records (`records.py`) indexed by integer handles. Links between rows (a track's send streams, a
transport's receive streams) are intrusive doubly linked lists; −1 ends one.

    transports ──first_receive──▶ receive_streams (one per encoding, history ring each)
        │                              ▲ receive[0..3]
        │                            tracks ──first_send──▶ send_streams (sent ring each)
        └──first_send──────────────────────────────────────────▲
"""

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sluicegate.router.native import native_table
from sluicegate.router.records import (
    ADDRESS,
    ARRIVALS,
    BATCH,
    BATCH_BUCKETS,
    CHECK_NAME_BYTES,
    CNAME_BYTES,
    COMMAND_WORDS,
    CONTROL_BYTES,
    COUNTERS,
    DIGEST_BYTES,
    DIGEST_WORDS,
    EVENT_WORDS,
    EXPECTATION,
    HISTORY,
    HISTORY_ENTRY,
    IOVEC,
    LANE,
    LANES,
    MESSAGE,
    MESSAGES,
    NAME_BYTES,
    NEVER,
    NONE,
    OUT,
    PACKET,
    POINTERS,
    RECEIVE_STREAM,
    RING,
    SEND_STREAM,
    SENT,
    SENT_ENTRY,
    SLOT_BYTES,
    SOL_UDP,
    STATE,
    STREAM_KEY,
    TRACK,
    TRANSPORT,
    TURN_BUCKETS,
    UDP_SEGMENT,
    WAITING,
    WAITING_ENTRY,
)
from sluicegate.rtp.payload.dependency_descriptor import STRUCTURE
from sluicegate.rtp.payload.descriptor import DESCRIPTOR
from sluicegate.rtp.sealing import BLOCK_BYTES, CONTEXT_WORDS


@dataclass(frozen=True, slots=True)
class Capacities:
    """How many of each thing one plane holds. Powers of two where rings and maps need them."""

    transports: int = 2048
    tracks: int = 4096
    receive_streams: int = 8192
    send_streams: int = 32768
    arena_slots: int = 16384
    out_slots: int = 2048
    command_words: int = 1 << 18
    events: int = 4096
    punts: int = 512


class Tables(NamedTuple):
    """Everything that the kernel reads and writes, as one compiled argument."""

    state: Any
    native: Any
    pointers: Any
    counters: Any
    turn_buckets: Any
    batch_buckets: Any
    transports: Any
    tracks: Any
    receive_streams: Any
    send_streams: Any
    history: Any
    sent: Any
    expectations: Any
    addresses: Any
    stream_keys: Any
    arrivals: Any
    departures: Any
    feedback_sequences: Any
    feedback_arrivals: Any
    nack_due: Any
    report_due: Any
    feedback_due: Any
    check_due: Any
    names: Any
    cnames: Any
    check_names: Any
    check_keys: Any
    tag_keys: Any
    key_block: Any
    hash_context: Any
    digest: Any
    nonce: Any
    lanes: Any
    lane_states: Any
    lane_addresses: Any
    lane_blocks: Any
    structures: Any
    packets: Any
    descriptors: Any
    packet_words: Any
    descriptor_words: Any
    waiting: Any
    arena: Any
    arena_names: Any
    receive_messages: Any
    receive_iovecs: Any
    out: Any
    out_slots: Any
    dirty: Any
    send_messages: Any
    iovecs: Any
    controls: Any
    scratch: Any
    poll: Any
    time: Any
    rings: Any
    commands: Any
    command: Any
    transport_words: Any
    track_words: Any
    receive_words: Any
    send_words: Any
    structure_words: Any
    events: Any
    punts: Any
    punt_names: Any
    punt_meta: Any


def _records(count: int, dtype: np.dtype[Any]) -> Any:
    return np.zeros(count, dtype).view(np.recarray)


def _words(table: Any) -> Any:
    """A table as rows of 64-bit words, over the same memory."""
    return table.view(np.ndarray).view(np.int64).reshape(len(table), -1)


COMMAND_RING, EVENT_RING, PUNT_RING = 0, 1, 2


def make_tables(capacities: Capacities) -> Tables:
    """Fresh tables; memory is touched, and so resident, only as it is used."""
    size = capacities
    transports = _records(size.transports, TRANSPORT)
    tracks = _records(size.tracks, TRACK)
    receive_streams = _records(size.receive_streams, RECEIVE_STREAM)
    send_streams = _records(size.send_streams, SEND_STREAM)
    structures = _records(size.receive_streams, STRUCTURE)
    packets = _records(BATCH + WAITING, PACKET)  # of a batch, and of those that wait
    descriptors = _records(BATCH + WAITING, DESCRIPTOR)
    tables = Tables(
        state=_records(1, STATE),
        native=native_table(),
        pointers=_records(1, POINTERS),
        counters=_records(1, COUNTERS),
        turn_buckets=np.zeros(TURN_BUCKETS, np.int64),
        batch_buckets=np.zeros(BATCH_BUCKETS, np.int64),
        transports=transports,
        tracks=tracks,
        receive_streams=receive_streams,
        send_streams=send_streams,
        history=_records(size.receive_streams * HISTORY, HISTORY_ENTRY).reshape(size.receive_streams, HISTORY),
        sent=_records(size.send_streams * SENT, SENT_ENTRY).reshape(size.send_streams, SENT),
        expectations=_records(size.receive_streams, EXPECTATION),
        addresses=_records(size.transports * 16, ADDRESS),
        stream_keys=_records(size.receive_streams * 16, STREAM_KEY),
        arrivals=np.full((size.transports, ARRIVALS), NONE, np.int64),
        departures=np.zeros((size.transports, ARRIVALS), np.int64),
        feedback_sequences=np.zeros(ARRIVALS, np.int64),
        feedback_arrivals=np.zeros(ARRIVALS, np.int64),
        nack_due=np.full(size.receive_streams, NEVER, np.int64),
        report_due=np.full(size.transports, NEVER, np.int64),
        feedback_due=np.full(size.transports, NEVER, np.int64),
        check_due=np.full(size.tracks, NEVER, np.int64),
        names=np.zeros((size.transports, NAME_BYTES + 4), np.uint8),
        cnames=np.zeros((size.send_streams, CNAME_BYTES), np.uint8),
        check_names=np.zeros((size.transports, CHECK_NAME_BYTES), np.uint8),
        check_keys=np.zeros((size.transports, 2 * DIGEST_WORDS), np.int64),
        tag_keys=np.zeros((size.transports, 2 * DIGEST_WORDS), np.int64),
        key_block=np.zeros(BLOCK_BYTES, np.uint8),
        hash_context=np.zeros(CONTEXT_WORDS, np.uint32),
        digest=np.zeros(DIGEST_BYTES, np.uint8),
        nonce=np.zeros(16, np.uint8),
        lanes=_records(LANES, LANE),
        lane_states=np.zeros((DIGEST_WORDS, LANES), np.uint32),
        lane_addresses=np.zeros(LANES, np.int64),
        lane_blocks=np.zeros((LANES, BLOCK_BYTES), np.uint8),
        structures=structures,
        packets=packets,
        descriptors=descriptors,
        packet_words=_words(packets),
        descriptor_words=_words(descriptors),
        waiting=_records(WAITING, WAITING_ENTRY),
        arena=np.zeros((size.arena_slots, SLOT_BYTES), np.uint8),
        arena_names=np.zeros((BATCH, NAME_BYTES + 4), np.uint8),
        receive_messages=_records(BATCH, MESSAGE),
        receive_iovecs=_records(BATCH, IOVEC),
        out=np.zeros((size.out_slots, SLOT_BYTES), np.uint8),
        out_slots=_records(size.out_slots, OUT),
        dirty=np.zeros(size.transports, np.int64),
        send_messages=_records(MESSAGES, MESSAGE),
        iovecs=_records(size.out_slots, IOVEC),
        controls=np.zeros((MESSAGES, CONTROL_BYTES), np.uint8),
        scratch=np.zeros(8, np.int64),
        poll=np.zeros(2, np.int64),
        time=np.zeros(2, np.int64),
        rings=_records(3, RING),
        commands=np.zeros(size.command_words, np.int64),
        command=np.zeros(COMMAND_WORDS, np.int64),
        transport_words=_words(transports),
        track_words=_words(tracks),
        receive_words=_words(receive_streams),
        send_words=_words(send_streams),
        structure_words=_words(structures),
        events=np.zeros((size.events, EVENT_WORDS), np.int64),
        punts=np.zeros((size.punts, SLOT_BYTES), np.uint8),
        punt_names=np.zeros((size.punts, NAME_BYTES + 4), np.uint8),
        punt_meta=np.zeros((size.punts, 2), np.int64),
    )
    tables.state[0].next_due = NEVER
    tables.out_slots["untagged"] = NONE
    _point(tables)
    return tables


def _point(tables: Tables) -> None:
    """Fill in the addresses, and what is constant in the arrays that C functions get."""
    pointers = tables.pointers[0]
    for name in POINTERS.names or ():
        pointers[name] = getattr(tables, name).ctypes.data
    tables.lane_blocks[:, DIGEST_BYTES] = 0x80
    tables.lane_blocks[:, -2:] = tuple((8 * (BLOCK_BYTES + DIGEST_BYTES)).to_bytes(2, "big"))
    tables.controls[:, :16] = np.frombuffer(struct.pack("<Qii", 18, SOL_UDP, UDP_SEGMENT), np.uint8)
    messages, iovecs = tables.receive_messages, tables.receive_iovecs
    rows = np.arange(BATCH)
    messages["name"] = pointers.arena_names + rows * tables.arena_names.shape[1]
    messages["iovecs"] = iovecs.ctypes.data + rows * IOVEC.itemsize
    messages["iovec_count"] = 1
    iovecs["length"] = SLOT_BYTES
