"""Handshakes between two endpoints of ours and with an independent client: whole, split, damaged, lost, refused.

Time is an argument; datagrams pass through `Wire`, which may drop, reorder or damage what it carries.
"""

import contextlib
import gc
import random
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from sluicegate.dtls.certificate import Certificate, parse_fingerprints
from sluicegate.dtls.context import DtlsContext, DtlsRole
from sluicegate.dtls.endpoint import (
    FIRST_REPEAT,
    ClosedByPeer,
    DtlsEndpoint,
    DtlsFailed,
    DtlsFailure,
    HandshakeFinished,
    KeysReady,
)
from sluicegate.dtls.records import DATAGRAM_BYTES, epoch_of, split_records
from sluicegate.rtp.srtp import SrtpProfile
from tests.support.dtls import DtlsEndpoint as IndependentEndpoint

SERVER = DtlsContext(Certificate.generate())
CLIENT = DtlsContext(Certificate.generate())
OTHER = DtlsContext(Certificate.generate())

Filter = Callable[[bytes], list[bytes]]


def deliver(data: bytes) -> list[bytes]:
    return [data]


class Wire:
    """Two endpoints and the network between them."""

    def __init__(
        self, client: DtlsEndpoint, server: DtlsEndpoint, to_server: Filter = deliver, to_client: Filter = deliver
    ):
        self.client, self.server = client, server
        self.to_server, self.to_client = to_server, to_client
        self.now = 0.0
        self.events = {client: [], server: []}

    def start(self) -> "Wire":
        self.client.start(self.now)
        self.settle()
        return self

    def settle(self) -> None:
        """Carry datagrams until nobody has any."""
        for _ in range(50):
            moved = False
            for source, target, rule in (
                (self.client, self.server, self.to_server),
                (self.server, self.client, self.to_client),
            ):
                for datagram in source.datagrams_to_send():
                    assert len(datagram) <= DATAGRAM_BYTES
                    for arriving in rule(datagram):
                        target.receive_datagram(arriving, self.now)
                    moved = True
                while (event := source.next_event()) is not None:
                    self.events[source].append(event)
            if not moved:
                return
        raise AssertionError("the endpoints never stopped talking")

    def run(self, until: float) -> None:
        """Let time pass, timer by timer."""
        while True:
            timers = [timer for timer in (self.client.get_timer(), self.server.get_timer()) if timer is not None]
            if not timers or min(timers) > until:
                self.now = until
                return
            self.now = max(self.now, min(timers))
            self.client.handle_timer(self.now)
            self.server.handle_timer(self.now)
            self.settle()

    def keys(self, endpoint: DtlsEndpoint):
        (ready,) = [event for event in self.events[endpoint] if isinstance(event, KeysReady)]
        return ready.keys


def pair(client=CLIENT, server=SERVER, client_expects=None, server_expects=None):
    """A client and a server endpoint that expect each other, unless told otherwise."""
    client_expects = (server.certificate.fingerprint,) if client_expects is None else client_expects
    server_expects = (client.certificate.fingerprint,) if server_expects is None else server_expects
    return (
        DtlsEndpoint(client, DtlsRole.CLIENT, client_expects),
        DtlsEndpoint(server, DtlsRole.SERVER, server_expects),
    )


def assert_connected(wire: Wire) -> None:
    client, server = wire.keys(wire.client), wire.keys(wire.server)
    assert client.profile is server.profile
    assert client.transmit_key == server.receive_key
    assert client.receive_key == server.transmit_key
    assert client.transmit_key != client.receive_key


def big_hello_context(certificate: Certificate | None = None) -> DtlsContext:
    """A client whose ClientHello needs two datagrams, as post-quantum key shares make a browser's."""
    context = DtlsContext(certificate or Certificate.generate())
    context._context.set_alpn_protos([bytes([letter]) * 200 for letter in range(65, 72)])
    return context


# --------------------------------------------------------------------------------------------------------- handshakes


def test_two_endpoints_agree_on_keys():
    wire = Wire(*pair()).start()
    assert_connected(wire)
    assert wire.keys(wire.server).profile is SrtpProfile.AEAD_AES_128_GCM
    assert [type(event) for event in wire.events[wire.server]] == [HandshakeFinished, KeysReady]
    assert wire.client.get_timer() is None
    assert wire.server.get_timer() is None


