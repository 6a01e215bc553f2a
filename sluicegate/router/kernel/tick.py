"""One turn of the plane: commands, what has arrived, what is due, what must be sent; and the loop that turns without
the GIL."""

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.apply import drain_commands
from sluicegate.router.kernel.clock import read_clock
from sluicegate.router.kernel.egress import flush
from sluicegate.router.kernel.feedback import receive_rtcp
from sluicegate.router.kernel.forward import forward
from sluicegate.router.kernel.ingress import classify, receive_rtp
from sluicegate.router.kernel.layers import describe
from sluicegate.router.kernel.repair import repair
from sluicegate.router.kernel.reports import report, send_transport_feedback
from sluicegate.router.kernel.rings import wake_loop
from sluicegate.router.kernel.subscriptions import check_track
from sluicegate.router.kernel.tags import write_tags
from sluicegate.router.kernel.waiting import can_wait, drop_late, has_waiting, hold, work_off
from sluicegate.router.native import call, fence
from sluicegate.router.records import BATCH, NEVER, NONE, ROUNDS, SLOT_BYTES
from sluicegate.router.tables import COMMAND_RING, Tables

MSG_DONTWAIT, MSG_TRUNC = 0x40, 0x20
POLLIN = 1
TIMER_SPACING_US = 5_000
"""Timers are looked through no more often than this."""
REPORT_EARLY_US = 50_000
"""A report goes so much too early together with others. Lower: hundreds of transports wake the plane for one each."""
LONGEST_SLEEP_MS = 1000
NAME_ROOM = 28
LOAD_WINDOW_US = 100_000
CROWDED_PERCENT, RELAXED_PERCENT = 80, 60
"""A plane that was busy for more of the last window than the first waits for fuller batches, until it is busy for less
than the second. Lower: a millisecond is added where there is time to spare. Higher: too late to help."""
FULLER_BATCH_MS = 1
"""Higher: fuller batches still, and more delay for each packet."""


@kernel
def receive(t: Tables) -> int:
    """One recvmmsg into the next arena slots; how many datagrams came."""
    state = t.state[0]
    mask = len(t.arena) - 1
    for index in range(BATCH):
        t.receive_iovecs[index].base = t.pointers[0].arena + ((state.cursor + index) & mask) * SLOT_BYTES
        t.receive_messages[index].name_length = NAME_ROOM
        t.receive_messages[index].message_flags = 0
    count = call(t.native[0].recvmmsg, state.socket, t.pointers[0].receive_messages, BATCH, MSG_DONTWAIT, 0)
    return max(count, 0)


@kernel
def process(t: Tables, count: int) -> None:
    """Handle the `count` datagrams that stand in the next arena slots, and leave what they cause in the out arena.

    Commands come first: an address is bound before the answer to its check is sent, so the packets that this answer
    brings about find it bound.
    """
    state = t.state[0]
    apply_commands(t)
    counters = t.counters[0]
    counters.batches += 1
    counters.datagrams += count
    t.batch_buckets[bucket(count, len(t.batch_buckets))] += 1
    first = state.cursor
    state.cursor += count
    run_of, run_first, run_end = NONE, 0, 0  # packets of one stream that wait to be forwarded together
    for index in range(count):
        serial = first + index
        message = t.receive_messages[index]
        length = message.length
        handle = classify(t, index, serial, length, message.message_flags & MSG_TRUNC)
        if handle < 0:
            continue
        second = t.arena[serial & (len(t.arena) - 1), 1] & 0x7F if length > 1 else 0
        if 64 <= second <= 95:
            forward(t, run_of, run_first, run_end)
            run_first = run_end
            receive_rtcp(t, handle, serial, length)
            continue
        stream = receive_rtp(t, handle, serial, length, t.packets[run_end])
        if stream < 0:
            continue
        counters.packets_in += 1
        describe(t, stream, t.packets[run_end], t.descriptors[run_end])
        if state.behind and can_wait(t, stream):
            hold(t, stream, run_end)
            continue
        if stream != run_of or t.descriptors[run_end].key_frame:
            forward(t, run_of, run_first, run_end)
            run_of, run_first = stream, run_end
            if t.descriptors[run_end].key_frame:
                t.receive_streams[stream].key_frame_wanted = 0
        run_end += 1
    forward(t, run_of, run_first, run_end)
    write_tags(t)


@kernel
def bucket(value: int, buckets: int) -> int:
    """The number of bits of `value`, or the last bucket."""
    bits = 0
    while value > 0 and bits < buckets - 1:
        value >>= 1
        bits += 1
    return bits


