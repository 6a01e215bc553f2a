"""Single cases of forwarding, byte for byte where bytes matter: what a reader of `docs/forwarding.md` would ask for first."""

from dataclasses import replace

import pytest

from sluicegate.router import commands as cmd
from sluicegate.router.events import LayersChanged, StreamStarted
from sluicegate.rtp.names import Codec, Extension
from tests.support import payloads
from tests.support.rtcp_packet import Nack, Pli, SenderReport
from tests.support.rtp_packet import RtpPacket

from .harness import NTP_OFFSET_US, Bench, audio, listening, opus, sending, video, vp8
from .twins import EVERY_EXTENSION


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


class Call:
    """A publisher and one subscriber of its track."""

    def __init__(self, bench, media=None, receive=None, **subscription):
        self.bench = bench
        self.publisher, self.subscriber = bench.peer(), bench.peer()
        self.track = bench.publish(self.publisher, media or video())
        self.send = bench.subscribe(self.subscriber, self.track, receive or sending(), **subscription)

    def __call__(self, *packets):
        """What the subscriber gets of these."""
        return self.bench.receive(self.publisher, *packets)[self.subscriber.transport].packets

    def raw(self, *packets):
        return self.bench.receive(self.publisher, *packets)[self.subscriber.transport].rtp


def numbers(packets):
    return [packet.sequence_number for packet in packets]


def pictures(packets):
    """Picture ids of VP8 payloads with 15 bits."""
    return [int.from_bytes(packet.payload[2:4], "big") & 0x7FFF for packet in packets]


def test_the_parts_of_a_frame_are_padded_to_one_length_where_there_is_rtx(bench):
    sizes = (1000, 1002, 987, 986, 1002, 990)  # a 64th of 1002 is 15; the last may be shorter as it is
    heads = [vp8(number, key=number == 1) for number in range(1, 7)]
    packets = [replace(head, payload=head.payload.ljust(size, b"x")) for head, size in zip(heads, sizes, strict=True)]
    bare = Call(bench, receive=sending(rtx_ssrc=None, rtx_payload_type=None)).raw(*packets)
    assert [len(data) - 12 for data in bare] == list(sizes)
    call = Call(bench)
    padded = call.raw(*packets)
    assert [len(data) - 12 for data in padded] == [1002, 1002, 1002, 986, 1002, 990]
    parsed = [RtpPacket.parse(data) for data in padded]
    assert [packet.padding for packet in parsed] == [2, 0, 15, 0, 0, 0]
    assert [packet.payload for packet in parsed] == [packet.payload for packet in packets]
    again = bench.receive_rtcp(call.subscriber, Nack(1, 7000, (1002,)))[call.subscriber.transport].packets
    assert [(packet.padding, packet.payload[2:]) for packet in again] == [(0, packets[2].payload)]


# ── numbers and timestamps ──


def test_the_first_packet_has_the_number_and_timestamp_of_the_command(bench):
    call = Call(bench, sequence_number=65_535, timestamp=2**32 - 1)
    first, second = call(vp8(500, key=True), vp8(501))
    assert (first.sequence_number, first.timestamp) == (65_535, 2**32 - 1)
    assert (second.sequence_number, second.timestamp) == (0, 2999)


def test_the_plane_draws_what_the_command_leaves_open(bench):
    publisher, subscriber = bench.peer(), bench.peer()
    track = bench.publish(publisher, video())
    bench.submit(cmd.AddSubscription(bench.plane.allocate_send(), subscriber.transport, track, sending()))
    assert len(bench.receive(publisher, vp8(1, key=True))[subscriber.transport].packets) == 1


def test_video_starts_at_a_key_frame_and_audio_at_once(bench):
    call = Call(bench)
    assert call(vp8(1), vp8(2)) == []
    assert numbers(call(vp8(3, key=True), vp8(4))) == [1000, 1001]
    call = Call(bench, audio(), listening())
    assert numbers(call(opus(7), opus(8))) == [1000, 1001]


def test_a_gap_of_the_network_stays_open_and_a_late_packet_fills_it_once(bench):
    call = Call(bench)
    assert numbers(call(vp8(1, key=True), vp8(4))) == [1000, 1003]
    assert numbers(call(vp8(3))) == [1002]
    rtx = payloads.rtx(vp8(3), ssrc=2000, payload_type=97, sequence_number=1)
    assert numbers(call(rtx)) == []
    assert bench.drops()["duplicate"] == 1


