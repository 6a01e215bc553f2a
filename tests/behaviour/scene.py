"""What the tests of this folder share: who takes part, what arrived, and whether it hangs together.

    async with people(server.url, channel, alice={}, bob={"feedback": REPAIR}) as (alice, bob):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        subscription = await bob.subscribe(published.track_id)
        await send(alice, source, frames=30)
        packets = await arrived(bob, subscription, source.packets_sent)
        assert ordinals(packets) == list(range(source.packets_sent))

Every packet carries a mark (`payloads.mark`), so what arrives is known by what it is, not by its number. Nothing here
measures the machine's time; waits are bounded and generous.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

from tests.support.payloads import read_mark
from tests.support.rtc_client import FeedbackOptions, ScriptedClient, Subscribed
from tests.support.rtp_packet import RtpPacket, is_rtcp
from tests.support.sources import Source

#: a receiver that has lost packets sent again, asks for key frames, and reports
REPAIR = FeedbackOptions(nack=True, pli=True, reports=True, transport_cc=True)
PATIENCE = 15.0


@asynccontextmanager
async def people(url: str, channel: str, **options: dict[str, Any]) -> AsyncIterator[list[ScriptedClient]]:
    """Connected clients, named as the arguments, in their order; the arguments' values are `ScriptedClient`'s."""
    async with AsyncExitStack() as stack:
        joining = (
            stack.enter_async_context(ScriptedClient.joined(url, channel, name, **given))
            for name, given in options.items()
        )
        yield await asyncio.gather(*joining)


async def send(client: ScriptedClient, source: Source, frames: int, *, pause: float = 0.0) -> list[RtpPacket]:
    """The next frames of a source, as fast as the receivers' event loop can take them, or `pause` apart."""
    packets: list[RtpPacket] = []
    for _ in range(frames):
        for packet in source.next_frame():
            client.send_rtp(packet)
            packets.append(packet)
        await asyncio.sleep(pause)
    return packets


async def handled(client: ScriptedClient) -> None:
    """Wait until the server has handled all that the client has sent, which its answer to a check comes behind.

    Commands overtake media that still waits at the server: a test that changes something makes sure of this before.
    """
    await client.check(timeout=PATIENCE)


async def arrived(client: ScriptedClient, subscription: Subscribed, count: int) -> list[RtpPacket]:
    """The first `count` packets of a subscription, or what there is after all patience."""
    with suppress(TimeoutError):
        await client.until(lambda: len(client.media(subscription)) >= count, PATIENCE)
    return client.media(subscription)


def unreadable(client: ScriptedClient) -> list[tuple[int, int]]:
    """SSRC and number of the packets that a client could not decrypt, and had not received before.

    A packet without RTX that is sent twice comes twice under one number, which SRTP refuses as a replay: no harm.
    """
    had = {(packet.ssrc, packet.sequence_number) for packet in client.rtp()}
    refused = [received.data for received in client.undecryptable if not is_rtcp(received.data)]
    return [
        name for name in ((int.from_bytes(one[8:12]), int.from_bytes(one[2:4])) for one in refused) if name not in had
    ]


def ordinals(packets: Iterable[RtpPacket]) -> list[int]:
    """Which packets of their source these are, counted from 0."""
    return [read_mark(packet.payload)[1] for packet in packets]


def origins(packets: Iterable[RtpPacket]) -> list[int]:
    """The SSRCs under which the publisher sent these packets."""
    return [read_mark(packet.payload)[0] for packet in packets]


def steps(values: Sequence[int], bits: int) -> list[int]:
    """The signed differences of neighbours, in serial arithmetic (RFC 1982)."""
    half, whole = 1 << bits - 1, 1 << bits
    return [(b - a + half) % whole - half for a, b in pairwise(values)]


def sequence_steps(packets: Iterable[RtpPacket]) -> list[int]:
    return steps([packet.sequence_number for packet in packets], 16)


def timestamp_steps(packets: Iterable[RtpPacket]) -> list[int]:
    return steps([packet.timestamp for packet in packets], 32)


def assert_contiguous(packets: Sequence[RtpPacket]) -> None:
    """Not one number is left out."""
    assert set(sequence_steps(packets)) <= {1}


def frames_of(packets: Iterable[RtpPacket]) -> list[list[RtpPacket]]:
    """Packets by frame: those of one timestamp that follow one another."""
    frames: list[list[RtpPacket]] = []
    for packet in packets:
        if frames and frames[-1][-1].timestamp == packet.timestamp:
            frames[-1].append(packet)
        else:
            frames.append([packet])
    return frames
