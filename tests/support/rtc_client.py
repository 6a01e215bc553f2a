"""A WebRTC client that does exactly what it is told, for behaviour and attack tests.

    async with ScriptedClient.joined(server.url, "room", "alice") as alice:
        published = await alice.publish("VP8", ssrc=1000, rtx_ssrc=1001)
        source = VideoSource(ssrc=1000, payload_type=published.payload_type)
        await alice.play(source, seconds=2)

    feedback = FeedbackOptions(nack=True)
    async with ScriptedClient.joined(server.url, "room", "bob", feedback=feedback) as bob:
        subscription = await bob.subscribe(published.track_id)
        await bob.until(lambda: len(bob.rtp(subscription.ssrc)) > 30)

`joined` is `create` (the session), `signal_connect`, `open` (the socket), `check` (ICE) and `handshake` (DTLS), each of
which a test may call, bend or leave out. What the transport can do is in `rtc_transport`.
"""

import asyncio
import secrets
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from . import ice, payloads
from .api import Api
from .dtls import PROFILES
from .feedback import Feedback, FeedbackOptions
from .parameters import CODECS, URI, extension_ids, rtp_capabilities, rtp_parameters
from .player import Player, ntp_now
from .rtc_transport import Address, Received, RtcTransport
from .rtcp_packet import RtcpPacket, SenderReport
from .rtp_packet import RtpPacket
from .sources import Source

__all__ = ["FeedbackOptions", "Published", "Received", "ScriptedClient", "Subscribed", "candidate_address"]

FEEDBACK_TICK = 0.01


@dataclass(frozen=True, slots=True)
class Published:
    """A track of ours, with what its packets need."""

    track_id: str
    kind: str
    codec: str
    payload_type: int
    rtx_payload_type: int | None
    ssrcs: tuple[int, ...]
    rtx_ssrcs: tuple[int | None, ...]
    extensions: dict[str, int]
    rtp_parameters: dict[str, Any]
    answer: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription, with what reading its packets needs; `extensions` by the names of `parameters.URI`."""

    subscription_id: str
    track_id: str
    kind: str
    type: str
    ssrc: int
    rtx_ssrc: int | None
    payload_type: int
    rtx_payload_type: int | None
    clock_rate: int
    extensions: dict[str, int]
    rtp_parameters: dict[str, Any]

    @classmethod
    def from_answer(cls, answer: dict[str, Any]) -> "Subscribed":
        """The answer of `POST /sessions/{id}/subscribe`, taken apart."""
        parameters = answer["rtp_parameters"]
        media = parameters["codecs"][0]
        rtx = next((codec for codec in parameters["codecs"] if codec["mimeType"].lower().endswith("/rtx")), None)
        encoding = parameters["encodings"][0]
        names = {uri: name for name, uri in URI.items()}
        extensions = {names.get(one["uri"], one["uri"]): one["id"] for one in parameters["headerExtensions"]}
        return cls(
            subscription_id=answer["subscription_id"],
            track_id=answer["track_id"],
            kind=answer["kind"],
            type=answer["type"],
            ssrc=encoding["ssrc"],
            rtx_ssrc=(encoding.get("rtx") or {}).get("ssrc"),
            payload_type=media["payloadType"],
            rtx_payload_type=rtx["payloadType"] if rtx else None,
            clock_rate=media["clockRate"],
            extensions=extensions,
            rtp_parameters=parameters,
        )

    def unwrap(self, packet: RtpPacket) -> RtpPacket | None:
        """A packet of this subscription, retransmissions unwrapped; None for others' and for padding-only probes."""
        if packet.ssrc == self.rtx_ssrc:
            return payloads.unwrap_rtx(packet, ssrc=self.ssrc, payload_type=self.payload_type)
        return packet if packet.ssrc == self.ssrc else None


