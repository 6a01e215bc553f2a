"""Statements 10 to 15 of section D: feedback (RFC 4585, 4588, 5104, transport-wide congestion control)."""

import asyncio
import struct

import pytest

from tests.conformance.support import call, quiet
from tests.support.parameters import rtp_capabilities
from tests.support.payloads import read_mark, unwrap_rtx
from tests.support.rtc_client import ScriptedClient
from tests.support.rtcp_packet import (
    Fir,
    Nack,
    Pli,
    ReceiverReport,
    Remb,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    Unknown,
)
from tests.support.server import ServerProcess
from tests.support.sources import VideoSource

NACK, PLI, FIR = {"type": "nack"}, {"type": "nack", "parameter": "pli"}, {"type": "ccm", "parameter": "fir"}
TRANSPORT_CC, REMB = {"type": "transport-cc"}, {"type": "goog-remb"}


def asked(client: ScriptedClient) -> list[int]:
    """The sequence numbers of all NACKs, in order, each once."""
    numbers = [number for nack in client.rtcp(Nack) if isinstance(nack, Nack) for number in nack.lost]
    return list(dict.fromkeys(numbers))


@pytest.mark.parametrize("codec", ["VP8", "opus"])
async def test_10_missing_packets_are_asked_for_across_a_wrap(server: ServerProcess, channel: str, codec: str) -> None:
    """PID and BLP: single ones, a run longer than one item, and on both sides of 65535."""
    lost = [65_530, 65_534, 65_535, 0, 1, 20, *range(30, 50)]
    async with call(server, channel, codec, source={"sequence_number": 65_520}) as c:
        c.send(90, lose=lambda packet: packet.sequence_number in lost)
        await c.publisher.until(lambda: len(asked(c.publisher)) == len(lost))
        assert asked(c.publisher) == lost
        assert {nack.media_ssrc for nack in c.publisher.rtcp(Nack)} == {1000}  # type: ignore[union-attr]
        for packet in list(c.source.history.values()):
            if packet.sequence_number in lost:
                c.publisher.send_rtp(packet)
        await c.until(90)
        numbers = sorted((packet.sequence_number - c.received()[0].sequence_number) & 0xFFFF for packet in c.received())
        assert numbers == list(range(90))


async def test_10_what_is_not_missing_is_not_asked_for(server: ServerProcess, channel: str) -> None:
    """Packets that overtake one another within 10 ms; and nothing at all where NACK was not negotiated."""
    async with call(server, channel, "VP8") as c:
        packets = [packet for _ in range(40) for packet in c.source.next_frame()]
        for index in range(0, 40, 2):
            c.publisher.send_rtp(packets[index + 1])
            c.publisher.send_rtp(packets[index])
        await quiet(0.3)
        assert asked(c.publisher) == []
    async with call(server, channel, "VP8", feedback=[PLI]) as c:
        c.send(40, lose=lambda packet: packet.sequence_number % 5 == 0)
        await quiet(0.3)
        assert asked(c.publisher) == []


async def test_11_a_retransmission_has_its_own_ssrc_number_and_type(server: ServerProcess, channel: str) -> None:
    """RFC 4588: the original sequence number stands first in the payload; apt says whose payload type it replaces."""
    async with call(server, channel, "VP8", rtx_ssrc=1001) as c:
        await c.delivered(10)
        wanted = [packet.sequence_number for packet in c.received()][3:6]
        c.subscriber.send_rtcp(Nack(1, c.subscribed.ssrc, tuple(wanted)))
        await c.subscriber.until(lambda: len(c.subscriber.rtp(c.subscribed.rtx_ssrc)) == 3)
        again = c.subscriber.rtp(c.subscribed.rtx_ssrc)
        assert [struct.unpack_from("!H", packet.payload)[0] for packet in again] == wanted
        assert {packet.payload_type for packet in again} == {c.subscribed.rtx_payload_type}
        numbers = [packet.sequence_number for packet in again]
        assert numbers == [(numbers[0] + step) & 0xFFFF for step in range(3)]
        for packet, original in zip(again, c.received()[3:6], strict=True):
            unwrapped = unwrap_rtx(packet, ssrc=c.subscribed.ssrc, payload_type=c.subscribed.payload_type)
            assert unwrapped is not None
            assert (unwrapped.payload, unwrapped.timestamp, unwrapped.marker) == (
                original.payload,
                original.timestamp,
                original.marker,
            )
        rtx = [one for one in c.subscribed.rtp_parameters["codecs"] if one["mimeType"] == "video/rtx"]
        assert [one["parameters"]["apt"] for one in rtx] == [c.subscribed.payload_type]


