"""A call through servers that are set up in other ways: drivers, sockets, planes, IPv6, the other DTLS role, TURN."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.room import PATIENCE, RECORD_CONNECTIONS, enter, hears, sees
from tests.interop.test_libraries import TONE_HZ, TONE_TOLERANCE_HZ, pictures_follow_each_other
from tests.support.aiortc_client import AiortcClient
from tests.support.browser import browsers
from tests.support.server import ServerProcess, free_tcp_port, free_udp_ports

RELAYED = """
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(options, ...rest) { super({ ...options, iceTransportPolicy: "relay" }, ...rest); }
};
"""
# The candidate types of the pairs that carry something, by all connections of the page.
PAIRS = """
Promise.all(connections.map((one) => one.getStats())).then((all) => all.flatMap((stats) => [...stats.values()]
  .filter(({ type, nominated, bytesReceived }) => type === "candidate-pair" && nominated && bytesReceived)
  .map(({ localCandidateId }) => stats.get(localCandidateId).candidateType)))
"""


async def talk(server: ServerProcess, channel: str, **options: Any) -> None:
    """Two of aiortc: one speaks and shows its counting picture, the other hears and sees that."""
    async with (
        AiortcClient.joined(server.url, channel, "alice", **options) as alice,
        AiortcClient.joined(server.url, channel, "bob", **options) as bob,
    ):
        voice, picture = await alice.publish_audio(TONE_HZ), await alice.publish_video()
        meters = await bob.subscribe_all()
        await meters[picture].until(frames=30, timeout=PATIENCE)
        await meters[voice].until(frames=100, timeout=PATIENCE)
        assert abs(meters[voice].frequency() - TONE_HZ) < TONE_TOLERANCE_HZ
        pictures_follow_each_other(meters[picture])


@pytest.mark.parametrize(
    "settings",
    [
        {"PLANE_DRIVER": "loop"},
        {"PLANE_DRIVER": "loop", "PLANE_SOCKET": "portable"},
        {"HOST": "::1", "ANNOUNCED_ADDRESSES": "::1"},
    ],
    ids=["on-the-loop", "portable-socket", "ipv6"],
)
async def test_a_call_through_another_server(
    settings: dict[str, str], start_server: Callable[..., ServerProcess], channel: str
) -> None:
    server = start_server(**settings)
    await talk(server, channel, host_address=settings.get("HOST", "127.0.0.1"))


async def test_calls_on_two_planes(start_server: Callable[..., ServerProcess], channel: str) -> None:
    """Four at once, of which not all are on one."""
    server = start_server(PLANE_THREADS=2)
    await asyncio.gather(*(talk(server, f"{channel}.{number}") for number in range(4)))
    metrics = server.get("/metrics")[1].decode().splitlines()
    sent = [float(line.split()[-1]) for line in metrics if line.startswith("sluicegate_packets_sent_total{plane=")]
    assert len([count for count in sent if count > 100]) == 2


async def test_the_server_begins_the_handshake(server: ServerProcess, channel: str) -> None:
    await talk(server, channel, dtls_role="server")


@pytest.fixture
def turn(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """coturn with a shared secret, on loopback alone: its URL and the secret."""
    port, first, secret = free_tcp_port(), free_udp_ports(40), "a secret that both know"
    arguments = [
        *("--no-cli", "--no-tls", "--no-dtls", "--no-auth-pings", "--allow-loopback-peers", "--log-file=stdout"),
        *(f"--listening-port={port}", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"),
        *(f"--min-port={first}", f"--max-port={first + 39}", "--use-auth-secret", f"--static-auth-secret={secret}"),
        *("--realm=tests", f"--userdb={tmp_path / 'turn.db'}", f"--pidfile={tmp_path / 'turn.pid'}"),
    ]
    log = (tmp_path / "turn.log").open("wb")
    process = subprocess.Popen(["turnserver", *arguments], stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"turn:127.0.0.1:{port}?transport=udp", secret
    finally:
        process.terminate()
        process.wait(10)
        log.close()


async def test_browsers_that_must_be_relayed(
    turn: tuple[str, str], start_server: Callable[..., ServerProcess], channel: str
) -> None:
    """By coturn, which takes the time-limited credentials that the server made."""
    server = start_server(TURN_URL=turn[0], TURN_SECRET=turn[1])
    async with browsers() as open_window:
        ada, ben = await asyncio.gather(open_window("chromium", tone_hz=TONE_HZ), open_window("chromium"))
        for window in (ada, ben):
            await window.page.add_init_script(RECORD_CONNECTIONS)
            await window.page.add_init_script(RELAYED)
        await asyncio.gather(*(enter(one, server, channel, name) for one, name in ((ada, "ada"), (ben, "ben"))))
        await sees(ben, "ada")
        await hears(ben, "ada", TONE_HZ)
        for window in (ada, ben):
            pairs = await window.evaluate(PAIRS)
            assert pairs and set(pairs) == {"relay"}
