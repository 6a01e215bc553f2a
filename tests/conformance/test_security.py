"""Statements 19 to 26 of section D: DTLS and SRTP (RFC 6347, 5764, 8827, 8842, 3711, 7714)."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest
from OpenSSL import SSL

from tests.attacks.strangers import Drops, closed_reason, session_state
from tests.conformance.support import call, quiet
from tests.support.api import ApiFailure
from tests.support.dtls import PROFILES, Certificate, DtlsEndpoint, fingerprint
from tests.support.rtc_client import ScriptedClient
from tests.support.rtcp_packet import Pli, SenderReport
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource


class Loose(DtlsEndpoint):
    """A DTLS client that offers what it is told: versions as OpenSSL numbers them, and OpenSSL's cipher list."""

    def __init__(
        self, *, version: int = 0xFEFD, ciphers: bytes = b"ALL:@SECLEVEL=0", profiles: tuple[str, ...] = tuple(PROFILES)
    ):
        self.certificate = Certificate()
        self.finished = False
        self._client = True
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_cipher_list(ciphers)
        context.use_certificate(self.certificate.certificate)
        context.use_privatekey(self.certificate.key)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        if profiles:
            context.set_tlsext_use_srtp(":".join(profiles).encode())
        self._connection = SSL.Connection(context)
        self._connection.set_ciphertext_mtu(1200)
        self._connection.set_connect_state()


async def attempt(server: ServerProcess, channel: str, endpoint: DtlsEndpoint, timeout: float = 1.0) -> ScriptedClient:
    """A client that has tried to shake hands by `endpoint`; the caller closes it."""
    client = ScriptedClient(server.url, channel, "client")
    client.dtls = endpoint
    await client.create()
    await client.signal_connect()
    await client.open()
    await client.check()
    with suppress(SSL.Error, TimeoutError, KeyError):
        await client.handshake(timeout)
    return client


async def test_19_dtls_1_2_with_forward_secrecy_and_aead(server: ServerProcess, channel: str) -> None:
    for ciphers in (b"ECDHE+AESGCM", b"ECDHE+CHACHA20"):
        async with await attempt(server, channel, Loose(ciphers=ciphers)) as client:
            assert client.keys is not None
            assert client.dtls._connection.get_protocol_version_name() == "DTLSv1.2"
            name = client.dtls._connection.get_cipher_name() or ""
            assert name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name)


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("DTLS 1.0", {"version": 0xFEFF}),
        ("CBC", {"ciphers": b"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0"}),
        ("no forward secrecy", {"ciphers": b"AES128-GCM-SHA256:AES256-GCM-SHA384:@SECLEVEL=0"}),
        ("no encryption", {"ciphers": b"ECDHE-ECDSA-NULL-SHA:NULL-SHA256:@SECLEVEL=0"}),
        ("nobody's certificate", {"ciphers": b"AECDH-AES128-SHA:ADH-AES128-GCM-SHA256:@SECLEVEL=0"}),
        ("no use_srtp", {"profiles": ()}),
        ("a short tag", {"profiles": ("SRTP_AES128_CM_SHA1_32",)}),
    ],
)
async def test_19_anything_weaker_is_refused(
    server: ServerProcess, channel: str, what: str, options: dict[str, Any]
) -> None:
    async with await attempt(server, channel, Loose(**options)) as client:
        answer = await client.api.request("GET", f"/sessions/{client.session_id}")
        assert answer.status == 404 or answer.json()["dtls_state"] != "connected"
        assert client.keys is None


@pytest.mark.parametrize("order", [tuple(PROFILES), tuple(reversed(PROFILES))])
async def test_20_aes_gcm_is_preferred(server: ServerProcess, channel: str, order: tuple[str, ...]) -> None:
    """The server's order counts, not the client's: AES-128-GCM first."""
    async with call(server, channel, clients={"profiles": order}) as c:
        assert c.publisher.keys is not None
        assert c.publisher.keys.profile == "SRTP_AEAD_AES_128_GCM"
        await c.delivered(2)


async def test_20_without_gcm_the_counter_mode_serves(server: ServerProcess, channel: str) -> None:
    async with call(server, channel, clients={"profiles": ("SRTP_AES128_CM_SHA1_80",)}) as c:
        await c.delivered(2)
        assert c.publisher.keys is not None
        assert c.publisher.keys.profile == "SRTP_AES128_CM_SHA1_80"


