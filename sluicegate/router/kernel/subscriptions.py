"""Subscriptions come, wait for their pictures, are offered encodings, and go."""

from typing import Any

from sluicegate.compiled import kernel
from sluicegate.router.kernel.egress import claim_slot
from sluicegate.router.kernel.header import copy_row, write_32
from sluicegate.router.kernel.output import can_send, queue_rtcp
from sluicegate.router.kernel.repair import want_key_frame
from sluicegate.router.kernel.reports import finish
from sluicegate.router.kernel.strays import forget_stream
from sluicegate.router.records import NEVER, NONE, SENT
from sluicegate.router.tables import Tables

CHECK_INTERVAL_US = 250_000
"""How often a track's encodings are looked at. Lower: more work for nothing. Higher: one that stops is noticed late."""
ACTIVE_US = 1_500_000
"""An encoding without packets for this long is not offered. Lower: a publisher's short pause makes layers flap."""


@kernel
def is_wanted(t: Tables, send: Any) -> bool:
    """Whether the encoding that a subscription has is the one that it should have."""
    wanted = t.receive_streams[send.receive].encoding == send.encoding_wanted
    return bool(wanted or t.tracks[send.track].encodings < 2)


@kernel
def wait_for_key_frames(t: Tables, handle: int) -> None:
    """A transport has become able to send: ask for the pictures that its subscriptions will begin with."""
    index = t.transports[handle].first_send
    while index >= 0:
        send = t.send_streams[index]
        if not send.paused and not send.synchronised:
            check_track(t, send.track)
            if send.receive >= 0:
                want_key_frame(t, send.receive)
        index = send.next_of_transport


@kernel
def add_subscription(t: Tables, handle: int, words: Any) -> None:
    """`words` hold the send stream's row, and behind it its CNAME, eight bytes to a word."""
    row = t.send_words[handle]
    copy_row(row, words, 3)
    behind = 3 + len(row)
    for index in range(t.cnames.shape[1]):
        t.cnames[handle, index] = (words[behind + (index >> 3)] >> (8 * (index & 7))) & 0xFF
    for index in range(SENT):
        entry = t.sent[handle, index]
        entry.source = NONE
        entry.sent = 0
    send = t.send_streams[handle]
    track = t.tracks[send.track]
    transport = t.transports[send.transport]
    send.kind = track.kind
    send.codec = track.codec
    send.clock_rate = t.receive_streams[track.receive[0]].clock_rate
    send.previous_of_track = NONE
    send.next_of_track = track.first_send
    if track.first_send >= 0:
        t.send_streams[track.first_send].previous_of_track = handle
    track.first_send = handle
    send.previous_of_transport = NONE
    send.next_of_transport = transport.first_send
    if transport.first_send >= 0:
        t.send_streams[transport.first_send].previous_of_transport = handle
    transport.first_send = handle
    if track.encodings == 1:
        send.receive = track.receive[0]
    check_track(t, send.track)
    if not send.paused and send.receive >= 0:
        want_key_frame(t, send.receive)


@kernel
def say_goodbye(t: Tables, send: Any) -> None:
    """Tell the receiver of a stream that it is over (RFC 3550 §6.6), behind an empty report, as a compound begins."""
    transport = t.transports[send.transport]
    if send.packets == 0 or not can_send(transport):
        return
    slot = claim_slot(t)
    if slot < 0:
        return
    out = t.out[slot]
    finish(out, 0, 201, 0, 8)
    write_32(out, 4, transport.local_ssrc)
    finish(out, 8, 203, 1, 8)
    write_32(out, 12, send.ssrc)
    queue_rtcp(t, slot, send.transport, 16)


@kernel
def remove_subscription(t: Tables, handle: int) -> None:
    send = t.send_streams[handle]
    if not send.in_use:
        return
    say_goodbye(t, send)
    session = t.transports[send.transport].transmit_session
    if session:  # or a listener in a busy channel would gather state for everybody who was ever there
        forget_stream(t, session, send.ssrc)
        if send.rtx_ssrc >= 0:
            forget_stream(t, session, send.rtx_ssrc)
    if send.previous_of_track >= 0:
        t.send_streams[send.previous_of_track].next_of_track = send.next_of_track
    else:
        t.tracks[send.track].first_send = send.next_of_track
    if send.next_of_track >= 0:
        t.send_streams[send.next_of_track].previous_of_track = send.previous_of_track
    if send.previous_of_transport >= 0:
        t.send_streams[send.previous_of_transport].next_of_transport = send.next_of_transport
    else:
        t.transports[send.transport].first_send = send.next_of_transport
    if send.next_of_transport >= 0:
        t.send_streams[send.next_of_transport].previous_of_transport = send.previous_of_transport
    send.in_use = 0


@kernel
def check_track(t: Tables, handle: int) -> None:
    """See which encodings of a track are coming, and which of them each subscription should have."""
    track = t.tracks[handle]
    if not track.in_use or track.encodings < 2:
        t.check_due[handle] = NEVER
        return
    now = t.state[0].now
    t.check_due[handle] = now + CHECK_INTERVAL_US
    t.state[0].next_due = min(t.state[0].next_due, t.check_due[handle])
    t.state[0].tracks_high = max(t.state[0].tracks_high, handle + 1)
    index = track.first_send
    while index >= 0:
        send = t.send_streams[index]
        wanted = NONE
        for encoding in range(track.encodings):
            stream = t.receive_streams[track.receive[encoding]]
            active = stream.started and now - stream.last_packet < ACTIVE_US
            if active and (wanted < 0 or encoding <= send.spatial_wanted):
                wanted = encoding
        if wanted >= 0:
            send.encoding_wanted = wanted
            if not send.paused and track.receive[wanted] != send.receive and can_send(t.transports[send.transport]):
                want_key_frame(t, track.receive[wanted])
        index = send.next_of_track
