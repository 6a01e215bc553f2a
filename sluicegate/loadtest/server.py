"""Joining a Sluicegate server through its API. What else can be joined implements the same `Adapter`."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from sluicegate.dtls.certificate import Certificate, parse_fingerprints
from sluicegate.dtls.context import DtlsContext
from sluicegate.ice.credentials import Credentials
from sluicegate.loadtest.parameters import OPUS, VP8, rtp_capabilities, rtp_parameters
from sluicegate.loadtest.peer import JoinFailed, Peer, Remote, SendTrack
from sluicegate.loadtest.plan import Member, Scenario
from sluicegate.rtp.names import MediaKind

REQUEST_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Published:
    """A track as others may subscribe to it: the server's own name for it, and the SSRC that it is sent under."""

    room: int
    owner: str
    kind: MediaKind
    reference: Any
    ssrc: int


class Adapter(Protocol):
    """How clients get into one kind of server. `peers` are all transports that were made, connected."""

    peers: list[Peer]

    async def start(self, scenario: Scenario) -> None:
        """Get ready for one run."""

    async def enter(self, member: Member) -> list[Published]:
        """Join, connect, and publish what the member publishes."""

    async def watch(self, member: Member, tracks: Sequence[Published]) -> None:
        """Let a member that has entered receive the tracks."""

    async def stop(self) -> None:
        """Leave, and close everything. Safe to call at any time."""


def new_ssrc() -> int:
    """A random SSRC, never 0."""
    return secrets.randbits(31) + 1


@dataclass(slots=True)
class _Session:
    session_id: str
    peer: Peer


class ApiServer:
    """A Sluicegate server at `url`; the rooms have names of their own, so that runs do not meet."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.peers: list[Peer] = []
        self._url = url.rstrip("/")
        self._token = token
        self._prefix = f"load-{secrets.token_hex(3)}"
        self._sessions: dict[tuple[int, str], _Session] = {}
        self._http: aiohttp.ClientSession | None = None

    async def start(self, scenario: Scenario) -> None:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._http = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT),
            connector=aiohttp.TCPConnector(limit=32),
        )
        self._scenario = scenario
        self._context = DtlsContext(Certificate.generate(), (scenario.profile,))
        self._capabilities = rtp_capabilities(scenario.media.feedback)

    async def enter(self, member: Member) -> list[Published]:
        video = MediaKind.VIDEO in self._scenario.kinds
        body = {
            "type": "video" if video else "audio",
            "channel_id": f"{self._prefix}-{member.room}",
            "user_id": f"{member.room}.{member.name}",
        }
        created = await self._call("POST", "/sessions", body)
        session_id = created["session_id"]
        peer = Peer(self._context)
        self.peers.append(peer)
        self._sessions[member.room, member.name] = _Session(session_id, peer)
        own = peer.fingerprint
        parameters = {"role": "client", "fingerprints": [{"algorithm": own.algorithm, "value": own.text}]}
        ice = {"usernameFragment": peer.credentials.username_fragment, "password": peer.credentials.password}
        await self._call(
            "POST", f"/sessions/{session_id}/connect", {"dtls_parameters": parameters, "ice_parameters": ice}
        )
        await peer.connect(_remote(created))
        return [await self._publish(member, peer, session_id, kind) for kind in member.publishes]

    async def _publish(self, member: Member, peer: Peer, session_id: str, kind: MediaKind) -> Published:
        ssrc = new_ssrc()
        mid = str(len(peer.sends))
        media = self._scenario.media
        described = rtp_parameters(
            kind,
            media.feedback,
            mid=mid,
            ssrc=ssrc,
            rtx_ssrc=new_ssrc(),
            cname=member.name,
            max_bitrate_bps=media.video_bitrate_bps if kind is MediaKind.VIDEO else None,
        )
        answer = await self._call(
            "POST", f"/sessions/{session_id}/publish", {"kind": kind.name.lower(), "rtp_parameters": described}
        )
        payload_type = VP8 if kind is MediaKind.VIDEO else OPUS
        peer.sends.append(SendTrack(kind, ssrc, payload_type, mid, self._scenario.receivers_of_a_track))
        return Published(member.room, member.name, kind, answer["track_id"], ssrc)

    async def watch(self, member: Member, tracks: Sequence[Published]) -> None:
        session = self._sessions[member.room, member.name]
        for track in tracks:
            body = {"track_id": track.reference, "rtp_capabilities": self._capabilities}
            answer = await self._call("POST", f"/sessions/{session.session_id}/subscribe", body)
            session.peer.receives[answer["rtp_parameters"]["encodings"][0]["ssrc"]] = track.ssrc

    async def stop(self) -> None:
        if self._http is not None:
            deletions = (self._call("DELETE", f"/sessions/{one.session_id}") for one in self._sessions.values())
            await asyncio.gather(*deletions, return_exceptions=True)
            await self._http.close()
            self._http = None
        for peer in self.peers:
            peer.close()

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        assert self._http is not None
        try:
            async with self._http.request(method, self._url + path, json=body) as response:
                text = await response.read()
                if response.status >= 400:
                    raise JoinFailed(f"{method} {path}: {response.status} {text[:500].decode(errors='replace')}")
                return await response.json() if text else None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise JoinFailed(f"{method} {path}: {str(error) or type(error).__name__}") from error


def _remote(created: Any) -> Remote:
    """The server's end, from the answer to `POST /sessions`."""
    candidate = created["ice_candidates"][0]
    parameters = created["ice_parameters"]
    prints = [(one["algorithm"], one["value"]) for one in created["dtls_parameters"]["fingerprints"]]
    return Remote(
        (candidate.get("address") or candidate["ip"], candidate["port"]),
        Credentials(parameters["usernameFragment"], parameters["password"]),
        parse_fingerprints(prints),
    )
