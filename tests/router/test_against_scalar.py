"""The plane against the scalar forwarder, byte for byte, over histories that Hypothesis makes up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.router import commands as cmd
from sluicegate.rtp.names import Codec, Extension
from tests.support import payloads
from tests.support.rtcp_packet import Nack
from tests.support.rtp_packet import RtpPacket

from .harness import Bench, Peer, audio, sending, video
from .histories import EXAMPLES, Act, Frame, History, acts, arrivals, frames, histories
from .twins import EVERY_EXTENSION, Twins

SUBSCRIBERS = (
    sending(7000, extensions=EVERY_EXTENSION),
    sending(
        7100,
        rtx_ssrc=None,
        rtx_payload_type=None,
        extensions=EVERY_EXTENSION | {Extension.MID: 14, Extension.AUDIO_LEVEL: 3},
    ),
    sending(7200, nack=False),
)
FIRST = ((65_530, 2**32 - 40_000), (0, 0), (40_000, 2**31))
STEP_US = 2_000


def run(history: History, codec: Codec = Codec.VP8, *, encodings: int = 1) -> Twins:
    with Bench() as bench:
        twins = Twins(bench)
        publisher = twins.peer()
        track = twins.publish(publisher, video(codec, encodings=encodings))
        arrived = arrivals(history, codec, publisher.protect)
        if encodings > 1:
            arrived = _all_on_the_air(twins, publisher, arrived, encodings)
        peers = [twins.peer() for _ in SUBSCRIBERS]
        sends = [
            twins.subscribe(peer, track, media, sequence_number=sequence, timestamp=timestamp)
            for peer, media, (sequence, timestamp) in zip(peers, SUBSCRIBERS, FIRST, strict=True)
        ]
        pending = sorted(history.acts, key=lambda act: act.at)
        while arrived:
            while pending and pending[0].at <= arrived[0][0]:
                act = pending.pop(0)
                perform(act, twins, track, peers[act.who], sends[act.who])
            batch, arrived = arrived[: history.batch], arrived[history.batch :]
            twins.pass_time(STEP_US)
            twins.deliver_protected(publisher, [datagram for _, datagram in batch])
        return twins


def _all_on_the_air(
    twins: Twins, publisher: Peer, arrived: list[tuple[int, bytes]], encodings: int
) -> list[tuple[int, bytes]]:
    """Deliver the first packet of each encoding, and let the plane see that they are there."""
    rest = list(arrived)
    for encoding in range(encodings):
        found = next((item for item in rest if item[1][8:12] == (1000 + encoding).to_bytes(4, "big")), None)
        if found is not None:
            rest.remove(found)
            twins.deliver_protected(publisher, [found[1]])
    twins.bench.advance(0.3)
    return rest


def perform(act: Act, twins: Twins, track: cmd.TrackHandle, peer: Peer, send: cmd.SendHandle) -> None:
    match act.kind:
        case "pause" | "resume":
            twins.submit(cmd.PauseSubscription(send, act.kind == "pause"))
        case "pause track" | "resume track":
            twins.submit(cmd.PauseTrack(track, act.kind == "pause track"))
        case "temporal":
            twins.submit(cmd.SelectLayers(send, cmd.TOP_SPATIAL, act.value))
        case "spatial":
            twins.submit(cmd.SelectLayers(send, act.value, cmd.TOP_TEMPORAL))
        case "nack":
            subscription = twins.scalar.subscriptions[send]
            numbers = tuple((subscription.last_out - back) & 0xFFFF for back in act.numbers)
            twins.pass_time(5_000 if act.value else 1_000)
            if numbers:
                twins.deliver(peer, Nack(1, subscription.media.ssrc, numbers).serialize())


@settings(max_examples=EXAMPLES)
@given(histories(frames(temporal=0), acts("nack")))
def test_loss_reordering_duplication_and_repair(history):
    run(history)


@settings(max_examples=EXAMPLES)
@given(histories(frames(), acts("pause", "resume", "pause track", "resume track", "temporal", "temporal", "nack")))
def test_pauses_and_temporal_layers(history):
    run(history)


@settings(max_examples=EXAMPLES)
@given(histories(frames(jumps=True), acts("pause", "resume", "temporal", "nack")))
def test_jumps_and_restarts_of_the_publisher(history):
    run(history)


@settings(max_examples=EXAMPLES)
@given(histories(frames(encodings=3), acts("spatial", "spatial", "pause", "resume", "nack")))
def test_simulcast(history):
    run(history, encodings=3)


@pytest.mark.parametrize("codec", [Codec.VP9, Codec.H264])
@settings(max_examples=EXAMPLES // 5)
@given(history=histories(frames(temporal=0), acts("pause", "resume", "nack")))
def test_other_codecs(codec, history):
    run(history, codec)


# ── audio ──

opus_payloads = st.builds(lambda size: payloads.opus(size, b""), st.integers(1, 60)) | st.just(payloads.opus_dtx())
red_payloads = st.builds(
    lambda primary, redundant, inner: payloads.red(primary, payload_type=inner, redundant=redundant),
    st.binary(max_size=20),
    st.lists(st.tuples(st.integers(0, 2**14 - 1), st.binary(max_size=30)), max_size=2),
    st.sampled_from([111, 111, 111, 112]),
) | st.binary(min_size=1, max_size=8)
sounds = st.tuples(
    st.just(111) | st.just(63),
    st.integers(0, 3),  # numbers left out before it
    st.integers(-3, 0),  # how many places it comes too early
    st.sampled_from([{}, {9: b"\x85"}, {1: b"0", 9: b"\x7f", 4: b"abc"}]),
    opus_payloads,
    red_payloads,
    st.sampled_from([None, None, None, None, (0, True), (0, False), (1, True), (1, False)]),
)
LISTENERS = (
    sending(7000, payload_types=(96, 97), rtx_ssrc=None, rtx_payload_type=None, nack=True, extensions=EVERY_EXTENSION),
    sending(
        7100, payload_types=(111, None), rtx_ssrc=None, rtx_payload_type=None, nack=False, extensions=EVERY_EXTENSION
    ),
    sending(7200, payload_types=(111, 63), rtx_ssrc=None, rtx_payload_type=None, nack=False),
)


@settings(max_examples=EXAMPLES)
@given(st.lists(sounds, min_size=1, max_size=40))
def test_audio_with_and_without_red(history):
    with Bench() as bench:
        twins = Twins(bench)
        publisher = twins.peer()
        track = twins.publish(publisher, audio())
        peers = [twins.peer() for _ in LISTENERS]
        sends = [
            twins.subscribe(peer, track, media, sequence_number=65_530, timestamp=2**32 - 5_000)
            for peer, media in zip(peers, LISTENERS, strict=True)
        ]
        sequence = 65_525
        flights = []
        for place, (payload_type, gap, early, elements, opus, red, act) in enumerate(history):
            sequence += 1 + gap
            payload = opus if payload_type == 111 else red
            packet = RtpPacket(
                payload_type, sequence & 0xFFFF, sequence * 960 & 0xFFFFFFFF, 3000, payload, extensions=elements
            )
            datagram = publisher.protect(packet.serialize())
            flights.append((place + (early if place else 0) - (place == 0), place, datagram, act))
        for _, _, datagram, act in sorted(flights):
            twins.pass_time(20_000)
            if act is not None:
                twins.submit(cmd.PauseSubscription(sends[act[0]], act[1]))
            twins.deliver_protected(publisher, [datagram])
        last = twins.scalar.subscriptions[sends[0]].last_out
        numbers = tuple((last - back) & 0xFFFF for back in range(20))
        twins.deliver(peers[0], Nack(1, 7000, numbers).serialize())


# ── a packet seen through ──


def test_an_example_of_everything():
    """What the properties say is worth something only if packets do come through."""
    history = History(
        frames=tuple(
            Frame(key=index % 10 == 0, packets=2, temporal=index % 2, sync=True, elements=index % 8)
            for index in range(20)
        ),
        fates=(),
        acts=(),
    )
    twins = run(history)
    assert len(twins.sent) == 40 * 3
