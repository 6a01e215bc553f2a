"""The relay does what its links say, the same each time."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.support.link import Channel, Link, packet_kind
from tests.support.relay import Relay

RTP = bytes([0x80, 96]) + bytes(98)
STUN = bytes([0, 1]) + bytes(18)


def through(
    link: Link, packets: int, *, seed: str = "1", interval: float = 0.001
) -> tuple[list[tuple[float, int]], Channel]:
    """Send numbered packets through a channel; (time, number) of each that came out."""
    channel, out = Channel(link, seed), []

    def deliver(until: float) -> None:
        while (due := channel.next_due()) is not None and due <= until:
            out.extend((due, int.from_bytes(data[-4:])) for data, _ in channel.due(due))

    for number in range(packets):
        deliver(number * interval)
        channel.submit(RTP + number.to_bytes(4), None, number * interval)
    deliver(1e9)
    return out, channel


def test_a_clean_link_changes_nothing() -> None:
    out, channel = through(Link(), 100)
    assert [number for _, number in out] == list(range(100))
    assert channel.counts.received == channel.counts.sent == 100


def test_the_same_seed_gives_the_same_fate_and_another_does_not() -> None:
    link = Link(loss=0.1, jitter=0.02, keep_order=False, reorder=0.1, duplicate=0.1, corrupt=0.1)
    assert through(link, 500)[0] == through(link, 500)[0]
    assert through(link, 500)[0] != through(link, 500, seed="2")[0]


def test_one_impairment_does_not_move_another() -> None:
    lost = set(range(1000)) - {number for _, number in through(Link(loss=0.1), 1000)[0]}
    also = set(range(1000)) - {number for _, number in through(Link(loss=0.1, delay=0.1, duplicate=0.3), 1000)[0]}
    assert lost == also


def test_random_loss_is_of_the_given_rate() -> None:
    assert 800 < through(Link(loss=0.1), 10_000)[1].counts.lost < 1200


def test_bursts_have_the_given_rate_and_length() -> None:
    out, _ = through(Link.bursts(0.05, 5), 40_000)
    missing = sorted(set(range(40_000)) - {number for _, number in out})
    bursts = 1 + sum(1 for a, b in pairwise(missing) if b != a + 1)
    assert 0.04 < len(missing) / 40_000 < 0.06
    assert 4 < len(missing) / bursts < 6.5


def test_jitter_delays_and_keeps_or_breaks_the_order() -> None:
    kept, _ = through(Link(delay=0.05, jitter=0.03), 500)
    assert [number for _, number in kept] == list(range(500))
    assert all(0.05 <= at - number * 0.001 <= 0.081 for at, number in kept)
    broken, _ = through(Link(delay=0.05, jitter=0.03, keep_order=False), 500)
    assert [number for _, number in broken] != list(range(500))


def test_reordering_moves_a_packet_behind_at_most_the_span() -> None:
    out, channel = through(Link(reorder=0.05, reorder_span=20), 2000)
    order = [number for _, number in out]
    assert sorted(order) == list(range(2000))
    assert channel.counts.reordered > 50
    overtaken = [sum(1 for other in order[:place] if other > number) for place, number in enumerate(order)]
    assert 5 < max(overtaken) <= 20


def test_duplicates_and_corruption_are_counted() -> None:
    _, channel = through(Link(duplicate=0.1, corrupt=0.05), 2000)
    counts = channel.counts
    assert counts.sent == counts.received + counts.duplicated
    assert 150 < counts.duplicated < 250
    assert 60 < counts.corrupted < 140


def test_a_corrupted_packet_differs() -> None:
    channel = Channel(Link(corrupt=1.0), "1")
    channel.submit(RTP, None, 0.0)
    ((data, _),) = channel.due(0.0)
    assert data != RTP
    assert len(data) == len(RTP)


def test_a_narrow_link_paces_and_drops_the_tail() -> None:
    # 100 kB/s offered to 50 kB/s: half passes, and waits at most the queue
    out, channel = through(Link(bandwidth_bps=416_000, queue=0.1), 2000)
    assert 0.45 < len(out) / 2000 < 0.55
    assert channel.counts.overflowed == 2000 - len(out)
    assert max(at - number * 0.001 for at, number in out) < 0.11


def test_harm_strikes_only_the_kinds_that_are_named() -> None:
    channel = Channel(Link(loss=1.0, only=("rtp",)), "1")
    channel.submit(STUN, "stun", 0.0)
    channel.submit(RTP, "rtp", 0.0)
    assert channel.due(0.0) == [(STUN, "stun")]


def test_chosen_packets_are_dropped() -> None:
    out, _ = through(Link(drop=(0, 3)), 6)
    assert [number for _, number in out] == [1, 2, 4, 5]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (STUN, "stun"),
        (bytes([22]), "dtls"),
        (RTP, "rtp"),
        (bytes([0x81, 201]), "rtcp"),
        (b"", "other"),
        (b"\xff", "other"),
    ],
)
def test_kinds(data: bytes, kind: str) -> None:
    assert packet_kind(data) == kind


@pytest.fixture
def echo() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        yield server


def client() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", 0))
    opened.settimeout(5)
    return opened


def test_packets_pass_both_ways_and_are_counted(echo: socket.socket) -> None:
    with Relay(echo.getsockname()) as relay, closing(client()) as one, closing(client()) as two:
        port = relay.open()
        sources = []
        for peer in (one, two):
            peer.sendto(RTP, port.address)
            data, source = echo.recvfrom(2000)
            sources.append(source)
            echo.sendto(data + b"!", source)
            assert peer.recv(2000) == RTP + b"!"
        assert sources == port.sources()
        assert len(set(sources)) == 2
        counts = port.counts()
        assert (counts.up.sent, counts.down.sent) == (2, 2)
        assert counts.up.kinds == {"rtp": 2}


def test_rebinding_changes_the_source_and_closes_the_old_one(echo: socket.socket) -> None:
    with Relay(echo.getsockname()) as relay, closing(client()) as peer:
        port = relay.open()
        peer.sendto(b"a", port.address)
        _, before = echo.recvfrom(2000)
        (after,) = port.rebind()
        assert after != before
        echo.sendto(b"lost", before)
        peer.sendto(b"b", port.address)
        assert echo.recvfrom(2000) == (b"b", after)
        echo.sendto(b"found", after)
        assert peer.recv(2000) == b"found"


def test_a_port_changes_while_it_runs(echo: socket.socket) -> None:
    with Relay(echo.getsockname()) as relay, closing(client()) as peer:
        port = relay.open(up=Link(outage=True))
        peer.sendto(b"lost", port.address)
        while not port.counts().up.outage:
            time.sleep(0.001)
        port.set(up=Link(delay=0.01))
        peer.sendto(b"late", port.address)
        assert echo.recv(2000) == b"late"


def test_a_bad_command_is_an_error_and_the_relay_lives(echo: socket.socket) -> None:
    with Relay(echo.getsockname()) as relay:
        with pytest.raises(RuntimeError):
            relay.command("set", port=5)
        assert relay.open().address[1] > 0


def test_a_closed_relay_leaves_no_process() -> None:
    relay = Relay(("127.0.0.1", 9))
    relay.close()
    assert relay._process.poll() is not None


def test_links_are_values() -> None:
    assert replace(Link(loss=0.5), loss=0.0) == Link()
