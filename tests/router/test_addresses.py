"""Who may speak: addresses, keys, authentication, replays, SSRCs that nobody announced."""

from dataclasses import replace

import pytest

from sluicegate.router import commands as cmd
from sluicegate.router.encoding import address_key
from sluicegate.router.events import StreamStarted
from sluicegate.router.kernel.strays import MAX_STREAMS
from sluicegate.rtp.srtp import SrtpProfile
from tests.support import payloads
from tests.support.rtcp_packet import ReceiverReport

from .harness import Bench, audio, opus, sending, video, vp8

STRANGER = ("198.51.100.7", 4000)


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


@pytest.fixture
def call(bench):
    """A publisher and a subscriber of its video."""
    publisher, subscriber = bench.peer(), bench.peer()
    track = bench.publish(publisher, video())
    bench.subscribe(subscriber, track, sending())
    return publisher, subscriber, track


@pytest.mark.parametrize("profile", list(SrtpProfile))
def test_every_profile_carries_media(profile):
    with Bench(profile=profile) as bench:
        publisher, subscriber = bench.peer(), bench.peer()
        bench.subscribe(subscriber, bench.publish(publisher, video()), sending())
        out = bench.receive(publisher, vp8(1, key=True), vp8(2))
        assert [packet.sequence_number for packet in out[subscriber.transport].packets] == [1000, 1001]


def test_media_from_an_unknown_address_is_dropped_even_with_the_right_keys(bench, call):
    publisher, _, _ = call
    assert bench.turn([(publisher.protect(vp8(1, key=True).serialize()), STRANGER)]) == {}
    assert bench.drops() == {"unknown_address": 1}


def test_dtls_comes_up_from_bound_addresses_only_and_stun_from_all(bench, call):
    publisher, _, _ = call
    stun, dtls = b"\x00\x01" + bytes(18), b"\x16\xfe\xff" + bytes(20)
    bench.turn([(stun, STRANGER), (dtls, STRANGER), (stun, publisher.address), (dtls, publisher.address)])
    assert bench.punted == [
        (stun, STRANGER, None),
        (stun, publisher.address, publisher.transport),
        (dtls, publisher.address, publisher.transport),
    ]


@pytest.mark.parametrize("first", [4, 19, 64, 127, 192, 255])
def test_first_bytes_that_are_nobodys_are_dropped(bench, call, first):
    publisher, _, _ = call
    bench.turn([(bytes([first]) + bytes(40), publisher.address)])
    assert bench.punted == []
    assert bench.drops() == {"unclassified": 1}


def test_an_unbound_address_is_a_strangers_again(bench, call):
    publisher, subscriber, _ = call
    assert bench.receive(publisher, vp8(1, key=True)).keys() == {subscriber.transport}
    bench.submit(cmd.UnbindAddress(publisher.transport, publisher.address))
    assert bench.receive(publisher, vp8(2)) == {}
    assert bench.drops() == {"unknown_address": 1}


def test_a_second_address_is_the_same_transports(bench, call):
    publisher, subscriber, _ = call
    bench.submit(cmd.BindAddress(publisher.transport, STRANGER))
    out = bench.turn([(publisher.protect(vp8(1, key=True).serialize()), STRANGER)])
    assert len(out[subscriber.transport].rtp) == 1


def test_an_address_moves_to_the_transport_that_bound_it_last(bench, call):
    publisher, subscriber, _ = call
    bench.submit(cmd.BindAddress(subscriber.transport, publisher.address))
    bench.submit(cmd.UnbindAddress(publisher.transport, publisher.address))
    bench.receive(publisher, vp8(1, key=True))
    assert bench.drops() == {"authentication": 1}, "it must be the subscriber's now, and not have been unbound"


def test_ipv6_addresses_are_told_apart_in_both_halves(bench):
    addresses = [("2001:db8::1", 5000), ("2001:db8::2", 5000), ("2001:db9::1", 5000), ("2001:db8::1", 5001)]
    transports = []
    for address in addresses:
        transport = bench.plane.allocate_transport()
        bench.submit(cmd.AddTransport(transport), cmd.BindAddress(transport, address))
        transports.append(transport)
    found = []
    for high, low, port in [address_key(address) for address in addresses]:
        found += [
            int(row.transport)
            for row in bench.tables.addresses
            if (row.state, row.high, row.low, row.port) == (1, high, low, port)
        ]
    assert found == transports


