"""Starting and joining the forwarder in plain Python."""

import socket
import sys
from collections.abc import Sequence

import aiohttp

from benchmarks.process import PinnedProcess, free_port
from sluicegate.dtls.certificate import Certificate, parse_fingerprints
from sluicegate.dtls.context import DtlsContext
from sluicegate.ice.credentials import Credentials
from sluicegate.loadtest.parameters import OPUS, VP8
from sluicegate.loadtest.peer import JoinFailed, Peer, Remote, SendTrack
from sluicegate.loadtest.plan import Member, Scenario
from sluicegate.loadtest.server import Published, new_ssrc
from sluicegate.rtp.names import MediaKind


class PlainProcess(PinnedProcess):
    """Ready when the constructor returns."""

    def __init__(self, core: int) -> None:
        port = free_port(socket.SOCK_STREAM)
        self.url = f"http://127.0.0.1:{port}"
        super().__init__([sys.executable, "-m", "benchmarks.peers.forwarder", str(port)], core)
        try:
            self.wait_http(f"{self.url}/ready")
        except BaseException:
            self.stop()
            raise


class PlainServer:
    """The `Adapter`: who joins a room gets all that is sent there, under the SSRC of its sender."""

    def __init__(self, url: str) -> None:
        self.peers: list[Peer] = []
        self._url = url
        self._peers: dict[tuple[int, str], Peer] = {}
        self._http: aiohttp.ClientSession | None = None

    async def start(self, scenario: Scenario) -> None:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        self._scenario = scenario
        self._context = DtlsContext(Certificate.generate(), (scenario.profile,))

    async def enter(self, member: Member) -> list[Published]:
        assert self._http is not None
        peer = Peer(self._context)
        self.peers.append(peer)
        self._peers[member.room, member.name] = peer
        own = peer.fingerprint
        prints = [[own.algorithm, own.text]]
        body = {"room": str(member.room), "fingerprints": prints, "receives": member.receives}
        try:
            async with self._http.post(f"{self._url}/join", json=body) as response:
                joined = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise JoinFailed(f"the forwarder: {error or type(error).__name__}") from error
        host, port = joined["address"]
        credentials = Credentials(joined["fragment"], joined["password"])
        algorithm, value = joined["fingerprint"]
        await peer.connect(Remote((host, port), credentials, parse_fingerprints([(algorithm, value)])))
        for kind in member.publishes:
            payload_type = VP8 if kind is MediaKind.VIDEO else OPUS
            mid, receivers = str(len(peer.sends)), self._scenario.receivers_of_a_track
            peer.sends.append(SendTrack(kind, new_ssrc(), payload_type, mid, receivers))
        return [Published(member.room, member.name, track.kind, None, track.ssrc) for track in peer.sends]

    async def watch(self, member: Member, tracks: Sequence[Published]) -> None:
        peer = self._peers[member.room, member.name]
        peer.receives.update({track.ssrc: track.ssrc for track in tracks})

    async def stop(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None
        for peer in self.peers:
            peer.close()