class ScriptedClient(RtcTransport):
    """One session of one user.

    `media_address` replaces the server's candidate (by a relay's port). `dtls_role` is ours; `profiles` are the SRTP
    profiles that we offer. Without `feedback` and `consent` it sends nothing that it is not told to.
    """

    def __init__(
        self,
        url: str,
        channel: str,
        user: str,
        *,
        token: str | None = None,
        session_type: str = "video",
        media_address: Address | None = None,
        feedback: FeedbackOptions | None = None,
        consent: bool = True,
        dtls_role: str = "client",
        profiles: tuple[str, ...] = tuple(PROFILES),
    ) -> None:
        super().__init__(media_address=media_address, consent=consent, dtls_role=dtls_role, profiles=profiles)
        self.api = Api(url, token)
        self.channel, self.user, self.session_type = channel, user, session_type
        self.ssrc = secrets.randbits(31) | 1  # the sender of our RTCP
        self.feedback = Feedback(feedback or FeedbackOptions(), self.ssrc)
        self.session: dict[str, Any] = {}
        self.session_id = ""
        self.published: dict[str, Published] = {}
        self.subscribed: dict[str, Subscribed] = {}
        self._transport_sequence = 0
        self._extension_ids: dict[str, int] = {}

    @classmethod
    @asynccontextmanager
    async def joined(cls, url: str, channel: str, user: str, **options: Any) -> AsyncIterator[Self]:
        """A client that is connected, and whose session is deleted in the end."""
        async with cls(url, channel, user, **options) as client:
            await client.create()
            await client.connect()
            yield client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def create(self, **fields: Any) -> dict[str, Any]:
        """`POST /sessions`; the answer is kept in `session`."""
        self.session = await self.api.create_session(self.channel, self.user, self.session_type, **fields)
        self.session_id = self.session["session_id"]
        self._adopt_ice(self.session["ice_parameters"])
        announced = self.session["dtls_parameters"]["fingerprints"]
        self.peer_fingerprints = [(one["algorithm"], one["value"]) for one in announced]
        if self.media_address is None:
            self.media_address = candidate_address(self.session["ice_candidates"][0])
        return self.session

    def dtls_parameters(self) -> dict[str, Any]:
        """Ours, as `connect` wants them."""
        value = self.dtls.certificate.fingerprint
        return {"role": self.dtls_role, "fingerprints": [{"algorithm": "sha-256", "value": value}]}

    async def signal_connect(self, dtls_parameters: dict[str, Any] | None = None) -> None:
        """`POST /sessions/{id}/connect`, with our parameters or others."""
        ours = {"usernameFragment": self.credentials.local_ufrag, "password": self.credentials.local_password}
        body = {"dtls_parameters": dtls_parameters or self.dtls_parameters(), "ice_parameters": ours}
        await self.api.call("POST", f"/sessions/{self.session_id}/connect", body)

    async def connect(self, timeout: float = 10.0) -> None:
        """Signalling, ICE and DTLS: afterwards media may flow."""
        await self.signal_connect()
        await self.open()
        await self.check(timeout=timeout)
        await self.handshake(timeout)

    async def open(self) -> None:
        await super().open()
        if self.feedback.options.any:
            self.on_rtp.append(self._note_rtp)
            self.on_rtcp.append(self._note_rtcp)
            self.run(self._send_feedback())

    async def restart_ice(self) -> None:
        """Ask for new credentials and use them from the next check on; call `check` to nominate."""
        answer = await self.api.call("POST", f"/sessions/{self.session_id}/restart-ice")
        self.credentials = ice.IceCredentials("", "")
        self._adopt_ice(answer["ice_parameters"])

    async def close(self, *, delete: bool = True) -> None:
        """End everything: the session on the server too, unless told not to (a client that vanishes)."""
        await self.shut()
        if delete and self.session_id:
            with suppress(Exception):
                await self.api.call("DELETE", f"/sessions/{self.session_id}")
        await self.api.close()

    async def publish(
        self,
        codec: str,
        *,
        ssrc: int | None = None,
        rtx_ssrc: int | None = None,
        encodings: list[dict[str, Any]] | None = None,
        mid: str | None = None,
        max_bitrate: int | None = None,
        body: dict[str, Any] | None = None,
        **parameters: Any,
    ) -> Published:
        """Publish a track of one encoding (`ssrc`, `rtx_ssrc`), or of those written out in `encodings`.

        `parameters` go to `parameters.rtp_parameters`, `body` into the request (`paused`, `source`, `preset`).
        """
        if encodings is None:
            encodings = [{"ssrc": ssrc if ssrc is not None else secrets.randbits(31)}]
            if rtx_ssrc is not None:
                encodings[0]["rtx"] = {"ssrc": rtx_ssrc}
        if max_bitrate is not None:
            encodings = [{**encoding, "maxBitrate": max_bitrate} for encoding in encodings]
        rtx = parameters.pop("rtx", any("rtx" in encoding or "rid" in encoding for encoding in encodings))
        mid = mid if mid is not None else str(len(self.published))
        described = rtp_parameters(codec, encodings, mid=mid, rtx=rtx, **parameters)
        kind = CODECS[codec].kind
        request = {"kind": kind, "rtp_parameters": described, **(body or {})}
        answer = await self.api.call("POST", f"/sessions/{self.session_id}/publish", request)
        extensions = extension_ids(kind) if parameters.get("extensions") is None else parameters["extensions"]
        self._extension_ids.update(extensions)
        published = Published(
            track_id=answer["track_id"],
            kind=kind,
            codec=codec,
            payload_type=CODECS[codec].payload_type,
            rtx_payload_type=CODECS[codec].rtx_payload_type if rtx else None,
            ssrcs=tuple(encoding["ssrc"] for encoding in encodings if "ssrc" in encoding),
            rtx_ssrcs=tuple(encoding.get("rtx", {}).get("ssrc") for encoding in encodings if "ssrc" in encoding),
            extensions=dict(extensions),
            rtp_parameters=described,
            answer=answer,
        )
        self.published[published.track_id] = published
        return published

    async def subscribe(self, track_id: str, capabilities: dict[str, Any] | None = None, **fields: Any) -> Subscribed:
        """Subscribe to a track; its packets count for the feedback from now on."""
        body = {"track_id": track_id, "rtp_capabilities": capabilities or rtp_capabilities(), **fields}
        answer = await self.api.call("POST", f"/sessions/{self.session_id}/subscribe", body)
        subscribed = Subscribed.from_answer(answer)
        self.subscribed[subscribed.subscription_id] = subscribed
        self.feedback.watch(subscribed.ssrc, subscribed.clock_rate)
        return subscribed

    def send_rtp(self, packet: RtpPacket | bytes, *, stamp: bool = True) -> None:
        """Encrypt and send. A parsed packet gets its send time and transport-wide number, if we negotiated them."""
        super().send_rtp(self._stamp(packet) if stamp and isinstance(packet, RtpPacket) else packet)

    async def play(
        self,
        *sources: Source,
        seconds: float,
        answer: bool = True,
        reports: bool = True,
        speed: float = 1.0,
        lose: Callable[[RtpPacket], bool] | None = None,
    ) -> Player:
        """Send the sources' frames in real time (times `speed`), all on one clock. Returns what was done.

        `answer`: key frames for PLI and FIR, retransmissions for NACK. `reports`: sender report and CNAME each second.
        `lose`: packets that are numbered and remembered, but not sent the first time.
        """
        rtx = {
            media: (rtx, published.rtx_payload_type)
            for published in self.published.values()
            for media, rtx in zip(published.ssrcs, published.rtx_ssrcs, strict=True)
            if rtx is not None and published.rtx_payload_type is not None
        }
        player = Player(self.send_rtp, self.send_rtcp, sources, rtx=rtx, cname=self.user, reports=reports, lose=lose)
        if answer:
            self.on_rtcp.append(player.handle_rtcp)
        try:
            await player.run(seconds, speed)
        finally:
            if answer:
                self.on_rtcp.remove(player.handle_rtcp)
        return player

    def media(self, subscription: Subscribed) -> list[RtpPacket]:
        """The packets of a subscription: retransmissions unwrapped, no duplicates, in order of sequence number."""
        found: dict[int, RtpPacket] = {}
        highest: int | None = None
        for received in self.rtp():
            packet = subscription.unwrap(received)
            if packet is None:
                continue
            if highest is None:
                highest = packet.sequence_number
            delta = (packet.sequence_number - highest) & 0xFFFF
            extended = highest + (delta - 65536 if delta >= 32768 else delta)
            highest = max(highest, extended)
            found.setdefault(extended, packet)
        return [found[number] for number in sorted(found)]

    def gaps(self, subscription: Subscribed) -> int:
        """How many packets between the first and the last are missing after repair."""
        packets = self.media(subscription)
        return sum(((b.sequence_number - a.sequence_number) & 0xFFFF) - 1 for a, b in pairwise(packets))

    def _adopt_ice(self, parameters: dict[str, Any]) -> None:
        self.credentials.remote_ufrag = parameters["usernameFragment"]
        self.credentials.remote_password = parameters["password"]

    def _stamp(self, packet: RtpPacket) -> RtpPacket:
        stamped = packet.altered()
        if (transport_cc := self._extension_ids.get("transport_cc")) is not None:
            stamped.extensions[transport_cc] = struct.pack("!H", self._transport_sequence)
            self._transport_sequence = (self._transport_sequence + 1) & 0xFFFF
        if (abs_send_time := self._extension_ids.get("abs_send_time")) is not None:
            stamped.extensions[abs_send_time] = (ntp_now() >> 14 & 0xFFFFFF).to_bytes(3, "big")
        return stamped

    def _note_rtp(self, packet: RtpPacket, now: float) -> None:
        for subscription in self.subscribed.values():
            if packet.ssrc in (subscription.ssrc, subscription.rtx_ssrc):
                number = packet.extensions.get(subscription.extensions.get("transport_cc", -1))
                transport_sequence = int.from_bytes(number, "big") if number is not None else None
                self.feedback.add(subscription.unwrap(packet) or packet, now, transport_sequence)
                return

    def _note_rtcp(self, packets: list[RtcpPacket], now: float) -> None:
        for packet in packets:
            if isinstance(packet, SenderReport):
                self.feedback.add_sender_report(packet, now)

    async def _send_feedback(self) -> None:
        while True:
            await asyncio.sleep(FEEDBACK_TICK)
            if self.keys is not None:
                for packet in self.feedback.packets(time.monotonic()):
                    self.send_rtcp(packet)


def candidate_address(candidate: dict[str, Any]) -> Address:
    """Host and port of a candidate of the API."""
    return candidate.get("address") or candidate["ip"], candidate["port"]
