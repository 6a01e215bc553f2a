"""Python's WebRTC libraries, unmodified, publish and subscribe: each with the other, and each with its like."""

import pytest

from tests.support.clients import CLIENTS, Meter, join
from tests.support.server import ServerProcess

TONE_HZ = 700.0
TONE_TOLERANCE_HZ = 3.0


def pictures_follow_each_other(meter: Meter) -> None:
    """The numbers on the pictures increase; a picture may be shown twice or be missing, never come again."""
    numbers = [number for number in meter.counters if number > 0]
    assert len(set(numbers)) >= 20
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("subscriber", CLIENTS)
@pytest.mark.parametrize("publisher", CLIENTS)
async def test_what_one_publishes_the_other_hears_and_sees(
    publisher: str, subscriber: str, server: ServerProcess, channel: str
) -> None:
    async with (
        join(publisher, server.url, channel, "alice") as alice,
        join(subscriber, server.url, channel, "bob") as bob,
    ):
        voice = await alice.publish_audio(TONE_HZ)
        picture = await alice.publish_video()
        meters = await bob.subscribe_all()
        await meters[picture].until(frames=30, timeout=30)
        await meters[voice].until(frames=100, timeout=30)
        assert abs(meters[voice].frequency() - TONE_HZ) < TONE_TOLERANCE_HZ
        assert meters[picture].size == (320, 240)
        pictures_follow_each_other(meters[picture])


@pytest.mark.parametrize("library", CLIENTS)
async def test_two_who_publish_and_subscribe_at_once(library: str, server: ServerProcess, channel: str) -> None:
    other = next(name for name in CLIENTS if name != library)
    async with (
        join(library, server.url, channel, "alice") as alice,
        join(other, server.url, channel, "bob") as bob,
    ):
        spoken = {await alice.publish_audio(440.0): 440.0, await bob.publish_audio(880.0): 880.0}
        for listener in (alice, bob):
            for track, meter in (await listener.subscribe_all()).items():
                await meter.until(frames=100, timeout=30)
                assert abs(meter.frequency() - spoken[track]) < TONE_TOLERANCE_HZ
