"""Rows 11 and 13: an outage that ends, a NAT that rebinds, another network, an ICE restart."""

import asyncio
import time
from itertools import pairwise

import pytest

from tests.behaviour.descriptors import pictures
from tests.behaviour.scene import PATIENCE, REPAIR, ordinals, people, unreadable
from tests.faults.figures import Figures, steady
from tests.support.relay import Link, Relay
from tests.support.rtc_client import ScriptedClient, Subscribed
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

OUTAGE = 5.0
DARK = Link(outage=True)


def arrivals(client: ScriptedClient, subscription: Subscribed) -> list[tuple[float, RtpPacket]]:
    """The packets of a subscription as they came, and when."""
    parsed = [(one.at, RtpPacket.parse(one.data)) for one in client.rtp_log]
    media = [(at, subscription.unwrap(packet)) for at, packet in parsed]
    return [(at, packet) for at, packet in media if packet is not None]


async def through_an_outage(
    server: ServerProcess, relay: Relay, channel: str, figures: Figures, who: str, seconds: float
) -> None:
    """Both directions of one leg go dark and come back. Nobody signals anything."""
    port = relay.open()
    behind = {"media_address": port.address}
    options = {"alice": behind if who == "publisher" else {}, "bob": {"feedback": REPAIR}}
    if who == "subscriber":
        options["bob"].update(behind)
    async with people(server.url, f"{channel}.{who}", **options) as (alice, bob):
        picture = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        sound = await alice.publish("opus", ssrc=3)
        seen, heard = [await bob.subscribe(track.track_id) for track in (picture, sound)]
        video, audio = VideoSource(ssrc=1, payload_type=120), AudioSource(ssrc=3, payload_type=109)
        playing = asyncio.create_task(alice.play(video, audio, seconds=seconds + 30))
        await bob.until(lambda: len(bob.media(heard)) > 30 and len(bob.media(seen)) > 60, PATIENCE)
        port.set(up=DARK, down=DARK)
        await asyncio.sleep(seconds)
        back, first_frame, first_word = time.monotonic(), video.frames_sent, audio.packets_sent
        port.set(up=Link(), down=Link())
        # By the sender's counter: to look through what has arrived again and again would slow its receiver down.
        await alice.until(lambda: audio.packets_sent > first_word + 75, PATIENCE)
        playing.cancel()
        name = f"{who}, {seconds:g} s"
        word = min(at for at, packet in arrivals(bob, heard) if ordinals([packet])[0] >= first_word)
        figures.check("B11", f"{name}: sound after the outage, seconds", word - back, at_most=1.0)
        frame = min(decodable(arrivals(bob, seen), first_frame))
        figures.check("B11", f"{name}: picture after the outage, seconds", frame - back, at_most=1.0)
        assert not unreadable(bob)
        for client in (alice, bob):  # what the next consent check does
            await client.check()
            state = await client.api.call("GET", f"/sessions/{client.session_id}")
            assert state["ice_state"] == "completed"


