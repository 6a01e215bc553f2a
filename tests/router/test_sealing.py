"""Outgoing RTP is protected by the plane: the same bytes as libsrtp's, the packet's own index, one packet an index."""

import socket
from contextlib import ExitStack
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluicegate.router import commands as cmd
from sluicegate.rtp import sealing
from sluicegate.rtp.names import Extension
from sluicegate.rtp.srtp import SrtpKeys, SrtpProfile, open_sessions
from tests.support.rtcp_packet import Nack
from tests.support.rtp_packet import RtpPacket

from .harness import SMALL, Bench, Peer, audio, listening, opus, sending, video, vp8

FIRST = 65_530


def call(bench: Bench, media: cmd.TrackMedia, wanted: cmd.SendMedia) -> tuple[Peer, Peer]:
    publisher, subscriber = bench.peer(), bench.peer()
    bench.subscribe(subscriber, bench.publish(publisher, media), wanted, sequence_number=FIRST)
    return publisher, subscriber


def test_this_pylibsrtp_shows_the_ciphers_that_the_plane_calls():
    """Without this the other tests of this file would compare libsrtp with itself."""
    with Bench() as bench:
        assert bench.plane.seals
        peer = bench.peer()
        assert bench.tables.transports[peer.transport].cipher != 0
        bench.submit(cmd.RemoveTransport(peer.transport))
        assert bench.tables.transports[peer.transport].cipher == 0


def test_a_build_without_them_is_seen(monkeypatch):
    monkeypatch.setattr(sealing, "_NAMES", ("EVP_EncryptInit_ex", "no_such_function"))
    assert sealing._find_functions() == {}


@pytest.mark.parametrize("profile", list(SrtpProfile))
@pytest.mark.parametrize("seals", [True, False], ids=["sealed", "by-libsrtp"])
def test_what_leaves_is_what_libsrtp_would_have_made(profile, seals):
    """Over a wrap of the sequence number, with RTX, and behind header extensions."""
    with Bench(profile=profile) as bench:
        bench.plane.seals = seals
        publisher, subscriber = call(bench, video(), sending(extensions={Extension.MID: 1, Extension.ABS_SEND_TIME: 4}))
        twin = open_sessions(subscriber.keys)[1]
        compared = 0
        for number in range(20):
            output = bench.receive(publisher, vp8(number, key=number == 0))[subscriber.transport]
            again = bench.receive_rtcp(subscriber, Nack(1, 7000, ((FIRST + number) & 0xFFFF,)))[subscriber.transport]
            for sealed in (*output.raw, *again.raw):
                plain = subscriber.open(sealed)
                if plain in (*output.rtp, *again.rtp):
                    assert twin.protect(plain) == sealed
                    compared += 1
        assert compared == 40
        assert bench.drops() == {}


@pytest.mark.parametrize("profile", list(SrtpProfile))
@given(payloads=st.lists(st.binary(min_size=1, max_size=1200), min_size=1, max_size=5))
@settings(max_examples=20)
def test_payloads_of_any_length(profile, payloads):
    with Bench(profile=profile) as bench:
        publisher, subscriber = call(bench, audio(), listening())
        twin = open_sessions(subscriber.keys)[1]
        for number, payload in enumerate(payloads):
            sealed, plain = sent(bench, publisher, subscriber, replace(opus(number), payload=payload))
            assert plain[-len(payload) :] == payload
            assert twin.protect(plain) == sealed


def sent(bench: Bench, publisher: Peer, subscriber: Peer, packet: RtpPacket) -> tuple[bytes, bytes]:
    output = bench.receive(publisher, packet)[subscriber.transport]
    (sealed,), (plain,) = output.raw, output.rtp
    return sealed, plain


@given(
    ciphers=st.lists(st.sampled_from(list(SrtpProfile)), min_size=1, max_size=20),
    payloads=st.lists(st.integers(1, 1200), min_size=1, max_size=4),
)
@example(ciphers=[SrtpProfile.AES128_CM_SHA1_80] * 17, payloads=[1100, 1100, 1100, 700])
@example(ciphers=[SrtpProfile.AES128_CM_SHA1_80] * 9, payloads=[1100])
@example(ciphers=[SrtpProfile.AES128_CM_SHA1_80] * 7, payloads=[39, 40, 47, 48])  # about the end of a SHA-1 block
@settings(max_examples=15)
def test_tags_are_written_together(ciphers, payloads):
    """Eight packets beside each other, some longer, the last too few, and others between that need no tag."""
    with Bench() as bench:
        publisher = bench.peer()
        track = bench.publish(publisher, audio())
        twins = {}
        for profile in ciphers:
            bench.profile = profile
            subscriber = bench.peer()
            bench.subscribe(subscriber, track, listening())
            twins[subscriber.transport] = open_sessions(subscriber.keys)[1]
        packets = [replace(opus(number), payload=bytes([number]) * size) for number, size in enumerate(payloads)]
        outputs = bench.receive(publisher, *packets)
        for transport, twin in twins.items():
            assert [twin.protect(plain) for plain in outputs[transport].rtp] == list(outputs[transport].raw)
            assert len(outputs[transport].raw) == len(packets)