@pytest.mark.parametrize("client_is_ours", [True, False])
def test_an_independent_implementation_agrees_on_keys(client_is_ours):
    peer = IndependentEndpoint(client=not client_is_ours)
    role = DtlsRole.CLIENT if client_is_ours else DtlsRole.SERVER
    ours = DtlsEndpoint(SERVER, role, parse_fingerprints([("sha-256", peer.certificate.fingerprint)]))
    if client_is_ours:
        ours.start(0.0)
    peer.handshake()
    for _ in range(10):
        for datagram in ours.datagrams_to_send():
            peer.receive(datagram)
        for datagram in peer.datagrams():
            ours.receive_datagram(datagram, 0.0)
    assert peer.finished
    assert isinstance(ours.next_event(), HandshakeFinished)
    ready = ours.next_event()
    assert isinstance(ready, KeysReady)
    theirs = peer.srtp()
    assert theirs.profile == ready.keys.profile.value
    assert (theirs.send, theirs.receive) == (ready.keys.receive_key, ready.keys.transmit_key)


def test_dtls_1_2_with_forward_secrecy_and_aead_is_what_is_negotiated():
    client, server = pair()
    openssl = server._connection
    Wire(client, server).start()
    assert openssl.get_protocol_version_name() == "DTLSv1.2"
    assert openssl.get_cipher_name() == "ECDHE-ECDSA-AES128-GCM-SHA256"
    offered = [name for name in openssl.get_cipher_list() if not name.startswith("TLS_")]
    assert offered
    assert all(name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name) for name in offered)


@pytest.mark.parametrize(
    "ciphers", [b"ECDHE-ECDSA-AES128-SHA", b"AES128-GCM-SHA256", b"ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"]
)
def test_a_client_of_weaker_ciphers_is_refused(ciphers):
    weak = DtlsContext(Certificate.generate())
    weak._context.set_cipher_list(ciphers)
    wire = Wire(*pair(client=weak)).start()
    assert DtlsFailed(DtlsFailure.HANDSHAKE) in wire.events[wire.server]


def test_dtls_1_0_is_refused():
    old = DtlsContext(Certificate.generate())
    old._context.set_min_proto_version(0xFEFF)
    old._context.set_max_proto_version(0xFEFF)
    old._context.set_cipher_list(b"ALL:@SECLEVEL=0")
    wire = Wire(*pair(client=old))
    wire.client.start(0.0)
    wire.settle()
    assert not wire.server.finished


# ------------------------------------------------------------------------------------------------------- SRTP profiles


@pytest.mark.parametrize("profile", list(SrtpProfile))
def test_a_client_that_has_one_profile_gets_it(profile):
    client = DtlsContext(Certificate.generate(), [profile])
    wire = Wire(*pair(client=client)).start()
    assert_connected(wire)
    assert wire.keys(wire.server).profile is profile


def test_the_servers_preference_decides():
    client = DtlsContext(Certificate.generate(), list(reversed(SrtpProfile)))
    wire = Wire(*pair(client=client)).start()
    assert wire.keys(wire.server).profile is SrtpProfile.AEAD_AES_128_GCM


def test_no_common_profile_is_a_failure_though_the_handshake_finishes():
    client = DtlsContext(Certificate.generate(), [SrtpProfile.AEAD_AES_256_GCM])
    server = DtlsContext(Certificate.generate(), [SrtpProfile.AEAD_AES_128_GCM])
    wire = Wire(*pair(client=client, server=server)).start()
    for endpoint in (wire.client, wire.server):
        assert DtlsFailed(DtlsFailure.NO_PROFILE) in wire.events[endpoint]
        assert not any(isinstance(event, KeysReady) for event in wire.events[endpoint])


# --------------------------------------------------------------------------------------------------------- fingerprints


def test_a_wrong_fingerprint_ends_the_handshake_before_it_finishes():
    wire = Wire(*pair(server_expects=(OTHER.certificate.fingerprint,))).start()
    assert wire.events[wire.server] == [DtlsFailed(DtlsFailure.FINGERPRINT)]
    assert not wire.client.finished
    assert wire.server.get_timer() is None


def test_a_client_refuses_a_server_of_another_certificate():
    wire = Wire(*pair(client_expects=(OTHER.certificate.fingerprint,))).start()
    assert wire.events[wire.client] == [DtlsFailed(DtlsFailure.FINGERPRINT)]
    assert not wire.server.finished


def test_one_matching_fingerprint_among_several_is_enough():
    expected = (OTHER.certificate.fingerprint, CLIENT.certificate.fingerprint)
    assert_connected(Wire(*pair(server_expects=expected)).start())


