"""What the conformance tests share: a publisher and a subscriber, and media by the packet."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.parameters import rtp_capabilities
from tests.support.rtc_client import Published, ScriptedClient, Subscribed
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, Source, VideoSource


@dataclass(slots=True)
class Call:
    """One publisher, one subscriber, one track."""

    publisher: ScriptedClient
    subscriber: ScriptedClient
    published: Published
    subscribed: Subscribed
    source: Any

    def send(self, frames: int = 1, *, lose: Callable[[RtpPacket], bool] = lambda packet: False) -> list[RtpPacket]:
        """Send frames at once, without those packets that `lose` names."""
        packets = [packet for _ in range(frames) for packet in self.source.next_frame()]
        for packet in packets:
            if not lose(packet):
                self.publisher.send_rtp(packet)
        return packets

    def received(self) -> list[RtpPacket]:
        return self.subscriber.rtp(self.subscribed.ssrc)

    async def until(self, count: int) -> None:
        """Until so many packets of the track have come."""
        await self.subscriber.until(lambda: len(self.received()) >= count)

    async def delivered(self, frames: int = 1) -> list[RtpPacket]:
        """Send frames and wait for them."""
        count = len(self.received())
        packets = self.send(frames)
        await self.until(count + len(packets))
        return packets


@asynccontextmanager
async def call(
    server: ServerProcess,
    channel: str,
    codec: str = "opus",
    *,
    ssrc: int = 1000,
    capabilities: dict[str, Any] | None = None,
    source: dict[str, Any] | None = None,
    clients: dict[str, Any] | None = None,
    **publish: Any,
) -> AsyncIterator[Call]:
    """A call with a track of `codec`; `publish` goes to `ScriptedClient.publish`, `source` to the source."""
    async with (
        ScriptedClient.joined(server.url, channel, "publisher", **(clients or {})) as publisher,
        ScriptedClient.joined(server.url, channel, "subscriber", **(clients or {})) as subscriber,
    ):
        published = await publisher.publish(codec, ssrc=ssrc, **publish)
        subscribed = await subscriber.subscribe(published.track_id, capabilities or rtp_capabilities())
        made: Source
        if published.kind == "audio":
            made = AudioSource(ssrc=ssrc, payload_type=published.payload_type, **(source or {}))
        else:
            shape = {"packets_per_frame": 1, "size_bytes": 200, **(source or {})}
            made = VideoSource(codec=codec, ssrc=ssrc, payload_type=published.payload_type, **shape)
        yield Call(publisher, subscriber, published, subscribed, made)


async def quiet(seconds: float = 0.15) -> None:
    """Long enough for what should not happen to have happened."""
    await asyncio.sleep(seconds)


def raw(packet: RtpPacket, *, first: int | None = None, block: bytes = b"", tail: bytes = b"") -> bytes:
    """A packet's bytes with another first byte, an extension block and something behind the payload."""
    data = packet.serialize()
    return bytes([data[0] if first is None else first]) + data[1:12] + block + packet.payload + tail
