"""DTLS under attack: rows 1, 2, 4, 24 (its half) and 25 of section A."""

import asyncio
import statistics
import time
from contextlib import suppress
from typing import Any

import pytest
from OpenSSL import SSL

from tests.attacks.strangers import Drops, Stranger, client_hello, closed_reason, flood, session_state
from tests.support.dtls import Certificate
from tests.support.rtc_client import ScriptedClient
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource

pytestmark = pytest.mark.usefixtures("innocent")

CONNECTS = 50
# Row 1. The attacked and the quiet connects alternate, so that a busy machine slows both.
MOST_EXTRA = 0.1


async def time_to_connect(server: ServerProcess, channel: str, number: int) -> float:
    """Seconds from the first check to the keys."""
    async with ScriptedClient(server.url, channel, f"user-{number}") as client:
        await client.create()
        await client.signal_connect()
        await client.open()
        began = time.monotonic()
        await client.check()
        await client.handshake()
        return time.monotonic() - began


@pytest.mark.parametrize("per_second", [1, 5, 500])
async def test_a01_client_hellos_from_nowhere_do_not_disturb_a_handshake(
    server: ServerProcess, channel: str, drops: Drops, per_second: int, record_property: Any
) -> None:
    """A ClientHello of somebody who has passed no check never reaches DTLS: 50 of 50 connect, none the slower."""
    hello = client_hello()
    attacked, quiet = [], []
    with Stranger(server.media_address) as stranger:
        for number in range(CONNECTS):
            # At the lower rates each connect must still meet one, or the test would mostly measure nothing.
            stranger.send(hello)
            storm = asyncio.create_task(flood(lambda _: stranger.send(hello), 10 * per_second, per_second))
            attacked.append(await time_to_connect(server, channel, number))
            storm.cancel()
            with suppress(asyncio.CancelledError):
                await storm
            if number % 5 == 0:
                quiet.append(await time_to_connect(server, channel, number))
        assert stranger.received() == []
    assert drops("unclassified", "unknown_address", "dtls_unknown_address") >= CONNECTS
    extra = statistics.median(attacked) - statistics.median(quiet)
    record_property("measured", f"{CONNECTS}/{CONNECTS} connect, {extra * 1000:+.1f} ms")
    assert extra < MOST_EXTRA


async def test_a02_a_client_hello_before_nomination_is_answered_at_once(
    server: ServerProcess, channel: str, record_property: Any
) -> None:
    """The client need not send its first flight twice, which it would do after a second."""
    times, repeats = [], 0
    for number in range(5):
        async with ScriptedClient(server.url, channel, f"early-{number}") as client:
            await client.create()
            await client.signal_connect()
            await client.open()
            await client.check(use_candidate=False)
            repeat = client.dtls.handle_timeout

            def count(repeat: Any = repeat) -> None:
                nonlocal repeats
                repeats += 1
                repeat()

            client.dtls.handle_timeout = count  # type: ignore[method-assign]
            began = time.monotonic()
            await client.handshake()
            times.append(time.monotonic() - began)
            await client.check()
            state = await session_state(client)
            assert state["state"] == "connected"
    record_property("measured", f"slowest of 5: {max(times) * 1000:.0f} ms")
    assert repeats == 0
    assert min(times) < 0.3


async def test_a04_a_wrong_certificate_gets_and_gives_nothing(
    server: ServerProcess, channel: str, record_property: Any
) -> None:
    """Whoever shows another certificate than was announced is closed within a second, and no media passes."""
    async with (
        ScriptedClient.joined(server.url, channel, "speaker") as speaker,
        ScriptedClient.joined(server.url, channel, "listener") as listener,
        ScriptedClient(server.url, channel, "mallory") as mallory,
    ):
        spoken = await speaker.publish("opus", ssrc=1)
        await mallory.create()
        stranger_to_it = [{"algorithm": "sha-256", "value": Certificate().fingerprint}]
        await mallory.signal_connect({"role": "client", "fingerprints": stranger_to_it})
        forged = await mallory.publish("opus", ssrc=2)
        heard = await listener.subscribe(forged.track_id)
        await mallory.subscribe(spoken.track_id)
        await mallory.open()
        await mallory.check()
        began = time.monotonic()
        talking = asyncio.create_task(speaker.play(AudioSource(ssrc=1, payload_type=spoken.payload_type), seconds=1.0))
        closing = asyncio.create_task(closed_reason(mallory, 5.0))
        with pytest.raises((SSL.Error, TimeoutError)):
            await mallory.handshake(timeout=0.8)
        reason = await closing
        took = time.monotonic() - began
        # It may believe that the handshake went well: its media must be nobody's all the same.
        for packet in AudioSource(ssrc=2, payload_type=forged.payload_type).next_frame():
            mallory.send_raw(packet.serialize() + bytes(16))
        await talking
        assert "fingerprint" in reason
        assert took < 1.5  # a second, and the pace at which it was looked at
        assert mallory.keys is None
        assert listener.rtp(heard.ssrc) == []
        assert [one for one in mallory.other_log if one.data[:1] >= b"\x80"] == []
        record_property("measured", f"closed after {took * 1000:.0f} ms")