def decodable(packets: list[tuple[float, RtpPacket]], first_frame: int) -> list[float]:
    """When each frame from `first_frame` on could be decoded: it is whole, and so is all back to a key frame."""
    complete: dict[int, float] = {}
    keys: set[int] = set()
    parts: dict[int, set[int]] = {}
    for at, packet in packets:
        ordinal = ordinals([packet])[0]
        parts.setdefault(ordinal // 3, set()).add(ordinal)
        if len(parts[ordinal // 3]) == 3:
            complete.setdefault(ordinal // 3, at)
        if any(picture.key for picture in pictures([packet])):
            keys.add(ordinal // 3)
    times: list[float] = []
    chain: float | None = None
    for frame in range(min(parts), max(parts) + 1):
        at = complete.get(frame)
        if at is None:
            chain = None
        elif frame in keys:
            chain = at
        elif chain is not None:
            chain = max(chain, at)
        if chain is not None and frame >= first_frame:
            times.append(chain)
    return times


@steady
async def test_an_outage_of_five_seconds(server: ServerProcess, network: Relay, channel: str, figures: Figures) -> None:
    async with asyncio.TaskGroup() as calls:
        for who in ("publisher", "subscriber"):
            calls.create_task(through_an_outage(server, network, channel, figures, who, OUTAGE))


@pytest.mark.soak
@steady
async def test_an_outage_of_twenty_seconds(
    server: ServerProcess, network: Relay, channel: str, figures: Figures
) -> None:
    """As long as consent (RFC 7675) allows; what was said meanwhile is too old to be sent again."""
    async with asyncio.TaskGroup() as calls:
        for who in ("publisher", "subscriber"):
            calls.create_task(through_an_outage(server, network, channel, figures, who, 20.0))


@steady
async def test_a_path_that_moves(server: ServerProcess, network: Relay, channel: str, figures: Figures) -> None:
    """NAT rebinding, found by the client's next check; then ICE restarts on the same address, and on another."""
    port = network.open()
    async with people(server.url, channel, alice={}, bob={"media_address": port.address}) as (alice, bob):
        sound = await alice.publish("opus", ssrc=1)
        heard = await bob.subscribe(sound.track_id)
        audio = AudioSource(ssrc=1, payload_type=109)
        playing = asyncio.create_task(alice.play(audio, seconds=60))
        await bob.until(lambda: len(bob.media(heard)) > 75, PATIENCE)  # nominations have settled

        port.rebind()
        checked = time.monotonic()
        await bob.check(use_candidate=False)
        await bob.until(lambda: bob.rtp_log[-1].at > checked, PATIENCE)
        first = min(one.at for one in bob.rtp_log if one.at > checked)
        figures.check("B13", "media after the check behind a rebound NAT, seconds", first - checked, at_most=1.0)

        for name, moves in (("same address", False), ("another network", True)):
            began = time.monotonic()
            await bob.restart_ice()
            if moves:
                await bob.rebind()
            await bob.check()
            count = len(bob.media(heard)) + 25
            await bob.until(lambda count=count: len(bob.media(heard)) >= count, PATIENCE)
            times = [one.at for one in bob.rtp_log if one.at > began - 0.1]
            gap = max(after - before for before, after in pairwise(times))
            figures.check("B13", f"longest gap in sound over an ICE restart, {name}, seconds", gap, at_most=0.5)
        playing.cancel()
        received = bob.media(heard)
        assert {packet.ssrc for packet in received} == {heard.ssrc}
        numbers = [packet.sequence_number - received[0].sequence_number & 0xFFFF for packet in received]
        assert numbers == [ordinal - ordinals(received)[0] for ordinal in ordinals(received)], "the numbers go on"
        assert not unreadable(bob), "and so does SRTP"


@steady
async def test_an_address_that_changes(server: ServerProcess, channel: str, figures: Figures) -> None:
    """From one network card to another, first the listener and then the speaker."""
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        sound = await alice.publish("opus", ssrc=1)
        heard = await bob.subscribe(sound.track_id)
        playing = asyncio.create_task(alice.play(AudioSource(ssrc=1, payload_type=109), seconds=60))
        for mover, name in ((bob, "listener"), (alice, "speaker")):
            count = len(bob.media(heard)) + 25
            await bob.until(lambda count=count: len(bob.media(heard)) >= count, PATIENCE)
            moved = time.monotonic()
            await mover.rebind("127.0.0.2")
            await mover.check()
            await bob.until(lambda moved=moved: bob.rtp_log[-1].at > moved + 0.5, PATIENCE)
            times = [one.at for one in bob.rtp_log if one.at > moved - 0.1]
            gap = max(after - before for before, after in pairwise(times))
            figures.check("B13", f"longest gap in sound, the {name} at another address, seconds", gap, at_most=1.0)
            assert mover.address[0] == "127.0.0.2"
        playing.cancel()
        assert not unreadable(bob)
