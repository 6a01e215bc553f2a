"""Connectivity checks that the plane answers: the same bytes as the agent's, and only where nothing could change."""

import secrets
import socket
import struct
import zlib

import aioice.stun
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluicegate.compiled import INTERPRETED
from sluicegate.ice import stun
from sluicegate.router import commands as cmd

from .harness import Bench

USERNAME, PASSWORD = "ours:theirs", "p" * 32
KEY = stun.IntegrityKey(PASSWORD)
CONTROLLING = {"priority": 1853693695, "controlling": 0x1122334455667788}


@pytest.fixture(scope="module", params=["127.0.0.1", "::"])
def shared(request):
    with Bench(host=request.param) as bench:
        yield bench


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


def request(username=USERNAME, key=KEY, transaction_id=None, **changes):
    return stun.serialize_request(
        transaction_id or secrets.token_bytes(12), username, key, **{**CONTROLLING, **changes}
    )


def sealed(*attributes, message_type=1, key=KEY, behind=b""):
    """A message with these attributes, MESSAGE-INTEGRITY, what is `behind`, and FINGERPRINT; all of it right."""
    transaction, body = secrets.token_bytes(12), b"".join(attributes)
    head = struct.pack("!HHI", message_type, len(body) + 24, stun.MAGIC_COOKIE) + transaction
    body += attribute(0x0008, key.digest(head + body)) + behind
    head = struct.pack("!HHI", message_type, len(body) + 8, stun.MAGIC_COOKIE) + transaction
    return head + body + attribute(0x8028, struct.pack("!I", zlib.crc32(head + body) ^ 0x5354554E))


def attribute(kind, value=b""):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) & 3)


NAMED, CONTROL = attribute(0x0006, USERNAME.encode()), attribute(0x802A, bytes(8))


class Checked:
    """A peer whose checks the plane answers."""

    def __init__(self, bench, username=USERNAME, password=PASSWORD):
        self.bench, self.peer = bench, bench.peer()
        bench.submit(cmd.AnswerChecks(self.peer.transport, username.encode(), password.encode()))

    def __call__(self, datagram, address=None, *, after=1.0):
        """The answers to a datagram, and whether it was punted, unchanged."""
        self.bench.state.now += round(after * 1e6)
        self.bench.punted.clear()
        raw = self.bench.turn([(datagram, address or self.peer.address)])[self.peer.transport].raw
        assert [data for data, *_ in self.bench.punted] in ([], [datagram])
        return list(raw), bool(self.bench.punted)


