"""aiortc as a user of the API: its ORTC objects on one session, which publishes and subscribes.

async with AiortcClient.joined(server.url, "room", "alice") as alice:
    await alice.publish_audio(440)
    meters = await alice.subscribe_all()
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import aioice.ice
from aiortc import (
    MediaStreamTrack,
    RTCCertificate,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceTransport,
    RTCRtpReceiver,
    RTCRtpSender,
)
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters
from aiortc.rtcicetransport import RTCIceCandidate, RTCIceParameters
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtcpParameters,
    RTCRtpCodecParameters,
    RTCRtpDecodingParameters,
    RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpReceiveParameters,
    RTCRtpRtxParameters,
    RTCRtpSendParameters,
)
from aiortc.rtcrtpreceiver import RemoteStreamTrack

from .api import Api
from .media_tracks import CounterTrack, Meter, ToneTrack
from .parameters import URI, rtp_capabilities, rtp_parameters
from .rtc_client import candidate_address

Address = tuple[str, int]
FEEDBACK = [{"type": "nack"}, {"type": "nack", "parameter": "pli"}, {"type": "goog-remb"}]
EXTENSIONS = ("mid", "abs_send_time", "audio_level")
CODECS = ("opus", "VP8", "H264")


def loopback_only(address: str = "127.0.0.1") -> None:
    """Make aioice gather this address alone, which it leaves out by itself: tests then need no network interface."""
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [address]


class AiortcClient:
    """One session. Media is encoded and decoded by aiortc."""

    def __init__(
        self,
        url: str,
        channel: str,
        user: str,
        *,
        token: str | None = None,
        media_address: Address | None = None,
        host_address: str = "127.0.0.1",
        dtls_role: str = "client",
    ):
        loopback_only(host_address)
        self._dtls_role = dtls_role
        self.api = Api(url, token)
        self.channel, self.user = channel, user
        self.session: dict[str, Any] = {}
        self.meters: dict[str, Meter] = {}  # by track id
        self.tracks: dict[str, MediaStreamTrack] = {}  # those published, by track id
        self._media_address = media_address
        self._gatherer = RTCIceGatherer(iceServers=[])
        self._ice = RTCIceTransport(self._gatherer)
        self.dtls = RTCDtlsTransport(self._ice, [RTCCertificate.generateCertificate()])
        self._senders: list[RTCRtpSender] = []
        self._receivers: list[RTCRtpReceiver] = []
        self._rtcp_ssrc = secrets.randbits(31) | 1

    @classmethod
    @asynccontextmanager
    async def joined(cls, url: str, channel: str, user: str, **options: Any) -> AsyncIterator[Self]:
        """A connected client."""
        client = cls(url, channel, user, **options)
        try:
            await client.connect()
            yield client
        finally:
            await client.close()

    async def connect(self) -> None:
        """Open a session and connect to it. Raises ConnectionError when ICE or DTLS fails."""
        self.session = await self.api.create_session(self.channel, self.user)
        await self._gatherer.gather()
        ours, local = self.dtls.getLocalParameters(), self._gatherer.getLocalParameters()
        fingerprints = [{"algorithm": one.algorithm, "value": one.value} for one in ours.fingerprints]
        body = {
            "dtls_parameters": {"role": self._dtls_role, "fingerprints": fingerprints},
            "ice_parameters": {"usernameFragment": local.usernameFragment, "password": local.password},
        }
        await self.api.call("POST", self._path("/connect"), body)
        for candidate in self.session["ice_candidates"]:
            host, port = self._media_address or candidate_address(candidate)
            remote = RTCIceCandidate(1, candidate["foundation"], host, port, candidate["priority"], "udp", "host")
            await self._ice.addRemoteCandidate(remote)
        await self._ice.addRemoteCandidate(None)
        # What RTCPeerConnection would do for an offerer that faces an ICE-lite server.
        self._ice._connection.ice_controlling = True
        self._ice._role_set = True
        self.dtls._set_role(self._dtls_role)
        theirs = self.session["ice_parameters"]
        await self._ice.start(RTCIceParameters(theirs["usernameFragment"], theirs["password"], True))
        if self._ice.state != "completed":
            raise ConnectionError(f"ICE {self._ice.state}")
        announced = self.session["dtls_parameters"]["fingerprints"]
        certificates = [RTCDtlsFingerprint(one["algorithm"], one["value"]) for one in announced]
        await self.dtls.start(RTCDtlsParameters(fingerprints=certificates))
        if self.dtls.state != "connected":
            raise ConnectionError(f"DTLS {self.dtls.state}")

    async def publish_audio(self, frequency_hz: float = 440.0, **fields: Any) -> str:
        """Speak; returns the track id."""
        return await self.publish(ToneTrack(frequency_hz), "opus", **fields)

    async def publish_video(self, codec: str = "VP8", width: int = 320, height: int = 240, **fields: Any) -> str:
        """Show the counting picture; returns the track id."""
        return await self.publish(CounterTrack(width, height), codec, **fields)

    async def publish(self, track: MediaStreamTrack, codec: str, **fields: Any) -> str:
        """Publish any track. `fields` go into the request."""
        sender = RTCRtpSender(track, self.dtls)
        mid = f"m{len(self._senders)}"
        encoding: dict[str, Any] = {"ssrc": sender._ssrc}
        if track.kind == "video":
            encoding["rtx"] = {"ssrc": sender._rtx_ssrc}
        parameters = rtp_parameters(
            codec,
            [encoding],
            mid=mid,
            rtx=track.kind == "video",
            extensions=self._extensions(track.kind),
            cname=self.user,
            feedback=FEEDBACK if track.kind == "video" else [],
        )
        body = {"kind": track.kind, "rtp_parameters": parameters, **fields}
        answer = await self.api.call("POST", self._path("/publish"), body)
        codecs = _codecs(parameters)
        sending = RTCRtpEncodingParameters(ssrc=sender._ssrc, payloadType=codecs[0].payloadType or 0)
        await sender.send(
            RTCRtpSendParameters(
                codecs=codecs,
                headerExtensions=_header_extensions(parameters),
                muxId=mid,
                rtcp=RTCRtcpParameters(cname=self.user, mux=True, ssrc=sender._ssrc),
                encodings=[sending],
            )
        )
        self._senders.append(sender)
        self.tracks[answer["track_id"]] = track
        return str(answer["track_id"])

    async def subscribe(self, track_id: str, **fields: Any) -> Meter:
        """Receive a track and measure it. `fields` go into the request."""
        capabilities = rtp_capabilities(CODECS, extensions=self._extensions(None), feedback=FEEDBACK)
        body = {"track_id": track_id, "rtp_capabilities": capabilities, **fields}
        answer = await self.api.call("POST", self._path("/subscribe"), body)
        parameters = answer["rtp_parameters"]
        receiver = RTCRtpReceiver(answer["kind"], self.dtls)
        receiver._track = RemoteStreamTrack(kind=answer["kind"], id=track_id)
        receiver._set_rtcp_ssrc(self._rtcp_ssrc)
        codecs = _codecs(parameters)
        await receiver.receive(
            RTCRtpReceiveParameters(
                codecs=codecs,
                headerExtensions=_header_extensions(parameters),
                muxId=parameters.get("mid") or "",
                encodings=_decodings(parameters["encodings"], codecs[0].payloadType or 0),
            )
        )
        self._receivers.append(receiver)
        self.meters[track_id] = Meter(receiver.track, answer["kind"]).start()
        return self.meters[track_id]

    async def subscribe_all(self) -> dict[str, Meter]:
        """Subscribe to all tracks of others in the channel that we do not have yet; all meters by track id."""
        for track in await self.api.tracks(self.channel):
            if track["track_id"] not in self.tracks and track["track_id"] not in self.meters:
                await self.subscribe(track["track_id"])
        return self.meters

    async def close(self) -> None:
        """Stop everything and delete the session."""
        for meter in self.meters.values():
            await meter.stop()
        for stopping in (*self._senders, *self._receivers):
            await stopping.stop()
        await self.dtls.stop()
        await self._ice.stop()
        if self.session:
            with suppress(Exception):
                await self.api.call("DELETE", self._path())
        await self.api.close()

    def _path(self, suffix: str = "") -> str:
        return f"/sessions/{self.session['session_id']}{suffix}"

    def _extensions(self, kind: str | None) -> dict[str, int]:
        """The server's ids: aiortc has but one table of them for both directions."""
        names = {URI[name]: name for name in EXTENSIONS}
        return {
            names[one["uri"]]: one["preferredId"]
            for one in self.session["rtp_capabilities"]["headerExtensions"]
            if one["uri"] in names and kind in (None, one["kind"])
        }


