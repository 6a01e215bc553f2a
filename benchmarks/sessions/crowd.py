"""Clients that join through the API with real ICE, DTLS and SRTP, keep consent, and then do nothing.

They are the load generator's peers, without its compiled loop: an idle client sends one check every 2.5 s.
"""

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from sluicegate.dtls.certificate import Certificate, parse_fingerprints
from sluicegate.dtls.context import DtlsContext
from sluicegate.ice.credentials import Credentials
from sluicegate.loadtest.parameters import rtp_capabilities, rtp_parameters
from sluicegate.loadtest.peer import JoinFailed, Peer, Remote
from sluicegate.loadtest.plan import Feedback
from sluicegate.loadtest.server import new_ssrc
from sluicegate.rtp.names import MediaKind
from sluicegate.rtp.srtp import SrtpProfile

CONSENT_INTERVAL = 2.5
CONSENT_STEPS = 50
"""Checks are spread over the interval in so many steps, as those of independent clients are."""


@dataclass(slots=True)
class Member:
    """A client that has joined."""

    session_id: str
    channel: str
    peer: Peer
    track_id: str | None = None
    ssrc: int = 0


@dataclass(slots=True)
class Joined:
    """What joining took, in seconds: each call, each ICE check with its DTLS handshake; and what failed, in words."""

    calls: list[float] = field(default_factory=list)
    handshakes: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Crowd:
    """`async with crowd(url) as people:`. `members` are those who are there."""

    def __init__(self, url: str, http: aiohttp.ClientSession, profile: SrtpProfile) -> None:
        self.members: list[Member] = []
        self.times = Joined()
        self._url = url.rstrip("/")
        self._http = http
        self._context = DtlsContext(Certificate.generate(), (profile,))
        self._capabilities = rtp_capabilities(Feedback.REPORTS)
        self._prefix = f"idle-{secrets.token_hex(3)}"
        self._numbers = itertools.count()

    async def join(self, room: int | None = None) -> Member | None:
        """One more, in a room of its own when none is given; None when that failed."""
        number = next(self._numbers)
        channel = f"{self._prefix}-{number if room is None else f'room{room}'}"
        peer = Peer(self._context)
        try:
            created = await self._call(
                "POST", "/sessions", {"type": "audio", "channel_id": channel, "user_id": f"user{number}"}
            )
            own = peer.fingerprint
            dtls = {"role": "client", "fingerprints": [{"algorithm": own.algorithm, "value": own.text}]}
            ice = {"usernameFragment": peer.credentials.username_fragment, "password": peer.credentials.password}
            path = f"/sessions/{created['session_id']}/connect"
            await self._call("POST", path, {"dtls_parameters": dtls, "ice_parameters": ice})
            began = time.perf_counter()
            await peer.connect(_remote(created))
        except JoinFailed as error:
            self.times.failures.append(str(error))
            peer.close()
            return None
        self.times.handshakes.append(time.perf_counter() - began)
        member = Member(created["session_id"], channel, peer)
        self.members.append(member)
        return member

    async def arrive(self, count: int, per_second: float, *, room_size: int = 1) -> None:
        """`count` join, each at its time, whether those before have finished or not."""
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for index in range(count):
                await asyncio.sleep(max(0.0, began + index / per_second - time.perf_counter()))
                group.create_task(self.join(None if room_size == 1 else index // room_size))

    async def publish(self, member: Member) -> None:
        """One Opus track, of which nothing is sent."""
        member.ssrc = new_ssrc()
        described = rtp_parameters(
            MediaKind.AUDIO, Feedback.REPORTS, mid="0", ssrc=member.ssrc, rtx_ssrc=0, cname="idle"
        )
        path = f"/sessions/{member.session_id}/publish"
        answer = await self._call("POST", path, {"kind": "audio", "rtp_parameters": described})
        member.track_id = answer["track_id"]

    async def subscribe(self, member: Member, track_id: str) -> None:
        body = {"track_id": track_id, "rtp_capabilities": self._capabilities}
        await self._call("POST", f"/sessions/{member.session_id}/subscribe", body)

    async def talk(self) -> None:
        """Everybody publishes, then subscribes to the track of the next one in the room."""
        rooms: dict[str, list[Member]] = {}
        for member in self.members:
            rooms.setdefault(member.channel, []).append(member)
            if member.track_id is None:
                await self.publish(member)
        for room in rooms.values():
            for index, member in enumerate(room):
                other = room[(index + 1) % len(room)]
                if other is not member and other.track_id is not None:
                    await self.subscribe(member, other.track_id)

    async def leave(self, members: Iterable[Member]) -> None:
        """They delete their sessions."""
        for member in list(members):
            await self._call("DELETE", f"/sessions/{member.session_id}")
            self.vanish([member])

    def vanish(self, members: Iterable[Member]) -> None:
        """They are gone without a word."""
        for member in list(members):
            member.peer.close()
            self.members.remove(member)

    async def keep_consent(self) -> None:
        """Until it is cancelled."""
        for step in itertools.count():
            await asyncio.sleep(CONSENT_INTERVAL / CONSENT_STEPS)
            for member in self.members[step % CONSENT_STEPS :: CONSENT_STEPS]:
                member.peer.send(member.peer.consent_request)

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        began = time.perf_counter()
        try:
            async with self._http.request(method, self._url + path, json=body) as response:
                text = await response.read()
                self.times.calls.append(time.perf_counter() - began)
                if response.status >= 400:
                    raise JoinFailed(f"{method} {path}: {response.status} {text[:300].decode(errors='replace')}")
                return await response.json() if text else None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise JoinFailed(f"{method} {path}: {str(error) or type(error).__name__}") from error


@asynccontextmanager
async def crowd(url: str, profile: SrtpProfile = SrtpProfile.AEAD_AES_128_GCM) -> AsyncIterator[Crowd]:
    """Whoever is left at the end vanishes; connections are closed."""
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as http:
        people = Crowd(url, http, profile)
        consent = asyncio.create_task(people.keep_consent())
        try:
            yield people
        finally:
            consent.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await consent
            people.vanish(people.members)


def _remote(created: Any) -> Remote:
    """The server's end, from the answer to `POST /sessions`."""
    candidate, parameters = created["ice_candidates"][0], created["ice_parameters"]
    prints = [(one["algorithm"], one["value"]) for one in created["dtls_parameters"]["fingerprints"]]
    return Remote(
        (candidate["address"], candidate["port"]),
        Credentials(parameters["usernameFragment"], parameters["password"]),
        parse_fingerprints(prints),
    )