def test_keys_wait_for_fingerprints_that_come_after_the_handshake():
    wire = Wire(*pair(server_expects=())).start()
    assert wire.server.finished
    assert wire.events[wire.server] == [HandshakeFinished()]
    wire.server.set_fingerprints((CLIENT.certificate.fingerprint,), 1.0)
    wire.settle()
    assert_connected(wire)


def test_wrong_fingerprints_that_come_after_the_handshake_close_it():
    wire = Wire(*pair(server_expects=())).start()
    wire.server.set_fingerprints((OTHER.certificate.fingerprint,), 1.0)
    wire.settle()
    assert wire.events[wire.server] == [HandshakeFinished(), DtlsFailed(DtlsFailure.FINGERPRINT)]
    assert ClosedByPeer() in wire.events[wire.client]


def test_fingerprints_may_come_in_the_middle_of_the_handshake():
    client, server = pair(server_expects=())
    client.start(0.0)
    for datagram in client.datagrams_to_send():
        server.receive_datagram(datagram, 0.0)
    server.set_fingerprints((CLIENT.certificate.fingerprint,), 0.0)
    wire = Wire(client, server)
    wire.settle()
    assert_connected(wire)


def test_a_client_without_a_certificate_is_refused():
    bare = SSL.Context(SSL.DTLS_METHOD)
    bare.set_tlsext_use_srtp(b"SRTP_AEAD_AES_128_GCM")
    bare.set_verify(SSL.VERIFY_NONE)
    connection = SSL.Connection(bare)
    connection.set_connect_state()
    server = DtlsEndpoint(SERVER, DtlsRole.SERVER, (CLIENT.certificate.fingerprint,))
    for _ in range(6):
        with contextlib.suppress(SSL.Error):
            connection.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            server.receive_datagram(connection.bio_read(65536), 0.0)
        for datagram in server.datagrams_to_send():
            connection.bio_write(datagram)
    assert server.next_event() == DtlsFailed(DtlsFailure.HANDSHAKE)
    assert server.next_event() is None


# ------------------------------------------------------------------------------------------------- split and reordered


def hello_datagrams(context: DtlsContext) -> list[bytes]:
    client = DtlsEndpoint(context, DtlsRole.CLIENT)
    client.start(0.0)
    return client.datagrams_to_send()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_client_hello_in_two_datagrams_works_in_either_order(reverse):
    context = big_hello_context()
    assert len(hello_datagrams(context)) == 2
    held: list[bytes] = []

    def reverse_hello(data: bytes) -> list[bytes]:
        if not reverse or len(held) >= 2:
            return [data]
        held.append(data)
        return [held[1], held[0]] if len(held) == 2 else []

    wire = Wire(*pair(client=context), to_server=reverse_hello).start()
    assert_connected(wire)


def chromium_hello() -> list[bytes]:
    text = Path(__file__).with_name("chromium_client_hello.txt").read_text()
    parts = text.split("# datagram ")[1:]
    return [bytes.fromhex("".join(part.split()[1:])) for part in parts]


@pytest.mark.parametrize("reverse", [False, True])
def test_chromiums_own_client_hello_is_answered_when_its_second_half_is_there(reverse):
    datagrams = chromium_hello()
    assert [len(datagram) for datagram in datagrams] == [1200, 263]
    first, second = reversed(datagrams) if reverse else datagrams
    server = DtlsEndpoint(SERVER, DtlsRole.SERVER)
    server.receive_datagram(first, 0.0)
    assert server.datagrams_to_send() == []
    server.receive_datagram(second, 0.0)
    records = [record for datagram in server.datagrams_to_send() for record in split_records(datagram)]
    # ServerHello, Certificate, ServerKeyExchange, CertificateRequest, ServerHelloDone
    assert [record[13] for record in records] == [2, 11, 12, 13, 14]
    assert server.get_timer() == FIRST_REPEAT


def test_every_record_in_a_datagram_of_its_own_and_backwards():
    """A flight that arrives last record first: Finished before ChangeCipherSpec before the certificate."""
    client, server = pair()
    client.start(0.0)
    now = 0.0
    for _ in range(8):
        for source, target in ((client, server), (server, client)):
            records = [record for datagram in source.datagrams_to_send() for record in split_records(datagram)]
            for record in reversed(records):
                target.receive_datagram(record, now)
        now += FIRST_REPEAT * 4
        for endpoint in (client, server):
            endpoint.handle_timer(now)
    wire = Wire(client, server)
    wire.settle()
    assert_connected(wire)


