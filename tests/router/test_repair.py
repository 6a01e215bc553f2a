"""What was lost and is asked for again: NACK, PLI and FIR upstream by the clock; retransmissions downstream."""

from itertools import pairwise

import pytest

from sluicegate.router import commands as cmd
from sluicegate.router.kernel.feedback import EFFORT
from sluicegate.rtp.names import Extension
from tests.support import payloads
from tests.support.rtcp_packet import Bye, Fir, Nack, Pli, ReceiverReport, ReportBlock, SenderReport
from tests.support.rtp_packet import RtpPacket

from .harness import NTP_OFFSET_US, Bench, audio, listening, opus, sending, video, vp8


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


def call(bench, media=None, receive=None):
    """A publisher whose first key frame has come, two seconds after it was asked for, and a subscriber of it."""
    publisher, subscriber = bench.peer(), bench.peer()
    track = bench.publish(publisher, media or video())
    send = bench.subscribe(subscriber, track, receive or sending())
    bench.receive(publisher, vp8(0, key=True))
    bench.advance(2)
    return publisher, subscriber, track, send


def asked(sent, kind):
    """(milliseconds since the first two seconds, packet) of one kind of feedback."""
    return [(round((at - 2) * 1000), packet) for at, packet in sent if isinstance(packet, kind)]


def test_a_loss_behind_a_key_frame_of_the_same_batch_asks_for_another(bench):
    """The key frame that had just come was taken for the answer to what was missed behind it."""
    publisher, *_ = call(bench)
    sent = bench.receive(publisher, vp8(1, key=True), vp8(2), vp8(600))[publisher.transport].feedback
    assert [packet.media_ssrc for packet in sent if isinstance(packet, Pli)] == [1000]


def test_to_resume_with_a_lower_encoding_asks_nothing_of_the_one_that_is_left(bench):
    """Its key frame would have been sent once more, at the very moment when it is given up."""
    publisher, subscriber = bench.peer(), bench.peer()
    track = bench.publish(publisher, video(encodings=2))
    send = bench.subscribe(subscriber, track, sending())
    low, high = (int(encoding.ssrc) for encoding in bench.plane.receive_statistics(track))
    for number in (1, 2):
        bench.receive(publisher, vp8(number, ssrc=low, key=True), vp8(number, ssrc=high, key=True))
        bench.advance(1)
    bench.receive(publisher, vp8(3, ssrc=low), vp8(3, ssrc=high))
    sent = bench.submit(
        cmd.PauseSubscription(send, True), cmd.SelectLayers(send, 0, 7), cmd.PauseSubscription(send, False)
    )[publisher.transport].feedback
    sent += [packet for _, packet in bench.advance(0.3)[publisher.transport]]
    assert {packet.media_ssrc for packet in sent if isinstance(packet, Pli)} == {low}


# ── upstream: NACK ──


def test_a_gap_is_asked_for_after_10_ms_and_then_each_40_ms_ten_times_and_then_a_key_frame(bench):
    publisher, _, track, _ = call(bench)
    bench.receive(publisher, vp8(2))
    sent = bench.advance(3)[publisher.transport]
    nacks = asked(sent, Nack)
    plis = asked(sent, Pli)
    times = [at for at, _ in nacks] + [plis[0][0]]
    assert times[0] == 10
    assert len(nacks) == 10
    assert all(40 <= later - earlier <= 45 for earlier, later in pairwise(times)), "timers are looked at each 5 ms"
    assert all(nack.lost == (1,) and nack.media_ssrc == 1000 for _, nack in nacks)
    assert [round(at - plis[0][0], -1) for at, _ in plis] == [0, 1000, 2000], "each second until the key frame comes"
    assert plis[0][1].media_ssrc == 1000
    assert bench.plane.receive_statistics(track)[0].nacks == 10


def test_what_comes_within_10_ms_is_not_asked_for(bench):
    publisher, _, _, _ = call(bench)
    bench.receive(publisher, vp8(2))
    bench.advance(0.008)
    bench.receive(publisher, vp8(1))
    assert asked(bench.advance(1)[publisher.transport], (Nack, Pli)) == []


