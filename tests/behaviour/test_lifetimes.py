"""How long a session lives that nobody keeps alive (RFC 7675 §5.1), and what goes with it.

The times are the server's constants, measured from our last sign of life. They are never early; late they are by what
the machine adds.
"""

import asyncio

import pytest

from tests.behaviour.deaths import Deaths
from tests.behaviour.scene import PATIENCE, people
from tests.support.api import ApiFailure
from tests.support.rtcp_packet import Bye
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource

SLACK = 5.0
pytestmark = pytest.mark.timeout(180)


async def test_without_consent_media_stops_and_the_session_dies(deaths: Deaths) -> None:
    death = await deaths.of("silent")
    assert death.reason == "consent lost"
    assert 29 < death.after < 30 + SLACK
    assert 25 < death.seen["media_for"] < 30 + SLACK
    assert death.seen["media_for"] <= death.after + 0.5


async def test_a_publisher_that_vanished_is_gone_after_as_long(deaths: Deaths) -> None:
    death = await deaths.of("vanished")
    assert death.reason == "consent lost"
    assert 29 < death.after < 30 + SLACK


async def test_a_session_that_is_never_connected_dies(deaths: Deaths) -> None:
    death = await deaths.of("never connected")
    assert death.reason == "not connected in time"
    assert 29 < death.after < 30 + SLACK


async def test_half_a_handshake_is_not_waited_for(deaths: Deaths) -> None:
    death = await deaths.of("half a handshake")
    assert death.reason == "DTLS handshake timed out"
    assert 9 < death.after < 10 + SLACK


async def test_a_deleted_session_takes_its_tracks_with_it(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("opus", ssrc=1)
        await bob.subscribe(published.track_id)
        await alice.play(AudioSource(ssrc=1, payload_type=109), seconds=0.2)
        await alice.api.call("DELETE", f"/sessions/{alice.session_id}")
        view = await bob.api.channel(channel)
        assert [member["user_id"] for member in view["members"]] == ["bob"]
        assert view["tracks"] == []
        session = await bob.api.call("GET", f"/sessions/{bob.session_id}")
        assert session["subscriptions"] == []
        assert session["ice_state"] == "completed"
        with pytest.raises(ApiFailure) as failure:
            await bob.subscribe(published.track_id)
        assert failure.value.status == 404


async def test_a_publisher_that_says_goodbye_may_begin_again(server: ServerProcess, channel: str) -> None:
    """BYE ends a stream, not the track: mediasoup's clients send one when a microphone is swapped."""
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("opus", ssrc=1)
        subscription = await bob.subscribe(published.track_id)
        source = AudioSource(ssrc=1, payload_type=109)
        await alice.play(source, seconds=0.2)
        alice.send_rtcp(Bye((1,)))
        await asyncio.sleep(0.1)
        await alice.play(source, seconds=0.2)
        await bob.until(lambda: len(bob.media(subscription)) == source.packets_sent, PATIENCE)
        why = await alice.api.call("GET", f"/sessions/{alice.session_id}/why")
        streams = [entry for entry in why["entries"] if entry["cause"].startswith("stream_")]
        assert [entry["cause"] for entry in streams] == ["stream_started", "stream_ended"]
        assert {entry["track_id"] for entry in streams} == {published.track_id}


async def test_dtls_may_be_begun_by_the_server(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={"dtls_role": "server"}, bob={}) as (alice, bob):
        published = await alice.publish("opus", ssrc=1)
        subscription = await bob.subscribe(published.track_id)
        source = AudioSource(ssrc=1, payload_type=109)
        await alice.play(source, seconds=0.2)
        await bob.until(lambda: len(bob.media(subscription)) == source.packets_sent, PATIENCE)


@pytest.mark.parametrize("profile", ["SRTP_AEAD_AES_128_GCM", "SRTP_AEAD_AES_256_GCM", "SRTP_AES128_CM_SHA1_80"])
async def test_every_profile_carries_media(server: ServerProcess, channel: str, profile: str) -> None:
    async with people(server.url, channel, alice={"profiles": (profile,)}, bob={"profiles": (profile,)}) as (
        alice,
        bob,
    ):
        assert alice.keys is not None
        assert alice.keys.profile == profile
        published = await alice.publish("opus", ssrc=1)
        subscription = await bob.subscribe(published.track_id)
        source = AudioSource(ssrc=1, payload_type=109)
        await alice.play(source, seconds=0.2)
        await bob.until(lambda: len(bob.media(subscription)) == source.packets_sent, PATIENCE)
