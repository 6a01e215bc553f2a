"""Commands as the plane applies them: words out of the command ring, decoded between two batches (`router/encoding.py`
writes them)."""

from typing import Any

from sluicegate.compiled import kernel
from sluicegate.router.kernel.checks import expect_checks
from sluicegate.router.kernel.digest import set_key
from sluicegate.router.kernel.egress import flush
from sluicegate.router.kernel.header import copy_row
from sluicegate.router.kernel.maps import bind_address, bind_stream, stream_slot, unbind_address, unbind_all
from sluicegate.router.kernel.repair import insist_on_key_frame, want_key_frame
from sluicegate.router.kernel.strays import adopt_stray, forget_strays, give_back, note_stray
from sluicegate.router.kernel.subscriptions import (
    add_subscription,
    check_track,
    is_wanted,
    remove_subscription,
    wait_for_key_frames,
)
from sluicegate.router.kernel.waiting import forget_waiting
from sluicegate.router.native import fence
from sluicegate.router.records import HISTORY, MAX_ENCODINGS, NAME_BYTES, NEVER, NONE
from sluicegate.router.tables import COMMAND_RING, Tables

(
    ADD_TRANSPORT,
    BIND_ADDRESS,
    UNBIND_ADDRESS,
    SET_DESTINATION,
    INSTALL_KEYS,
    REMOVE_TRANSPORT,
    ADD_TRACK,
    ADD_RECEIVE_STREAM,
    PAUSE_TRACK,
    REMOVE_TRACK,
    ADD_SUBSCRIPTION,
    PAUSE_SUBSCRIPTION,
    SELECT_LAYERS,
    REMOVE_SUBSCRIPTION,
    REQUEST_KEY_FRAME,
    ANSWER_CHECKS,
) = range(1, 17)


@kernel
def drain_commands(t: Tables) -> None:
    """Apply everything that the control plane has written, in order."""
    ring = t.rings[COMMAND_RING]
    mask = len(t.commands) - 1
    fence()
    while ring.tail != ring.head:
        length = t.commands[ring.tail & mask]
        for index in range(min(length, len(t.command))):
            t.command[index] = t.commands[(ring.tail + index) & mask]
        apply_command(t, t.command)
        t.counters[0].commands += 1
        fence()
        ring.tail += length


@kernel
def apply_command(t: Tables, words: Any) -> None:
    """Apply one command: `words` = length, opcode, handle, operands."""
    opcode, handle = words[1], words[2]
    if opcode == ADD_TRANSPORT:
        add_transport(t, handle, words[3])
    elif opcode == BIND_ADDRESS:
        t.transports[handle].address_count += 1
        bind_address(t.addresses, words[3], words[4], words[5], handle)
    elif opcode == UNBIND_ADDRESS:
        unbind_address(t.addresses, words[3], words[4], words[5], handle)
    elif opcode == SET_DESTINATION:
        set_destination(t, handle, words)
    elif opcode == INSTALL_KEYS:
        install_keys(t, handle, words)
    elif opcode == REMOVE_TRANSPORT:
        remove_transport(t, handle)
    elif opcode == ADD_TRACK:
        copy_row(t.track_words[handle], words, 3)
        t.check_due[handle] = t.state[0].now
        t.state[0].next_due = min(t.state[0].next_due, t.state[0].now)
    elif opcode == ADD_RECEIVE_STREAM:
        add_receive_stream(t, handle, words)
    elif opcode == PAUSE_TRACK:
        pause_track(t, handle, words[3])
    elif opcode == REMOVE_TRACK:
        remove_track(t, handle)
    elif opcode == ADD_SUBSCRIPTION:
        add_subscription(t, handle, words)
    elif opcode == PAUSE_SUBSCRIPTION:
        send = t.send_streams[handle]
        resumed = send.paused and not words[3]
        send.paused = words[3]
        if resumed:
            send.synchronised = 0
            check_track(t, send.track)
            if send.receive >= 0 and is_wanted(t, send):
                want_key_frame(t, send.receive)
    elif opcode == SELECT_LAYERS:
        t.send_streams[handle].spatial_wanted = words[3]
        t.send_streams[handle].temporal_wanted = words[4]
        check_track(t, t.send_streams[handle].track)
    elif opcode == REMOVE_SUBSCRIPTION:
        remove_subscription(t, handle)
    elif opcode == ANSWER_CHECKS:
        expect_checks(t, handle, words)
    elif opcode == REQUEST_KEY_FRAME:
        for index in range(t.tracks[handle].encodings):
            insist_on_key_frame(t, t.tracks[handle].receive[index])