def test_packets_511_numbers_late_are_taken_and_512_are_not(bench):
    call = Call(bench)
    assert numbers(call(vp8(1, key=True), vp8(600))) == [1000, 1599]
    assert numbers(call(vp8(89), vp8(88))) == [1088]
    assert bench.drops()["late"] == 1


def test_a_pause_closes_its_gap_and_picture_ids_go_on(bench):
    call = Call(bench)
    before = call(vp8(1, key=True), vp8(2))
    bench.submit(cmd.PauseSubscription(call.send, True))
    assert call(vp8(3), vp8(4, key=True)) == []
    bench.submit(cmd.PauseSubscription(call.send, False))
    assert call(vp8(5)) == []
    after = call(vp8(6, key=True), vp8(7))
    assert numbers(before + after) == [1000, 1001, 1002, 1003]
    assert pictures(before + after) == [1, 2, 3, 4]
    assert after[0].timestamp - before[0].timestamp == 5 * 3000, "the clock is the publisher's"


def test_a_packet_from_before_the_pause_does_not_end_it(bench):
    call = Call(bench, audio(), listening())
    assert numbers(call(opus(1), opus(3), opus(4))) == [1000, 1002, 1003]
    bench.submit(cmd.PauseSubscription(call.send, True))
    bench.submit(cmd.PauseSubscription(call.send, False))
    assert call(opus(2)) == []
    assert numbers(call(opus(5))) == [1004]


@pytest.mark.parametrize("what", ["subscription", "track"])
def test_to_resume_what_is_not_paused_changes_nothing(bench, what):
    call = Call(bench)
    call(vp8(1, key=True))
    bench.submit(
        cmd.PauseSubscription(call.send, False) if what == "subscription" else cmd.PauseTrack(call.track, False)
    )
    assert numbers(call(vp8(2))) == [1001]


def test_a_paused_track_pauses_everybody(bench):
    call = Call(bench)
    other = bench.peer()
    bench.subscribe(other, call.track, sending(ssrc=7500))
    call(vp8(1, key=True))
    bench.submit(cmd.PauseTrack(call.track, True))
    assert bench.receive(call.publisher, vp8(2)) == {}
    assert [type(p) for p in bench.submit(cmd.PauseTrack(call.track, False))[call.publisher.transport].feedback] in (
        [Pli],
        [],
    )
    assert bench.receive(call.publisher, vp8(3)).keys() <= {call.publisher.transport}
    out = bench.receive(call.publisher, vp8(4, key=True))
    assert numbers(out[call.subscriber.transport].packets) == numbers(out[other.transport].packets) == [1001]


def test_padding_is_stripped_and_a_packet_of_nothing_else_closed(bench):
    call = Call(bench)
    call(vp8(1, key=True))
    (packet,) = call(vp8(2, padding=8))
    assert (packet.padding, packet.payload) == (0, vp8(2).payload)
    assert call(vp8(3, payload=b"", padding=200), vp8(4, payload=b"")) == []
    assert numbers(call(vp8(5))) == [1002]


def test_a_key_frame_that_comes_late_begins_and_what_passed_before_it_can_be_had_by_nack(bench):
    call = Call(bench)
    assert call(vp8(1), vp8(3), vp8(4)) == []
    assert numbers(call(vp8(2, key=True))) == [1000]
    assert numbers(call(vp8(5))) == [1003]
    out = bench.receive_rtcp(call.subscriber, Nack(1, 7000, (1001, 1002)))[call.subscriber.transport].packets
    assert [packet.payload[2:] for packet in out] == [vp8(3).payload, vp8(4).payload]


# ── restarts ──


def test_a_restart_goes_on_with_the_next_number_and_the_time_that_has_passed(bench):
    call = Call(bench, audio(), listening())
    before = call(opus(1), opus(2))
    bench.state.now += 5_000_000
    assert call(opus(20_000)) == []
    (after,) = call(opus(20_001))
    assert numbers([*before, after]) == [1000, 1001, 1002]
    assert after.timestamp - before[-1].timestamp == 5 * 48_000
    assert numbers(call(opus(20_002))) == [1003]


def test_a_restart_takes_two_packets_that_follow_on_each_other(bench):
    call = Call(bench, audio(), listening())
    call(opus(1))
    assert call(opus(10_000), opus(20_000), opus(20_002), opus(30_000)) == []
    assert numbers(call(opus(30_001))) == [1001]


def test_what_comes_late_from_behind_a_restart_is_not_taken_for_something_older(bench):
    call = Call(bench)
    assert numbers(call(vp8(1, key=True), vp8(2), vp8(4))) == [1000, 1001, 1003]
    assert call(vp8(10_000), vp8(10_001), vp8(9_998)) == []
    assert numbers(call(vp8(9_999, key=True))) == [1004]
    assert numbers(call(vp8(10_002))) == [1007]


