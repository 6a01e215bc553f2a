"""Real sockets, real threads and another implementation at the far end: aioice's agent and aiortc's DTLS."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiortc import RTCCertificate, RTCIceCandidate, RTCIceGatherer, RTCIceParameters, RTCIceTransport
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from sluicegate.dtls.certificate import Certificate
from sluicegate.ids import SessionId, new_id
from sluicegate.ortc.parameters import DtlsFingerprint, DtlsParameters, IceParameters
from sluicegate.router.commands import BindAddress, InstallKeys, RemoveTransport, SetDestination, UnbindAddress
from sluicegate.rtp.srtp import open_sessions
from sluicegate.transport.driver import Transports
from sluicegate.transport.state import DtlsState

CERTIFICATE = Certificate.generate()


class SocketPlane(asyncio.DatagramProtocol):
    """A plane that forwards nothing: it binds, punts and sends, on one socket of the loop."""

    index = 0

    def __init__(self) -> None:
        self.on_datagram = None
        self.bound = {}
        self.destinations = {}
        self.keys = {}
        self.media: list[tuple[int, bytes]] = []
        self.port = 0
        self._handles = 0

    async def open(self) -> "SocketPlane":
        loop = asyncio.get_running_loop()
        self.socket, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self.socket.get_extra_info("sockname")[1]
        return self

    def allocate_transport(self) -> int:
        self._handles += 1
        return self._handles

    def submit(self, *commands) -> None:
        for command in commands:
            match command:
                case BindAddress(handle, address):
                    self.bound[address] = handle
                case UnbindAddress(_, address):
                    self.bound.pop(address, None)
                case SetDestination(handle, address):
                    self.destinations[handle] = address
                case InstallKeys(handle, keys):
                    self.keys[handle] = open_sessions(keys)
                case RemoveTransport(handle):
                    self.keys.pop(handle, None)
                    self.destinations.pop(handle, None)

    def last_check(self, handle) -> float:
        return 0.0

    def send_datagram(self, data, address) -> None:
        self.socket.sendto(data, address)

    def datagram_received(self, data, address) -> None:
        handle = self.bound.get(address)
        if data[0] < 4 or (20 <= data[0] <= 63 and handle is not None):
            self.on_datagram(data, address, handle)
        elif handle in self.keys:
            self.media.append((handle, self.keys[handle][0].unprotect(data)))


class AiortcClient:
    """An aiortc transport: full ICE agent and DTLS endpoint, without media above it."""

    def __init__(self) -> None:
        self.certificate = RTCCertificate.generateCertificate()
        self.gatherer = RTCIceGatherer(iceServers=[])
        self.ice = RTCIceTransport(self.gatherer)
        self.ice._connection.ice_controlling = True
        self.dtls = RTCDtlsTransport(self.ice, [self.certificate])

    def parameters(self, role: str) -> DtlsParameters:
        fingerprints = tuple(DtlsFingerprint(one.algorithm, one.value) for one in self.certificate.getFingerprints())
        return DtlsParameters(fingerprints=fingerprints, role=role)

    async def start(self, transport, role: str) -> None:
        await self.gatherer.gather()
        self.ice._connection._local_candidates = [
            one for one in self.ice._connection._local_candidates if "." in one.host
        ]
        for candidate in transport.ice_candidates:
            await self.ice.addRemoteCandidate(
                RTCIceCandidate(
                    component=1,
                    foundation=candidate.foundation,
                    ip=candidate.address,
                    port=candidate.port,
                    priority=candidate.priority,
                    protocol=candidate.protocol,
                    type=candidate.type,
                )
            )
        await self.ice.addRemoteCandidate(None)
        remote = transport.ice_parameters
        await self.ice.start(RTCIceParameters(remote.username_fragment, remote.password, iceLite=True))
        self.dtls._set_role(role)
        fingerprints = [RTCDtlsFingerprint(one.algorithm, one.value) for one in transport.dtls_parameters.fingerprints]
        await self.dtls.start(RTCDtlsParameters(fingerprints))

    async def stop(self) -> None:
        await self.dtls.stop()
        await self.ice.stop()


class Node:
    """Transports over a socket plane, and the news of each transport."""

    def __init__(self, plane: SocketPlane, executor: ThreadPoolExecutor) -> None:
        self.plane = plane
        self.handshakes: list[float] = []
        self.transports = Transports(
            [plane],
            certificate=CERTIFICATE,
            addresses=("127.0.0.1",),
            executor=executor,
            on_handshake=self.handshakes.append,
        )
        self.states: dict[str, list] = {}
        self.changed = asyncio.Event()

    def open(self):
        session_id = SessionId(new_id())

        def on_state(state, reason) -> None:
            self.states[session_id].append((state, reason))
            self.changed.set()

        self.states[session_id] = []
        return self.transports.open(session_id, self.plane, on_state)

    async def until(self, condition, timeout: float = 20.0) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def node():
    plane = await SocketPlane().open()
    with ThreadPoolExecutor(2) as executor:
        node = Node(plane, executor)
        yield node
        await node.transports.close()
    plane.socket.close()


def rtp(sequence_number: int) -> bytes:
    return b"\x80\x60" + sequence_number.to_bytes(2, "big") + bytes(4) + b"\x00\x00\x12\x34" + b"media"


@pytest.mark.parametrize("their_role", ["client", "server", "auto"])
async def test_aiortc_connects_in_either_role_and_the_keys_fit(node, their_role):
    client = AiortcClient()
    transport = node.open()
    transport.connect(
        client.parameters(their_role),
        IceParameters(
            username_fragment=client.ice._connection.local_username, password=client.ice._connection.local_password
        ),
    )
    await client.start(transport, "client" if their_role == "client" else "server")
    await node.until(lambda: transport.state.dtls is DtlsState.CONNECTED)
    assert client.dtls.state == "connected"
    assert node.handshakes == [transport.handshake_duration]

    await client.dtls._send_rtp(rtp(1))
    async with asyncio.timeout(5):
        while not node.plane.media:
            await asyncio.sleep(0.005)
    assert node.plane.media == [(transport.handle, rtp(1))]
    _, transmit = node.plane.keys[transport.handle]
    assert client.dtls._rx_srtp.unprotect(transmit.protect(rtp(2))) == rtp(2)
    assert node.plane.destinations[transport.handle] == transport.remote_address

    await client.stop()
    await node.until(lambda: transport.reason is not None)
    assert transport.reason == "closed by peer"
    assert len(node.transports) == 0


async def test_aiortc_hears_our_goodbye(node):
    client = AiortcClient()
    transport = node.open()
    transport.connect(client.parameters("client"))
    await client.start(transport, "client")
    await node.until(lambda: transport.state.dtls is DtlsState.CONNECTED)
    transport.close("kicked")
    async with asyncio.timeout(5):
        while client.dtls.state != "closed":
            await asyncio.sleep(0.005)
    await client.stop()


async def test_aiortc_with_a_wrong_fingerprint_is_closed_with_the_reason(node):
    client = AiortcClient()
    transport = node.open()
    wrong = Certificate.generate().fingerprint
    transport.connect(DtlsParameters(fingerprints=(DtlsFingerprint(wrong.algorithm, wrong.text),), role="client"))
    starting = asyncio.ensure_future(client.start(transport, "client"))
    await node.until(lambda: transport.reason is not None)
    assert transport.reason == "certificate fingerprint mismatch"
    assert node.plane.keys == {}
    async with asyncio.timeout(5):
        await starting
    assert client.dtls.state == "failed"
    await client.stop()


async def test_twenty_clients_at_once(node):
    clients = [AiortcClient() for _ in range(20)]
    transports = [node.open() for _ in clients]
    for client, transport in zip(clients, transports, strict=True):
        transport.connect(client.parameters("client"))
    await asyncio.gather(
        *(client.start(transport, "client") for client, transport in zip(clients, transports, strict=True))
    )
    await node.until(lambda: all(transport.state.dtls is DtlsState.CONNECTED for transport in transports))
    assert len({transport.remote_address for transport in transports}) == 20
    assert len(node.handshakes) == 20
    await asyncio.gather(*(client.stop() for client in clients))
