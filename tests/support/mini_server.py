"""The smallest peer that passes for a server: what the clients here are tried against before they try the product.

Each session has a UDP socket of its own. A track is forwarded as it comes, on another SSRC and payload type; PLIs go
back; nothing is repaired, and nothing but the message integrity is checked.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from aiohttp import web
from aioice import stun

from .dtls import DtlsEndpoint
from .parameters import rtp_capabilities
from .payloads import read_mark
from .rtcp_packet import Pli, parse_rtcp
from .rtp_packet import RtpPacket, is_rtcp

SHIFT = 500_000  # from a published SSRC to that of what is forwarded
PASSWORD = "minipassword0123456789abcd"
EXTENSIONS = {"mid": 1, "abs_send_time": 4, "audio_level": 6, "transport_cc": 5}
CAPABILITIES = rtp_capabilities(
    ("opus", "VP8"), payload_types={"opus": 100, "VP8": 101, "VP8/rtx": 102}, extensions=EXTENSIONS
)


class MiniSession(asyncio.DatagramProtocol):
    """One session's transport. `rtcp` is what it was sent; packets with an ordinal in `lose` are not forwarded."""

    def __init__(self, server: "MiniServer") -> None:
        self.dtls = DtlsEndpoint(client=False)
        self.rtcp: list[Any] = []
        self.lose: set[int] = set()
        self.deleted = False
        self.tracks: dict[int, str] = {}  # ids by SSRC
        self.address: Any = None
        self._server = server
        self._send: Any = None
        self._receive: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[0] < 4:
            self._check(data, addr)
        elif data[0] < 64:
            self.dtls.receive(data)
            self.flush(addr)
            if self.dtls.finished and self._send is None:
                keys = self.dtls.srtp()
                self._send, self._receive = keys.sender(), keys.receiver()
        elif is_rtcp(data):
            packets = parse_rtcp(self._receive.unprotect_rtcp(data))
            self.rtcp += packets
            self._server.answer(packets)
        else:
            packet = RtpPacket.parse(self._receive.unprotect(data))
            if not self.lose or read_mark(packet.payload)[1] not in self.lose:
                self._server.forward(packet)

    def send_rtp(self, packet: RtpPacket) -> None:
        if self._send is not None:
            self.transport.sendto(self._send.protect(packet.serialize()), self.address)

    def send_rtcp(self, *packets: Any) -> None:
        compound = b"".join(packet.serialize() for packet in packets)
        self.transport.sendto(self._send.protect_rtcp(compound), self.address)

    def flush(self, addr: Any) -> None:
        for datagram in self.dtls.datagrams():
            self.transport.sendto(datagram, addr)

    def _check(self, data: bytes, addr: Any) -> None:
        request = stun.parse_message(data)
        if not request.check_message_integrity(PASSWORD.encode()):
            return
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = addr
        response.add_message_integrity(PASSWORD.encode())
        self.transport.sendto(bytes(response), addr)
        if "USE-CANDIDATE" in request.attributes:
            first, self.address = self.address is None, addr
            if first:  # as the DTLS client we begin, once there is somebody to talk to
                self.dtls.handshake()
                self.flush(addr)


