"""Simulcast: a subscriber's layer changes at key frames alone, and its stream hangs together all the while."""

import asyncio
from collections.abc import Callable
from itertools import accumulate, groupby
from typing import Any

import pytest

from tests.behaviour.descriptors import pictures, read_vp8
from tests.behaviour.scene import (
    PATIENCE,
    assert_contiguous,
    frames_of,
    ordinals,
    origins,
    people,
    send,
    steps,
    timestamp_steps,
)
from tests.support import payloads
from tests.support.parameters import EXTENSION_IDS
from tests.support.rtc_client import ScriptedClient, Subscribed
from tests.support.rtcp_packet import Nack, Pli, RtcpPacket
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import VideoSource

LOW, MIDDLE, HIGH = 10, 20, 30
SSRCS = (LOW, MIDDLE, HIGH)
MID, RID = EXTENSION_IDS["mid"], EXTENSION_IDS["rid"]
RIDS = ("l", "m", "h")


def sources(*, rids: bool = False, **options: Any) -> list[VideoSource]:
    """Three encodings of one camera, as a browser's encoders count: each begins its own numbers anywhere."""
    made = []
    for index, ssrc in enumerate(SSRCS):
        extensions = {MID: b"camera", RID: RIDS[index].encode()} if rids else {}
        made.append(
            VideoSource(
                ssrc=ssrc,
                payload_type=120,
                packets_per_frame=1 + index,
                picture_id=(1000, 32700, 20000)[index],
                tl0_picture_index=(7, 250, 100)[index],
                temporal_ids=(0, 2, 1, 2),
                extensions=extensions,
                **options,
            )
        )
    return made


async def publish(alice: ScriptedClient, *, rids: bool = False) -> str:
    """Three encodings, known by RID or by SSRC."""
    encodings: list[dict[str, Any]] = [
        {"rid": rid, "scaleResolutionDownBy": 4 >> index, "scalabilityMode": "L1T3"}
        if rids
        else {"ssrc": ssrc, "rtx": {"ssrc": ssrc + 1}, "scaleResolutionDownBy": 4 >> index, "scalabilityMode": "L1T3"}
        for index, (rid, ssrc) in enumerate(zip(RIDS, SSRCS, strict=True))
    ]
    published = await alice.publish("VP8", encodings=encodings, mid="camera")
    return published.track_id


async def prefer(client: ScriptedClient, subscription: Subscribed, spatial: int, temporal: int = 2) -> dict[str, Any]:
    """`preferred_layers`; the answer."""
    path = f"/sessions/{client.session_id}/subscriptions/{subscription.subscription_id}"
    layers = {"spatial": spatial, "temporal": temporal}
    answer: dict[str, Any] = await client.api.call("PATCH", path, {"preferred_layers": layers})
    return answer


async def send_all(alice: ScriptedClient, encodings: list[VideoSource], frames: int) -> None:
    """The next pictures of all encodings."""
    for _ in range(frames):
        for source in encodings:
            await send(alice, source, 1)