def test_without_keys_nothing_is_taken_and_nothing_is_sent(bench):
    publisher, subscriber = bench.peer(keys=False), bench.peer(keys=False)
    track = bench.publish(publisher, video())
    bench.subscribe(subscriber, track, sending())
    assert bench.receive(publisher, vp8(1, key=True)) == {}
    assert bench.drops() == {"no_keys": 1}
    bench.submit(cmd.InstallKeys(publisher.transport, publisher.keys))
    assert subscriber.transport not in bench.receive(publisher, vp8(2, key=True))
    bench.submit(cmd.InstallKeys(subscriber.transport, subscriber.keys))
    assert len(bench.receive(publisher, vp8(3, key=True))[subscriber.transport].rtp) == 1


def test_without_a_destination_nothing_is_sent_and_video_starts_again_with_a_key_frame(bench, call):
    publisher, subscriber, _ = call
    bench.receive(publisher, vp8(1, key=True))
    bench.submit(cmd.SetDestination(subscriber.transport, None))
    assert subscriber.transport not in bench.receive(publisher, vp8(2))
    assert bench.advance(3)[subscriber.transport] == [], "not even reports"
    bench.submit(cmd.SetDestination(subscriber.transport, subscriber.address))
    assert subscriber.transport not in bench.receive(publisher, vp8(3))
    (packet,) = bench.receive(publisher, vp8(4, key=True))[subscriber.transport].packets
    assert packet.sequence_number == 1001


def test_authentication_failures_and_replays_are_counted_and_change_nothing(bench, call):
    publisher, subscriber, track = call
    good = publisher.protect(vp8(1, key=True).serialize())
    broken = bytearray(publisher.protect(vp8(2).serialize()))
    broken[20] ^= 1
    assert len(bench.turn([(good, publisher.address)])[subscriber.transport].rtp) == 1
    before = bench.plane.receive_statistics(track)
    assert bench.turn([(bytes(broken), publisher.address), (good, publisher.address)]) == {}
    assert bench.drops() == {"authentication": 1, "replay": 1}
    statistics = bench.plane.transport_statistics(publisher.transport)
    assert (statistics.authentication_failures, statistics.replays, statistics.packets_received) == (1, 1, 1)
    assert bench.plane.receive_statistics(track) == before


def test_a_thousand_replayed_packets_are_a_thousand_drops(bench, call):
    publisher, _, _ = call
    captured = [publisher.protect(vp8(n, key=n == 0).serialize()) for n in range(40)]
    bench.turn([(datagram, publisher.address) for datagram in captured])
    for _ in range(25):
        assert bench.turn([(datagram, publisher.address) for datagram in captured]) == {}
    assert bench.drops()["replay"] == 1000


def test_plain_rtp_and_rtcp_have_no_effect(bench, call):
    publisher, _, track = call
    bench.turn([(vp8(1, key=True).serialize() + bytes(16), publisher.address)])
    bench.turn([(ReceiverReport(1).serialize() + bytes(30), publisher.address)])
    assert bench.drops() == {"authentication": 2}
    assert bench.plane.receive_statistics(track)[0].packets == 0


def test_srtcp_without_the_encryption_bit_has_no_effect(bench, call):
    _, subscriber, _ = call
    datagram = bytearray(subscriber.protect(ReceiverReport(1).serialize()))
    datagram[-4] &= 0x7F  # E and the index stand behind the tag (RFC 7714 §9.1)
    bench.turn([(bytes(datagram), subscriber.address)])
    assert bench.drops() == {"authentication": 1}


def test_another_peers_keys_do_not_open_anything(bench, call):
    publisher, subscriber, _ = call
    bench.turn([(subscriber.protect(vp8(1, key=True).serialize()), publisher.address)])
    assert bench.drops() == {"authentication": 1}