class MiniServer:
    """The API, as far as the clients need it."""

    def __init__(self) -> None:
        self.sessions: dict[str, MiniSession] = {}
        self.published: dict[str, tuple[str, dict[str, Any]]] = {}  # kind and parameters, by track id
        self.subscribers: dict[str, list[tuple[MiniSession, int]]] = {}  # with their payload types, by track id
        self.patched: list[Any] = []
        self.url = ""
        self._ids = count(1)

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator["MiniServer"]:
        """One that serves."""
        server, app = cls(), web.Application()
        app.router.add_post("/sessions", server.create)
        app.router.add_post("/sessions/{id}/connect", server.connect)
        app.router.add_post("/sessions/{id}/publish", server.publish)
        app.router.add_post("/sessions/{id}/subscribe", server.subscribe)
        app.router.add_patch("/sessions/{id}/subscriptions/{subscription}", server.patch)
        app.router.add_delete("/sessions/{id}", server.delete)
        app.router.add_get("/channels/{channel}", server.channel)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield server
        finally:
            await runner.cleanup()
            for session in server.sessions.values():
                session.transport.close()

    def forward(self, packet: RtpPacket) -> None:
        for session in self.sessions.values():
            for receiver, payload_type in self.subscribers.get(session.tracks.get(packet.ssrc, ""), ()):
                receiver.send_rtp(packet.altered(ssrc=packet.ssrc + SHIFT, payload_type=payload_type))

    def answer(self, packets: list[Any]) -> None:
        for packet in packets:
            for session in self.sessions.values():
                if isinstance(packet, Pli) and packet.media_ssrc - SHIFT in session.tracks:
                    session.send_rtcp(Pli(1, packet.media_ssrc - SHIFT))

    async def create(self, _: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        transport, session = await loop.create_datagram_endpoint(lambda: MiniSession(self), local_addr=("127.0.0.1", 0))
        number = str(next(self._ids))
        self.sessions[number] = session
        host, port = transport.get_extra_info("sockname")
        candidate = {"foundation": "1", "priority": 1, "ip": host, "address": host, "port": port}
        fingerprints = [{"algorithm": "sha-256", "value": session.dtls.certificate.fingerprint}]
        answer = {
            "session_id": number,
            "ice_parameters": {"usernameFragment": "mini", "password": PASSWORD, "iceLite": True},
            "ice_candidates": [{**candidate, "protocol": "udp", "type": "host"}],
            "dtls_parameters": {"role": "auto", "fingerprints": fingerprints},
            "rtp_capabilities": CAPABILITIES,
        }
        return web.json_response(answer, status=201)

    async def connect(self, request: web.Request) -> web.Response:
        session, body = self._session(request), await request.json()
        if body["dtls_parameters"]["role"] == "server":
            session.dtls = DtlsEndpoint(client=True, certificate=session.dtls.certificate)
        return web.Response(status=204)

    async def publish(self, request: web.Request) -> web.Response:
        session, body = self._session(request), await request.json()
        parameters = body["rtp_parameters"]
        if not parameters["encodings"]:
            problem = {"status": 422, "errors": [{"pointer": "/rtp_parameters/encodings", "detail": "empty"}]}
            return web.json_response(problem, status=422)
        track_id = f"t{next(self._ids)}"
        self.published[track_id] = body["kind"], parameters
        session.tracks[parameters["encodings"][0]["ssrc"]] = track_id
        return web.json_response({"track_id": track_id, "kind": body["kind"], "encodings": []}, status=201)

    async def subscribe(self, request: web.Request) -> web.Response:
        body = await request.json()
        track_id = body["track_id"]
        kind, parameters = self.published[track_id]
        encoding, codec = parameters["encodings"][0], parameters["codecs"][0]
        wanted = {one["mimeType"]: one["preferredPayloadType"] for one in body["rtp_capabilities"]["codecs"]}
        codec = {**codec, "payloadType": wanted[codec["mimeType"]]}
        forwarded = {
            **parameters,
            "mid": track_id,
            "codecs": [codec],
            "encodings": [{"ssrc": encoding["ssrc"] + SHIFT}],
        }
        self.subscribers.setdefault(track_id, []).append((self._session(request), codec["payloadType"]))
        answer = {"subscription_id": f"s{next(self._ids)}", "track_id": track_id, "kind": kind, "type": "simple"}
        return web.json_response({**answer, "rtp_parameters": forwarded}, status=201)

    async def patch(self, request: web.Request) -> web.Response:
        self.patched.append(await request.json())
        return web.json_response({})

    async def channel(self, _: web.Request) -> web.Response:
        return web.json_response({"tracks": [{"track_id": track_id} for track_id in self.published]})

    async def delete(self, request: web.Request) -> web.Response:
        self._session(request).deleted = True
        return web.Response(status=204)

    def _session(self, request: web.Request) -> MiniSession:
        return self.sessions[request.match_info["id"]]