def _codecs(parameters: dict[str, Any]) -> list[RTCRtpCodecParameters]:
    return [
        RTCRtpCodecParameters(
            mimeType=codec["mimeType"],
            clockRate=codec["clockRate"],
            channels=codec.get("channels"),
            payloadType=codec["payloadType"],
            rtcpFeedback=[RTCRtcpFeedback(one["type"], one.get("parameter")) for one in codec.get("rtcpFeedback", ())],
            parameters=codec.get("parameters", {}),
        )
        for codec in parameters["codecs"]
    ]


def _header_extensions(parameters: dict[str, Any]) -> list[RTCRtpHeaderExtensionParameters]:
    return [RTCRtpHeaderExtensionParameters(one["id"], one["uri"]) for one in parameters["headerExtensions"]]


def _decodings(encodings: list[dict[str, Any]], payload_type: int) -> list[RTCRtpDecodingParameters]:
    """RTX streams are listed too: aiortc's router wants to know every SSRC."""
    found = []
    for encoding in encodings:
        rtx = (encoding.get("rtx") or {}).get("ssrc")
        found.append(
            RTCRtpDecodingParameters(encoding["ssrc"], payload_type, RTCRtpRtxParameters(rtx) if rtx else None)
        )
        if rtx:
            found.append(RTCRtpDecodingParameters(rtx, payload_type))
    return found