@settings(max_examples=30 if INTERPRETED else 300)
@given(
    username=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=96),
    password=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=64),
    transaction_id=st.binary(min_size=12, max_size=12),
    port=st.integers(1, 65535),
    host=st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str),
    use_candidate=st.booleans(),
)
@example("u" * 96, "p" * 64, bytes(12), 1, "::ffff:192.0.2.1", True)
def test_the_answer_is_the_agents_to_the_byte(shared, username, password, transaction_id, port, host, use_candidate):
    key = stun.IntegrityKey(password)
    if ":" in host and shared.plane.socket.family == socket.AF_INET:
        host = "192.0.2.77"
    peer = Checked(shared, username, password)
    shared.submit(
        cmd.BindAddress(peer.peer.transport, (host, port)), cmd.SetDestination(peer.peer.transport, (host, port))
    )
    datagram = request(username, key, transaction_id, use_candidate=use_candidate)
    answers, punted = peer(datagram, (host, port))
    assert answers == [stun.serialize_success(transaction_id, (host, port), key)]
    assert not punted
    assert shared.plane.last_check(peer.peer.transport) == shared.now / 1e6
    parsed = aioice.stun.parse_message(answers[0])
    assert parsed.check_message_integrity(password.encode())
    assert parsed.attributes["XOR-MAPPED-ADDRESS"][1] == port
    shared.submit(
        cmd.UnbindAddress(peer.peer.transport, (host, port)),
        cmd.UnbindAddress(peer.peer.transport, peer.peer.address),
        cmd.RemoveTransport(peer.peer.transport),
    )


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(request("ours:other"), id="another username"),
        pytest.param(request("ours:theirs2"), id="a longer username"),
        pytest.param(request(key=stun.IntegrityKey("q" * 32)), id="another password"),
        pytest.param(request(controlling=None), id="no role"),
        pytest.param(request(controlling=None, controlled=7), id="the controlled role"),
        pytest.param(sealed(NAMED, CONTROL, attribute(0x7F00)), id="an attribute that must be understood"),
        pytest.param(sealed(NAMED, NAMED, CONTROL), id="two usernames"),
        pytest.param(sealed(CONTROL), id="no username"),
        pytest.param(sealed(NAMED, CONTROL, message_type=0x0011), id="an indication"),
        pytest.param(sealed(NAMED, CONTROL, behind=attribute(0x8029, bytes(8))), id="something behind the integrity"),
        pytest.param(sealed(NAMED, CONTROL)[:-8], id="no fingerprint"),
        pytest.param(sealed(NAMED, CONTROL)[:-1] + b"\0", id="a wrong fingerprint"),
        pytest.param(sealed(NAMED, CONTROL, attribute(0xC000, bytes(300))), id="a very long one"),
        pytest.param(request()[:20], id="the header alone"),
    ],
)
def test_what_is_not_a_plain_check_is_the_loops(bench, datagram):
    peer = Checked(bench)
    assert peer(request())[1] is False
    assert peer(datagram) == ([], True)
    assert peer(request())[1] is False


def test_attributes_that_need_not_be_understood_do_not_matter(bench):
    peer = Checked(bench)
    assert len(peer(sealed(attribute(0xC057, bytes(4)), NAMED, attribute(0x0024, bytes(4)), CONTROL))[0]) == 1


def test_only_from_where_we_send_and_not_in_a_flood(bench):
    peer = Checked(bench)
    other = ("192.0.2.9", 9)
    bench.submit(cmd.BindAddress(peer.peer.transport, other))
    assert peer(request(), other) == ([], True)
    assert peer(request())[1] is False
    assert peer(request(), after=0.019) == ([], True)
    assert peer(request(key=stun.IntegrityKey("forged"))) == ([], True)
    assert peer(request(), after=0.019) == ([], True), "what a forged one costs is paid no more often"
    bench.submit(cmd.SetDestination(peer.peer.transport, None))
    assert peer(request()) == ([], True)


def test_until_it_is_taken_back_or_the_transport_goes(bench):
    peer = Checked(bench)
    bench.submit(cmd.AnswerChecks(peer.peer.transport))
    assert peer(request()) == ([], True)
    for too_long in ({"username": b"u" * 97}, {"password": b"p" * 65}):
        bench.submit(
            cmd.AnswerChecks(peer.peer.transport, **{"username": USERNAME.encode(), "password": b"p", **too_long})
        )
        assert peer(request(too_long.get("username", b"ours:theirs").decode())) == ([], True)
    bench.submit(cmd.AnswerChecks(peer.peer.transport, USERNAME.encode(), PASSWORD.encode()))
    assert peer(request())[1] is False
    bench.submit(cmd.RemoveTransport(peer.peer.transport), cmd.AddTransport(peer.peer.transport))
    assert peer(request()) == ([], True)


@settings(max_examples=100 if INTERPRETED else 2000)
@given(st.data())
def test_a_changed_request_is_never_answered(shared, data):
    """`Checked` sees to it that what is punted is what came."""
    peer = _one(shared)
    datagram = bytearray(request(transaction_id=bytes(12)))
    for _ in range(data.draw(st.integers(1, 3))):
        datagram[data.draw(st.integers(1, len(datagram) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(datagram) != request(transaction_id=bytes(12)):
        assert peer(bytes(datagram))[0] == []


def _one(bench):
    if not hasattr(bench, "checked"):
        bench.checked = Checked(bench)
    return bench.checked