def test_a_finished_that_overtakes_its_flight_is_kept():
    client, server = pair()
    client.start(0.0)
    for datagram in client.datagrams_to_send():
        server.receive_datagram(datagram, 0.0)
    for datagram in server.datagrams_to_send():
        client.receive_datagram(datagram, 0.0)
    records = [record for datagram in client.datagrams_to_send() for record in split_records(datagram)]
    finished = [record for record in records if epoch_of(record) == 1]
    assert len(finished) == 1
    server.receive_datagram(finished[0], 0.0)
    assert not server.finished
    for record in records:
        if epoch_of(record) == 0:
            server.receive_datagram(record, 0.0)
    assert server.finished


def test_duplicates_of_every_datagram_do_no_harm():
    wire = Wire(*pair(), to_server=lambda data: [data, data], to_client=lambda data: [data, data]).start()
    assert_connected(wire)


# -------------------------------------------------------------------------------------------------- loss and its repair


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
@pytest.mark.parametrize("lost", range(3))
def test_a_lost_datagram_is_repaired_by_timers_without_waiting_a_second(direction, lost):
    count = 0

    def drop_one(data: bytes) -> list[bytes]:
        nonlocal count
        count += 1
        return [] if count == lost + 1 else [data]

    wire = Wire(*pair(), **{direction: drop_one}).start()
    wire.run(until=0.9)
    # The server's last flight is repeated when the client repeats its own, so it is repaired too.
    assert_connected(wire)


def test_flights_are_repeated_ever_more_seldom_until_answered():
    client, _ = pair()
    client.start(0.0)
    client.datagrams_to_send()
    times = []
    while (timer := client.get_timer()) is not None and timer < 0.95:
        client.handle_timer(timer)
        if client.datagrams_to_send():
            times.append(round(timer, 3))
    assert times == [0.2, 0.6]


def test_openssls_own_timers_repeat_with_new_records_after_a_second():
    """Ours is a client whose flight was lost; an independent client has lost the server's last flight."""
    client, server = pair()
    client.start(0.0)
    (first,) = client.datagrams_to_send()

    peer = IndependentEndpoint(client=True)
    their_server = DtlsEndpoint(
        SERVER, DtlsRole.SERVER, parse_fingerprints([("sha-256", peer.certificate.fingerprint)])
    )
    peer.handshake()
    for _ in range(3):
        for datagram in peer.datagrams():
            their_server.receive_datagram(datagram, 0.0)
        if not their_server.finished:
            for datagram in their_server.datagrams_to_send():
                peer.receive(datagram)
    their_server.datagrams_to_send()
    assert their_server.finished
    assert not peer.finished

    time.sleep(max(client._connection.DTLSv1_get_timeout() or 0.0, peer.timeout() or 0.0) + 0.02)
    client.handle_timer(1.01)
    again = client.datagrams_to_send()
    assert any(datagram != first and datagram[:5] == first[:5] for datagram in again)
    server.receive_datagram(again[0], 1.01)
    wire = Wire(client, server)
    wire.settle()
    assert_connected(wire)

    peer.handle_timeout()
    for datagram in peer.datagrams():
        their_server.receive_datagram(datagram, 1.01)
    for datagram in their_server.datagrams_to_send():
        peer.receive(datagram)
    assert peer.finished


@pytest.mark.parametrize("seed", range(20))
def test_one_datagram_in_four_is_lost_each_way(seed):
    generator = random.Random(seed)

    def lossy(data: bytes) -> list[bytes]:
        return [] if generator.random() < 0.25 else [data]

    wire = Wire(*pair(), to_server=lossy, to_client=lossy).start()
    wire.run(until=10.0)
    wire.to_server = wire.to_client = deliver
    wire.run(until=20.0)
    assert_connected(wire)


# -------------------------------------------------------------------------------------------------------------- rubbish