@kernel
def run_timers(t: Tables) -> None:
    """Do what is due, and find out when something is due next."""
    state = t.state[0]
    now = state.now
    state.next_due = NEVER
    due = NEVER
    for handle in range(state.streams_high):
        if t.nack_due[handle] <= now:
            repair(t, handle)
        due = min(due, t.nack_due[handle])
    for handle in range(state.transports_high):
        if t.feedback_due[handle] <= now:
            send_transport_feedback(t, handle)
        if t.report_due[handle] <= now + REPORT_EARLY_US:
            report(t, handle)
        due = min(due, t.feedback_due[handle], t.report_due[handle])
    for handle in range(state.tracks_high):
        if t.check_due[handle] <= now:
            check_track(t, handle)
        due = min(due, t.check_due[handle])
    state.next_due = max(min(state.next_due, due), now + TIMER_SPACING_US)


@kernel
def apply_commands(t: Tables) -> None:
    """Apply what waits in the command ring."""
    ring = t.rings[COMMAND_RING]
    if ring.head != ring.tail:
        drain_commands(t)


@kernel
def advance(t: Tables) -> None:
    """What every turn does besides receiving: commands, timers, sending, waking the loop."""
    state = t.state[0]
    apply_commands(t)
    if state.next_due <= state.now:
        run_timers(t)
    if state.out_count:
        flush(t)
    wake_loop(t)


@kernel
def take(t: Tables) -> None:
    """Handle what has arrived, in at most `ROUNDS` batches, and some of the video that waits.

    While there is more to read, video waits, and so does all video behind it.
    """
    state = t.state[0]
    drop_late(t)
    for index in range(ROUNDS):
        count = receive(t)
        state.behind = count == BATCH or has_waiting(t)
        state.taken += count
        if count:
            process(t, count)
        if count < BATCH or index == ROUNDS - 1:
            work_off(t)
        flush(t)
        if count < BATCH and not has_waiting(t):
            break
        state.now = read_clock(t)


@kernel
def turn(t: Tables, readable: int) -> None:
    """Take what has arrived, where something has, and do everything that is due."""
    state = t.state[0]
    state.now = read_clock(t)
    began = state.now
    state.taken = 0
    late = has_waiting(t)
    if readable or late:
        take(t)
    advance(t)
    counters = t.counters[0]
    counters.turns += 1
    if state.taken or late:
        spent = read_clock(t) - began
        counters.turn_us += spent
        counters.longest_turn_us = max(counters.longest_turn_us, spent)
        t.turn_buckets[bucket(spent, len(t.turn_buckets))] += 1


@kernel
def judge_load(t: Tables) -> None:
    """See, once a window, whether the core is nearly full."""
    state = t.state[0]
    span = state.now - state.load_at
    if span < LOAD_WINDOW_US:
        return
    busy = 100 * (t.counters[0].turn_us - state.load_turn_us)
    if busy > CROWDED_PERCENT * span:
        state.crowded = 1
    elif busy < RELAXED_PERCENT * span:
        state.crowded = 0
    state.load_at = state.now
    state.load_turn_us = t.counters[0].turn_us


@kernel
def run(t: Tables) -> None:
    """Turn until told to stop: sleep in poll(2) on the socket and on the command wake-up, never on the GIL.

    On a core that is nearly full, what arrives within the next millisecond is handled together with what woke us, so
    that more leaves in each system call; not when whole batches wait already.
    """
    state = t.state[0]
    t.poll[0] = state.socket | (POLLIN << 32)
    t.poll[1] = state.wake_down | (POLLIN << 32)
    while state.stop == 0:
        wait = 0 if has_waiting(t) else min((state.next_due - state.now + 999) // 1000, LONGEST_SLEEP_MS)
        ready = call(t.native[0].poll, t.pointers[0].poll, 2, max(wait, 0), 0, 0)
        if ready > 0 and (t.poll[1] >> 48) & POLLIN:
            call(t.native[0].read, state.wake_down, t.pointers[0].scratch, 8, 0, 0)
            t.rings[COMMAND_RING].signalled = 0
            fence()
        readable = i64(ready > 0 and (t.poll[0] >> 48) != 0)
        judge_load(t)
        if state.crowded and state.taken < BATCH and not has_waiting(t):
            call(t.native[0].poll, t.pointers[0].poll, 0, FULLER_BATCH_MS, 0, 0)
            readable = 1
        turn(t, readable)