def test_what_rtx_brings_is_not_asked_for_again_and_counts_as_a_retransmission(bench):
    publisher, _, track, _ = call(bench)
    bench.receive(publisher, vp8(2))
    assert len(asked(bench.advance(0.03)[publisher.transport], Nack)) == 1
    bench.receive(publisher, payloads.rtx(vp8(1), ssrc=2000, payload_type=97, sequence_number=5))
    assert asked(bench.advance(1)[publisher.transport], (Nack, Pli)) == []
    statistics = bench.plane.receive_statistics(track)[0]
    assert (statistics.retransmissions, statistics.packets_lost, statistics.packets) == (1, 0, 3)


@pytest.mark.parametrize(
    ("round_trip", "first"), [(0.01, 410), (0.05, 410), (0.1, 410), (0.15, 460), (0.2, 410), (0.24, 490)]
)
def test_some_400_ms_after_a_gap_a_key_frame_is_wanted(bench, round_trip, first):
    publisher, *_ = call(bench)
    bench.subscribe(publisher, bench.publish(bench.peer(), audio()), listening(ssrc=7700))
    _report_round_trip(bench, publisher, 7700, round_trip)
    bench.receive(publisher, vp8(2))
    sent = bench.advance(1.9)[publisher.transport]
    begin, again = (at for at, _ in asked(sent, Pli))
    assert first <= begin <= first + 25 and begin + 1000 <= again <= begin + 1050
    nacks = [at for at, _ in asked(sent, Nack)]
    assert len(nacks) <= 10 and nacks[-1] >= begin - 50, "what is missing is still asked for"


def test_a_nack_waits_for_a_long_round_trip(bench):
    publisher, subscriber, _, send = call(bench)
    del subscriber, send
    mine = bench.publish(bench.peer(), audio())
    bench.subscribe(publisher, mine, listening(ssrc=7700))
    _report_round_trip(bench, publisher, 7700, 0.3)
    bench.receive(publisher, vp8(2))
    times = [at for at, _ in asked(bench.advance(1)[publisher.transport], Nack)]
    assert times[:3] == [10, 310, 610]