async def test_11_without_rtx_the_packet_itself_comes_again(server: ServerProcess, channel: str) -> None:
    """No SSRC and no payload type that was not negotiated; and without NACK nothing at all."""
    for feedback, expected in (([NACK, PLI], 1), ([PLI], 0)):
        capabilities = rtp_capabilities(rtx=False, feedback=feedback)
        async with call(server, channel, "VP8", rtx_ssrc=1001, capabilities=capabilities) as c:
            assert c.subscribed.rtx_ssrc is None
            await c.delivered(5)
            raw = len(c.subscriber.undecryptable)
            c.subscriber.send_rtcp(Nack(1, c.subscribed.ssrc, (c.received()[2].sequence_number,)))
            await quiet(0.3)
            assert {packet.ssrc for packet in c.subscriber.rtp()} == {c.subscribed.ssrc}
            # The same bytes under the same number: SRTP's replay check of the receiver takes them for what they are.
            assert len(c.subscriber.undecryptable) - raw == expected


async def test_12_pli_asks_for_one_key_frame(server: ServerProcess, channel: str) -> None:
    async with call(server, channel, "VP8") as c:
        await c.delivered()
        await asyncio.sleep(0.6)
        before = len(c.publisher.rtcp(Pli))
        for _ in range(5):
            c.subscriber.send_rtcp(Pli(1, c.subscribed.ssrc))
        await c.publisher.until(lambda: len(c.publisher.rtcp(Pli)) > before)
        assert c.publisher.rtcp(Pli)[-1].media_ssrc == 1000  # type: ignore[union-attr]
        await quiet(0.3)
        assert len(c.publisher.rtcp(Pli)) == before + 1


async def test_12_fir_has_a_new_number_for_each_request(server: ServerProcess, channel: str) -> None:
    """RFC 5104 §4.3.1.2, for a publisher that takes no PLI."""
    async with call(server, channel, "VP8", feedback=[FIR]) as c:
        await c.delivered()
        for count in range(1, 3):
            await asyncio.sleep(0.6)
            c.source.request_key_frame()
            await c.delivered()
            before = len(c.publisher.rtcp(Fir))
            c.subscriber.send_rtcp(Fir(1, ((c.subscribed.ssrc, count),)))
            await c.publisher.until(lambda before=before: len(c.publisher.rtcp(Fir)) > before)
        requests = [fir.requests for fir in c.publisher.rtcp(Fir) if isinstance(fir, Fir)]
        numbers = [number for ((ssrc, number),) in requests if ssrc == 1000]
        assert len(numbers) == len(requests) >= 2
        assert numbers == [(numbers[0] + step) & 255 for step in range(len(numbers))]
        assert c.publisher.rtcp(Pli) == []


async def test_12_a_publisher_that_takes_neither_is_asked_for_nothing(server: ServerProcess, channel: str) -> None:
    async with call(server, channel, "VP8", feedback=[NACK]) as c:
        await c.delivered()
        c.subscriber.send_rtcp(Pli(1, c.subscribed.ssrc))
        c.subscriber.send_rtcp(Fir(1, ((c.subscribed.ssrc, 1),)))
        await quiet(0.7)
        assert c.publisher.rtcp(Pli, Fir) == []


async def test_13_transport_wide_numbers_are_the_transports(server: ServerProcess, channel: str) -> None:
    """One sequence over all streams, retransmissions too; and the publisher hears when each of its packets came."""
    async with (
        ScriptedClient.joined(server.url, channel, "publisher") as publisher,
        ScriptedClient.joined(server.url, channel, "subscriber") as subscriber,
    ):
        tracks = [await publisher.publish("VP8", ssrc=10 * n, rtx_ssrc=10 * n + 1, mid=f"v{n}") for n in (1, 2)]
        got = [await subscriber.subscribe(track.track_id) for track in tracks]
        sources = [
            VideoSource(ssrc=track.ssrcs[0], payload_type=track.payload_type, packets_per_frame=2, size_bytes=100)
            for track in tracks
        ]
        for number in range(40):
            for source in sources:
                for packet in source.next_frame():
                    publisher.send_rtp(packet)
            if number == 20:
                await subscriber.until(lambda: subscriber.rtp(got[0].ssrc))
                subscriber.send_rtcp(Nack(1, got[0].ssrc, (subscriber.rtp(got[0].ssrc)[0].sequence_number,)))
            # Longer than the 64 ms of the reference time's tick, and than what one delta of eight bits says.
            await asyncio.sleep(0.09 if number % 20 == 10 else 0.004)
        await subscriber.until(lambda: len(subscriber.rtp()) == 161)
        identifier = got[0].extensions["transport_cc"]
        numbers = [int.from_bytes(packet.extensions[identifier]) for packet in subscriber.rtp()]
        assert sorted((number - min(numbers)) & 0xFFFF for number in numbers) == list(range(161))

        def told() -> dict[int, float | None]:
            found: dict[int, float | None] = {}
            for one in publisher.rtcp(TransportFeedback):
                if isinstance(one, TransportFeedback):
                    found |= {(one.base + place) & 0xFFFF: at for place, at in enumerate(one.arrivals)}
            return found

        await publisher.until(lambda: len(told()) == 160)
        assert sorted(told()) == list(range(160))
        times = [at for _, at in sorted(told().items()) if at is not None]
        assert len(times) == 160
        assert 0.1 < times[-1] - times[0] < 5
        counts = [one.feedback_count for one in publisher.rtcp(TransportFeedback) if isinstance(one, TransportFeedback)]
        assert counts == [(counts[0] + step) & 255 for step in range(len(counts))]