async def test_21_one_of_several_fingerprints_is_enough(server: ServerProcess, channel: str) -> None:
    """RFC 8122 §5: in any case of letters, in any algorithm that is strong, beside others that do not match."""
    async with ScriptedClient(server.url, channel, "client") as client:
        await client.create()
        own = client.dtls.certificate.certificate
        fingerprints = [
            {"algorithm": "sha-1", "value": fingerprint(own, "sha-1")},
            {"algorithm": "sha-256", "value": Certificate().fingerprint},
            {"algorithm": "SHA-512", "value": fingerprint(own, "sha-512").lower()},
        ]
        await client.signal_connect({"role": "client", "fingerprints": fingerprints})
        await client.open()
        await client.check()
        await client.handshake()
        assert (await session_state(client))["state"] == "connected"


async def test_21_a_certificate_that_none_names_closes_the_session(server: ServerProcess, channel: str) -> None:
    async with ScriptedClient(server.url, channel, "client") as client:
        await client.create()
        value = Certificate().fingerprint
        await client.signal_connect({"role": "client", "fingerprints": [{"algorithm": "sha-256", "value": value}]})
        await client.open()
        await client.check()
        with suppress(SSL.Error, TimeoutError):
            await client.handshake(1.0)
        assert "fingerprint" in await closed_reason(client, 2.0)


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("said", ["as it is", "auto"])
async def test_22_the_peer_takes_either_role_and_keeps_it(
    server: ServerProcess, channel: str, role: str, said: str
) -> None:
    """RFC 8842: active, passive or open; an ICE restart begins no new association, and media goes on."""
    async with ScriptedClient(server.url, channel, "client", dtls_role=role) as client:
        await client.create()
        parameters = {**client.dtls_parameters(), **({"role": "auto"} if said == "auto" else {})}
        await client.signal_connect(parameters)
        await client.open()
        await client.check()
        if said == "auto" and role == "server":
            # Whoever leaves the choice to the server and does not begin is begun with.
            await asyncio.sleep(0.1)
            checking = asyncio.create_task(_keep_checking(client))
            await client.handshake()
            checking.cancel()
        else:
            await client.handshake()
        published = await client.publish("opus", ssrc=1)
        flights = len(client.dtls_log)
        before = client.credentials.remote_ufrag
        await client.restart_ice()
        await client.check()
        assert client.credentials.remote_ufrag != before
        await quiet()
        assert len(client.dtls_log) == flights
        async with ScriptedClient.joined(server.url, channel, "subscriber") as subscriber:
            got = await subscriber.subscribe(published.track_id)
            client.send_rtp(AudioSource(ssrc=1, payload_type=published.payload_type).next_frame()[0])
            await subscriber.until(lambda: subscriber.rtp(got.ssrc))


async def _keep_checking(client: ScriptedClient) -> None:
    while True:
        await client.check()
        await asyncio.sleep(0.2)


async def test_22_a_session_is_connected_once(server: ServerProcess, channel: str) -> None:
    """Another fingerprint would be another association, which is another session."""
    async with ScriptedClient.joined(server.url, channel, "client") as client:
        with pytest.raises(ApiFailure) as failure:
            await client.signal_connect()
        assert failure.value.status == 409
        assert (await session_state(client))["state"] == "connected"


async def test_23_a_lost_flight_comes_again_within_a_second(server: ServerProcess, channel: str) -> None:
    """And a handshake whose records come out of order, each in a datagram of its own, goes through."""
    async with ScriptedClient(server.url, channel, "client") as client:
        await client.create()
        await client.signal_connect()
        await client.open()
        await client.check()
        receive = client.dtls.receive
        lost: list[float] = []

        def lossy(datagram: bytes) -> bytes:
            if not lost:
                lost.append(time.monotonic())
                return b""
            return receive(datagram)

        client.dtls.receive = lossy  # type: ignore[method-assign]
        datagrams = client.dtls.datagrams

        def shuffled() -> list[bytes]:
            records = []
            for datagram in datagrams():
                while datagram:
                    size = 13 + int.from_bytes(datagram[11:13])
                    records.append(datagram[:size])
                    datagram = datagram[size:]
            return records[::-1]

        client.dtls.datagrams = shuffled  # type: ignore[method-assign]
        await client.handshake()
        assert client.keys is not None
        again = [received.at for received in client.dtls_log if received.at > lost[0]]
        assert again[0] - lost[0] < 1.0


