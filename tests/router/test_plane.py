"""The plane's housekeeping: tables that fill and empty, handles that come again, rings that overflow, commands that wait."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.compiled import INTERPRETED
from sluicegate.errors import Unavailable
from sluicegate.router import commands as cmd
from sluicegate.router.events import ByeReceived
from sluicegate.router.records import NEVER
from sluicegate.router.tables import Capacities
from tests.support.rtcp_packet import Bye, Nack

from .harness import SMALL, Bench, audio, listening, opus, sending, video, vp8


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


# ── tables ──


@pytest.mark.parametrize(("what", "capacity"), [("transport", 32), ("track", 64), ("send", 64)])
def test_a_full_table_is_unavailable_until_a_row_is_freed(bench, what, capacity):
    allocate = getattr(bench.plane, f"allocate_{what}")
    handles = [allocate() for _ in range(capacity)]
    assert len(set(handles)) == capacity
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            allocate()
        assert caught.value.retry_after
    remove = {"transport": cmd.RemoveTransport, "track": cmd.RemoveTrack, "send": cmd.RemoveSubscription}[what]
    bench.plane.submit(remove(handles[5]))
    assert allocate() == handles[5]


def test_a_track_for_which_there_are_no_received_streams_leaves_nothing_behind(bench):
    publisher = bench.peer()
    four = tuple(cmd.TrackEncoding(ssrc=100 + index) for index in range(4))
    tracks = [bench.publish(publisher, replace(video(), encodings=four)) for _ in range(15)]
    bench.publish(publisher, replace(video(), encodings=four[:2]))
    handle = bench.plane.allocate_track()
    used = bench.plane.usage()["tracks"][0]
    with pytest.raises(Unavailable):
        bench.plane.submit(cmd.AddTrack(handle, publisher.transport, replace(video(), encodings=four)))
    assert bench.plane.usage()["tracks"][0] == used - 1
    bench.submit(cmd.RemoveTrack(tracks[0]))
    bench.publish(publisher, replace(video(), encodings=four))


def test_a_row_that_is_used_again_knows_nothing_of_its_last_user(bench):
    """A freed row rests while others are free; here there are none, so it comes at once."""
    small = replace(SMALL, transports=2, tracks=1, receive_streams=1, send_streams=1)
    with Bench(small) as bench:
        for round_ in range(3):
            publisher, subscriber = bench.peer(), bench.peer()
            track = bench.publish(publisher, video())
            send = bench.subscribe(subscriber, track, sending())
            out = bench.receive(publisher, vp8(100, key=True), vp8(102), vp8(200 + round_))
            packets = out[subscriber.transport].packets
            assert [packet.sequence_number for packet in packets] == [1000, 1002, 1100 + round_]
            assert bench.plane.send_statistics(send).packets == 3
            assert bench.plane.receive_statistics(track)[0].packets == 3
            assert bench.plane.transport_statistics(publisher.transport).packets_received == 3
            bench.submit(cmd.RemoveSubscription(send), cmd.RemoveTrack(track))
            bench.submit(cmd.RemoveTransport(publisher.transport), cmd.RemoveTransport(subscriber.transport))


def used_slots(bench):
    """(addresses, SSRCs) that are bound in the maps."""
    tables = bench.tables
    return int((tables.addresses["state"] == 1).sum()), int((tables.stream_keys["state"] == 1).sum())


def test_remove_everything_and_all_is_as_it_was(bench):
    peers = [bench.peer() for _ in range(5)]
    tracks = [bench.publish(peer, media) for peer in peers for media in (video(encodings=3), audio())]
    sends = []
    for index, peer in enumerate(peers):
        bench.submit(cmd.BindAddress(peer.transport, ("203.0.113.1", 1000 + index)))
        for number, track in enumerate(tracks):
            media = (
                sending(ssrc=10_000 + 100 * index + number)
                if number % 2 == 0
                else listening(ssrc=20_000 + 100 * index + number)
            )
            sends.append(bench.subscribe(peer, track, media))
    for peer in peers:
        bench.receive(peer, vp8(1, key=True), vp8(3), opus(1), vp8(1, ssrc=55_555))
    assert used_slots(bench) == (10, 5 * (6 + 1 + 1))
    bench.submit(*[cmd.RemoveSubscription(send) for send in sends])
    bench.submit(*[cmd.RemoveTrack(track) for track in tracks])
    bench.submit(*[cmd.RemoveTransport(peer.transport) for peer in peers])
    assert_empty(bench)


def assert_empty(bench):
    tables = bench.tables
    assert {name: used for name, (used, _) in bench.plane.usage().items()} == {
        "transports": 0,
        "tracks": 0,
        "subscriptions": 0,
    }
    assert used_slots(bench) == (0, 0)
    for table in (tables.transports, tables.tracks, tables.receive_streams, tables.send_streams, tables.expectations):
        assert not table["in_use"].any()
    for due in (tables.nack_due, tables.report_due, tables.feedback_due, tables.check_due):
        assert (due == NEVER).all()
    assert bench.advance(5) == {}


steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "publish", "by mid", "subscribe", "leave track", "leave", "packets"]),
        st.integers(0, 7),
    ),
    max_size=40,
)


@settings(max_examples=25 if INTERPRETED else 150)
@given(steps)
def test_whatever_comes_and_goes_in_whatever_order_nothing_is_left(history):
    with Bench() as bench:
        peers, tracks, sends = [], {}, {}

        def leave_track(track):
            for send in [send for send, (_, of) in sends.items() if of == track]:
                bench.submit(cmd.RemoveSubscription(send))
                del sends[send]
            bench.submit(cmd.RemoveTrack(track))
            del tracks[track]

        def leave(peer):
            for send in [send for send, (receiver, _) in sends.items() if receiver is peer]:
                bench.submit(cmd.RemoveSubscription(send))
                del sends[send]
            for track in [track for track, of in tracks.items() if of is peer]:
                leave_track(track)
            bench.submit(cmd.RemoveTransport(peer.transport))
            peers.remove(peer)

        with contextlib.suppress(Unavailable):
            for serial, (step, choice) in enumerate(history):
                peer = peers[choice % len(peers)] if peers else None
                if step == "join":
                    peers.append(bench.peer(30_000 + serial))
                elif peer is None:
                    continue
                elif step in ("publish", "by mid") and peer not in tracks.values():
                    media = video() if step == "publish" else replace(video(mid="v"), encodings=(cmd.TrackEncoding(),))
                    tracks[bench.publish(peer, media)] = peer
                elif step == "subscribe" and tracks:
                    track = list(tracks)[choice % len(tracks)]
                    sends[bench.subscribe(peer, track, sending(ssrc=90_000 + serial))] = (peer, track)
                elif step == "leave track" and tracks:
                    leave_track(list(tracks)[choice % len(tracks)])
                elif step == "leave":
                    leave(peer)
                elif step == "packets":
                    named = {1: b"v"} if choice & 4 else {}
                    bench.receive(
                        peer, vp8(serial, key=True, ssrc=1000 + choice % 2, extensions=named), vp8(serial, ssrc=2000)
                    )
        for peer in list(peers):
            leave(peer)
        assert_empty(bench)


# ── rings ──


def test_events_beyond_the_ring_are_lost_and_counted_and_the_first_ones_come_up(bench):
    publisher, seconds = bench.peer(), 20
    ssrcs = tuple(range(1000, 1015))
    tracks = [
        bench.publish(publisher, replace(video(), encodings=(cmd.TrackEncoding(ssrc),), mid=str(ssrc)))
        for ssrc in ssrcs
    ]
    for _ in range(seconds):
        bench.state.now += 1_000_000
        bench.turn([(publisher.protect(Bye(ssrcs).serialize()), publisher.address)], drain=False)
    assert bench.plane.counters()["events_lost"] == seconds * len(ssrcs) - SMALL.events
    bench.plane.drain()
    assert bench.events == ([ByeReceived(track, 0) for track in tracks] * seconds)[: SMALL.events]
    bench.state.now += 1_000_000
    bench.receive(publisher, Bye((1000,)).serialize())
    assert len(bench.events) == SMALL.events + 1, "it goes on when it has been emptied"


def test_a_goodbye_is_passed_on_ten_times_a_second(bench):
    publisher = bench.peer()
    track = bench.publish(publisher, video())
    goodbyes = b"".join(Bye((1000,) * 31).serialize() for _ in range(9))
    for told in (1, 1, 2):
        bench.receive(publisher, goodbyes)
        assert bench.events == [ByeReceived(track, 0)] * told
        bench.state.now += 50_000


def test_punts_beyond_the_ring_are_dropped_and_counted(bench):
    datagrams = [(bytes([0, 1, number]) + bytes(17), ("192.0.2.9", 9)) for number in range(SMALL.punts + 4)]
    bench.turn(datagrams, drain=False)
    assert (bench.plane.counters()["punted"], bench.drops()) == (SMALL.punts, {"punt_full": 4})
    bench.plane.drain()
    assert [data for data, _, _ in bench.punted] == [data for data, _ in datagrams[: SMALL.punts]]
    bench.turn(datagrams[:1])
    assert len(bench.punted) == SMALL.punts + 1


def test_more_commands_than_the_ring_holds_are_all_applied_in_order(bench):
    peer = bench.peer()
    send = bench.subscribe(peer, bench.publish(peer, audio()), listening())
    before = bench.plane.counters()["commands"]
    count = 3 * SMALL.command_words // 5
    bench.plane.submit(*[cmd.SelectLayers(send, index % 4, index % 8) for index in range(count)])
    assert not bench.plane.idle
    for _ in range(10):
        bench.turn([])
    assert bench.plane.idle
    assert bench.plane.counters()["commands"] - before == count
    row = bench.tables.send_streams[send]
    assert (row.spatial_wanted, row.temporal_wanted) == ((count - 1) % 4, (count - 1) % 8)


def test_a_command_may_lie_across_the_end_of_the_ring(bench):
    peer = bench.peer()
    track = bench.publish(peer, audio())
    ring = bench.tables.rings[0]
    for _ in range(2 * SMALL.command_words // 70):
        send = bench.subscribe(peer, track, listening())
        assert bench.tables.send_streams[send].ssrc == 7000
        bench.submit(cmd.RemoveSubscription(send))
    assert ring.head > 2 * SMALL.command_words


def test_keys_are_kept_until_the_plane_has_passed_their_end(bench):
    """libsrtp's memory must not be freed while packets may still be handed to it."""
    peer = bench.peer()
    bench.plane.submit(cmd.InstallKeys(peer.transport, peer.keys))
    assert len(bench.plane._retired) == 1
    bench.turn([])
    bench.plane.drain()
    assert len(bench.plane._retired) == 0