@kernel
def add_transport(t: Tables, handle: int, local_ssrc: int) -> None:
    words = t.transport_words[handle]
    for index in range(len(words)):
        words[index] = 0
    transport = t.transports[handle]
    transport.in_use = 1
    transport.local_ssrc = local_ssrc
    transport.first_expectation = NONE
    transport.first_receive = NONE
    transport.first_send = NONE
    transport.first_stray = NONE
    for index in range(t.departures.shape[1]):
        t.departures[handle, index] = 0
        t.arrivals[handle, index] = NONE
    now = t.state[0].now
    transport.rate_at = now
    transport.remb_at = now
    t.report_due[handle] = now + 200_000 + handle * 104_729 % 800_000
    t.state[0].transports_high = max(t.state[0].transports_high, handle + 1)
    t.state[0].next_due = min(t.state[0].next_due, t.report_due[handle])


@kernel
def install_keys(t: Tables, handle: int, words: Any) -> None:
    """`words` hold libsrtp's sessions, the cipher that seals RTP (0: libsrtp does), its salt, whether it needs a tag,
    and the tag's key block. The receiver counts rollovers from these keys on, and so does every stream that it has."""
    transport = t.transports[handle]
    transport.receive_session, transport.transmit_session = words[3], words[4]
    transport.cipher, transport.salt_high, transport.salt_low, transport.tagged = words[5], words[6], words[7], words[8]
    if transport.tagged:
        set_key(t, t.tag_keys[handle], words, 9)
    index = transport.first_send
    while index >= 0:
        send = t.send_streams[index]
        send.index_base = 0
        send.rtx_sequence &= 0x7FFF
        index = send.next_of_transport
    wait_for_key_frames(t, handle)


@kernel
def set_destination(t: Tables, handle: int, words: Any) -> None:
    """`words[3]` is the sockaddr's length, 0 for none; its bytes follow, eight to a word."""
    transport = t.transports[handle]
    was = transport.has_destination
    transport.name_length = words[3]
    transport.has_destination = words[3] != 0
    for index in range(NAME_BYTES):
        t.names[handle, index] = (words[4 + (index >> 3)] >> (8 * (index & 7))) & 0xFF
    if not was:
        wait_for_key_frames(t, handle)


@kernel
def remove_transport(t: Tables, handle: int) -> None:
    transport = t.transports[handle]
    while transport.first_send >= 0:
        remove_subscription(t, transport.first_send)
    while transport.first_receive >= 0:
        remove_track(t, t.receive_streams[transport.first_receive].track)
    if transport.address_count:
        unbind_all(t.addresses, handle)
    forget_strays(t.stream_keys, transport)
    if transport.pending_count:  # goodbyes: the row may be another's before the turn is over
        flush(t)
    transport.in_use = 0
    transport.receive_session = 0
    transport.transmit_session = 0
    transport.cipher = 0
    transport.has_destination = 0
    transport.check_name_length = 0
    t.report_due[handle] = NEVER
    t.feedback_due[handle] = NEVER