def test_unannounced_ssrcs_are_bounded_and_unauthenticated_ones_leave_no_trace(bench, call):
    publisher, subscriber, _ = call
    transport = bench.tables.transports[publisher.transport]
    announced = int(transport.stream_count)
    for ssrc in range(100):
        bench.turn([(vp8(1, ssrc=50_000 + ssrc).serialize() + bytes(16), publisher.address)])
    assert transport.stream_count == announced
    for start in range(0, MAX_STREAMS + 60, 20):
        bench.receive(publisher, *[vp8(1, ssrc=60_000 + start + index) for index in range(20)])
    assert transport.stream_count == MAX_STREAMS
    assert bench.drops()["stream_limit"] == announced + 60 + (-(MAX_STREAMS + 60) % 20)
    assert len(bench.receive(publisher, vp8(1, key=True))[subscriber.transport].rtp) == 1, "the announced one goes on"


def test_an_ssrc_that_has_been_silent_gives_way_to_a_new_one(bench, call):
    publisher, *_ = call
    transport = bench.tables.transports[publisher.transport]
    while transport.stream_count < MAX_STREAMS:
        bench.receive(publisher, vp8(1, ssrc=60_000 + int(transport.stream_count)))
    bench.state.now += 9_000_000
    bench.receive(publisher, vp8(2, ssrc=60_255), vp8(1, ssrc=1))
    assert bench.drops()["stream_limit"] == 1, "all have been heard too recently"
    bench.state.now += 2_000_000
    bench.receive(publisher, vp8(2, ssrc=1))
    assert bench.drops()["stream_limit"] == 1
    known = {int(row.ssrc) for row in bench.tables.stream_keys if row.state == 1}
    assert len(known) == transport.stream_count == MAX_STREAMS
    assert {1, 60_255} < known


def test_tracks_that_come_and_go_do_not_use_a_transport_up(bench):
    """A member who switches the camera on and off all day: new SSRCs each time, or the same ones."""
    publisher, subscriber = bench.peer(), bench.peer()
    for turn in range(2 * MAX_STREAMS):
        ssrc = 10_000 + 2 * turn if turn % 2 else 9_000
        media = replace(video(), encodings=(cmd.TrackEncoding(ssrc=ssrc, rtx_ssrc=ssrc + 1),))
        track = bench.publish(publisher, media)
        send = bench.subscribe(subscriber, track, sending(20_000 + 2 * turn))
        number = 1 + turn
        assert len(bench.receive(publisher, vp8(number, ssrc=ssrc, key=True))[subscriber.transport].rtp) == 1
        bench.submit(cmd.RemoveSubscription(send), cmd.RemoveTrack(track))
        bench.state.now += 1_000_000
    assert bench.tables.transports[publisher.transport].stream_count <= MAX_STREAMS
    assert not bench.drops()


def test_an_ssrc_that_came_by_mid_and_is_announced_for_another_track_goes_once(bench):
    """Given back twice it was chained to itself, and the end of the transport was an endless loop."""
    publisher = bench.peer()
    by_mid = bench.publish(publisher, replace(video(mid="v"), encodings=(cmd.TrackEncoding(),)))
    bench.receive(publisher, vp8(1, ssrc=77, key=True, extensions={1: b"v"}))
    announced = bench.publish(publisher, replace(video(), encodings=(cmd.TrackEncoding(ssrc=77),)))
    bench.submit(cmd.RemoveTrack(by_mid), cmd.RemoveTrack(announced), cmd.RemoveTransport(publisher.transport))
    assert not [row for row in bench.tables.stream_keys if row.state == 1]


def test_ssrcs_that_never_sent_are_forgotten_with_their_track(bench):
    publisher = bench.peer()
    before = int(bench.tables.transports[publisher.transport].stream_count)
    for turn in range(10):
        bench.submit(
            cmd.RemoveTrack(bench.publish(publisher, replace(video(), encodings=(cmd.TrackEncoding(ssrc=900 + turn),))))
        )
    assert bench.tables.transports[publisher.transport].stream_count == before
    assert not [row for row in bench.tables.stream_keys if row.state == 1]


def test_authentic_packets_that_do_not_parse_count_as_ssrcs_too(bench):
    """libsrtp has made state for them, whatever is in them."""
    publisher = bench.peer()
    for start in range(0, MAX_STREAMS + 60, 20):
        plain = [bytes([0xA0]) + vp8(1, ssrc=5000 + start + index).serialize()[1:-1] + b"\0" for index in range(20)]
        bench.receive(publisher, *plain)
    assert bench.tables.transports[publisher.transport].stream_count == MAX_STREAMS
    assert bench.drops() == {"malformed": MAX_STREAMS, "stream_limit": 64}