def test_what_leaves_before_its_batch_is_done_has_its_tag():
    """The out arena holds eight packets here: those of twelve subscribers leave in two goes, each time."""
    with Bench(replace(SMALL, out_slots=8), profile=SrtpProfile.AES128_CM_SHA1_80) as bench, ExitStack() as stack:
        publisher = bench.peer()
        track = bench.publish(publisher, audio())
        receivers = {}
        for _ in range(12):
            subscriber = bench.peer()
            receivers[subscriber] = one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            one.bind(("127.0.0.1", 0))
            one.settimeout(5)
            bench.submit(cmd.SetDestination(subscriber.transport, one.getsockname()))
            bench.subscribe(subscriber, track, listening())
        twins = {subscriber: open_sessions(subscriber.keys)[1] for subscriber in receivers}
        bench.state.portable = 0
        for number in range(3):
            outputs = bench.receive(publisher, opus(number))
            waiting = {subscriber for subscriber in receivers if outputs[subscriber.transport].raw}
            assert len(waiting) == 4, "those that were sent at once are the test"
            for subscriber, one in receivers.items():
                sealed = outputs[subscriber.transport].raw[0] if subscriber in waiting else one.recv(2048)
                assert twins[subscriber].protect(subscriber.open(sealed)) == sealed


@pytest.mark.parametrize("profile", list(SrtpProfile))
def test_under_new_keys_rollovers_are_counted_anew(profile):
    """As the receiver's new SRTP context does (a DTLS association of its own)."""
    with Bench(profile=profile) as bench:
        publisher, subscriber = call(bench, audio(), listening())
        for number in range(10):
            sent(bench, publisher, subscriber, opus(number))
        assert int(bench.tables.send_streams[0].last_out) - int(bench.tables.send_streams[0].index_base) > 65_536
        fresh = SrtpKeys(
            profile, subscriber.keys.receive_key, bytes(reversed(range(len(subscriber.keys.transmit_key))))
        )
        bench.submit(cmd.InstallKeys(subscriber.transport, fresh))
        bench.peers[subscriber.transport] = after = replace(subscriber, keys=fresh, opened={})
        for number in range(10, 14):
            sealed, plain = sent(bench, publisher, after, opus(number))
            assert open_sessions(fresh)[1].protect(plain) == sealed, "the first of a context has no rollovers behind it"


def test_a_number_from_before_the_first_packet_is_not_sent():
    """Its index would be negative: a receiver whose first packet came after the wrap cannot know of one before it."""
    with Bench() as bench:
        publisher, subscriber = call(bench, audio(), listening(payload_types=(96, -1)))
        first = replace(opus(0), payload_type=63, payload=b"\x6f" + b"opus")
        output = bench.receive(publisher, first)[subscriber.transport]
        assert len(output.rtp) == 1
    with Bench() as bench:
        publisher, subscriber = call(bench, audio(), listening(payload_types=(96, -1)))
        unreadable = replace(opus(0), payload_type=63, payload=b"\x00")
        assert bench.receive(publisher, unreadable)[subscriber.transport].rtp == ()
        late = [publisher.protect(opus(number).serialize()) for number in range(1, 8)]
        assert len(bench.turn([(late[6], publisher.address)])[subscriber.transport].rtp) == 1
        before = bench.turn([(late[0], publisher.address)])[subscriber.transport].rtp
        assert before == ()
        assert bench.drops()["protect"] == 1


def test_a_cipher_goes_with_its_sealer(monkeypatch):
    freed: list[int] = []
    library = sealing._library
    monkeypatch.setattr(library, "EVP_CIPHER_CTX_free", freed.append)
    sealer = sealing.Sealer(SrtpKeys(SrtpProfile.AEAD_AES_128_GCM, bytes(28), bytes(28)))
    address = sealer.address
    del sealer
    assert freed == [address]


def test_nothing_shows_a_key():
    sealer = sealing.Sealer(SrtpKeys(SrtpProfile.AES128_CM_SHA1_80, bytes(30), bytes(30)))
    assert sealer.tag_key is not None
    assert repr(sealer.tag_key) not in repr(sealer)
