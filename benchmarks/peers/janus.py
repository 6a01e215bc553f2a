"""Joining a Janus VideoRoom: a publisher's PeerConnection, and one for all that a member receives (multistream)."""

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from typing import Any

import aiohttp

from benchmarks.peers import sdp
from benchmarks.peers.janus_process import PLUGIN
from sluicegate.dtls.certificate import Certificate
from sluicegate.dtls.context import DtlsContext
from sluicegate.loadtest.parameters import OPUS, VP8
from sluicegate.loadtest.peer import JoinFailed, Peer, SendTrack
from sluicegate.loadtest.plan import Feedback, Member, Scenario
from sluicegate.loadtest.server import Published, new_ssrc
from sluicegate.rtp.names import MediaKind

ANSWER_TIMEOUT = 30.0
POLL_EVENTS = 20


class JanusServer:
    """The `Adapter` of one Janus; all members share one of its sessions, with a handle for each PeerConnection."""

    def __init__(self, url: str) -> None:
        self.peers: list[Peer] = []
        self._url = url
        self._session = ""
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._http: aiohttp.ClientSession | None = None
        self._poller: asyncio.Task[None] | None = None

    async def start(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._context = DtlsContext(Certificate.generate(), (scenario.profile,))
        connector = aiohttp.TCPConnector(limit=32)
        self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))
        self._session = f"{self._url}/{(await self._post(self._url, {'janus': 'create'}))['data']['id']}"
        self._poller = asyncio.create_task(self._poll())
        handle = await self._attach()
        for room in range(scenario.rooms):
            described = {
                "request": "create",
                "room": room + 1,
                "publishers": scenario.publishers + 1,
                "audiocodec": "opus",
                "videocodec": "vp8",
                "transport_wide_cc_ext": scenario.media.feedback is Feedback.TRANSPORT_CC,
                "playoutdelay_ext": False,
                "videoorient_ext": False,
            }
            answer = await self._post(handle, {"janus": "message", "body": described})
            data = answer.get("plugindata", {}).get("data", {})
            if data.get("videoroom") != "created":
                raise JoinFailed(f"Janus made no room: {answer}")

    async def enter(self, member: Member) -> list[Published]:
        if not member.publishes:
            return []
        handle = await self._attach()
        request = {"request": "join", "ptype": "publisher", "room": member.room + 1, "display": member.name}
        joined = (await self._message(handle, request))["plugindata"]["data"]
        peer = Peer(self._context)
        for kind in member.publishes:
            payload_type = VP8 if kind is MediaKind.VIDEO else OPUS
            mid, receivers = str(len(peer.sends)), self._scenario.receivers_of_a_track
            peer.sends.append(SendTrack(kind, new_ssrc(), payload_type, mid, receivers))
        text = sdp.offer(peer.sends, peer.credentials, peer.fingerprint, self._scenario.media.feedback)
        configured = await self._message(handle, {"request": "publish"}, {"type": "offer", "sdp": text})
        await self._connect(handle, peer, sdp.parse(configured["jsep"]["sdp"]))
        return [
            Published(member.room, member.name, track.kind, (joined["id"], track.mid), track.ssrc)
            for track in peer.sends
        ]

    async def watch(self, member: Member, tracks: Sequence[Published]) -> None:
        if not tracks:
            return
        handle = await self._attach()
        wanted = [{"feed": track.reference[0], "mid": track.reference[1]} for track in tracks]
        request = {"request": "join", "ptype": "subscriber", "room": member.room + 1, "streams": wanted}
        attached = await self._message(handle, request)
        sections = sdp.parse(attached["jsep"]["sdp"])
        peer = Peer(self._context)
        ssrcs = {track.reference: track.ssrc for track in tracks}
        for stream in attached["plugindata"]["data"]["streams"]:
            ssrc = int(sections[stream["mindex"]].value("ssrc").split()[0])
            peer.receives[ssrc] = ssrcs[stream["feed_id"], stream["feed_mid"]]
        text = sdp.answer(sections, peer.credentials, peer.fingerprint)
        await self._message(handle, {"request": "start"}, {"type": "answer", "sdp": text})
        await self._connect(handle, peer, sections)

    async def stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller
        if self._http is not None:
            if self._session:
                with contextlib.suppress(JoinFailed):
                    await self._post(self._session, {"janus": "destroy"})
            await self._http.close()
            self._http = None
        for peer in self.peers:
            peer.close()

    async def _connect(self, handle: str, peer: Peer, sections: list[sdp.Section]) -> None:
        """Tell where we are, since Janus waits for a candidate before it answers checks usefully, then connect."""
        self.peers.append(peer)
        remote = sdp.remote_of(sections[0])
        host, port = peer.open(remote.address)
        candidate = {"sdpMid": sections[0].value("mid"), "sdpMLineIndex": 0}
        candidate["candidate"] = f"candidate:1 1 udp 2130706431 {host} {port} typ host"
        await self._post(handle, {"janus": "trickle", "candidates": [candidate, {"completed": True}]})
        await peer.connect(remote)

    async def _attach(self) -> str:
        answer = await self._post(self._session, {"janus": "attach", "plugin": PLUGIN})
        return f"{self._session}/{answer['data']['id']}"

    async def _message(self, handle: str, body: Any, jsep: Any = None) -> Any:
        """A request that is answered by an event."""
        transaction = secrets.token_hex(8)
        event = self._waiting[transaction] = asyncio.get_running_loop().create_future()
        request = {"janus": "message", "body": body, "transaction": transaction}
        if jsep is not None:
            request["jsep"] = jsep
        try:
            await self._post(handle, request)
            answer = await asyncio.wait_for(event, ANSWER_TIMEOUT)
        except TimeoutError:
            raise JoinFailed(f"Janus did not answer {body['request']}") from None
        finally:
            self._waiting.pop(transaction, None)
        error = answer.get("error") or answer.get("plugindata", {}).get("data", {}).get("error")
        if error:
            raise JoinFailed(f"Janus refused {body['request']}: {error}")
        return answer

    async def _post(self, url: str, request: dict[str, Any]) -> Any:
        assert self._http is not None
        try:
            async with self._http.post(url, json={"transaction": secrets.token_hex(8), **request}) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise JoinFailed(f"Janus: {error or type(error).__name__}") from error
        if answer.get("janus") == "error":
            raise JoinFailed(f"Janus refused {request['janus']}: {answer['error']}")
        return answer

    async def _poll(self) -> None:
        """The session's events by long polling, which also keeps it alive."""
        assert self._http is not None
        while True:
            try:
                async with self._http.get(self._session, params={"maxev": POLL_EVENTS}) as response:
                    events = await response.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.1)
                continue
            for event in events if isinstance(events, list) else [events]:
                waiting = self._waiting.get(event.get("transaction", ""))
                if event.get("janus") in ("event", "error") and waiting is not None and not waiting.done():
                    waiting.set_result(event)