async def test_23_every_server_has_a_key_of_its_own(server: ServerProcess, start_server: Any, channel: str) -> None:
    """Made at its start, ECDSA P-256; two processes never show one certificate."""
    other = start_server()
    shown = []
    for one in (server, other):
        async with ScriptedClient(one.url, channel, "client") as client:
            session = await client.create()
            shown.append(session["dtls_parameters"]["fingerprints"][0]["value"])
            await client.connect()
            assert client.dtls.peer_fingerprint() == shown[-1]
    assert len(set(shown)) == 2


@pytest.mark.parametrize("profile", PROFILES)
async def test_24_a_packet_may_come_a_thousand_numbers_late_once(
    server: ServerProcess, channel: str, profile: str
) -> None:
    """RFC 3711 §3.3.2 asks for a window of 64; ours is 1024: older ones are dropped, and each is taken once."""
    async with call(server, channel, clients={"profiles": (profile,)}) as c:
        packets = [c.publisher.protect_rtp(c.source.next_frame()[0]) for _ in range(1100)]
        drops = Drops(server)
        for number in (0, 1099):
            c.publisher.send_raw(packets[number])
        # 1,023 behind is within; whether such a late one is still forwarded is the router's affair, not SRTP's.
        for number in (76, 600, 1098):
            c.publisher.send_raw(packets[number])
        await quiet()
        assert drops("replay", "authentication") == 0
        for number in (76, 600, 1098, 1099, 20, 0):
            c.publisher.send_raw(packets[number])
        await drops.until(6, "replay")


async def test_25_srtcp_has_an_index_of_31_bits_and_is_encrypted(server: ServerProcess, channel: str) -> None:
    """The E bit is set in all that the server sends, and its index counts up."""
    async with call(server, channel, clients={"profiles": ("SRTP_AES128_CM_SHA1_80",)}) as c:
        trailers: list[int] = []
        receive = c.subscriber._datagram

        def tapped(data: bytes, source: Any) -> None:
            if data and 128 <= data[0] < 192 and 192 <= data[1] <= 223:
                trailers.append(int.from_bytes(data[-14:-10]))
            receive(data, source)

        c.subscriber._datagram = tapped  # type: ignore[method-assign]
        await c.delivered(2)
        await c.subscriber.until(lambda: len(c.subscriber.rtcp(SenderReport)) >= 2)
        assert all(trailer >> 31 == 1 for trailer in trailers)
        indices = [trailer & 0x7FFFFFFF for trailer in trailers]
        assert indices == sorted(set(indices))


async def test_25_without_the_e_bit_it_is_dropped(server: ServerProcess, channel: str) -> None:
    async with call(server, channel, "VP8", clients={"profiles": ("SRTP_AES128_CM_SHA1_80",)}) as c:
        await c.delivered()
        await asyncio.sleep(0.6)
        asked = len(c.publisher.rtcp(Pli))
        drops = Drops(server)
        sealed = bytearray(c.subscriber.protect_rtcp(Pli(1, c.subscribed.ssrc)))
        sealed[-14] &= 0x7F
        c.subscriber.send_raw(bytes(sealed))
        await drops.until(1, "authentication", "malformed")
        await quiet()
        assert len(c.publisher.rtcp(Pli)) == asked


async def test_26_no_media_before_the_peer_is_known(server: ServerProcess, channel: str) -> None:
    """ICE and DTLS may be done before `connect` says whose certificate it must be: until then nothing passes."""
    async with call(server, channel) as c, ScriptedClient(server.url, channel, "early") as early:
        await early.create()
        await early.open()
        await early.check()
        early_dtls = asyncio.create_task(early.handshake())
        await quiet(0.3)
        published = await early.publish("opus", ssrc=1)
        own = await c.subscriber.subscribe(published.track_id)
        got = await early.subscribe(c.published.track_id)
        source = AudioSource(ssrc=1, payload_type=published.payload_type)
        drops = Drops(server)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(early_dtls), 0.5)
        assert early.keys is not None  # the handshake itself is over
        for _ in range(5):
            early.send_rtp(source.next_frame()[0])
        await drops.until(5, "no_keys")
        await c.delivered(5)
        await quiet()
        assert early.rtp() == early.rtcp() == []
        assert c.subscriber.rtp(own.ssrc) == []
        await early.signal_connect()
        await early.check()
        async with asyncio.timeout(5):  # the certificate is judged on another thread, after the answer to `connect`
            while not early.rtp(got.ssrc):
                await c.delivered()
        early.send_rtp(source.next_frame()[0])
        await c.subscriber.until(lambda: c.subscriber.rtp(own.ssrc))


async def test_26_a_peer_that_was_announced_gets_media_at_once(server: ServerProcess, channel: str) -> None:
    async with call(server, channel) as c:
        await c.delivered()
