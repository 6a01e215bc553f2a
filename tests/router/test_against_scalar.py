"""The plane against the scalar forwarder, byte for byte, over histories that Hypothesis makes up."""

from hypothesis import given, settings

from sluicegate.router import commands as cmd
from sluicegate.rtp.names import Codec, Extension
from tests.support.rtcp_packet import Nack

from .harness import Bench, sending, video
from .histories import EXAMPLES, History, acts, arrivals, frames, histories
from .twins import EVERY_EXTENSION, Twins

SUBSCRIBERS = (
    sending(7000, extensions=EVERY_EXTENSION),
    sending(7100, rtx_ssrc=None, rtx_payload_type=None, extensions={Extension.TRANSPORT_CC: 14}),
    sending(7200),
)
FIRST = ((65_530, 2**32 - 40_000), (0, 0), (40_000, 2**31))


def run(history: History, codec: Codec = Codec.VP8, *, encodings: int = 1) -> None:
    with Bench() as bench:
        twins = Twins(bench)
        publisher = twins.peer()
        track = twins.publish(publisher, video(codec, encodings=encodings))
        peers = [twins.peer() for _ in SUBSCRIBERS]
        sends = [
            twins.subscribe(peer, track, media, sequence_number=sequence, timestamp=timestamp)
            for peer, media, (sequence, timestamp) in zip(peers, SUBSCRIBERS, FIRST, strict=True)
        ]
        pending = sorted(history.acts, key=lambda act: act.at)
        arrived = arrivals(history, codec, publisher.protect)
        while arrived:
            while pending and pending[0].at <= arrived[0][0]:
                act = pending.pop(0)
                perform(act.kind, act, twins, track, peers[act.who], sends[act.who])
            batch, arrived = arrived[: history.batch], arrived[history.batch :]
            twins.pass_time(7_000)
            twins.deliver(publisher, [plain for _, plain, _ in batch], protected=[datagram for _, _, datagram in batch])


def perform(kind: str, act, twins: Twins, track, peer, send) -> None:
    match kind:
        case "pause" | "resume":
            twins.submit(cmd.PauseSubscription(send, kind == "pause"))
        case "pause track" | "resume track":
            twins.submit(cmd.PauseTrack(track, kind == "pause track"))
        case "layers":
            twins.submit(cmd.SelectLayers(send, 3, act.value))
        case "encoding":
            twins.submit(cmd.SelectLayers(send, act.value, 7))
        case "nack":
            subscription = twins.scalar.subscriptions[send]
            numbers = tuple((subscription.last_out - back) & 0xFFFF for back in act.numbers)
            twins.pass_time(110_000 if act.value else 1_000)
            if numbers:
                twins.deliver(peer, [Nack(1, subscription.media.ssrc, numbers).serialize()])


@settings(max_examples=EXAMPLES)
@given(histories(frames(temporal=0), acts("nack")))
def test_loss_reordering_duplication_and_repair(history):
    run(history)


@settings(max_examples=EXAMPLES)
@given(histories(frames(), acts("pause", "resume", "pause track", "resume track", "layers", "layers", "nack")))
def test_pauses_and_temporal_layers(history):
    run(history)
