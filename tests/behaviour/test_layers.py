"""Layers inside one stream: VP8's temporal layers and VP9's spatial ones. What is left out leaves no gap."""

import pytest

from tests.behaviour.descriptors import pictures, read_vp9
from tests.behaviour.scene import arrived, assert_contiguous, frames_of, handled, people, send, steps, timestamp_steps
from tests.behaviour.test_simulcast import prefer
from tests.support.server import ServerProcess
from tests.support.sources import VideoSource

T3 = (0, 2, 1, 2)


async def test_temporal_layers_of_vp8_are_left_out_and_taken_in(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("VP8", encodings=[{"ssrc": 1, "rtx": {"ssrc": 2}, "scalabilityMode": "L1T3"}])
        subscription = await bob.subscribe(published.track_id)
        source = VideoSource(
            ssrc=1, payload_type=120, temporal_ids=T3, picture_id=32740, tl0_picture_index=250, sequence_number=65500
        )
        expected = 0
        seen: list[int] = []
        for temporal, share in ((2, 40), (1, 20), (0, 10), (1, 20), (2, 40)):
            await handled(alice)
            await prefer(bob, subscription, 0, temporal)
            await send(alice, source, 40)
            expected += 3 * share
            received = await arrived(bob, subscription, expected)
            assert len(received) == expected
            temporals = [picture.temporal_id for picture in pictures(received)][len(seen) :]
            assert max(temporals) == temporal
            seen += temporals
        assert_contiguous(received)
        shown = pictures(received)
        assert set(steps([picture.picture_id or 0 for picture in shown], 15)) == {1}
        base = [picture.tl0_picture_index or 0 for picture in shown if picture.temporal_id == 0]
        assert set(steps(base, 8)) == {1}
        assert min(timestamp_steps(received)) >= 0
        # Frames that are left out take their time with them.
        whole = sum(timestamp_steps(received))
        assert whole == 3000 * (5 * 40 - 1)


@pytest.mark.parametrize("spatial_layers", [2, 3])
async def test_spatial_layers_of_vp9_are_left_out_and_taken_in(
    server: ServerProcess, channel: str, spatial_layers: int
) -> None:
    top = spatial_layers - 1
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        mode = f"L{spatial_layers}T1"
        published = await alice.publish("VP9", encodings=[{"ssrc": 1, "rtx": {"ssrc": 2}, "scalabilityMode": mode}])
        subscription = await bob.subscribe(published.track_id)
        assert subscription.type == "svc"
        source = VideoSource(
            ssrc=1, payload_type=121, codec="VP9", spatial_layers=spatial_layers, packets_per_frame=2, picture_id=32760
        )
        expected = 0
        for spatial in (top, 0, top):
            await handled(alice)
            await prefer(bob, subscription, spatial)
            if spatial == top and expected:  # upwards needs a key frame, and nothing changes before
                await send(alice, source, 5)
                expected += 5 * 2
                assert len(await arrived(bob, subscription, expected)) == expected
                source.request_key_frame()
            await send(alice, source, 10)
            expected += 10 * 2 * (spatial + 1)
            received = await arrived(bob, subscription, expected)
            assert len(received) == expected
            latest = received[-2 * (spatial + 1) :]
            assert [read_vp9(packet).spatial_id for packet in latest] == [
                layer for layer in range(spatial + 1) for _ in range(2)
            ]
        assert_contiguous(received)
        for frame in frames_of(received):
            assert [packet.marker for packet in frame] == [False] * (len(frame) - 1) + [True]
            assert len({read_vp9(packet).picture_id for packet in frame}) == 1
        pictures_seen = [read_vp9(frame[0]).picture_id for frame in frames_of(received)]
        assert set(steps(pictures_seen, 15)) == {1}


async def test_temporal_layers_of_vp9_are_left_out(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("VP9", encodings=[{"ssrc": 1, "rtx": {"ssrc": 2}, "scalabilityMode": "L1T3"}])
        subscription = await bob.subscribe(published.track_id)
        source = VideoSource(ssrc=1, payload_type=121, codec="VP9", temporal_ids=T3, picture_id=32760)
        await send(alice, source, 8)
        await arrived(bob, subscription, 24)
        await prefer(bob, subscription, 0, 0)
        await send(alice, source, 40)
        received = await arrived(bob, subscription, 24 + 30)
        assert len(received) == 54
        assert {read_vp9(packet).temporal_id for packet in received[24:]} == {0}
        assert_contiguous(received)