def test_an_ssrc_that_comes_by_mid_replaces_the_last_one(bench):
    media = replace(video(mid="v"), encodings=(cmd.TrackEncoding(),))
    call = Call(bench, media)
    by_mid = {1: b"v"}
    assert call(vp8(1, ssrc=5, key=True)) == [], "nobody knows whose this is"
    assert numbers(call(vp8(2, ssrc=5, key=True, extensions=by_mid), vp8(3, ssrc=5))) == [1000, 1001]
    bench.state.now += 1_000_000
    changed = call(vp8(40_000, ssrc=6, key=True, extensions=by_mid, timestamp=17))
    assert numbers(changed) == [1002]
    assert changed[0].timestamp == (5000 + 3000 + 90_000) & 0xFFFFFFFF
    assert pictures(changed) == [4]
    assert [e for e in bench.events if isinstance(e, StreamStarted)] == [
        StreamStarted(call.track, 0, 5),
        StreamStarted(call.track, 0, 6),
    ]


def test_simulcast_by_rid_knows_its_encodings_and_their_retransmissions(bench):
    media = replace(video(mid="v"), encodings=(cmd.TrackEncoding(rid="lo"), cmd.TrackEncoding(rid="hi")))
    call = Call(bench, media)
    call(
        vp8(1, ssrc=5, extensions={1: b"v", 2: b"lo"}),
        vp8(1, ssrc=6, extensions={1: b"v", 2: b"hi"}),
        vp8(1, ssrc=8, extensions={1: b"v", 2: b"no"}),
        vp8(3, ssrc=6),
    )
    rtx = payloads.rtx(vp8(2, ssrc=6), ssrc=9, payload_type=97, sequence_number=1)
    call(rtx.altered())
    assert bench.drops()["unknown_stream"] == 2
    extended = rtx.altered(sequence_number=2)
    extended.extensions |= {1: b"v", 3: b"hi"}
    call(extended)
    low, high = bench.plane.receive_statistics(call.track)
    assert (low.ssrc, low.rid, low.packets) == (5, "lo", 1)
    assert (high.ssrc, high.rid, high.packets, high.retransmissions) == (6, "hi", 3, 1)


# ── layers ──


def test_temporal_layers_go_down_at_a_frame_and_up_at_a_synchronised_one(bench):
    call = Call(bench)
    call(vp8(1, key=True))
    bench.submit(cmd.SelectLayers(call.send, 3, 0))
    got = call(vp8(2, temporal=2), vp8(3, temporal=1), vp8(4), vp8(5, temporal=2))
    bench.submit(cmd.SelectLayers(call.send, 3, 1))
    got += call(vp8(6, temporal=1), vp8(7, temporal=2, sync=True), vp8(8, temporal=1, sync=True), vp8(9, temporal=1))
    assert [RtpPacket.parse(p.serialize()).payload[-1] for p in got] == [4, 8, 9]
    assert numbers(got) == [1001, 1002, 1003]
    assert pictures(got) == [2, 3, 4]
    changes = [(event.spatial, event.temporal) for event in bench.events if isinstance(event, LayersChanged)]
    assert changes == [(0, 0), (0, 1)]


def test_a_late_packet_of_a_dropped_layer_is_dropped_as_well(bench):
    """It went out under the number that was kept for it, and with a picture id that belongs to another frame."""
    call = Call(bench, receive=sending(temporal=0))
    assert numbers(call(vp8(1, key=True), vp8(2, temporal=1), vp8(4, temporal=1, start=False, picture=3), vp8(5))) == [
        1000,
        1002,
    ]
    assert call(vp8(3, temporal=1)) == []
    assert bench.receive_rtcp(call.subscriber, Nack(1, 7000, (1001,))) == {}


def test_a_late_packet_is_judged_by_the_layers_of_its_time(bench):
    call = Call(bench)
    call(vp8(1, key=True), vp8(3, temporal=1))
    bench.submit(cmd.SelectLayers(call.send, 3, 0))
    call(vp8(4))
    assert numbers(call(vp8(2, temporal=1))) == [1001], "the rest of its frames went"


def test_a_kept_number_has_the_picture_id_of_before_the_dropped_frame(bench):
    """The offset of the frame that was dropped behind the gap was given to what was missing before it."""
    call = Call(bench, receive=sending(temporal=0))
    got = call(vp8(1, key=True), vp8(3, temporal=1), vp8(4), vp8(2))
    assert numbers(got) == [1000, 1002, 1001]
    assert pictures(got) == [1, 3, 2]