def _report_round_trip(bench, peer, ssrc, seconds):
    """A receiver report of a stream that `peer` gets, which says that its answer took so long."""
    ntp = bench.now + NTP_OFFSET_US - round(seconds * 1e6)
    middle = (ntp // 1_000_000 & 0xFFFF) << 16 | (ntp % 1_000_000 << 16) // 1_000_000
    bench.receive_rtcp(peer, ReceiverReport(1, (ReportBlock(ssrc, last_sr=middle),)))


def test_one_nack_names_losses_across_the_wrap_in_pid_and_blp(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    bench.subscribe(subscriber, bench.publish(publisher, video()), sending())
    bench.receive(publisher, vp8(65_530, key=True))
    lost = (65_532, 65_535, 0, 3, 20, 21)
    bench.receive(publisher, *[vp8(n) for n in range(65_531, 65_566) if n & 0xFFFF not in lost])
    ((_, nack),) = [entry for entry in bench.advance(0.04)[publisher.transport] if isinstance(entry[1], Nack)]
    assert nack.lost == lost
    assert len(nack.serialize()) == 12 + 4 * 2


@pytest.mark.parametrize("stride", [2, 17, 18, 40])
def test_a_nack_of_many_losses_stays_below_the_mtu(bench, stride):
    publisher, _, _, _ = call(bench)
    arriving = [vp8(n) for n in range(1, 480) if n % stride]
    for start in range(0, len(arriving), 60):
        bench.receive(publisher, *arriving[start : start + 60])
    sizes = []
    for _ in range(8):
        bench.state.now += 5_000
        sizes += [len(data) for data in bench.turn([])[publisher.transport].rtcp]
    assert sizes
    assert max(sizes) <= 1200


def test_a_jump_of_30000_is_not_asked_for_packet_by_packet(bench):
    publisher, subscriber, _, _ = call(bench)
    assert bench.receive(publisher, vp8(30_000)) == {}, "one such packet may be an accident"
    assert asked(bench.advance(0.1)[publisher.transport], (Nack, Pli)) == []
    bench.receive(publisher, vp8(30_001), vp8(30_002))
    sent = bench.advance(2)[publisher.transport]
    assert asked(sent, Nack) == []
    assert len(asked(sent, Pli)) == 2
    (packet,) = bench.receive(publisher, vp8(30_003, key=True))[subscriber.transport].packets
    assert packet.sequence_number == 1001


@pytest.mark.parametrize(("gap", "nacks"), [(400, True), (401, False), (2900, False)])
def test_a_gap_too_wide_for_nack_asks_for_a_key_frame(bench, gap, nacks):
    publisher, _, _, _ = call(bench)
    at_once = bench.receive(publisher, vp8(1 + gap))[publisher.transport].feedback
    assert [type(packet) for packet in at_once] == ([] if nacks else [Pli])
    asked_for = asked(bench.advance(0.02)[publisher.transport], Nack)
    assert sum(len(nack.lost) for _, nack in asked_for) == (gap if nacks else 0)


def test_no_nack_goes_to_a_publisher_that_did_not_negotiate_it(bench):
    publisher, _, _, _ = call(bench, video(nack=False))
    bench.receive(publisher, vp8(2))
    sent = bench.advance(1)[publisher.transport]
    assert asked(sent, Nack) == []
    assert len(asked(sent, Pli)) == 1


def test_audio_asks_by_nack_and_never_for_a_key_frame(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    bench.subscribe(subscriber, bench.publish(publisher, audio(nack=True)), listening())
    bench.receive(publisher, opus(0), opus(2))
    sent = bench.advance(2)[publisher.transport]
    assert len([packet for _, packet in sent if isinstance(packet, Nack)]) == 10
    assert not [packet for _, packet in sent if isinstance(packet, Pli)]


# ── upstream: key frames ──


def test_a_new_subscription_asks_for_a_key_frame_at_once(bench):
    publisher, _, track, _ = call(bench)
    late = bench.peer()
    bench.plane.submit(
        cmd.AddSubscription(bench.plane.allocate_send(), late.transport, track, sending(ssrc=7500), False, 5, 5)
    )
    assert [type(packet) for packet in bench.turn([])[publisher.transport].feedback] == [Pli]


def test_a_storm_of_requests_becomes_one_in_500_ms(bench):
    publisher, subscriber, track, _ = call(bench)
    another = bench.peer()
    bench.subscribe(another, track, sending(ssrc=7500))
    bench.receive(publisher, vp8(1, key=True))
    bench.advance(1)
    times = []
    for _ in range(250):
        for peer, ssrc in ((subscriber, 7000), (another, 7500)):
            sent = bench.receive_rtcp(peer, Pli(1, ssrc), Pli(1, ssrc))[publisher.transport].feedback
            times += [bench.seconds for packet in sent if isinstance(packet, Pli)]
        bench.state.now += 4_000
    assert [round(at - times[0], 2) for at in times] == [0, 0.5]


def test_a_key_frame_ends_the_asking(bench):
    publisher, subscriber, _, _ = call(bench)
    bench.receive_rtcp(subscriber, Pli(1, 7000))
    bench.receive(publisher, vp8(1, key=True))
    assert asked(bench.advance(3)[publisher.transport], Pli) == []


def test_fir_where_there_is_no_pli_with_a_new_number_each_time_and_nothing_where_there_is_neither(bench):
    for media, expected in ((video(pli=False, fir=True), 3), (video(pli=False), 0)):
        publisher, subscriber = bench.peer(), bench.peer()
        track = bench.publish(publisher, media)
        bench.subscribe(subscriber, track, sending())
        bench.receive(publisher, vp8(0, key=True))
        numbers = []
        for count in range(1, 4):
            bench.advance(1)
            for packet in bench.submit(cmd.RequestKeyFrame(track))[publisher.transport].feedback:
                assert isinstance(packet, Fir)
                ((ssrc, number),) = packet.requests
                assert ssrc == 1000
                numbers.append(number)
            bench.receive(publisher, vp8(count, key=True))
        assert len(numbers) == expected
        assert [(number - numbers[0]) & 255 for number in numbers] == list(range(expected))


def test_the_last_request_of_a_subscriber_is_not_forgotten_while_it_waits_for_the_spacing(bench):
    publisher, subscriber, _, _ = call(bench)
    assert len(bench.receive_rtcp(subscriber, Fir(1, ((7000, 1),)))[publisher.transport].feedback) == 1
    bench.state.now += 100_000
    assert publisher.transport not in bench.receive_rtcp(subscriber, Fir(1, ((7000, 2),)))
    times = [at for at, _ in asked(bench.advance(0.6)[publisher.transport], Pli)]
    assert times == [500]


def test_a_fir_with_the_same_number_is_the_same_request(bench):
    publisher, subscriber, _, _ = call(bench)
    for sequence, (number, requests) in enumerate(((1, 1), (1, 0), (2, 1), (1, 1)), 1):
        sent = bench.receive_rtcp(subscriber, Fir(1, ((7000, number),)))
        assert len(sent[publisher.transport].feedback) == requests
        bench.receive(publisher, vp8(sequence, key=True))
        bench.advance(0.6)


def test_one_datagram_of_rtcp_does_not_have_everything_looked_at(bench):
    """Transport-wide feedback about 4,000 packets takes 36 bytes; a request looks through the subscriptions."""
    _, subscriber, _, _ = call(bench)
    for ssrc in range(7002, 7042, 2):
        bench.subscribe(subscriber, bench.publish(bench.peer(), audio()), listening(ssrc=ssrc))
    feedback = bytes.fromhex("8fcd 0008 00000001 00001b58 0000 0fa0 00000100") + bytes.fromhex("1fff") * 8
    left = EFFORT - 8 * 4000
    for count in (8, 30):
        bench.receive(subscriber, feedback * count)
        assert bench.state.effort == left, "what is too much is not read"
    for count in (1, left // 21 + 5):
        bench.receive(subscriber, feedback * 8 + Pli(1, 99).serialize() * count)
        assert bench.state.effort == max(left - 21 * count, 0)
    bench.receive(subscriber, Pli(1, 99).serialize())
    assert bench.state.effort == EFFORT - 21, "and the next datagram begins anew"


# ── downstream: retransmissions ──

RTX_OF_1001 = bytes.fromhex(
    "80e5 0000 00001f40 00001b59"  # version 2, marker, payload type 101, own SSRC; the timestamp of the original
    "03e9"  # OSN 1001
    "90e0 8001 01 00 910c00 000003e8 00000001"  # the VP8 payload as it was sent
)


def test_a_nack_is_answered_with_rtx_in_its_own_numbering(bench):
    publisher, subscriber, _, send = call(bench)
    original = bench.receive(publisher, vp8(1), vp8(2), vp8(3))[subscriber.transport].rtp
    first, second = bench.receive_rtcp(subscriber, Nack(1, 7000, (1001, 1003)))[subscriber.transport].rtp
    base = int.from_bytes(first[2:4], "big")
    assert first[:2] + b"\0\0" + first[4:] == RTX_OF_1001
    assert int.from_bytes(second[2:4], "big") == (base + 1) & 0xFFFF
    assert RtpPacket.parse(second).payload == (1003).to_bytes(2, "big") + RtpPacket.parse(original[2]).payload
    statistics = bench.plane.send_statistics(send)
    assert (statistics.nacks, statistics.retransmissions) == (1, 2)


def test_a_number_is_sent_again_once_a_round_trip(bench):
    publisher, subscriber, _, _ = call(bench)
    bench.receive(publisher, vp8(1))
    _report_round_trip(bench, subscriber, 7000, 0.04)
    again = []
    for _ in range(100):
        again += [bench.seconds] * len(bench.receive_rtcp(subscriber, Nack(1, 7000, (1001,)))[subscriber.transport].rtp)
        bench.state.now += 1_000
    assert [round(at - again[0], 3) for at in again] == [0, 0.04, 0.08]


@pytest.mark.parametrize(("round_trip", "wait"), [(0.0001, 0.005), (2.0, 0.1)])
def test_that_round_trip_is_taken_as_5_to_100_ms(bench, round_trip, wait):
    publisher, subscriber, _, _ = call(bench)
    bench.receive(publisher, vp8(1))
    _report_round_trip(bench, subscriber, 7000, round_trip)
    nack = Nack(1, 7000, (1001,))
    bench.receive_rtcp(subscriber, nack)
    bench.state.now += round(wait * 1e6) - 1
    assert bench.receive_rtcp(subscriber, nack) == {}
    bench.state.now += 1
    assert len(bench.receive_rtcp(subscriber, nack)[subscriber.transport].rtp) == 1


def test_in_a_second_no_more_is_sent_again_than_is_kept(bench):
    publisher, subscriber, _, _ = call(bench)
    for first in range(1, 501, 50):
        bench.receive(publisher, *(vp8(number) for number in range(first, first + 50)))
    everything = [Nack(1, 7000, tuple(range(first, first + 17))) for first in range(1001, 1500, 17)]
    again = 0
    for nack in 5 * everything:
        again += len(bench.receive_rtcp(subscriber, nack)[subscriber.transport].rtp)
        bench.state.now += 1_000
    assert 512 + 70 <= again <= 512 + 80, "and 150 ms have gone by"


def test_without_rtx_the_very_same_datagram_goes_again(bench):
    media = sending(
        rtx_ssrc=None,
        rtx_payload_type=None,
        extensions={Extension.MID: 1, Extension.TRANSPORT_CC: 2, Extension.ABS_SEND_TIME: 3},
    )
    publisher, subscriber, _, _ = call(bench, receive=media)
    (original,) = bench.receive(publisher, vp8(1))[subscriber.transport].raw
    bench.state.now += 20_000
    (again,) = bench.receive_rtcp(subscriber, Nack(1, 7000, (1001,)))[subscriber.transport].raw
    assert again == original


def test_only_the_last_512_numbers_can_be_had_again(bench):
    publisher, subscriber, _, _ = call(bench)
    for start in range(1, 601, 60):
        bench.receive(publisher, *[vp8(n) for n in range(start, start + 60)])
    newest = 1000 + 600
    for number, available in (
        (newest - 511, True),
        (newest - 512, False),
        (newest, True),
        (newest + 1, False),
        (999, False),
    ):
        out = bench.receive_rtcp(subscriber, Nack(1, 7000, (number & 0xFFFF,)))
        assert bool(out) is available, number


def test_one_rtcp_packet_brings_no_more_than_64_back(bench):
    publisher, subscriber, _, _ = call(bench)
    for start in range(1, 241, 60):
        bench.receive(publisher, *[vp8(n) for n in range(start, start + 60)])
    out = bench.receive_rtcp(subscriber, Nack(1, 7000, tuple(range(1001, 1200))))
    assert len(out[subscriber.transport].rtp) == 64


def test_nobody_gets_anything_by_another_peers_ssrc(bench):
    publisher, subscriber, track, send = call(bench)
    stranger = bench.peer()
    bench.subscribe(stranger, track, sending(ssrc=7500))
    bench.receive(publisher, vp8(1, key=True), vp8(2))
    bench.advance(2)
    before = bench.plane.send_statistics(send)
    foreign = (Nack(7500, 7000, (1001, 1002)), Pli(7500, 7000), Fir(7500, ((7000, 1),)), Bye((1000,)), Pli(1, 1000))
    assert bench.receive_rtcp(stranger, SenderReport(1000, 1, 1, 1, 1), *foreign) == {}
    assert bench.plane.send_statistics(send) == before
    assert not [event for event in bench.events if type(event).__name__ == "ByeReceived"]


def test_a_subscription_without_nack_and_a_paused_one_get_nothing_again(bench):
    publisher, subscriber, track, send = call(bench, receive=sending(nack=False))
    other = bench.peer()
    paused = bench.subscribe(other, track, sending(ssrc=7500))
    bench.receive(publisher, vp8(1, key=True))
    bench.submit(cmd.PauseSubscription(paused, True))
    assert bench.receive_rtcp(subscriber, Nack(1, 7000, (1001,))) == {}
    assert bench.receive_rtcp(other, Nack(1, 7500, (1000,))) == {}
    assert bench.plane.send_statistics(send).retransmissions == 0