@kernel
def add_receive_stream(t: Tables, handle: int, words: Any) -> None:
    """`words` hold the stream's row, and behind it the extension ids of its transport, and how to recognise it."""
    row = t.receive_words[handle]
    copy_row(row, words, 3)
    stream = t.receive_streams[handle]
    transport = t.transports[stream.transport]
    for index in range(HISTORY):
        entry = t.history[handle, index]
        entry.sequence = NONE
        entry.serial = NONE
        entry.next_nack = NEVER
    structure = t.structure_words[handle]
    for index in range(len(structure)):
        structure[index] = 0
    stream.next_of_transport = transport.first_receive
    stream.previous_of_transport = NONE
    if transport.first_receive >= 0:
        t.receive_streams[transport.first_receive].previous_of_transport = handle
    transport.first_receive = handle
    if stream.ssrc >= 0:
        announce(t, transport, stream.transport, stream.ssrc, handle, 0)
    if stream.rtx_ssrc >= 0:
        announce(t, transport, stream.transport, stream.rtx_ssrc, handle, 1)
    behind = 3 + len(row)
    for index in range(4):
        if words[behind + index]:
            set_transport_id(transport, index, words[behind + index])
    transport.transport_cc_wanted |= words[behind + 4]
    transport.remb_wanted = 0 if transport.transport_cc_wanted else words[behind + 5]
    expected = t.expectations[handle]
    expected.receive = handle
    expected.mid_length = words[behind + 6]
    expected.mid_low = words[behind + 7]
    expected.mid_high = words[behind + 8]
    expected.rid_length = words[behind + 9]
    expected.rid_low = words[behind + 10]
    expected.rid_high = words[behind + 11]
    expected.in_use = 0
    if expected.mid_length:
        expected.in_use = 1
        expected.next = transport.first_expectation
        transport.first_expectation = handle
    t.state[0].streams_high = max(t.state[0].streams_high, handle + 1)


@kernel
def announce(t: Tables, transport: Any, transport_handle: int, ssrc: int, receive: int, rtx: int) -> None:
    """Bind an SSRC to its receive stream; one whose packets came before has been counted, and is a stray no longer."""
    slot = stream_slot(t.stream_keys, transport_handle, ssrc)
    if slot < 0:
        slot = note_stray(t, transport_handle, transport, ssrc)
    if slot >= 0 and t.stream_keys[slot].receive < 0:
        adopt_stray(t.stream_keys, transport, slot)
    if bind_stream(t.stream_keys, transport_handle, ssrc, receive, rtx) and slot < 0:
        transport.stream_count += 1  # strays keep all places, but what the session announces is never refused


@kernel
def set_transport_id(transport: Any, index: int, identifier: int) -> None:
    """The four extension ids by which a transport's packets are read before their stream is known."""
    if index == 0:
        transport.mid_id = identifier
    elif index == 1:
        transport.rid_id = identifier
    elif index == 2:
        transport.repaired_rid_id = identifier
    else:
        transport.transport_cc_id = identifier


@kernel
def pause_track(t: Tables, handle: int, paused: int) -> None:
    track = t.tracks[handle]
    if track.paused == paused:
        return
    track.paused = paused
    index = track.first_send
    while index >= 0:
        send = t.send_streams[index]
        send.synchronised = 0
        if not paused and send.receive >= 0:
            want_key_frame(t, send.receive)
        index = send.next_of_track


@kernel
def remove_track(t: Tables, handle: int) -> None:
    track = t.tracks[handle]
    while track.first_send >= 0:
        remove_subscription(t, track.first_send)
    for index in range(MAX_ENCODINGS):
        if track.receive[index] >= 0:
            remove_receive_stream(t, track.receive[index])
            track.receive[index] = NONE
    track.in_use = 0
    t.check_due[handle] = NEVER


@kernel
def remove_receive_stream(t: Tables, handle: int) -> None:
    stream = t.receive_streams[handle]
    transport = t.transports[stream.transport]
    if stream.ssrc >= 0:
        give_back(t, handle, stream.ssrc, stream.started)
    if stream.rtx_ssrc >= 0:
        give_back(t, handle, stream.rtx_ssrc, stream.started)
    if t.expectations[handle].in_use:
        forget_expectation(t, transport, handle)
    if stream.previous_of_transport >= 0:
        t.receive_streams[stream.previous_of_transport].next_of_transport = stream.next_of_transport
    else:
        transport.first_receive = stream.next_of_transport
    if stream.next_of_transport >= 0:
        t.receive_streams[stream.next_of_transport].previous_of_transport = stream.previous_of_transport
    forget_waiting(t, handle)
    stream.in_use = 0
    t.nack_due[handle] = NEVER


@kernel
def forget_expectation(t: Tables, transport: Any, handle: int) -> None:
    t.expectations[handle].in_use = 0
    if transport.first_expectation == handle:
        transport.first_expectation = t.expectations[handle].next
        return
    index = transport.first_expectation
    while index >= 0:
        if t.expectations[index].next == handle:
            t.expectations[index].next = t.expectations[handle].next
            return
        index = t.expectations[index].next
