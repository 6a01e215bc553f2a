"""Those who attack: sockets of nobody, members who break the rules, and floods; and what the server counts of them."""

import asyncio
import re
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Self

from tests.support.dtls import DtlsEndpoint
from tests.support.rtc_client import ScriptedClient
from tests.support.server import ServerProcess

Address = tuple[str, int]
# Strangers come from elsewhere, so that what the server holds against an address does not strike the members.
STRANGE_HOST = "127.0.0.66"
SOL_UDP, UDP_SEGMENT = 17, 103
SEGMENTS = 60
_DROPPED = re.compile(r'^sluicegate_packets_dropped_total\{plane="([^"]+)",reason="([^"]+)"\} (\S+)$', re.MULTILINE)


class Stranger:
    """A UDP socket that the server knows nothing of."""

    def __init__(self, target: Address, *, host: str = STRANGE_HOST) -> None:
        self.target = target
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((host, 0))
        self._socket.setblocking(False)
        self.sent_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def address(self) -> Address:
        name = self._socket.getsockname()
        return name[0], name[1]

    def send(self, *datagrams: bytes) -> None:
        """Send to the server, whatever it is."""
        for data in datagrams:
            self.sent_bytes += len(data)
            with suppress(BlockingIOError):
                self._socket.sendto(data, self.target)

    def send_equal(self, datagrams: Sequence[bytes]) -> None:
        """Send datagrams of one size, many with one system call (UDP_SEGMENT)."""
        send_equal(self._socket, datagrams, self.target)
        self.sent_bytes += sum(map(len, datagrams))

    def received(self) -> list[bytes]:
        """What has come back."""
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(65535))
        return found


def send_equal(opened: Any, datagrams: Sequence[bytes], target: Address) -> None:
    """Datagrams of one size by UDP_SEGMENT, `SEGMENTS` to a system call."""
    for start in range(0, len(datagrams), SEGMENTS):
        some = datagrams[start : start + SEGMENTS]
        size = struct.pack("=H", len(some[0]))
        with suppress(BlockingIOError):
            opened.sendmsg([b"".join(some)], [(SOL_UDP, UDP_SEGMENT, size)], 0, target)


async def flood(send: Callable[[int], None], count: int, per_second: float, *, step: int = 1) -> float:
    """Call `send(first ordinal)` for each `step` of `count` packets at a pace; the seconds that it took."""
    began = time.monotonic()
    for ordinal in range(0, count, step):
        ahead = ordinal / per_second - (time.monotonic() - began)
        if ahead > 0:
            await asyncio.sleep(ahead)
        elif ordinal % (64 * step) == 0:
            await asyncio.sleep(0)
        send(ordinal)
    return time.monotonic() - began


def client_hello() -> bytes:
    """The first flight of a DTLS client whom nobody knows."""
    endpoint = DtlsEndpoint(client=True)
    endpoint.handshake()
    (hello,) = endpoint.datagrams()
    return hello


def dropped(server: ServerProcess, *, token: str | None = None) -> dict[str, int]:
    """What the server has dropped so far, by reason, of the planes and of the control plane."""
    status, text = server.get("/metrics", token=token)
    assert status == 200
    found: dict[str, int] = {}
    for _, reason, count in _DROPPED.findall(text.decode()):
        found[reason] = found.get(reason, 0) + int(float(count))
    return found


GREAT_DEAL_BPS = 40_000_000
"""What a track declares that shall not be policed."""


class Drops:
    """How many more of each reason there are than when it was made."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._before = dropped(server)

    def __call__(self, *reasons: str) -> int:
        now = dropped(self._server)
        return sum(now.get(reason, 0) - self._before.get(reason, 0) for reason in reasons)

    async def until(self, count: int, *reasons: str, timeout: float = 10.0) -> None:
        """Wait until that many have been counted; TimeoutError tells how many were."""
        deadline = time.monotonic() + timeout
        while (seen := self(*reasons)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{seen} of {count} dropped as {' or '.join(reasons)}")
            await asyncio.sleep(0.02)

    def all(self) -> dict[str, int]:
        """All that grew."""
        now = dropped(self._server)
        return {
            reason: count - self._before.get(reason, 0)
            for reason, count in now.items()
            if count != self._before.get(reason, 0)
        }


async def settle(*clients: ScriptedClient, quiet: float = 0.15, timeout: float = 10.0) -> None:
    """Until no media has come to any of the clients for a moment."""
    deadline = time.monotonic() + timeout
    last, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        now = sum(len(client.rtp_log) + len(client.undecryptable) for client in clients)
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > quiet:
            return
        await asyncio.sleep(0.01)


async def session_state(client: ScriptedClient) -> dict[str, Any]:
    """`GET /sessions/{id}` of a client that must still be there."""
    state: dict[str, Any] = await client.api.call("GET", f"/sessions/{client.session_id}")
    return state


async def closed_reason(client: ScriptedClient, timeout: float) -> str:
    """Wait until the session is gone; why it closed. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        answer = await client.api.request("GET", f"/sessions/{client.session_id}/why")
        why = answer.json()
        if answer.status == 200 and why["state"] == "closed":
            return str(why["closed_reason"])
        await asyncio.sleep(0.02)
    raise TimeoutError("the session is still open")


def marks(packets: Iterable[Any]) -> list[tuple[int, int]]:
    """The marks of packets that end with one."""
    return [struct.unpack("!II", packet.payload[-8:]) for packet in packets if len(packet.payload) >= 8]