async def test_13_packets_that_never_came_are_told_as_missing(server: ServerProcess, channel: str) -> None:
    async with call(server, channel, "VP8") as c:
        c.send(10)
        c.publisher._transport_sequence += 30
        c.send(10)
        await c.publisher.until(lambda: c.publisher.rtcp(TransportFeedback))
        await quiet(0.3)
        arrivals: dict[int, bool] = {}
        for one in c.publisher.rtcp(TransportFeedback):
            assert isinstance(one, TransportFeedback)
            arrivals |= {one.base + place: at is not None for place, at in enumerate(one.arrivals)}
        assert arrivals == {number: not 10 <= number < 40 for number in range(50)}


async def test_13_without_it_there_is_no_number_and_no_feedback(server: ServerProcess, channel: str) -> None:
    capabilities = rtp_capabilities(feedback=[NACK, PLI], extensions={"mid": 4, "abs_send_time": 2})
    async with call(server, channel, "VP8", feedback=[NACK, PLI], capabilities=capabilities) as c:
        await c.delivered(20)
        await quiet(0.3)
        assert "transport_cc" not in c.subscribed.extensions
        assert c.publisher.rtcp(TransportFeedback) == []


async def test_14_rfc_8888_is_not_offered_and_not_sent(server: ServerProcess, channel: str) -> None:
    """The server speaks transport-wide feedback; what a client lists beside it is passed over."""
    feedback = [NACK, PLI, {"type": "ack", "parameter": "ccfb"}]
    async with call(server, channel, "VP8", feedback=feedback, capabilities=rtp_capabilities(feedback=feedback)) as c:
        offered = c.subscriber.session["rtp_capabilities"]["codecs"]
        assert all(one["type"] != "ack" for codec in offered for one in codec["rtcpFeedback"])
        assert all(
            one["type"] != "ack" for codec in c.subscribed.rtp_parameters["codecs"] for one in codec["rtcpFeedback"]
        )
        await c.delivered(20)
        await quiet(0.3)
        assert [one for one in c.publisher.rtcp(Unknown) if isinstance(one, Unknown) and one.count == 11] == []


FEEDBACK_CLASSES = {"nack": Nack, "pli": Pli, "fir": Fir, "transport_cc": TransportFeedback, "remb": Remb}


@pytest.mark.parametrize(
    ("feedback", "allowed"),
    [
        ([], set()),
        ([NACK], {"nack"}),
        ([PLI], {"pli"}),
        ([NACK, PLI, TRANSPORT_CC], {"nack", "pli", "transport_cc"}),
        ([NACK, PLI, REMB], {"nack", "pli", "remb"}),
    ],
)
async def test_15_only_what_was_negotiated_is_sent(
    server: ServerProcess, channel: str, feedback: list[dict[str, str]], allowed: set[str]
) -> None:
    """Loss, a key frame wanted, time enough for every report: each kind that was agreed on comes, and no other."""
    async with call(server, channel, "VP8", feedback=feedback) as c:
        for _ in range(30):
            c.send(2, lose=lambda packet: packet.sequence_number % 7 == 3)
            await asyncio.sleep(0.005)
        for _ in range(3):
            c.subscriber.send_rtcp(Pli(1, c.subscribed.ssrc))
            await asyncio.sleep(0.45)
        await c.publisher.until(lambda: c.publisher.rtcp(ReceiverReport))
        seen = {name for name, kind in FEEDBACK_CLASSES.items() if c.publisher.rtcp(kind)}
        assert seen == allowed
        others = c.publisher.rtcp(Unknown)
        assert others == []
        assert c.publisher.rtcp(ReceiverReport, SenderReport, SourceDescription)
        assert {read_mark(packet.payload)[0] for packet in c.received()} <= {1000}
