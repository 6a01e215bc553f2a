"""RTCP by the clock and the figures behind it: sender and receiver reports, transport-wide feedback, REMB, statistics."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.compiled import INTERPRETED
from sluicegate.router import commands as cmd
from sluicegate.router.events import ByeReceived
from sluicegate.rtp.names import Extension
from tests.support.rtcp_packet import (
    Bye,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    pack,
    parse_rtcp,
)

from .harness import NTP_OFFSET_US, Bench, audio, listening, opus, sending, video, vp8


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


def ntp_of(microseconds: int) -> int:
    """The 64-bit NTP timestamp of a time in microseconds."""
    return microseconds // 1_000_000 << 32 | (microseconds % 1_000_000 << 32) // 1_000_000


def of_kind(sent, kind):
    return [(at, packet) for at, packet in sent if isinstance(packet, kind)]


# ── receiver reports, and what a publisher's stream looks like ──


class Reception:
    """RFC 3550 A.3 and A.8 as the appendix has them, for packets without duplicates."""

    def __init__(self, clock_rate: int) -> None:
        self.clock_rate = clock_rate
        self.base = self.highest = self.transit = None
        self.received = self.expected_prior = self.received_prior = 0
        self.jitter = 0

    def take(self, number: int, timestamp: int, now_us: int) -> None:
        self.base = number if self.base is None else self.base
        self.highest = number if self.highest is None else max(self.highest, number)
        self.received += 1
        arrival = now_us * self.clock_rate // 1_000_000
        transit = (arrival - timestamp) % 2**32
        if self.transit is not None:
            difference = (transit - self.transit + 2**31) % 2**32 - 2**31
            self.jitter += abs(difference) - ((self.jitter + 8) >> 4)
        self.transit = transit

    def report(self) -> tuple[int, int, int, int]:
        """(fraction lost, cumulative loss, extended highest number, jitter)."""
        expected = self.highest - self.base + 1
        interval, received = expected - self.expected_prior, self.received - self.received_prior
        self.expected_prior, self.received_prior = expected, self.received
        lost = interval - received
        fraction = 0 if interval == 0 or lost <= 0 else (lost << 8) // interval
        return min(fraction, 255), expected - self.received, self.highest, self.jitter >> 4


@settings(max_examples=15 if INTERPRETED else 60)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40_000)), min_size=5, max_size=80), st.integers(0, 2**32 - 1)
)
def test_receiver_reports_and_statistics_are_rfc_3550s(arrivals, first_timestamp):
    with Bench() as bench:
        publisher = bench.peer()
        track = bench.publish(publisher, audio())
        own = Reception(48_000)
        number = 65_500
        reports = []
        for gap, wait in arrivals:
            number += 1 + gap
            bench.state.now += wait
            timestamp = first_timestamp + number * 960 & 0xFFFFFFFF
            output = bench.receive(publisher, opus(number, timestamp=timestamp))
            own.take(number, timestamp, bench.now)
            for packet in output[publisher.transport].feedback:
                if isinstance(packet, ReceiverReport):
                    (block,) = packet.reports
                    # The report is written when the packet has been taken.
                    reports.append((block, own.report()))
        for _, packet in of_kind(bench.advance(1.1)[publisher.transport], ReceiverReport):
            reports.append((packet.reports[0], own.report()))
        assert reports
        for block, (fraction, lost, highest, jitter) in reports:
            assert block.ssrc == 3000
            assert (block.fraction_lost, block.packets_lost) == (fraction, lost)
            assert (block.highest_sequence, block.jitter) == (highest, jitter)
        (statistics,) = bench.plane.receive_statistics(track)
        assert statistics.packets == len(arrivals)
        assert statistics.packets_lost == own.highest - own.base + 1 - own.received
        assert statistics.jitter == pytest.approx(own.jitter / 16 / 48_000)
        assert statistics.bytes == len(arrivals) * len(opus(1).payload)


def test_jitter_of_even_arrivals_is_nothing_and_survives_the_timestamps_wrap(bench):
    publisher = bench.peer()
    track = bench.publish(publisher, audio())
    for count in range(40):
        bench.state.now += 20_000
        bench.receive(publisher, opus(count, timestamp=2**32 - 9_600 + 960 * count & 0xFFFFFFFF))
    assert bench.plane.receive_statistics(track)[0].jitter == 0


def test_cumulative_loss_is_clamped_to_24_bits_and_the_wrap_is_counted(bench):
    publisher = bench.peer()
    bench.publish(publisher, audio())
    bench.receive(publisher, opus(65_535), opus(65_536))
    stream = bench.tables.receive_streams[0]
    stream.received -= 1 << 25
    ((_, report), *_) = of_kind(bench.advance(1.1)[publisher.transport], ReceiverReport)
    assert report.reports[0].packets_lost == 0x7FFFFF
    assert report.reports[0].highest_sequence == 1 << 16


def test_a_receiver_report_answers_the_last_sender_report(bench):
    publisher = bench.peer()
    bench.publish(publisher, audio())
    bench.receive(publisher, opus(1))
    bench.receive_rtcp(publisher, SenderReport(3000, 0x1111_2222_3333_4444, 960, 1, 1))
    sent = of_kind(bench.advance(1.1)[publisher.transport], ReceiverReport)
    assert len(sent) >= 1
    for at, report in sent:
        assert report.reports[0].last_sr == 0x2222_3333
        assert report.reports[0].delay_since_last_sr == round(at * 1e6) * 65536 // 1_000_000


def test_reports_are_compounds_with_a_cname_once_a_second(bench):
    publisher = bench.peer()
    bench.publish(publisher, audio())
    bench.receive(publisher, opus(1))
    times = []
    for _ in range(1000):
        bench.state.now += 5_000
        for data in bench.turn([])[publisher.transport].rtcp:
            report, description = parse_rtcp(data)
            assert isinstance(report, ReceiverReport)
            assert isinstance(description, SourceDescription)
            assert list(description.cnames) == [report.ssrc]
            times.append(bench.seconds)
    assert all(0.85 <= later - earlier <= 1.05 for earlier, later in zip(times, times[1:], strict=False))
    assert 4 <= len(times) <= 6


def test_reports_on_many_streams_stay_below_the_mtu_and_miss_none(bench):
    publisher, ssrcs = bench.peer(), set()
    others = [bench.peer() for _ in range(2)]
    for index in range(40):
        ssrc = 4000 + index
        bench.publish(publisher, audio(encodings=(cmd.TrackEncoding(ssrc=ssrc),)))
        bench.receive(publisher, opus(1, ssrc=ssrc))
        ssrcs.add(ssrc)
    track = bench.publish(others[0], audio())
    sends = [7000 + index for index in range(30)]
    for ssrc in sends:
        bench.subscribe(publisher, track, listening(ssrc=ssrc))
    bench.receive(others[0], opus(1))
    seen_blocks, seen_senders, cnames = set(), set(), set()
    for _ in range(250):
        bench.state.now += 5_000
        for data in bench.turn([])[publisher.transport].rtcp:
            assert len(data) <= 1200
            for packet in parse_rtcp(data):
                if isinstance(packet, SenderReport):
                    seen_senders.add(packet.ssrc)
                if isinstance(packet, (SenderReport, ReceiverReport)):
                    seen_blocks |= {block.ssrc for block in packet.reports}
                if isinstance(packet, SourceDescription):
                    cnames |= packet.cnames.keys()
    assert seen_blocks == ssrcs
    assert seen_senders == set(sends) <= cnames


# ── sender reports ──


def test_sender_reports_carry_the_publishers_clock_and_our_counts(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    track = bench.publish(publisher, audio())
    send = bench.subscribe(subscriber, track, listening(), timestamp=5000)
    bench.receive(publisher, opus(10, timestamp=100_000))
    # The publisher's clock is an hour behind and its report took no time.
    theirs = bench.now + NTP_OFFSET_US - 3_600_000_000
    bench.receive_rtcp(publisher, SenderReport(3000, ntp_of(theirs), 100_000 + 480, 1, 1))
    reported = bench.now
    bench.state.now += 20_000
    bench.receive(publisher, opus(11, timestamp=100_960))
    sent = of_kind(bench.advance(2.5)[subscriber.transport], SenderReport)
    assert len(sent) >= 2
    for at, report in sent:
        now = round(at * 1e6) + 5_000_000_000
        assert abs(report.ntp - ntp_of(now + NTP_OFFSET_US)) <= 1 << 12
        expected = 5000 + 480 + (now - reported) * 48 // 1000
        assert abs(report.rtp_timestamp - expected) <= 1
        assert (report.ssrc, report.packets, report.octets) == (7000, 2, 2 * len(opus(1).payload))
    statistics = bench.plane.send_statistics(send)
    assert (statistics.packets, statistics.packets_lost, statistics.rtt) == (2, 0, None)


def test_lips_and_voice_stay_together_whatever_way_their_reports_took(bench):
    """Captured together, sent by a publisher whose two reports took 5 and 60 ms: together at the receiver, to 1 ms."""
    publisher, subscriber = bench.peer(), bench.peer()
    for media, receive in ((audio(), listening()), (video(), sending(ssrc=7100))):
        bench.subscribe(subscriber, bench.publish(publisher, media), receive, timestamp=0)
    bench.receive(publisher, opus(0, timestamp=0), vp8(0, key=True, timestamp=0))
    captured = bench.now + NTP_OFFSET_US + 77_000_000
    bench.state.now += 5_000
    bench.receive_rtcp(publisher, SenderReport(3000, ntp_of(captured), 0, 1, 1))
    bench.state.now += 55_000
    bench.receive_rtcp(publisher, SenderReport(1000, ntp_of(captured), 0, 1, 1))
    moments = {}
    for _, report in of_kind(bench.advance(1.5)[subscriber.transport], SenderReport):
        rate = 48_000 if report.ssrc == 7000 else 90_000
        signed = (report.rtp_timestamp + 2**31) % 2**32 - 2**31
        moments[report.ssrc] = report.ntp / 2**32 - signed / rate
    assert abs(moments[7000] - moments[7100]) < 0.001


def test_counters_beyond_32_bits_are_sent_modulo(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    send = bench.subscribe(subscriber, bench.publish(publisher, audio()), listening())
    bench.receive(publisher, opus(1))
    row = bench.tables.send_streams[send]
    row.packets, row.octets = 2**32 + 5, 2**32 + 7
    bench.tables.receive_streams[0].packets = 2**40
    ((_, report), *_) = of_kind(bench.advance(1.2)[subscriber.transport], SenderReport)
    assert (report.packets, report.octets) == (5, 7)


def test_a_subscribers_report_is_in_the_statistics(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    send = bench.subscribe(subscriber, bench.publish(publisher, audio()), listening())
    bench.receive(publisher, opus(1))
    now = bench.now + NTP_OFFSET_US
    middle = ntp_of(now - 180_000) >> 16 & 0xFFFFFFFF
    block = ReportBlock(
        7000, fraction_lost=64, packets_lost=-3, jitter=480, last_sr=middle, delay_since_last_sr=65536 // 10
    )
    bench.receive_rtcp(subscriber, ReceiverReport(1, (block,)))
    statistics = bench.plane.send_statistics(send)
    assert (statistics.fraction_lost, statistics.packets_lost, statistics.jitter) == (0.25, -3, 0.01)
    assert statistics.rtt == pytest.approx(0.08, abs=0.001)
    assert bench.plane.transport_statistics(subscriber.transport).rtt == pytest.approx(0.08, abs=0.001)


def test_a_report_from_the_future_makes_no_negative_round_trip(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    send = bench.subscribe(subscriber, bench.publish(publisher, audio()), listening())
    bench.receive(publisher, opus(1))
    middle = ntp_of(bench.now + NTP_OFFSET_US + 2_000_000) >> 16 & 0xFFFFFFFF
    bench.receive_rtcp(subscriber, ReceiverReport(1, (ReportBlock(7000, last_sr=middle),)))
    assert bench.plane.send_statistics(send).rtt is None


def test_goodbyes_come_up_for_the_peers_own_streams(bench):
    publisher = bench.peer()
    track = bench.publish(publisher, video(encodings=2))
    bench.receive_rtcp(publisher, Bye((1001, 77, 2000)))
    assert [event for event in bench.events if isinstance(event, ByeReceived)] == [ByeReceived(track, 1)]


# ── transport-wide feedback ──


def wide(count: int, **changes):
    """A video packet with a transport-wide number."""
    return vp8(count, extensions={5: (count & 0xFFFF).to_bytes(2, "big")}, **changes)


def test_feedback_tells_what_arrived_when_within_100_ms(bench):
    publisher = bench.peer()
    bench.publish(publisher, video(transport_cc=True))
    dice = random.Random(4)
    arrived, feedback = {}, []
    sent_to = []
    for count in range(65_400, 65_700):
        bench.state.now += dice.randrange(9_000)
        outputs = []
        if dice.random() < 0.9:
            outputs.append(bench.receive(publisher, wide(count)))
            arrived[count & 0xFFFF] = bench.now
        else:
            outputs.append(bench.turn([]))
        for output in outputs:
            for packet in output[publisher.transport].feedback:
                if isinstance(packet, TransportFeedback):
                    feedback.append(packet)
                    sent_to.append(bench.now)
    feedback += [packet for _, packet in of_kind(bench.advance(0.2)[publisher.transport], TransportFeedback)]
    assert [packet.feedback_count for packet in feedback] == [index & 255 for index in range(len(feedback))]
    assert max(later - earlier for earlier, later in zip(sent_to, sent_to[1:], strict=False)) <= 100_000
    told = {}
    for packet in feedback:
        assert packet.media_ssrc == 1000
        for index, at in enumerate(packet.arrivals):
            told[packet.base + index & 0xFFFF] = at
    assert {number for number, at in told.items() if at is not None} == arrived.keys()
    first = min(arrived.values())
    start = next(at for packet in feedback for at in packet.arrivals if at is not None)
    for number, at in told.items():
        if at is not None:
            assert abs((at - start) - (arrived[number] - first) / 1e6) <= 0.0005
    assert (
        set(told) - arrived.keys() == {n & 0xFFFF for n in range(65_400, max(_extended(arrived)) + 1)} - arrived.keys()
    )


def _extended(numbers):
    return [number if number > 32_768 else number + 65_536 for number in numbers]


def test_feedback_of_many_packets_stays_below_the_mtu_and_a_leap_costs_nothing(bench):
    publisher = bench.peer()
    bench.publish(publisher, video(transport_cc=True))
    sizes = []
    for start in range(0, 900, 60):
        bench.receive(publisher, *[wide(n) for n in range(start, start + 60, 2)])
    bench.receive(publisher, wide(31_000))
    for _ in range(40):
        bench.state.now += 5_000
        sizes += [len(data) for data in bench.turn([])[publisher.transport].rtcp]
    assert sizes
    assert max(sizes) <= 1200


def test_a_packet_that_comes_behind_the_feedback_that_called_it_lost_is_told_with_the_next(bench):
    publisher = bench.peer()
    bench.publish(publisher, video(transport_cc=True))

    def told():
        packets = [packet for _, packet in of_kind(bench.advance(0.1)[publisher.transport], TransportFeedback)]
        return {packet.base + index: at is not None for packet in packets for index, at in enumerate(packet.arrivals)}

    bench.receive(publisher, wide(1), wide(2), wide(4))
    assert told() == {1: True, 2: True, 3: False, 4: True}
    bench.receive(publisher, wide(3), wide(5))
    assert told() == {3: True, 4: True, 5: True}
    bench.receive(publisher, wide(2, ssrc=7), wide(300))
    assert told().keys() == set(range(6, 301)), "nothing new of what was told"
    bench.receive(publisher, wide(150), wide(200))
    assert min(number for number, came in told().items() if came) == 200, "what is 128 behind is not told any more"


def test_no_feedback_goes_to_who_did_not_negotiate_it(bench):
    publisher = bench.peer()
    bench.publish(publisher, video())
    bench.receive(publisher, wide(1), wide(3))
    assert of_kind(bench.advance(0.5)[publisher.transport], TransportFeedback) == []


def test_a_subscribers_feedback_measures_what_arrives(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    track = bench.publish(publisher, video())
    bench.subscribe(subscriber, track, sending(extensions={Extension.TRANSPORT_CC: 2}))
    bench.receive(publisher, vp8(0, key=True))
    size = len(bench.receive(publisher, vp8(1))[subscriber.transport].rtp[0])
    for count in range(2, 102):
        bench.state.now += 10_000
        bench.receive(publisher, vp8(count))
        if count % 10 == 1:
            arrivals = tuple(0.01 * index for index in range(10))
            bench.receive_rtcp(subscriber, TransportFeedback(1, 7000, count - 9, count // 10, arrivals))
    statistics = bench.plane.transport_statistics(subscriber.transport)
    assert statistics.available_outgoing_bps == pytest.approx(size * 8 * 100, rel=0.15)
    # A feedback that claims the same packets once more adds nothing.
    row = bench.tables.transports[subscriber.transport]
    before = int(row.rate_bytes)
    bench.receive_rtcp(subscriber, TransportFeedback(1, 7000, 92, 11, tuple(0.01 * index for index in range(10))))
    assert row.rate_bytes == before


# ── REMB ──


def test_remb_goes_to_publishers_without_transport_cc_and_follows_their_loss(bench):
    publisher = bench.peer()
    bench.publish(publisher, video(remb=True))
    rates = {}
    number = 0
    for second in range(20):
        for _ in range(50):
            number += 1 if second < 10 or number % 4 else 2
            payload = vp8(number).payload + bytes(1000)
            bench.receive(publisher, vp8(number, payload=payload))
            bench.state.now += 20_000
            for packet in bench.turn([])[publisher.transport].feedback:
                if isinstance(packet, Remb):
                    assert packet.ssrcs == (1000,)
                    rates[second] = packet.bitrate_bps
    assert len(rates) >= 18
    assert rates[0] >= 1_000_000
    assert all(rates[later] <= rates[earlier] * 1.09 for earlier, later in zip(rates, list(rates)[1:], strict=False))
    assert rates[9] == max(rates.values())
    assert rates[19] < 0.6 * rates[9], "a quarter of the packets is lost"
    assert min(rates.values()) >= 100_000


def test_remb_never_goes_with_transport_cc(bench):
    publisher = bench.peer()
    bench.publish(publisher, video(remb=True, transport_cc=True))
    bench.receive(publisher, wide(1))
    assert of_kind(bench.advance(2)[publisher.transport], Remb) == []


def test_a_subscribers_remb_is_what_is_available(bench):
    _, subscriber = bench.peer(), bench.peer()
    assert bench.plane.transport_statistics(subscriber.transport).available_outgoing_bps is None
    bench.receive_rtcp(subscriber, Remb(1, 2_345_000, (7000,)))
    assert bench.plane.transport_statistics(subscriber.transport).available_outgoing_bps == pytest.approx(
        2_345_000, rel=1e-4
    )
    body = b"\0\0\0\1\0\0\0\0REMB" + (1 << 24 | 63 << 18 | 0x3FFFF).to_bytes(4, "big") + bytes(4)
    bench.receive(subscriber, pack(206, 15, body))
    assert bench.plane.transport_statistics(subscriber.transport).available_outgoing_bps <= 1_000_000_000


# ── other figures ──


def test_audio_levels_frames_and_layers_are_counted(bench):
    publisher = bench.peer()
    sound, picture = bench.publish(publisher, audio()), bench.publish(publisher, video())
    for count, level in enumerate((10, 20, 0x80 | 30)):
        bench.receive(publisher, opus(count, extensions={9: bytes([level])}))
    bench.receive(publisher, vp8(0, key=True), vp8(1, start=False, timestamp=0), vp8(2, temporal=2))
    (heard,), (seen,) = bench.plane.receive_statistics(sound), bench.plane.receive_statistics(picture)
    assert (heard.audio_level_sum, heard.audio_level_count) == (60, 3)
    assert (seen.key_frames, seen.frames, seen.temporal_layers, seen.spatial_layers) == (1, 2, 3, 1)
    assert seen.last_packet == bench.now / 1e6


def test_totals_of_a_transport_count_what_is_on_the_wire(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    bench.subscribe(subscriber, bench.publish(publisher, audio()), listening())
    arriving = publisher.protect(opus(1).serialize())
    (leaving,) = bench.turn([(arriving, publisher.address)])[subscriber.transport].raw
    came, went = (bench.plane.transport_statistics(peer.transport) for peer in (publisher, subscriber))
    assert (came.packets_received, came.bytes_received) == (1, len(arriving))
    assert (went.packets_sent, went.bytes_sent) == (1, len(leaving))
    assert came.last_receive == bench.now / 1e6


def test_a_remote_stream_that_nobody_hears_is_still_reported_on(bench):
    publisher = bench.peer()
    track = bench.publish(publisher, video(), paused=True)
    bench.receive(publisher, vp8(1, key=True))
    assert bench.drops() == {"paused": 1}
    assert bench.plane.receive_statistics(track)[0].packets == 1
    assert len(of_kind(bench.advance(1.1)[publisher.transport], ReceiverReport)) >= 1
