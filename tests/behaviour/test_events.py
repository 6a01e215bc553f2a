"""What a watcher of a channel is told, in order, by WebSocket and as `text/event-stream`; and who hears whom."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.behaviour.scene import PATIENCE, arrived, assert_contiguous, handled, ordinals, people, send
from tests.behaviour.test_joining import pause, pause_track
from tests.behaviour.test_simulcast import prefer, publish, sources
from tests.support.api import Api
from tests.support.parameters import EXTENSION_IDS
from tests.support.rtc_client import FeedbackOptions, ScriptedClient
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource

Event = dict[str, Any]
LEVEL = EXTENSION_IDS["audio_level"]


async def until(events: aiohttp.ClientWebSocketResponse, wanted: Callable[[Event], bool]) -> list[Event]:
    """The events up to the wanted one, which comes last."""
    seen: list[Event] = []
    async with asyncio.timeout(PATIENCE):
        while not seen or not wanted(seen[-1]):
            seen.append(await events.receive_json())
    return seen


def is_a(kind: str, **fields: Any) -> Callable[[Event], bool]:
    return lambda event: event["type"] == kind and all(event[name] == value for name, value in fields.items())


async def test_a_watcher_sees_all_that_happens(server: ServerProcess, channel: str) -> None:
    async with Api(server.url) as api, api.events(channel) as events:
        first = await events.receive_json(timeout=PATIENCE)
        assert first["type"] == "snapshot"
        assert first["channel"]["members"] == []
        async with people(server.url, channel, alice={}) as (alice,):
            published = await alice.publish("opus", ssrc=1, body={"source": "microphone"})
            for paused in (True, False):
                await pause_track(alice, published.track_id, paused)
            await alice.api.call("DELETE", f"/sessions/{alice.session_id}/tracks/{published.track_id}")
            await alice.publish("VP8", ssrc=2, rtx_ssrc=3)
        seen = await until(events, is_a("session.closed"))
        story = [(event["type"], event.get("kind"), event.get("paused")) for event in seen]
        assert story == [
            ("session.created", None, None),
            ("track.added", "audio", False),
            ("track.paused", "audio", True),
            ("track.paused", "audio", False),
            ("track.removed", "audio", None),
            ("track.added", "video", False),
            ("track.removed", "video", None),
            ("session.closed", None, None),
        ]
        assert {event["session_id"] for event in seen} == {alice.session_id}
        assert {event["user_id"] for event in seen} == {"alice"}
        assert {event["channel_id"] for event in [first, *seen]} == {channel}
        assert {event["schema"] for event in [first, *seen]} == {1}
        assert len({event["event_id"] for event in seen}) == len(seen)
        assert [event["at"] for event in seen] == sorted(event["at"] for event in seen)
        assert seen[1]["source"] == "microphone"
        assert seen[-1]["reason"] == "deleted"


async def test_a_late_watcher_begins_with_what_is_there(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}) as (alice,):
        published = await alice.publish("opus", ssrc=1)
        async with alice.api.events(channel) as events:
            snapshot = (await events.receive_json(timeout=PATIENCE))["channel"]
            assert [member["user_id"] for member in snapshot["members"]] == ["alice"]
            assert [track["track_id"] for track in snapshot["tracks"]] == [published.track_id]


async def test_an_event_stream_says_the_same(server: ServerProcess, channel: str) -> None:
    async with aiohttp.ClientSession() as http, Api(server.url) as api:
        url = f"{server.url}/channels/{channel}/events"
        async with http.get(url, headers={"Accept": "text/event-stream"}) as stream:
            assert stream.content_type == "text/event-stream"
            session = await api.create_session(channel, "alice")
            await api.call("DELETE", f"/sessions/{session['session_id']}")
            kinds: list[str] = []
            async with asyncio.timeout(PATIENCE):
                while "session.closed" not in kinds:
                    line = (await stream.content.readline()).decode().strip()
                    if line.startswith("data:"):
                        kinds.append(json.loads(line.removeprefix("data:"))["type"])
            assert kinds == ["snapshot", "session.created", "session.closed"]


async def test_who_speaks_is_told(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as both:
        alice = both[0]
        for index, person in enumerate(both):
            await person.publish("opus", ssrc=1 + index)
        voices = [AudioSource(ssrc=1 + index, payload_type=109, audio_level_id=LEVEL, level=127) for index in range(2)]
        async with alice.api.events(channel) as events:
            playing = [
                asyncio.create_task(person.play(voice, seconds=30)) for person, voice in zip(both, voices, strict=True)
            ]
            for speaker, silent, name in ((0, 1, "alice"), (1, 0, "bob")):
                voices[silent].level, voices[silent].voice = 127, False
                voices[speaker].level, voices[speaker].voice = 15, True
                changed = (await until(events, is_a("speaker.changed")))[-1]
                assert changed["user_id"] == name
                active = (await alice.api.channel(channel))["active_speaker"]
                assert active["user_id"] == name
            for task in playing:
                task.cancel()


async def test_layers_that_change_are_told(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob), bob.api.events(channel) as events:
        track_id = await publish(alice)
        subscription = await bob.subscribe(track_id)
        playing = asyncio.create_task(alice.play(*sources(), seconds=30))
        for spatial in (2, 0):
            await prefer(bob, subscription, spatial)
            told = is_a("subscription.layers", layers={"spatial": spatial, "temporal": 2})
            event = (await until(events, told))[-1]
            assert event["subscription_id"] == subscription.subscription_id
            assert event["track_id"] == track_id
            assert event["user_id"] == "bob"
        playing.cancel()


async def test_bad_quality_is_told_when_it_begins_and_when_it_ends(server: ServerProcess, channel: str) -> None:
    """A publisher whose packets get lost, and a subscriber that reports loss: each with its cause and its figures."""
    lossy = True
    async with (
        people(server.url, channel, alice={}, bob={"feedback": FeedbackOptions(reports=True)}) as (alice, bob),
        alice.api.events(channel) as events,
    ):
        sound = await alice.publish("opus", ssrc=1, feedback=[])
        await bob.subscribe(sound.track_id)
        source = AudioSource(ssrc=1, payload_type=109)
        playing = asyncio.create_task(
            alice.play(source, seconds=60, lose=lambda packet: lossy and packet.sequence_number % 4 == 0)
        )
        begun = (await until(events, is_a("quality.degraded", degraded=True, user_id="alice")))[-1]
        assert (begun["cause"], begun["metric"]) == ("publisher_uplink", "loss")
        assert 0.15 < begun["value"] < 0.4
        assert begun["value"] > begun["threshold"]
        assert begun["track_id"] == sound.track_id
        assert 1 <= begun["mos"] < 4
        lossy = False
        ended = (await until(events, is_a("quality.degraded", degraded=False, user_id="alice")))[-1]
        assert ended["cause"] == "publisher_uplink"
        playing.cancel()


# -- routes


async def put_routes(
    client: ScriptedClient, channel: str, *gains: tuple[str, str, float], default: float = 1.0
) -> None:
    """`PUT /channels/{id}/routes`; gains are (listener, speaker, gain)."""
    body = {
        "default": default,
        "gains": [{"listener": listener, "speaker": speaker, "gain": gain} for listener, speaker, gain in gains],
    }
    await client.api.call("PUT", f"/channels/{channel}/routes", body)


async def test_routes_say_who_hears_whom(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}, carol={}) as (alice, bob, carol):
        sound = await alice.publish("opus", ssrc=1)
        picture = await alice.publish("VP8", ssrc=2, rtx_ssrc=3)
        heard = {client.user: await client.subscribe(sound.track_id) for client in (bob, carol)}
        seen = await bob.subscribe(picture.track_id)
        audio, video = AudioSource(ssrc=1, payload_type=109), VideoSource(ssrc=2, payload_type=120)
        expected: dict[str, list[int]] = {"bob": [], "carol": []}
        scenes: list[tuple[list[tuple[str, str, float]], float, set[str]]] = [
            ([], 1.0, {"bob", "carol"}),
            ([("bob", "alice", 0)], 1.0, {"carol"}),
            ([("*", "alice", 0)], 1.0, set()),
            ([("*", "alice", 0), ("bob", "alice", 1)], 1.0, {"bob"}),
            ([], 0.0, set()),
            ([("carol", "*", 0.5)], 0.0, {"carol"}),
            ([], 1.0, {"bob", "carol"}),
        ]
        for gains, default, listeners in scenes:
            await put_routes(alice, channel, *gains, default=default)
            first = audio.packets_sent
            await send(alice, audio, 5)
            await send(alice, video, 2)
            await handled(alice)
            for name in listeners:
                expected[name] += range(first, first + 5)
        for client in (bob, carol):
            received = await arrived(client, heard[client.user], len(expected[client.user]))
            assert ordinals(received) == expected[client.user]
            assert_contiguous(received)
        assert ordinals(await arrived(bob, seen, video.packets_sent)) == list(range(video.packets_sent))


async def test_a_route_and_a_pause_do_not_undo_one_another(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        sound = await alice.publish("opus", ssrc=1)
        subscription = await bob.subscribe(sound.track_id)
        audio = AudioSource(ssrc=1, payload_type=109)
        await pause(bob, subscription, True)
        await put_routes(alice, channel, ("bob", "alice", 0))
        await pause(bob, subscription, False)
        await send(alice, audio, 5)  # muted
        await handled(alice)
        await pause(bob, subscription, True)
        await put_routes(alice, channel)
        await send(alice, audio, 5)  # paused
        await handled(alice)
        await pause(bob, subscription, False)
        await send(alice, audio, 5)
        assert ordinals(await arrived(bob, subscription, 5)) == list(range(10, 15))


@pytest.mark.parametrize("muted_first", [True, False])
async def test_routes_hold_for_who_comes_later(server: ServerProcess, channel: str, muted_first: bool) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        if muted_first:
            await put_routes(alice, channel, ("bob", "alice", 0))
        sound = await alice.publish("opus", ssrc=1)
        subscription = await bob.subscribe(sound.track_id)
        if not muted_first:
            await put_routes(alice, channel, ("bob", "alice", 0))
        audio = AudioSource(ssrc=1, payload_type=109)
        await send(alice, audio, 5)
        await handled(alice)
        await put_routes(alice, channel)
        await send(alice, audio, 5)
        assert ordinals(await arrived(bob, subscription, 5)) == list(range(5, 10))
