"""A forwarder as one would write it in plain Python: asyncio, pylibsrtp, a callback a datagram, a call a packet sent.

It forwards everything in a room to everybody else there, unchanged: no rewriting of SSRC, number or time, no extensions
of its own, no repair, no reports, no layers. So it is what a forwarder in the style of aiortc would cost at least.
Run as `python -m benchmarks.peers.forwarder PORT`; `POST /join` takes and gives what signalling must carry.
"""

import asyncio
import contextlib
import sys
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop
from aiohttp import web
from pylibsrtp import Error as SrtpError
from pylibsrtp import Session

from sluicegate import clock
from sluicegate.dtls.certificate import Certificate, parse_fingerprints
from sluicegate.dtls.context import DtlsContext, DtlsRole
from sluicegate.dtls.endpoint import DtlsEndpoint, KeysReady
from sluicegate.errors import ParseError
from sluicegate.ice.credentials import Credentials
from sluicegate.ice.stun import Address, IntegrityKey, MessageType, parse_message, serialize_success
from sluicegate.router.sockets import open_socket
from sluicegate.rtp.srtp import open_sessions


@dataclass(slots=True)
class Client:
    """One peer. `others` are those who receive what it sends."""

    dtls: DtlsEndpoint
    credentials: Credentials
    key: IntegrityKey
    receives: bool
    others: "list[Client]" = field(default_factory=list)
    address: Address | None = None
    receive: Session | None = None
    transmit: Session | None = None


class Forwarder(asyncio.DatagramProtocol):
    """All clients on one socket, told apart by their addresses."""

    def __init__(self) -> None:
        self.context = DtlsContext(Certificate.generate())
        self._rooms: dict[str, list[Client]] = {}
        self._by_fragment: dict[str, Client] = {}
        self._by_address: dict[Address, Client] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.DatagramTransport, transport)

    @property
    def address(self) -> Address:
        host, port, *_ = self._socket.get_extra_info("sockname")
        return host, port

    def join(self, room: str, fingerprints: list[tuple[str, str]], *, receives: bool) -> Client:
        """A new client; whoever is in the room hears it, and it them, if they receive at all."""
        credentials = Credentials.generate()
        dtls = DtlsEndpoint(self.context, DtlsRole.SERVER, parse_fingerprints(fingerprints))
        client = Client(dtls, credentials, IntegrityKey(credentials.password), receives)
        self._by_fragment[credentials.username_fragment] = client
        members = self._rooms.setdefault(room, [])
        for member in members:
            if receives:
                member.others.append(client)
            if member.receives:
                client.others.append(member)
        members.append(client)
        return client

    def datagram_received(self, data: bytes, address: Address) -> None:
        first = data[0] if data else 255
        if first >= 128:
            self._forward(data, address)
        elif first < 4:
            self._answer(data, address)
        elif 20 <= first < 64 and (client := self._by_address.get(address)) is not None:
            client.dtls.receive_datagram(data, clock.monotonic())
            for datagram in client.dtls.datagrams_to_send():
                self._socket.sendto(datagram, address)
            while (event := client.dtls.next_event()) is not None:
                if isinstance(event, KeysReady):
                    client.receive, client.transmit = open_sessions(event.keys)

    def _forward(self, data: bytes, address: Address) -> None:
        client = self._by_address.get(address)
        if client is None or client.receive is None or len(data) < 12 or 64 <= data[1] & 0x7F <= 95:
            return
        try:
            packet = client.receive.unprotect(data)
        except SrtpError:
            return
        for other in client.others:
            if other.transmit is not None:
                self._socket.sendto(other.transmit.protect(packet), other.address)

    def _answer(self, data: bytes, address: Address) -> None:
        with contextlib.suppress(ParseError):
            message = parse_message(data)
            client = self._by_fragment.get((message.username or "").partition(":")[0])
            if client is None or message.message_type != MessageType.BINDING_REQUEST:
                return
            if message.verify_integrity(client.key):
                client.address = address
                self._by_address[address] = client
                self._socket.sendto(serialize_success(message.transaction_id, address, client.key), address)


def _application(forwarder: Forwarder) -> web.Application:
    async def join(request: web.Request) -> web.Response:
        body: Any = await request.json()
        client = forwarder.join(body["room"], [tuple(one) for one in body["fingerprints"]], receives=body["receives"])
        own = forwarder.context.certificate.fingerprint
        return web.json_response(
            {
                "address": forwarder.address,
                "fragment": client.credentials.username_fragment,
                "password": client.credentials.password,
                "fingerprint": [own.algorithm, own.text],
            }
        )

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ready")

    application = web.Application()
    application.add_routes([web.post("/join", join), web.get("/ready", ready)])
    return application


async def serve(port: int) -> None:
    """Until it is killed. The socket has the same buffers as Sluicegate's."""
    loop = asyncio.get_running_loop()
    _, forwarder = await loop.create_datagram_endpoint(Forwarder, sock=open_socket("127.0.0.1", (0,)))
    runner = web.AppRunner(_application(forwarder))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