# ── no bound is crossed ──


def test_an_arena_that_goes_round_forgets_its_oldest_packets():
    """A packet whose slot has been written over is not sent again."""
    with Bench(replace(SMALL, arena_slots=64)) as bench:
        publisher, subscriber = bench.peer(), bench.peer()
        bench.subscribe(subscriber, bench.publish(publisher, video()), sending())
        bench.receive(publisher, vp8(0, key=True))
        for number in range(1, 100):
            bench.receive(publisher, vp8(number))
        again = bench.receive_rtcp(subscriber, Nack(1, 7000, tuple(range(1000, 1100))))[subscriber.transport].packets
        numbers = [int.from_bytes(packet.payload[:2], "big") for packet in again]
        assert numbers == list(range(1100 - len(numbers), 1100))
        assert 60 <= len(numbers) <= 64
        assert [packet.payload[2:] for packet in again] == [vp8(number - 1000).payload for number in numbers]


def test_a_full_out_arena_drops_and_counts():
    with Bench(replace(SMALL, out_slots=8)) as bench:
        publisher = bench.peer()
        track = bench.publish(publisher, audio())
        peers = [bench.peer() for _ in range(12)]
        for index, peer in enumerate(peers):
            bench.subscribe(peer, track, listening(ssrc=7000 + index))
        out = bench.receive(publisher, opus(1))
        assert sum(len(output.rtp) for output in out.values()) == 8
        assert bench.drops() == {"send_error": 4}
        assert sum(len(output.rtp) for output in bench.receive(publisher, opus(2)).values()) == 8


def test_ring_capacities_are_powers_of_two():
    capacities = Capacities()
    for size in (capacities.arena_slots, capacities.command_words, capacities.events, capacities.punts):
        assert size & (size - 1) == 0, "rings are masked"
