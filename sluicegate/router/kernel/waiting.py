"""Video that waits while there is more to read.

What arrives stands in one line in the socket, sound behind video; and it is fan-out that takes time, above all that of
video. So as long as a batch is full, video is decrypted, counted and kept like everything else, but forwarded only when
the socket is empty, or a portion after each turn's batches. What has waited too long is dropped, all of it: pictures
that late help nobody, and those behind them would only be later.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.clock import read_clock
from sluicegate.router.kernel.forward import forward
from sluicegate.router.kernel.repair import want_key_frame
from sluicegate.router.records import BATCH, NONE, ROUNDS, WAITING
from sluicegate.router.tables import Tables
from sluicegate.rtp.names import MediaKind

LONGEST_WAIT_US = 500_000
"""Lower: a burst that would soon be worked off, as when everybody joins at once, costs pictures. Higher: later ones."""
PORTION_US = 5_000
"""Lower: less is sent together. Higher: sound waits longer where packets have many receivers, or others the core."""
LONGEST_RUN = 8
"""Packets after which the clock is looked at; a frame of 1.5 Mbps has six."""


@kernel
def has_waiting(t: Tables) -> bool:
    return bool(t.state[0].waiting_head != t.state[0].waiting_tail)


@kernel
def can_wait(t: Tables, receive: int) -> bool:
    """Whether a stream is video that anybody gets."""
    stream = t.receive_streams[receive]
    track = t.tracks[stream.track]
    return bool(stream.kind == MediaKind.VIDEO and not track.paused and track.first_send >= 0)


@kernel
def hold(t: Tables, receive: int, index: int) -> None:
    """Put a packet that was read into `t.packets[index]` behind those of all streams that wait."""
    state = t.state[0]
    place = state.waiting_tail & (WAITING - 1)
    entry = t.waiting[place]
    entry.receive, entry.since = receive, state.now
    for word in range(t.packet_words.shape[1]):
        t.packet_words[BATCH + place, word] = t.packet_words[index, word]
    for word in range(t.descriptor_words.shape[1]):
        t.descriptor_words[BATCH + place, word] = t.descriptor_words[index, word]
    state.waiting_tail += 1
    if t.descriptors[index].key_frame:
        t.receive_streams[receive].key_frame_wanted = 0
        t.receive_streams[receive].key_frame_waiting = state.waiting_tail
    if state.waiting_tail - state.waiting_head == WAITING:
        drop_waiting(t)


@kernel
def work_off(t: Tables) -> None:
    """Forward the next that wait: as many as come in a batch, but no more when that has taken its time."""
    state = t.state[0]
    end = min(state.waiting_tail, state.waiting_head + BATCH)
    enough = read_clock(t) + PORTION_US
    while state.waiting_head < end and read_clock(t) < enough:
        first = state.waiting_head & (WAITING - 1)
        receive = t.waiting[first].receive
        count = 1
        while count < LONGEST_RUN and state.waiting_head + count < end and follows(t, first + count, receive):
            count += 1
        state.waiting_head += count
        if receive != NONE:
            forward(t, i64(receive), BATCH + first, BATCH + first + count)


@kernel
def follows(t: Tables, place: int, receive: int) -> bool:
    """Whether what waits there belongs to a run of that stream."""
    return bool(place < WAITING and t.waiting[place].receive == receive and not t.descriptors[BATCH + place].key_frame)


@kernel
def drop_late(t: Tables) -> None:
    """Give up what waits when the first of it has waited too long, or this turn may receive into its slot."""
    state = t.state[0]
    if not has_waiting(t):
        return
    first = state.waiting_head & (WAITING - 1)
    overtaken = state.cursor + ROUNDS * BATCH - t.packets[BATCH + first].serial > len(t.arena)
    if overtaken or state.now - t.waiting[first].since > LONGEST_WAIT_US:
        drop_waiting(t)


@kernel
def drop_waiting(t: Tables) -> None:
    """Give up all that waits; its subscriptions go on with a key frame."""
    state = t.state[0]
    for number in range(state.waiting_head, state.waiting_tail):
        receive = i64(t.waiting[number & (WAITING - 1)].receive)
        if receive == NONE:
            continue
        t.counters[0].drop_overrun += 1
        stream = t.receive_streams[receive]
        if stream.given_up_at != state.waiting_tail:
            stream.given_up_at = state.waiting_tail
            interrupt(t, t.tracks[stream.track], receive)
    state.waiting_head = state.waiting_tail


@kernel
def interrupt(t: Tables, track: Any, receive: int) -> None:
    """Have the subscriptions of a track that get this stream of it go on with a key frame."""
    handle = track.first_send
    while handle >= 0:
        send = t.send_streams[handle]
        if send.receive == receive:
            send.synchronised = 0
            if not send.paused:
                want_key_frame(t, receive)
        handle = send.next_of_track


@kernel
def forget_waiting(t: Tables, receive: int) -> None:
    """Whatever waits of a stream that ends: its row may soon be another's."""
    state = t.state[0]
    for number in range(state.waiting_head, state.waiting_tail):
        entry = t.waiting[number & (WAITING - 1)]
        if entry.receive == receive:
            entry.receive = NONE