@given(st.lists(st.binary(max_size=200), max_size=10))
@settings(max_examples=40, deadline=None)
def test_rubbish_between_the_records_changes_nothing(rubbish):
    client, server = pair()
    for data in rubbish:
        server.receive_datagram(data, 0.0)
        server.receive_datagram(b"\x16\xfe\xfd\x00\x01" + data, 0.0)
        server.receive_datagram(b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28" + data, 0.0)
    wire = Wire(client, server).start()
    assert_connected(wire)


def test_an_alert_in_the_clear_does_not_end_a_handshake():
    client, server = pair()
    client.start(0.0)
    for datagram in client.datagrams_to_send():
        server.receive_datagram(datagram, 0.0)
    for number in range(10):
        fatal = b"\x15\xfe\xfd\x00\x00" + (1000 + number).to_bytes(6, "big") + b"\x00\x02\x02\x28"
        server.receive_datagram(fatal, 0.0)
    wire = Wire(client, server)
    wire.settle()
    assert_connected(wire)


def test_ten_thousand_fragments_before_finished_are_bounded_and_do_not_stop_the_handshake():
    client, server = pair()
    client.start(0.0)
    hello = client.datagrams_to_send()
    generator = random.Random(1)
    for number in range(10_000):
        if generator.random() < 0.5:
            body = generator.randbytes(400)
            record = b"\x16\xfe\xfd\x00\x01" + number.to_bytes(6, "big") + len(body).to_bytes(2, "big") + body
        else:
            fragment = (
                bytes([11])
                + generator.randrange(1 << 24).to_bytes(3, "big")
                + generator.randrange(7, 1 << 16).to_bytes(2, "big")
                + bytes(3)
                + (10).to_bytes(3, "big")
                + bytes(10)
            )
            record = b"\x16\xfe\xfd\x00\x00" + number.to_bytes(6, "big") + len(fragment).to_bytes(2, "big") + fragment
        server.receive_datagram(record, 0.0)
    assert sum(len(record) for record in server._held) <= 4 * 512
    for datagram in hello:
        server.receive_datagram(datagram, 0.0)
    wire = Wire(client, server)
    wire.settle()
    assert_connected(wire)


@given(st.integers(0, 11), st.integers(0, 1199), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_a_damaged_datagram_never_gives_keys_that_differ_and_never_raises(which, position, mask):
    count = 0

    def damage(data: bytes) -> list[bytes]:
        nonlocal count
        count += 1
        if count != which + 1:
            return [data]
        broken = bytearray(data)
        broken[position % len(broken)] ^= mask
        return [bytes(broken)]

    wire = Wire(*pair(), to_server=damage, to_client=damage).start()
    wire.run(until=0.9)
    ready = [event.keys for events in wire.events.values() for event in events if isinstance(event, KeysReady)]
    if len(ready) == 2:
        assert ready[0].transmit_key == ready[1].receive_key


# ---------------------------------------------------------------------------------------------------------------- close


def test_close_notify_reaches_the_other_side():
    wire = Wire(*pair()).start()
    wire.server.close(1.0)
    wire.settle()
    assert wire.events[wire.client][-1] == ClosedByPeer()
    assert not any(isinstance(event, ClosedByPeer) for event in wire.events[wire.server])


def test_a_closed_endpoint_takes_nothing_and_sends_nothing():
    client, server = pair()
    server.close(0.0)
    server.close(0.0)
    client.start(0.0)
    for datagram in client.datagrams_to_send():
        server.receive_datagram(datagram, 0.0)
    server.handle_timer(100.0)
    server.set_fingerprints((CLIENT.certificate.fingerprint,), 100.0)
    assert (server.datagrams_to_send(), server.next_event(), server.get_timer()) == ([], None, None)


def test_application_data_after_the_handshake_is_ignored():
    client, server = pair()
    openssl = client._connection
    wire = Wire(client, server).start()
    for _ in range(3):
        openssl.send(b"data channel")
        server.receive_datagram(openssl.bio_read(2000), 1.0)
        wire.settle()
    assert_connected(wire)
    assert not any(isinstance(event, ClosedByPeer) for event in wire.events[wire.server])


def test_a_new_client_hello_in_the_clear_after_the_handshake_is_ignored():
    wire = Wire(*pair()).start()
    for datagram in hello_datagrams(OTHER):
        wire.server.receive_datagram(datagram, 1.0)
    assert wire.server.datagrams_to_send() == []
    assert wire.server.next_event() is None
    wire.server.close(2.0)
    wire.settle()
    assert wire.events[wire.client][-1] == ClosedByPeer()


def test_endpoints_are_freed_without_the_cyclic_collector_once_closed():
    gc.collect()
    gc.disable()
    try:
        client, server = pair()
        wire = Wire(client, server).start()
        references = [weakref.ref(client), weakref.ref(server)]
        client.close(1.0)
        server.close(1.0)
        del client, server, wire
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()
