"""Those who stop talking, never begin, or do not listen: rows 8, 25, 28 and 34 of section A, which all wait for the
same half minute.

Everything is started at once on a server of its own while an innocent call goes on there, and each test looks at what
became of its part.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import pytest

from tests.attacks.conftest import LONGEST_GAP, MOST_LOST
from tests.attacks.innocent import Harm, InnocentCall
from tests.attacks.strangers import client_hello
from tests.support.api import ApiFailure
from tests.support.rtc_client import ScriptedClient
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource

UNFINISHED = 950
SLOW = 500
UNTAKEN = 40
# RFC 7675 §5.1, and what rows 8, 25, 28 and 34 allow beside it; the machine may be busy.
CONSENT, CONNECT, HANDSHAKE, HEAD, BODY, ANSWER = 30.0, 30.0, 10.0, 5.0, 10.0, 30.0
SLACK = 5.0


@dataclass(slots=True)
class Waits:
    """What was seen, in seconds since the last sign of life; `ids` are those of the sessions that nobody used."""

    last_media: float = -1.0
    first_media: float = -1.0
    silent_closed: float = -1.0
    silent_reason: str = ""
    half_closed: float = -1.0
    half_reason: str = ""
    unfinished_closed: float = -1.0
    sessions: list[dict[str, Any]] = field(default_factory=list)
    left: int = -1
    full: list[tuple[int, str | None, float]] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    heads: list[float] = field(default_factory=list)
    bodies: list[float] = field(default_factory=list)
    healthy: list[float] = field(default_factory=list)
    untaken: list[int] = field(default_factory=list)
    after_silence: int = -1
    harm: Harm | None = None


async def until_closed(client: ScriptedClient, began: float) -> tuple[float, str]:
    """When a session was closed, and why."""
    while True:
        answer = await client.api.request("GET", f"/sessions/{client.session_id}/why")
        why = answer.json()
        if why["state"] == "closed":
            return time.monotonic() - began, why["closed_reason"]
        await asyncio.sleep(0.1)


async def fall_silent(server: ServerProcess, waits: Waits) -> None:
    """A listener whose network is gone: it answers nothing, and the speaker goes on."""
    async with (
        ScriptedClient.joined(server.url, "silence", "speaker") as speaker,
        ScriptedClient(server.url, "silence", "listener", consent=False) as listener,
    ):
        await listener.create()
        await listener.connect()
        published = await speaker.publish("opus", ssrc=1)
        heard = await listener.subscribe(published.track_id)
        source = AudioSource(ssrc=1, payload_type=published.payload_type)
        await listener.check()
        began = time.monotonic()
        playing = asyncio.create_task(speaker.play(source, seconds=CONSENT + SLACK + 1))
        closed = asyncio.create_task(until_closed(listener, began))
        done, _ = await asyncio.wait([closed], timeout=CONSENT + SLACK)
        if done:
            waits.silent_closed, waits.silent_reason = closed.result()
        await asyncio.sleep(0.7)  # in which nothing more must come
        playing.cancel()
        closed.cancel()
        waits.after_silence = sum(received.at - began > CONSENT - 1 for received in listener.dtls_log)
        times = [received.at - began for received in listener.rtp_log]
        assert listener.rtp(heard.ssrc)
        waits.first_media, waits.last_media = times[0], times[-1]


async def begin_and_stop(server: ServerProcess, waits: Waits) -> None:
    """A client that sends the first flight of a handshake, and no other."""
    async with ScriptedClient(server.url, "half", "half") as client:
        await client.create()
        await client.signal_connect()
        await client.open()
        await client.check()
        client.dtls.receive = lambda datagram: b""  # type: ignore[method-assign]
        began = time.monotonic()
        client.send_raw(client_hello())
        closing = asyncio.create_task(until_closed(client, began))
        await asyncio.wait([closing], timeout=HANDSHAKE + SLACK)
        if closing.done():
            waits.half_closed, waits.half_reason = closing.result()
        closing.cancel()


async def open_and_leave(server: ServerProcess, waits: Waits) -> None:
    """Sessions up to the limit that nobody connects to, and those beyond it."""
    async with ScriptedClient(server.url, "crowd", "crowd") as client:
        waits.memory.append(server.rss_bytes())

        async def make(number: int) -> None:
            waits.sessions.append(await client.api.create_session(f"crowd-{number % 50}", f"user-{number}"))

        for start in range(0, UNFINISHED, 25):
            await asyncio.gather(*map(make, range(start, min(start + 25, UNFINISHED))))
        began = time.monotonic()
        waits.memory.append(server.rss_bytes())
        for number in range(100):
            asked = time.monotonic()
            try:
                waits.sessions.append(await client.api.create_session("crowd", f"more-{number}"))
            except ApiFailure as failure:
                waits.full.append((failure.status, failure.headers.get("Retry-After"), time.monotonic() - asked))
        page: dict[str, Any] = {}
        while time.monotonic() - began < CONNECT + SLACK:
            page = await client.api.call("GET", "/sessions?limit=500")
            waits.left = sum(one["channel_id"].startswith("crowd") for one in page["sessions"])
            if waits.left == 0 and not page.get("next_cursor"):
                waits.unfinished_closed = time.monotonic() - began
                break
            await asyncio.sleep(0.2)


async def be_slow(server: ServerProcess, waits: Waits) -> None:
    """Half the connections never finish a head, the others never a body; meanwhile somebody asks how things are."""
    host, port = "127.0.0.1", int(server.environment["PORT"])

    async def one(opening: bytes, trickle: bytes, ends: list[float]) -> None:
        # From addresses of their own, as the members of a botnet come.
        reader, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.77", 0), family=socket.AF_INET)
        began = time.monotonic()
        writer.write(opening)

        async def dribble() -> None:
            while True:
                await asyncio.sleep(1.0)
                writer.write(trickle)

        dribbling = asyncio.create_task(dribble())
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        ends.append(time.monotonic() - began)
        dribbling.cancel()
        writer.close()

    head = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
    body = (
        b"POST /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    slow = [
        asyncio.create_task(one(head, b"x", waits.heads) if number % 2 else one(body, b" ", waits.bodies))
        for number in range(SLOW)
    ]
    await asyncio.sleep(0.5)
    async with ScriptedClient(server.url, "health", "health") as client:
        deadline = time.monotonic() + BODY + SLACK
        while not all(task.done() for task in slow) and time.monotonic() < deadline:
            asked = time.monotonic()
            assert (await client.api.request("GET", "/healthz")).status == 200
            waits.healthy.append(time.monotonic() - asked)
            await asyncio.sleep(0.02)
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def ask_and_not_read(server: ServerProcess, waits: Waits) -> None:
    """Connections that ask for the largest file again and again, and read nothing of it."""
    request = b"GET /web/vendor/mediasoup-client.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    async def one() -> None:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        with raw:
            await loop.sock_connect(raw, ("127.0.0.1", int(server.environment["PORT"])))
            await loop.sock_sendall(raw, request * UNTAKEN)
            await asyncio.sleep(ANSWER + 2)
            taken = 0
            with suppress(ConnectionResetError):
                while data := await loop.sock_recv(raw, 1 << 16):
                    taken += len(data)
            waits.untaken.append(taken)

    async with asyncio.timeout(ANSWER + SLACK + 10):
        await asyncio.gather(*(one() for _ in range(10)))


@pytest.fixture(scope="module")
def waits(start_server: Callable[..., ServerProcess]) -> Iterator[Waits]:
    """All of it at once."""
    server, seen = start_server(), Waits()

    async def everything() -> None:
        attacks = (fall_silent, begin_and_stop, open_and_leave, be_slow, ask_and_not_read)
        await asyncio.gather(*(attack(server, seen) for attack in attacks))
        assert server.alive
        assert "Traceback" not in server.log()

    with InnocentCall(server.url) as call:
        call.mark()
        asyncio.run(everything())
        seen.harm = call.mark()
    yield seen


@pytest.mark.timeout(180)
def test_a_call_went_on_meanwhile(waits: Waits, record_property: Any) -> None:
    assert waits.harm is not None
    record_property("innocent", f"{waits.harm.lost}/{waits.harm.sent}, gap {waits.harm.longest_gap * 1000:.0f} ms")
    assert waits.harm.fraction < MOST_LOST
    assert waits.harm.longest_gap < LONGEST_GAP


@pytest.mark.timeout(180)
def test_a08_media_for_those_who_fell_silent_stops(waits: Waits, record_property: Any) -> None:
    """RFC 7675: 30 s after the last check nothing more is sent, and the session is freed."""
    record_property("measured", f"media for {waits.last_media:.1f} s, freed after {waits.silent_closed:.1f} s")
    assert waits.first_media < 5
    assert 20 < waits.last_media < CONSENT + 1
    assert 0 < waits.silent_closed < CONSENT + SLACK
    assert waits.silent_reason == "consent lost"
    assert waits.after_silence == 0, "not even a goodbye"


def test_a25_a_handshake_that_does_not_go_on_ends(waits: Waits, record_property: Any) -> None:
    record_property("measured", f"closed after {waits.half_closed:.1f} s")
    assert HANDSHAKE - 1 < waits.half_closed < HANDSHAKE + SLACK
    assert "timed out" in waits.half_reason


def test_a34_sessions_that_nobody_uses_are_freed(waits: Waits, record_property: Any) -> None:
    record_property("measured", f"{len(waits.sessions)} freed {waits.unfinished_closed:.1f} s after the last was made")
    assert len(waits.sessions) >= UNFINISHED
    assert waits.left == 0
    assert 0 < waits.unfinished_closed < CONNECT + SLACK


def test_a33_one_session_too_many_is_refused_at_once(waits: Waits, record_property: Any) -> None:
    """The default of MAX_SESSIONS is 1000: those beyond it get 503 and are told when to come back."""
    slowest = sorted(seconds for _, _, seconds in waits.full)
    record_property("measured", f"{len(waits.full)} refused, median {slowest[len(slowest) // 2] * 1000:.0f} ms")
    assert len(waits.full) >= 40
    assert all(status == 503 and retry is not None and int(retry) >= 1 for status, retry, _ in waits.full)
    assert slowest[len(slowest) // 2] < 0.05


def test_a33_an_idle_session_costs_little(waits: Waits, record_property: Any) -> None:
    """Issue 3: under 150 KB each."""
    each = (waits.memory[1] - waits.memory[0]) / UNFINISHED
    record_property("measured", f"{each / 1000:.0f} KB a session")
    assert each < 150_000


def test_a30_ids_cannot_be_guessed(waits: Waits) -> None:
    """A thousand sessions: random ids (UUID4, 122 bits), fragments of 48 and passwords of 192 random bits, none
    twice."""
    ids = [session["session_id"] for session in waits.sessions]
    assert len(set(ids)) == len(ids)
    assert ids != sorted(ids)
    assert all(one[14] == "4" and one[19] in "89ab" for one in ids)
    ufrags = {session["ice_parameters"]["usernameFragment"] for session in waits.sessions}
    passwords = {session["ice_parameters"]["password"] for session in waits.sessions}
    assert len(ufrags) == len(passwords) == len(ids)
    assert all(len(one) * 6 >= 24 for one in ufrags)  # RFC 8445 §5.3: at least 24 and 128 bits, 6 a character
    assert all(len(one) * 6 >= 128 for one in passwords)
    for texts, length in ((ufrags, 8), (passwords, 32)):
        for place in range(length):  # each of 64 characters comes up in each place
            assert len({text[place] for text in texts}) > 50
    # Bits of an id are set half of the time, but for the six that say what it is.
    bits = [sum(int(one.replace("-", ""), 16) >> bit & 1 for one in ids) / len(ids) for bit in range(128)]
    assert sum(0.4 < share < 0.6 for share in bits) == 122


def test_a28_slow_clients_keep_nobody_waiting(waits: Waits, record_property: Any) -> None:
    """500 connections that dribble: whoever asks is answered, and they are cut off."""
    ordered = sorted(waits.healthy)
    median, late = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    record_property("measured", f"GET /healthz p50 {median * 1000:.0f} ms, p99 {late * 1000:.0f} ms")
    assert len(ordered) > 50
    assert median < 0.1


def test_a28_slow_heads_and_bodies_are_cut_off(waits: Waits, record_property: Any) -> None:
    record_property("measured", f"heads {max(waits.heads):.1f} s, bodies {max(waits.bodies):.1f} s at most")
    assert len(waits.heads) == len(waits.bodies) == SLOW // 2
    assert min(waits.heads) > HEAD - 1 and max(waits.heads) < HEAD + SLACK
    assert max(waits.bodies) < BODY + SLACK


def test_a28_who_asks_and_does_not_read_is_cut_off(waits: Waits) -> None:
    """Answering counts as work, for which a connection keeps its place. What was in the system's buffers still came."""
    everything = UNTAKEN * len(files("sluicegate.http").joinpath("web", "vendor", "mediasoup-client.js").read_bytes())
    assert len(waits.untaken) == 10
    assert all(taken < everything / 2 for taken in waits.untaken), waits.untaken
