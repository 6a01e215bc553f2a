"""pymediasoup, unmodified, as its users would use it: a device, one transport and session for each direction.

async with PymediasoupClient.joined(server.url, "room", "alice") as alice:
    await alice.publish_video()
    meters = await alice.subscribe_all()
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from aiortc import MediaStreamTrack
from pymediasoup import AiortcHandler, Device
from pymediasoup.models.transport import DtlsParameters, IceCandidate, IceParameters
from pymediasoup.rtp_parameters import RtpCapabilities, RtpParameters
from pymediasoup.transport import Transport

from .aiortc_client import loopback_only
from .api import Api
from .media_tracks import CounterTrack, Meter, ToneTrack

Address = tuple[str, int]


class PymediasoupClient:
    """Two sessions of one user: `send` and `receive`."""

    def __init__(
        self, url: str, channel: str, user: str, *, token: str | None = None, media_address: Address | None = None
    ):
        loopback_only()
        self.api = Api(url, token)
        self.channel, self.user = channel, user
        self.device = Device(handlerFactory=AiortcHandler.createFactory())
        self.send: Transport | None = None
        self.receive: Transport | None = None
        self.meters: dict[str, Meter] = {}  # by track id
        self.tracks: dict[str, MediaStreamTrack] = {}  # those published, by track id
        self.producers: dict[str, Any] = {}
        self.consumers: dict[str, Any] = {}
        #: what a handler of ours raised: pymediasoup passes it to an event instead of its caller
        self.errors: list[Exception] = []
        self._media_address = media_address

    @classmethod
    @asynccontextmanager
    async def joined(cls, url: str, channel: str, user: str, **options: Any) -> AsyncIterator[Self]:
        """A client whose device is loaded; its transports connect when they are first used."""
        client = cls(url, channel, user, **options)
        try:
            await client.load()
            yield client
        finally:
            await client.close()

    async def load(self) -> None:
        """Open both sessions and load the device."""
        sending = await self.api.create_session(self.channel, self.user)
        receiving = await self.api.create_session(self.channel, self.user)
        await self.device.load(RtpCapabilities.model_validate(sending["rtp_capabilities"]))
        self.send = self._transport(self.device.createSendTransport, sending)
        self.receive = self._transport(self.device.createRecvTransport, receiving)

        @self.send.on("produce")
        async def on_produce(kind: str, parameters: RtpParameters, app_data: dict[str, Any]) -> str:
            described = parameters.model_dump(exclude_none=True)
            body = {"kind": kind, "rtp_parameters": described, **app_data}
            answer = await self.api.call("POST", f"/sessions/{sending['session_id']}/publish", body)
            return str(answer["track_id"])

    async def publish_audio(self, frequency_hz: float = 440.0, **fields: Any) -> str:
        """Speak; returns the track id."""
        return await self._publish(ToneTrack(frequency_hz), fields)

    async def publish_video(self, width: int = 320, height: int = 240, **fields: Any) -> str:
        """Show the counting picture; returns the track id."""
        return await self._publish(CounterTrack(width, height), fields)

    async def subscribe(self, track_id: str) -> Meter:
        """Receive a track and measure it: subscribed paused, and resumed when the consumer is there."""
        assert self.receive is not None
        capabilities = self.device.rtpCapabilities
        assert capabilities is not None
        described = capabilities.model_dump(exclude_none=True)
        body = {"track_id": track_id, "rtp_capabilities": described, "paused": True}
        answer = await self.api.call("POST", f"/sessions/{self.receive.id}/subscribe", body)
        consumer = await self.receive.consume(
            id=answer["subscription_id"],
            producerId=track_id,
            kind=answer["kind"],
            rtpParameters=RtpParameters.model_validate(answer["rtp_parameters"]),
        )
        self._raise_error()
        path = f"/sessions/{self.receive.id}/subscriptions/{answer['subscription_id']}"
        await self.api.call("PATCH", path, {"paused": False})
        self.consumers[track_id] = consumer
        self.meters[track_id] = Meter(consumer.track, answer["kind"]).start()
        return self.meters[track_id]

    async def subscribe_all(self) -> dict[str, Meter]:
        """Subscribe to all tracks of others in the channel that we do not have yet; all meters by track id."""
        for track in await self.api.tracks(self.channel):
            if track["track_id"] not in self.tracks and track["track_id"] not in self.meters:
                await self.subscribe(track["track_id"])
        return self.meters

    async def close(self) -> None:
        """Close both transports and delete their sessions."""
        for meter in self.meters.values():
            await meter.stop()
        for transport in (self.send, self.receive):
            if transport is not None:
                await transport.close()
                with suppress(Exception):
                    await self.api.call("DELETE", f"/sessions/{transport.id}")
        await self.api.close()

    async def _publish(self, track: MediaStreamTrack, fields: dict[str, Any]) -> str:
        assert self.send is not None
        try:
            producer = await self.send.produce(track=track, stopTracks=True, appData=fields)
        except IndexError:  # "produce" gave nothing, for it raised
            self._raise_error()
            raise
        self._raise_error()
        self.tracks[producer.id] = track
        self.producers[producer.id] = producer
        return str(producer.id)

    def _transport(self, create: Any, session: dict[str, Any]) -> Transport:
        candidates = [IceCandidate.model_validate(candidate) for candidate in session["ice_candidates"]]
        if self._media_address is not None:
            host, port = self._media_address
            candidates = [candidate.model_copy(update={"ip": host, "port": port}) for candidate in candidates]
        transport: Transport = create(
            id=session["session_id"],
            iceParameters=IceParameters.model_validate(session["ice_parameters"]),
            iceCandidates=candidates,
            dtlsParameters=DtlsParameters.model_validate(session["dtls_parameters"]),
            sctpParameters=None,
            iceServers=[],  # None would mean a public server
        )

        @transport.on("connect")
        async def on_connect(parameters: DtlsParameters) -> None:
            body = {"dtls_parameters": parameters.model_dump(exclude_none=True)}
            await self.api.call("POST", f"/sessions/{session['session_id']}/connect", body)

        transport.on("error", self.errors.append)
        return transport

    def _raise_error(self) -> None:
        if self.errors:
            raise self.errors[0]