def test_two_ssrcs_may_take_turns_under_one_mid_and_the_loop_hears_of_it_ten_times_a_second(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    track = bench.publish(publisher, replace(video(mid="v"), encodings=(cmd.TrackEncoding(),)))
    bench.subscribe(subscriber, track, sending())
    for number in range(MAX_STREAMS + 50):
        packet = vp8(1 + number, ssrc=5 + number % 2, key=True, extensions={1: b"v"})
        assert len(bench.receive(publisher, packet)[subscriber.transport].rtp) == 1
        bench.state.now += 10_000
    assert bench.tables.transports[publisher.transport].stream_count == 2
    told = [event for event in bench.events if isinstance(event, StreamStarted)]
    assert len(told) == (MAX_STREAMS + 50 + 9) // 10


def test_packets_before_and_after_a_track_leave_nothing_behind(bench):
    """The SSRC of packets that came too early was chained twice, which made the end of the transport an endless loop."""
    publisher, other = bench.peer(), bench.peer()
    bench.receive(publisher, vp8(1))
    track = bench.publish(publisher, video())
    bench.receive(publisher, vp8(2))
    bench.submit(cmd.RemoveTrack(track))
    bench.receive(publisher, vp8(3))
    bench.submit(cmd.RemoveTransport(publisher.transport))
    assert not [row for row in bench.tables.stream_keys if row.state == 1 and row.transport == publisher.transport]
    track = bench.publish(other, video())
    bench.receive(other, vp8(1))
    assert bench.plane.receive_statistics(track)[0].packets == 1


def test_a_flood_of_one_peer_is_policed_and_others_are_not_touched(bench, call):
    publisher, subscriber, _ = call
    flooder = bench.peer()
    junk = flooder.protect(vp8(1, ssrc=9).serialize())
    for _ in range(90):
        bench.turn([(junk, flooder.address)] * 64)
    assert bench.drops()["policed"] == 90 * 64 - 5_000
    assert len(bench.receive(publisher, vp8(1, key=True))[subscriber.transport].rtp) == 1
    bench.advance(0.1)
    before = bench.drops()["policed"]
    bench.turn([(junk, flooder.address)])
    assert bench.drops()["policed"] == before, "100 ms later there is room again"


def test_a_track_is_policed_by_its_bytes_and_the_publishers_other_track_is_not_touched(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    flooding = bench.publish(publisher, replace(video(), limit_bps=80_000))  # 10,000 bytes a second
    bench.subscribe(subscriber, flooding, sending())
    other = replace(video(), encodings=(cmd.TrackEncoding(5000, None),), mid="other", limit_bps=160_000)
    bench.publish(publisher, other)
    big = bytes(1000 - 12 - 10)

    def taken(first, count, **fields):
        before = bench.drops().get("policed", 0)
        bench.receive(publisher, *(vp8(first + index, **fields) for index in range(count)))
        return count - (bench.drops().get("policed", 0) - before)

    assert 9 <= taken(1, 30, payload=big) <= 10, "a second's worth at once"
    assert taken(1, 20, ssrc=5000) == 20
    bench.advance(0.5)
    assert 4 <= taken(31, 30, payload=big) <= 6, "half a second later, half of that"
    bench.advance(10)
    assert 9 <= taken(61, 30, payload=big) <= 10, "it saves up no more than a second"


def test_short_packets_have_a_least_cost_and_rtx_counts_like_media(bench):
    publisher, speaker = bench.peer(), bench.peer()
    bench.publish(publisher, replace(video(), limit_bps=40_000))  # ten times 500 bytes a second
    bench.receive(publisher, *(vp8(number, key=number == 1) for number in range(1, 21)))
    assert bench.drops()["policed"] == 10
    for number, policed in ((1, 11), (2, 11)):
        repeated = payloads.rtx(vp8(11), ssrc=2000, payload_type=97, sequence_number=number)
        bench.receive(publisher, repeated)
        assert bench.drops()["policed"] == policed
        bench.advance(1.0)
    bench.publish(speaker, replace(audio(), limit_bps=8_000))  # ten times 100 bytes a second
    bench.receive(speaker, *(opus(number) for number in range(1, 21)))
    assert bench.drops()["policed"] == policed + 10