async def send_until(alice: ScriptedClient, encodings: list[VideoSource], condition: Callable[[], object]) -> None:
    """Pictures, 5 ms apart, until something has come of it."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await send_all(alice, encodings, 1)
            await asyncio.sleep(0.005)


def assert_one_stream(packets: list[RtpPacket]) -> None:
    """As from one encoder: no number left out, no picture, no step back."""
    assert_contiguous(packets)
    assert min(timestamp_steps(packets)) >= 0
    seen = pictures(packets)
    assert set(steps([picture.picture_id or 0 for picture in seen], 15)) == {1}
    base = [picture.tl0_picture_index or 0 for picture in seen if picture.temporal_id == 0]
    assert set(steps(base, 8)) == {1}
    # Each frame is of one encoding, whole, and ends with the marker.
    for frame in frames_of(packets):
        assert len(set(origins(frame))) == 1
        assert [packet.marker for packet in frame] == [False] * (len(frame) - 1) + [True]
    # Where the encoding changes there is a key frame.
    for before, after in zip(packets, packets[1:], strict=False):
        if origins([before]) != origins([after]):
            assert read_vp8(after).key


@pytest.mark.parametrize("rids", [True, False])
async def test_layers_change_at_key_frames_alone(server: ServerProcess, channel: str, rids: bool) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        track_id = await publish(alice, rids=rids)
        subscription = await bob.subscribe(track_id)
        assert subscription.type == "simulcast"
        encodings = sources(rids=rids)
        by_ssrc = {source.ssrc: source for source in encodings}

        def shown() -> int:
            packets = bob.media(subscription)
            return origins(packets[-1:])[0] if packets else 0

        def answer(packets: list[RtcpPacket], _: float) -> None:
            for packet in packets:
                if isinstance(packet, Pli):
                    by_ssrc[packet.media_ssrc].request_key_frame()

        alice.on_rtcp.append(answer)
        await send_until(alice, encodings, lambda: shown() == HIGH)
        alice.on_rtcp.remove(answer)
        for spatial, ssrc in ((0, LOW), (1, MIDDLE), (2, HIGH), (0, LOW), (2, HIGH)):
            shown_before, alice.rtcp_log[:] = shown(), []
            await prefer(bob, subscription, spatial)
            await alice.until(lambda ssrc=ssrc: any(pli.media_ssrc == ssrc for pli in alice.rtcp(Pli)), PATIENCE)
            await send_all(alice, encodings, 6)  # not a key frame among them
            last = by_ssrc[shown_before].packets_sent - 1
            await bob.until(lambda last=last: ordinals(bob.media(subscription)[-1:]) == [last], PATIENCE)
            assert shown() == shown_before
            by_ssrc[ssrc].request_key_frame()
            await send_until(alice, encodings, lambda ssrc=ssrc: shown() == ssrc)
        received = bob.media(subscription)
        runs = [origin for origin, _ in groupby(origins(received))]
        assert runs[-6:] == [HIGH, LOW, MIDDLE, HIGH, LOW, HIGH]
        assert_one_stream(received)
        layers = (await prefer(bob, subscription, 2))["layers"]
        assert layers["spatial"] == 2


async def test_time_runs_on_evenly_over_a_change_of_layers(server: ServerProcess, channel: str) -> None:
    """Encodings have clocks of their own; the publisher's reports say how these stand to one another."""
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        track_id = await publish(alice)
        subscription = await bob.subscribe(track_id)
        encodings = sources()
        playing = asyncio.create_task(alice.play(*encodings, seconds=3.5))
        await alice.until(lambda: encodings[2].frames_sent > 36, PATIENCE)  # all have been reported on by then
        first = len(bob.media(subscription)) - 9
        for spatial, ssrc in ((2, HIGH), (0, LOW), (1, MIDDLE), (2, HIGH)):
            await prefer(bob, subscription, spatial)
            await bob.until(lambda ssrc=ssrc: origins(bob.media(subscription)[-1:]) == [ssrc], PATIENCE)
        await playing
        received = bob.media(subscription)
        assert_one_stream(received)
        sizes = {source.ssrc: source.packets_per_frame for source in encodings}
        frames = [ordinal // sizes[ssrc] for ordinal, ssrc in zip(ordinals(received), origins(received), strict=True)]
        drift = [packet.timestamp - 3000 * frame for packet, frame in zip(received, frames, strict=True)]
        # 1 ms is 90 ticks.
        settled = steps([drift[first], *drift[first:]], 32)
        assert {LOW, MIDDLE, HIGH} <= set(origins(received[first:]))
        assert max(map(abs, accumulate(settled))) <= 90


async def test_an_encoding_that_stops_gives_way_to_a_lower_one(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        track_id = await publish(alice)
        subscription = await bob.subscribe(track_id)
        encodings = sources()
        await alice.play(*encodings, seconds=0.8)
        assert HIGH in origins(bob.media(subscription))
        await alice.play(*encodings[:2], seconds=2.6)  # the publisher's uplink got narrow
        assert origins(bob.media(subscription))[-1] == MIDDLE
        await alice.play(*encodings, seconds=1.0)
        assert origins(bob.media(subscription))[-1] == HIGH
        assert_one_stream(bob.media(subscription))


async def test_two_subscribers_have_layers_of_their_own(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}, carol={}) as (alice, bob, carol):
        track_id = await publish(alice, rids=True)
        first, second = [await one.subscribe(track_id) for one in (bob, carol)]
        await prefer(bob, first, 0)
        encodings = sources(rids=True)
        await alice.play(*encodings, seconds=1.5)
        low, high = bob.media(first), carol.media(second)
        assert set(origins(low)) == {LOW}
        assert origins(high)[-1] == HIGH
        for packets in (low, high):
            assert_one_stream(packets)


async def test_lost_packets_of_the_layer_before_are_still_sent_again(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        track_id = await publish(alice)
        subscription = await bob.subscribe(track_id)
        encodings = sources()
        await alice.play(*encodings, seconds=0.8)
        before = bob.media(subscription)[-4:]
        assert set(origins(before)) == {HIGH}
        await prefer(bob, subscription, 0)
        encodings[0].request_key_frame()
        await send_until(alice, encodings, lambda: origins(bob.media(subscription)[-1:]) == [LOW])
        bob.send_rtcp(Nack(bob.ssrc, subscription.ssrc, tuple(packet.sequence_number for packet in before)))
        assert subscription.rtx_ssrc is not None
        await bob.until(lambda: len(bob.rtp(subscription.rtx_ssrc)) >= 4, PATIENCE)
        again = [subscription.unwrap(packet) for packet in bob.rtp(subscription.rtx_ssrc)]
        facts = [
            (packet.sequence_number, packet.timestamp, packet.payload, packet.marker) for packet in again if packet
        ]
        assert facts == [(packet.sequence_number, packet.timestamp, packet.payload, packet.marker) for packet in before]


async def test_a_lost_packet_of_an_encoding_is_repaired_under_its_rid(server: ServerProcess, channel: str) -> None:
    """The publisher's RTX is found by repaired RID: its SSRC stands nowhere."""
    repaired = EXTENSION_IDS["repaired_rid"]
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        track_id = await publish(alice, rids=True)
        subscription = await bob.subscribe(track_id)
        encodings = sources(rids=True)
        withheld: list[RtpPacket] = []

        def lose(packet: RtpPacket) -> bool:
            lost = packet.ssrc == HIGH and encodings[2].frames_sent in (30, 31) and not packet.marker
            if lost:
                withheld.append(packet)
                encodings[2].history.clear()  # the player cannot send it again as a browser would; the test does
            return lost

        again: list[RtpPacket] = []

        def send_again(packets: list[RtcpPacket], _: float) -> None:
            asked = {number for packet in packets if isinstance(packet, Nack) for number in packet.lost}
            for packet in withheld:
                if packet.sequence_number in asked:
                    rtx = payloads.rtx(packet, ssrc=77, payload_type=124, sequence_number=len(again))
                    rtx.extensions = {MID: b"camera", repaired: b"h"}
                    again.append(rtx)
                    alice.send_rtp(rtx)

        alice.on_rtcp.append(send_again)
        await alice.play(*encodings, seconds=1.5, lose=lose)
        last = encodings[2].packets_sent - 1
        await bob.until(lambda: len(again) >= 4 and ordinals(bob.media(subscription)[-1:]) == [last], PATIENCE)
        received = bob.media(subscription)
        high = [packet for packet in received if origins([packet]) == [HIGH]]
        assert len(withheld) == 4
        assert set(ordinals(withheld)) <= set(ordinals(high))
        assert_contiguous(received)
        assert ordinals(high) == list(range(ordinals(high)[0], encodings[2].packets_sent))
