"""aiortc and aioice, told to begin where it hurts: numbers about to wrap, another SSRC, REMB, AES-256, the wrong ICE
role."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aioice
import aiortc.rtcrtpsender
import pytest
from aiortc.rtcdtlstransport import SRTP_AEAD_AES_256_GCM
from aiortc.rtp import RTCP_PSFB_APP, RtcpPsfbPacket, unpack_remb_fci

from tests.interop.test_libraries import TONE_HZ, TONE_TOLERANCE_HZ, pictures_follow_each_other
from tests.support.aiortc_client import AiortcClient, loopback_only
from tests.support.api import Api
from tests.support.clients import Meter
from tests.support.dtls import DtlsEndpoint
from tests.support.rtc_client import candidate_address
from tests.support.server import ServerProcess

PATIENCE = 30.0


@asynccontextmanager
async def two_people(server: ServerProcess, channel: str) -> AsyncIterator[tuple[AiortcClient, AiortcClient]]:
    async with (
        AiortcClient.joined(server.url, channel, "alice") as alice,
        AiortcClient.joined(server.url, channel, "bob") as bob,
    ):
        yield alice, bob


async def goes_on(meter: Meter, frames: int) -> None:
    """Wait for so many frames more."""
    await meter.until(frames=meter.frames + frames, timeout=PATIENCE)


async def publish_both(alice: AiortcClient, bob: AiortcClient) -> tuple[Meter, Meter]:
    """Alice speaks and shows her counting picture; what bob hears and sees."""
    voice, picture = await alice.publish_audio(TONE_HZ), await alice.publish_video()
    meters = await bob.subscribe_all()
    return meters[voice], meters[picture]


def sound_and_picture_are_whole(voice: Meter, picture: Meter) -> None:
    assert abs(voice.frequency() - TONE_HZ) < TONE_TOLERANCE_HZ
    pictures_follow_each_other(picture)


async def test_numbers_timestamps_and_rollovers_wrap(
    server: ServerProcess, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second after the beginning, of sound and of the picture, under one SRTP context."""
    near_the_end = itertools.count(2**32 - 60_000)
    monkeypatch.setattr(aiortc.rtcrtpsender, "random_sequence_number", lambda: 65_490)
    monkeypatch.setattr(aiortc.rtcrtpsender, "random32", lambda: next(near_the_end))
    async with two_people(server, channel) as (alice, bob):
        voice, picture = await publish_both(alice, bob)
        await goes_on(voice, 200)
        await goes_on(picture, 60)
        sound_and_picture_are_whole(voice, picture)
        figures = await alice.api.call("GET", f"/sessions/{alice.session['session_id']}/stats")
        assert [track["packets_lost"] for track in figures["tracks"]] == [0, 0]


async def test_another_ssrc(server: ServerProcess, channel: str) -> None:
    """The stack sends under a new SSRC without a word of signalling: MID tells whose it is."""
    async with two_people(server, channel) as (alice, bob):
        voice, picture = await publish_both(alice, bob)
        await goes_on(voice, 50)
        await goes_on(picture, 20)
        for sender in alice._senders:
            sender._ssrc ^= 0x00FF_FF00
            alice.dtls._rtp_router.register_sender(sender, ssrc=sender._ssrc)  # so that feedback finds it
        await goes_on(voice, 150)
        await goes_on(picture, 40)
        sound_and_picture_are_whole(voice, picture)


async def test_remb_both_ways(server: ServerProcess, channel: str) -> None:
    """aiortc knows no transport-cc: it tells the server what it can receive, and is told the same."""
    async with two_people(server, channel) as (alice, bob):
        told: list[int] = []
        _, picture = await publish_both(alice, bob)
        for sender in alice._senders:
            record_estimates(sender, told)
        path = f"/sessions/{bob.session['session_id']}/stats"
        async with asyncio.timeout(PATIENCE):
            while not told or not (await bob.api.call("GET", path))["available_bitrate"]["outgoing"]:
                await goes_on(picture, 5)
        assert min(told) > 100_000


def record_estimates(sender: Any, estimates: list[int]) -> None:
    """Note the bitrate of every REMB that reaches a sender, which goes on as before."""
    handle = sender._handle_rtcp_packet

    async def noting(packet: Any) -> None:
        if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            estimates.append(unpack_remb_fci(packet.fci)[0])
        await handle(packet)

    sender._handle_rtcp_packet = noting


async def test_aes_256(server: ServerProcess, channel: str) -> None:
    """Of one who offers nothing else, to one who gets AES-128."""
    alice, bob = (AiortcClient(server.url, channel, user) for user in ("alice", "bob"))
    alice.dtls._srtp_profiles = [SRTP_AEAD_AES_256_GCM]
    try:
        await asyncio.gather(alice.connect(), bob.connect())
        assert alice.dtls._ssl.get_selected_srtp_profile() == b"SRTP_AEAD_AES_256_GCM"
        assert bob.dtls._ssl.get_selected_srtp_profile() == b"SRTP_AEAD_AES_128_GCM"
        for speaker, listener in ((alice, bob), (bob, alice)):
            voice, picture = await publish_both(speaker, listener)
            await goes_on(voice, 100)
            await goes_on(picture, 30)
            sound_and_picture_are_whole(voice, picture)
    finally:
        await asyncio.gather(alice.close(), bob.close())


async def test_a_role_conflict(server: ServerProcess, channel: str) -> None:
    """An agent that believes itself controlled is told 487, and controls from then on."""
    loopback_only()
    async with Api(server.url) as api:
        session = await api.create_session(channel, "alice")
        path = f"/sessions/{session['session_id']}"
        agent = aioice.Connection(ice_controlling=False)
        await agent.gather_candidates()
        ours: dict[str, Any] = {"usernameFragment": agent.local_username, "password": agent.local_password}
        fingerprint = DtlsEndpoint(client=True).certificate.fingerprint
        dtls = {"role": "client", "fingerprints": [{"algorithm": "sha-256", "value": fingerprint}]}
        await api.call("POST", f"{path}/connect", {"dtls_parameters": dtls, "ice_parameters": ours})
        agent.remote_is_lite = True
        agent.remote_username = session["ice_parameters"]["usernameFragment"]
        agent.remote_password = session["ice_parameters"]["password"]
        for candidate in session["ice_candidates"]:
            host, port = candidate_address(candidate)
            fields = candidate["foundation"], 1, "udp", candidate["priority"], host, port, "host"
            await agent.add_remote_candidate(aioice.Candidate(*fields))
        await agent.add_remote_candidate(None)
        try:
            async with asyncio.timeout(PATIENCE):
                await agent.connect()
                while (await api.call("GET", path))["ice_state"] not in ("connected", "completed"):
                    await asyncio.sleep(0.05)
            assert agent.ice_controlling
        finally:
            await agent.close()
