"""Goodbyes without OpenSSL, held against OpenSSL: in every cipher and in both roles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from sluicegate.dtls.certificate import Certificate, parse_fingerprints
from sluicegate.dtls.context import DtlsContext, DtlsRole
from sluicegate.dtls.endpoint import ClosedByPeer, DtlsEndpoint, KeysReady
from sluicegate.dtls.farewell import Suite, derive_farewell
from sluicegate.dtls.records import split_records
from tests.support.dtls import DtlsEndpoint as IndependentEndpoint

CERTIFICATE = Certificate.generate()
CIPHERS = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": Suite.AES_128_GCM,
    "ECDHE-ECDSA-AES256-GCM-SHA384": Suite.AES_256_GCM,
    "ECDHE-ECDSA-CHACHA20-POLY1305": Suite.CHACHA20_POLY1305,
}
each = pytest.mark.parametrize("cipher", CIPHERS)
in_both_roles = pytest.mark.parametrize("role", DtlsRole)


def connected(cipher: str, role: DtlsRole) -> tuple[DtlsEndpoint, IndependentEndpoint]:
    """Ours, in `role`, and OpenSSL's, after their handshake."""
    peer = IndependentEndpoint(client=role is DtlsRole.SERVER)
    context = DtlsContext(CERTIFICATE)
    context._context.set_cipher_list(cipher.encode())
    ours = DtlsEndpoint(context, role, parse_fingerprints([("sha-256", peer.certificate.fingerprint)]))
    if role is DtlsRole.CLIENT:
        ours.start(0.0)
    peer.handshake()
    events = []
    for _ in range(10):
        for datagram in ours.datagrams_to_send():
            peer.receive(datagram)
        for datagram in peer.datagrams():
            ours.receive_datagram(datagram, 0.0)
        while (event := ours.next_event()) is not None:
            events.append(event)
    assert peer.finished
    assert peer._connection.get_cipher_name() == cipher
    assert isinstance(events[-1], KeysReady)
    assert ours._openssl is None, "what OpenSSL kept is given back"
    return ours, peer


@each
@in_both_roles
def test_openssl_understands_our_goodbye(cipher: str, role: DtlsRole) -> None:
    ours, peer = connected(cipher, role)
    ours.close(1.0)
    (goodbye,) = ours.datagrams_to_send()
    peer._connection.bio_write(goodbye)
    with pytest.raises(SSL.ZeroReturnError):
        peer._connection.recv(100)
    ours.close(2.0)
    assert ours.datagrams_to_send() == [], "its nonce is used once"


@each
@in_both_roles
def test_we_understand_openssls_goodbye_and_answer_it(cipher: str, role: DtlsRole) -> None:
    ours, peer = connected(cipher, role)
    peer._connection.send(b"data channel")
    ours.receive_datagram(peer._connection.bio_read(2000), 1.0)
    assert ours.next_event() is None
    peer._connection.shutdown()
    (goodbye,) = split_records(peer._connection.bio_read(2000))
    for position in range(13, len(goodbye)):
        damaged = bytearray(goodbye)
        damaged[position] ^= 1
        ours.receive_datagram(bytes(damaged), 1.0)
    renumbered = goodbye[:10] + bytes([goodbye[10] ^ 1]) + goodbye[11:]
    ours.receive_datagram(renumbered, 1.0)
    in_the_clear = goodbye[:3] + bytes(8) + b"\x00\x02\x01\x00"
    ours.receive_datagram(in_the_clear, 1.0)
    assert (ours.next_event(), ours.datagrams_to_send()) == (None, [])
    ours.receive_datagram(goodbye, 1.0)
    assert ours.next_event() == ClosedByPeer()
    (answer,) = ours.datagrams_to_send()
    assert answer[0] == goodbye[0]


@given(st.sampled_from(Suite), st.binary(max_size=80))
def test_no_bytes_end_an_association_without_the_keys(suite: Suite, body: bytes) -> None:
    farewell = derive_farewell(suite, bytes(48), bytes(32), bytes(32), is_client=True)
    head = b"\x15\xfe\xfd\x00\x01" + bytes(6)
    assert not farewell.ends(head + len(body).to_bytes(2, "big") + body)


@pytest.mark.parametrize("suite", Suite)
def test_each_end_understands_the_other_and_not_itself(suite: Suite) -> None:
    secrets = bytes(range(48)), bytes(32), bytes([1]) * 32
    client, server = [derive_farewell(suite, *secrets, is_client=is_client) for is_client in (True, False)]
    assert server.ends(client.close_notify())
    assert client.ends(server.close_notify())
    assert not client.ends(client.close_notify())
    assert "key" not in repr(client)


def test_ciphers_without_a_suite_are_not_guessed() -> None:
    assert Suite.of("ECDHE-ECDSA-AES128-SHA") is None
    assert Suite.of(None) is None
    assert {name: Suite.of(name) for name in CIPHERS} == CIPHERS