def test_simulcast_switches_at_the_key_frame_of_the_wanted_encoding(bench):
    call = Call(bench, video(encodings=2))
    call(vp8(1, ssrc=1000), vp8(100, ssrc=1001))
    bench.advance(0.3)
    bench.submit(cmd.SelectLayers(call.send, 0, 7))
    low = call(vp8(2, ssrc=1000, key=True), vp8(3, ssrc=1000), vp8(101, ssrc=1001, key=True))
    assert numbers(low) == [1000, 1001]
    bench.submit(cmd.SelectLayers(call.send, 1, 7))
    asked = [packet.media_ssrc for _, packet in bench.advance(0.6)[call.publisher.transport] if isinstance(packet, Pli)]
    assert asked == [1001]
    high = call(vp8(102, ssrc=1001), vp8(4, ssrc=1000), vp8(103, ssrc=1001, key=True), vp8(5, ssrc=1000))
    assert [packet.payload[-8:] for packet in high] == [payloads.mark(1000, 4), payloads.mark(1001, 103)]
    assert numbers(high) == [1002, 1003]
    assert pictures(low + high) == [2, 3, 4, 5]
    assert high[1].timestamp > high[0].timestamp
    assert bench.plane.send_statistics(call.send).spatial == 1


def test_a_switch_keeps_time_by_the_publishers_reports(bench):
    call = Call(bench, video(encodings=2))
    call(vp8(1, ssrc=1000), vp8(100, ssrc=1001))
    bench.advance(0.3)
    bench.submit(cmd.SelectLayers(call.send, 0, 7))
    capture = bench.now + NTP_OFFSET_US
    for ssrc, timestamp in ((1000, 50_000), (1001, 900_000)):
        ntp = (capture // 1_000_000) << 32 | (capture % 1_000_000 << 32) // 1_000_000
        bench.receive_rtcp(call.publisher, SenderReport(ssrc, ntp, timestamp, 1, 1))
    (low,) = call(vp8(2, ssrc=1000, key=True, timestamp=50_000 + 9_000))
    bench.submit(cmd.SelectLayers(call.send, 1, 7))
    bench.state.now += 33_000
    (high,) = call(vp8(101, ssrc=1001, key=True, timestamp=900_000 + 9_000 + 4_500))
    assert high.timestamp - low.timestamp == 4_500, "50 ms of the publisher's clock, whenever it arrives"


def test_a_silent_encoding_is_given_up_after_a_second_and_a_half(bench):
    call = Call(bench, video(encodings=2))
    call(vp8(1, ssrc=1000), vp8(100, ssrc=1001))
    bench.advance(0.3)
    assert numbers(call(vp8(101, ssrc=1001, key=True))) == [1000]
    for count in range(20):
        call(vp8(2 + count, ssrc=1000))
        bench.advance(0.1)
    assert numbers(call(vp8(30, ssrc=1000, key=True))) == [1001]


# ── header ──


def test_extension_elements_in_their_order_in_the_one_byte_form(bench):
    bench.state.ntp_offset = -bench.now + 1_500_000  # 1.5 s: 0x060000 in 6.18 fixed point
    call = Call(bench, receive=sending(extensions=EVERY_EXTENSION))
    incoming = {8: b"\xd1\xd2\xd3", 7: b"\x01\x20\x30", 6: b"\x01", 1: b"0", 4: b"abc", 5: b"de"}
    (data,) = call.raw(vp8(1, key=True, extensions=incoming, csrcs=(1, 2, 3)))
    assert data[:12].hex(" ") == "90 e4 03 e8 00 00 13 88 00 00 1b 58"
    assert data[12:36].hex(" ") == (
        "be de 00 05 "
        "31 6d 30 "  # MID "m0"
        "b0 01 "  # video orientation
        "c2 01 20 30 "  # playout delay
        "d2 d1 d2 d3 "  # dependency descriptor
        "12 06 00 00 "  # abs-send-time
        "21 00 00"  # transport-cc
    ), "five words, without padding"
    assert data[36:] == vp8(1, key=True).payload


def test_a_long_dependency_descriptor_makes_the_two_byte_form(bench):
    call = Call(bench, receive=sending(extensions={Extension.MID: 3, Extension.DEPENDENCY_DESCRIPTOR: 13}))
    (data,) = call.raw(vp8(1, key=True, extensions={8: bytes(range(17))}))
    assert data[12:40].hex(" ") == "10 00 00 06 03 02 6d 30 0d 11 " + bytes(range(17)).hex(" ") + " 00"
    (data,) = call.raw(vp8(2, extensions={8: bytes(range(16))}))
    assert data[12:16].hex(" ") == "be de 00 05"


def test_without_elements_there_is_no_block(bench):
    call = Call(bench, receive=sending(extensions={Extension.VIDEO_ORIENTATION: 3}))
    (data,) = call.raw(vp8(1, key=True, extensions={1: b"0"}))
    assert data[0] == 0x80


def test_transport_wide_numbers_count_all_streams_of_a_transport(bench):
    call = Call(bench, receive=sending(extensions={Extension.TRANSPORT_CC: 2}))
    media = video(payload_types=(98,), rtx_payload_type=99)
    other = bench.publish(call.publisher, replace(media, encodings=(cmd.TrackEncoding(ssrc=1100),)))
    bench.subscribe(call.subscriber, other, sending(ssrc=7100, extensions={Extension.TRANSPORT_CC: 2}))
    out = call(vp8(1, key=True), vp8(1, key=True, ssrc=1100, payload_type=98), vp8(2))
    again = bench.receive_rtcp(call.subscriber, Nack(1, 7000, (1000,)))[call.subscriber.transport].packets
    assert [int.from_bytes(packet.extensions[2], "big") for packet in out + again] == [0, 1, 2, 3]


def test_a_packet_that_would_grow_too_long_is_dropped(bench):
    call = Call(bench, receive=sending(extensions=EVERY_EXTENSION))
    call(vp8(1, key=True))
    long = vp8(2)
    long.payload += bytes(1472 - 16 - 12 - len(long.payload))
    assert call(long) == []
    assert bench.drops() == {"too_long": 1}
    assert numbers(call(vp8(3))) == [1002]


def test_a_retransmission_that_would_be_too_long_is_not_sent(bench):
    call = Call(bench)
    long = vp8(1, key=True)
    long.payload += bytes(1472 - 16 - 12 - len(long.payload))
    assert numbers(call(long)) == [1000]
    assert bench.receive_rtcp(call.subscriber, Nack(1, 7000, (1000,))) == {}


# ── RED ──


def test_red_goes_as_it_is_under_the_receivers_payload_types(bench):
    """Its blocks name their payload type as well (RFC 2198 §3), and the receiver's may be another."""
    call = Call(bench, audio(), listening())
    red = payloads.red(b"now", payload_type=111, redundant=[(960, b"before")])
    (packet,) = call(opus(1, payload_type=63, payload=red))
    assert packet.payload_type == 97
    assert packet.payload == payloads.red(b"now", payload_type=96, redundant=[(960, b"before")])


def test_red_is_unwrapped_for_who_does_not_take_it(bench):
    call = Call(bench, audio(), listening(payload_types=(96, None)))
    red = payloads.red(b"now", payload_type=111, redundant=[(960, b"before"), (480, b"")])
    (packet,) = call(opus(1, payload_type=63, payload=red))
    assert (packet.payload_type, packet.payload) == (96, b"now")


@pytest.mark.parametrize(
    "payload",
    [b"\xef", b"\xef\x00\x00", b"\xef\x0f\x00\x05\x6f", b"\xef\xff\xff\xff", b"\x70something"],
    ids=["nothing behind", "cut header", "no data", "only headers", "another payload type"],
)
def test_red_that_is_no_opus_is_not_sent_as_opus(bench, payload):
    call = Call(bench, audio(), listening(payload_types=(96, None)))
    assert call(opus(1, payload_type=63, payload=payload)) == []
    assert len(call(opus(2))) == 1


# ── codecs ──


@pytest.mark.parametrize("codec", list(Codec)[1:])
def test_every_video_codec_begins_at_its_own_kind_of_key_frame(bench, codec):
    key, delta = {
        Codec.VP8: (vp8(1, key=True).payload, vp8(1).payload),
        Codec.VP9: tuple(payloads.vp9_descriptor(begin=True, end=True, inter=inter) + b"x" for inter in (False, True)),
        Codec.H264: (payloads.h264_stap_a([payloads.H264_SPS, payloads.H264_PPS]), b"\x61rest"),
        Codec.AV1: tuple(
            payloads.av1_payload(new_sequence=new, continues=False, to_be_continued=False, size_bytes=40, tail=b"")
            for new in (True, False)
        ),
    }[codec]
    call = Call(bench, video(codec))
    assert call(vp8(1, payload=delta)) == []
    assert [packet.payload for packet in call(vp8(2, payload=key), vp8(3, payload=delta))] == [key, delta]