async def test_a04_a_wrong_certificate_of_a_dtls_server(server: ServerProcess, channel: str) -> None:
    """The same where the peer plays the server's part in DTLS."""
    async with ScriptedClient(server.url, channel, "mallory", dtls_role="server") as mallory:
        await mallory.create()
        value = Certificate().fingerprint
        await mallory.signal_connect({"role": "server", "fingerprints": [{"algorithm": "sha-256", "value": value}]})
        await mallory.open()
        await mallory.check()
        with suppress(SSL.Error, TimeoutError, ConnectionError):
            await mallory.handshake(timeout=1.0)
        assert "fingerprint" in await closed_reason(mallory, 3.0)


def fragment(sequence: int, total: int, offset: int, body: bytes, record: int, kind: int = 1) -> bytes:
    """A DTLS 1.2 handshake fragment in the clear (RFC 6347 §4.2.2)."""
    head = bytes([kind]) + total.to_bytes(3) + sequence.to_bytes(2) + offset.to_bytes(3) + len(body).to_bytes(3)
    return b"\x16\xfe\xfd\x00\x00" + record.to_bytes(6) + (len(head) + len(body)).to_bytes(2) + head + body


async def test_a25_what_comes_before_the_handshake_is_over_is_kept_within_bounds(
    server: ServerProcess, channel: str, warm: int, record_property: Any
) -> None:
    """10,000 fragments and junk records of one peer: at most 64 KiB stay, and the handshake still goes through."""
    async with ScriptedClient(server.url, channel, "hoarder") as hoarder:
        await hoarder.create()
        await hoarder.signal_connect()
        await hoarder.open()
        await hoarder.check()
        hoarder.dtls.receive = lambda datagram: b""  # type: ignore[method-assign]  # the answers are not for it
        hello = client_hello()
        # The first flight of another association makes the server answer and wait.
        hoarder.send_raw(hello)
        await hoarder.until(lambda: hoarder.dtls_log)
        body = bytes(1000)

        def send(number: int) -> None:
            choice = number % 4
            if choice == 0:  # parts of messages that claim to be as long as they may, and longer
                hoarder.send_raw(fragment(number % 64, 16000 if number % 8 else 1 << 23, number % 15000, body, number))
            elif choice == 1:  # records of a later epoch, which OpenSSL would keep for later
                hoarder.send_raw(b"\x16\xfe\xfd\x00\x01" + number.to_bytes(6) + (1000).to_bytes(2) + body)
            elif choice == 2:
                hoarder.send_raw(b"\x17\xfe\xfd\x00\x00" + number.to_bytes(6) + (1000).to_bytes(2) + body)
            else:
                hoarder.send_raw(bytes([20 + number % 44]) + body)

        await flood(send, 10_000, 5_000)
        await asyncio.sleep(0.2)
        grown = server.rss_bytes() - warm
        record_property("measured", f"RSS {grown / 1024:+.0f} KiB after 10,000")
        # The peer's own 64 KiB, and what an allocator and 10,000 short-lived objects leave behind.
        assert grown < 2 << 20
    async with ScriptedClient.joined(server.url, channel, "next") as client:
        assert client.keys is not None


async def test_a25_junk_between_the_flights_does_not_stop_a_handshake(server: ServerProcess, channel: str) -> None:
    """Alerts, data and ChangeCipherSpec in the clear from the peer's own address, before and while it shakes hands."""
    async with ScriptedClient(server.url, channel, "noisy") as client:
        await client.create()
        await client.signal_connect()
        await client.open()
        await client.check()
        junk = [
            b"\x15\xfe\xfd\x00\x00" + bytes(6) + b"\x00\x02\x02\x28",  # fatal alert: handshake_failure
            b"\x14\xfe\xfd\x00\x00" + bytes(6) + b"\x00\x01\x01",
            b"\x17\xfe\xfd\x00\x00" + bytes(6) + b"\x00\x05hello",
            fragment(3, 70_000, 0, bytes(100), 9),
            b"\x16\xfe\xfd\x00\x00",
            b"\x3f" * 40,
        ]
        datagrams = client.dtls.datagrams

        def noisy() -> list[bytes]:
            return [part for datagram in datagrams() for part in (*junk, datagram, *junk)]

        client.dtls.datagrams = noisy  # type: ignore[method-assign]
        await client.handshake()
        assert client.keys is not None


async def test_a24_no_two_dtls_records_with_one_number(server: ServerProcess, channel: str) -> None:
    """An encrypted record's number is its nonce (RFC 5288 §3): one that comes twice is the same to the bit."""
    async with ScriptedClient(server.url, channel, "collector") as client:
        await client.create()
        await client.signal_connect()
        await client.open()
        await client.check()
        await client.handshake()
        last = client.dtls_log[-1].data
        # The client repeats its last flight as if the answer had been lost.
        for _ in range(3):
            client.dtls.shutdown()
            for datagram in client.dtls.datagrams():
                client.send_raw(datagram)
        await client.until(lambda: "closed" if client.dtls_log[-1].data != last else None, timeout=3)
        seen: dict[bytes, bytes] = {}
        for received in client.dtls_log:
            data = received.data
            while len(data) >= 13:
                size = 13 + int.from_bytes(data[11:13])
                record, data = data[:size], data[size:]
                if record[3:5] != b"\x00\x00":
                    assert seen.setdefault(record[3:11], record) == record
                    # The explicit part of the nonce follows the number, so that two associations cannot meet.
                    assert len(record) > 21
        assert seen
