"""Cutting datagrams into records and back, and the bounds on what an unfinished handshake can make OpenSSL keep."""

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.dtls.records import (
    DATAGRAM_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_REASSEMBLY_BYTES,
    HandshakeGuard,
    epoch_of,
    is_client_hello,
    is_dtls,
    pack_datagrams,
    split_records,
)


def record(content: bytes, content_type: int = 22, epoch: int = 0, sequence: int = 0) -> bytes:
    head = bytes([content_type, 0xFE, 0xFD]) + epoch.to_bytes(2, "big") + sequence.to_bytes(6, "big")
    return head + len(content).to_bytes(2, "big") + content


def fragment(sequence: int, length: int, offset: int = 0, content: bytes = b"", message_type: int = 11) -> bytes:
    head = bytes([message_type]) + length.to_bytes(3, "big") + sequence.to_bytes(2, "big")
    return head + offset.to_bytes(3, "big") + len(content).to_bytes(3, "big") + content


def test_first_bytes_of_dtls_are_20_to_63():
    assert [first for first in range(256) if is_dtls(bytes([first]))] == list(range(20, 64))
    assert not is_dtls(b"")


def test_records_are_cut_at_their_lengths_and_rubbish_ends_the_datagram():
    first, second = record(b"abc"), record(b"", 20)
    assert list(split_records(first + second)) == [first, second]
    assert list(split_records(first + b"rubbish")) == [first]
    assert list(split_records(first + second[:-1])) == [first]
    assert list(split_records(record(b"x", 19))) == []
    assert list(split_records(b"\x16\x03\x03" + first[3:])) == []


@given(st.binary(max_size=300))
def test_any_bytes_are_cut_into_records_that_are_their_beginning(data):
    cut = list(split_records(data))
    assert data.startswith(b"".join(cut))
    assert all(len(one) >= 13 for one in cut)


@given(st.lists(st.integers(0, 1500), max_size=30))
def test_datagrams_keep_all_records_in_order_and_are_small(sizes):
    records = [record(bytes(size)) for size in sizes]
    datagrams = pack_datagrams(records)
    assert b"".join(datagrams) == b"".join(records)
    assert all(len(datagram) <= DATAGRAM_BYTES or list(split_records(datagram)) == [datagram] for datagram in datagrams)
    assert all(datagrams)


def test_a_client_hello_is_known_by_its_first_fragment():
    assert is_client_hello(record(fragment(0, 1400, content=b"x" * 100, message_type=1)))
    assert not is_client_hello(record(fragment(0, 1400, content=b"x" * 100, message_type=2)))
    assert not is_client_hello(record(fragment(0, 0, message_type=1), epoch=1))
    assert not is_client_hello(record(b"\x01"))


def test_epochs_are_read():
    assert epoch_of(record(b"", epoch=3)) == 3


# --------------------------------------------------------------------------------------------------------------- guard


def test_the_guard_admits_fragments_of_one_handshake():
    guard = HandshakeGuard()
    assert guard.admits(record(fragment(0, 1400, 0, bytes(1000))))
    assert guard.admits(record(fragment(0, 1400, 1000, bytes(400)) + fragment(1, 2)))


def test_the_guard_keeps_out_alerts_and_data_in_the_clear():
    guard = HandshakeGuard()
    assert not guard.admits(record(b"\x02\x28", 21))
    assert not guard.admits(record(b"data", 23))


def test_the_guard_keeps_out_malformed_fragments():
    guard = HandshakeGuard()
    assert not guard.admits(record(b"\x01\x00"))
    assert not guard.admits(record(fragment(0, 5, 0, b"hello")[:-1]))
    assert not guard.admits(record(fragment(0, 5, 0, b"hello") + b"x"))


def test_a_message_that_changes_its_length_is_kept_out():
    guard = HandshakeGuard()
    assert guard.admits(record(fragment(1, 900)))
    assert not guard.admits(record(fragment(1, 901)))


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 2**24 - 1)), max_size=200))
def test_no_fragments_make_openssl_keep_more_than_the_bound(fragments):
    guard = HandshakeGuard()
    kept = {sequence: length for sequence, length in fragments if guard.admits(record(fragment(sequence, length)))}
    assert sum(kept.values()) <= MAX_REASSEMBLY_BYTES
    assert all(length <= MAX_MESSAGE_BYTES for length in kept.values())
    assert all(sequence <= 10 for sequence in kept)
