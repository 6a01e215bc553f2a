"""A client's address changes: NAT rebinding, another network, ICE restart. The media goes on, the numbers with it."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from aioice import stun

from tests.behaviour.scene import PATIENCE, assert_contiguous, ordinals, people, unreadable
from tests.support.ice import IceCredentials
from tests.support.relay import Link, Relay
from tests.support.rtc_client import ScriptedClient, Subscribed
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource

REBINDING_SETTLES = 1.0  # how long after a nomination a new address is still an establishment check


@pytest.fixture
def nat(server: ServerProcess) -> Iterator[Relay]:
    with Relay(server.media_address) as relay:
        yield relay


async def more(client: ScriptedClient, subscription: Subscribed, count: int = 10) -> None:
    """Wait for further packets of a subscription."""
    target = len(client.media(subscription)) + count
    await client.until(lambda: len(client.media(subscription)) >= target, PATIENCE)


@pytest.mark.parametrize("nominates", [True, False])
@pytest.mark.parametrize("who", ["publisher", "subscriber"])
async def test_a_nat_that_rebinds_is_followed(
    server: ServerProcess, nat: Relay, channel: str, who: str, nominates: bool
) -> None:
    """The first check from the new address moves the path, also one that nominates nothing, as consent checks may."""
    port = nat.open()
    behind = {"media_address": port.address}
    async with people(
        server.url, channel, alice=behind if who == "publisher" else {}, bob=behind if who == "subscriber" else {}
    ) as (alice, bob):
        published = await alice.publish("opus", ssrc=1, feedback=[])
        subscription = await bob.subscribe(published.track_id)
        source = AudioSource(ssrc=1, payload_type=109)
        playing = asyncio.create_task(alice.play(source, seconds=30, reports=False))
        await more(bob, subscription, round(1.2 * REBINDING_SETTLES / source.interval))
        sources = port.sources()
        assert port.rebind() != sources
        moved = alice if who == "publisher" else bob
        await moved.check(use_candidate=nominates)
        await more(bob, subscription, 25)
        playing.cancel()
        received = bob.media(subscription)
        assert {packet.ssrc for packet in received} == {subscription.ssrc}
        assert ordinals(received) == sorted(set(ordinals(received)))
        assert not unreadable(bob)
        missing = ordinals(received)[-1] - ordinals(received)[0] + 1 - len(received)
        assert missing * source.interval < 1.0  # of media time: nothing but what fell into the change
        assert [packet.sequence_number - received[0].sequence_number & 0xFFFF for packet in received] == [
            ordinal - ordinals(received)[0] for ordinal in ordinals(received)
        ]


async def test_packets_from_a_new_address_without_a_check_are_nobodys(
    server: ServerProcess, nat: Relay, channel: str
) -> None:
    port = nat.open()
    async with people(server.url, channel, alice={"media_address": port.address, "consent": False}, bob={}) as (
        alice,
        bob,
    ):
        published = await alice.publish("opus", ssrc=1, feedback=[])
        subscription = await bob.subscribe(published.track_id)
        source = AudioSource(ssrc=1, payload_type=109)
        await alice.play(source, seconds=0.3, reports=False)
        await bob.until(lambda: len(bob.media(subscription)) == source.packets_sent, PATIENCE)
        before = source.packets_sent
        port.rebind()
        await alice.play(source, seconds=0.3, reports=False)
        unchecked = source.packets_sent
        await alice.check()
        await alice.play(source, seconds=0.3, reports=False)
        await bob.until(lambda: len(bob.media(subscription)) >= before + source.packets_sent - unchecked, PATIENCE)
        assert ordinals(bob.media(subscription)) == [*range(before), *range(unchecked, source.packets_sent)]


@pytest.mark.parametrize("moves", [False, True])
async def test_ice_restarts_while_media_flows(server: ServerProcess, channel: str, moves: bool) -> None:
    """Until the new credentials are nominated the old path serves; then the old credentials are refused."""
    async with people(server.url, channel, alice={}, bob={}) as both:
        tracks = [await person.publish("opus", ssrc=1 + index, feedback=[]) for index, person in enumerate(both)]
        heard = [await both[1].subscribe(tracks[0].track_id), await both[0].subscribe(tracks[1].track_id)]
        sources = [AudioSource(ssrc=1 + index, payload_type=109) for index in range(2)]
        listeners = [(both[1], heard[0]), (both[0], heard[1])]
        playing = [
            asyncio.create_task(person.play(source, seconds=30, reports=False))
            for person, source in zip(both, sources, strict=True)
        ]
        bob = both[1]
        for listener, subscription in listeners:
            await more(listener, subscription)
        old = bob.credentials
        await bob.restart_ice()
        new = bob.credentials
        assert new.remote_ufrag != old.remote_ufrag
        assert new.remote_password != old.remote_password
        for listener, subscription in listeners:  # nothing has been checked yet
            await more(listener, subscription)
        if moves:
            await bob.rebind()
        await bob.check()
        for listener, subscription in listeners:
            await more(listener, subscription, 25)
        bob.credentials = old
        with pytest.raises(TimeoutError):
            await bob.check(timeout=0.5)
        bob.credentials = new
        await bob.check()
        for task in playing:
            task.cancel()
        for listener, subscription in listeners:
            received = listener.media(subscription)
            assert not unreadable(listener)
            missing = ordinals(received)[-1] - ordinals(received)[0] + 1 - len(received)
            assert missing * 0.02 < 0.5
            if not moves:
                assert missing == 0
                assert_contiguous(received)


async def test_a_restart_that_is_never_used_changes_nothing(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("opus", ssrc=1, feedback=[])
        subscription = await bob.subscribe(published.track_id)
        used = bob.credentials
        for _ in range(3):  # a client that asks again and again holds one unused set at most
            await bob.restart_ice()
        newest, bob.credentials = bob.credentials, used
        await bob.check()
        source = AudioSource(ssrc=1, payload_type=109)
        await alice.play(source, seconds=0.5, reports=False)
        await bob.until(lambda: len(bob.media(subscription)) == source.packets_sent, PATIENCE)
        bob.credentials = newest
        await bob.check()


async def test_credentials_of_a_restart_in_between_are_refused(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, bob={}) as (bob,):
        await bob.restart_ice()
        between: IceCredentials = bob.credentials
        await bob.restart_ice()
        newest, bob.credentials = bob.credentials, between
        with pytest.raises(TimeoutError):
            await bob.check(timeout=0.5)
        bob.credentials = newest
        answer = await bob.check()
        assert answer.message_class == stun.Class.RESPONSE


async def test_sound_comes_back_after_an_outage(server: ServerProcess, nat: Relay, channel: str) -> None:
    """An outage of both directions ends by itself: no signalling, and the numbers have not moved."""
    port = nat.open()
    async with people(server.url, channel, alice={}, bob={"media_address": port.address}) as (alice, bob):
        published = await alice.publish("opus", ssrc=1, feedback=[])
        subscription = await bob.subscribe(published.track_id)
        source = AudioSource(ssrc=1, payload_type=109)
        playing = asyncio.create_task(alice.play(source, seconds=30, reports=False))
        await more(bob, subscription)
        port.set(up=Link(outage=True), down=Link(outage=True))
        await asyncio.sleep(1.0)
        port.set(up=Link(), down=Link())
        await more(bob, subscription, 25)
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing
        received = bob.media(subscription)
        numbers = [packet.sequence_number - received[0].sequence_number & 0xFFFF for packet in received]
        assert numbers == [ordinal - ordinals(received)[0] for ordinal in ordinals(received)]
        assert not unreadable(bob)
