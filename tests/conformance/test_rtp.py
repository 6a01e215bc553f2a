"""Statements 1 to 9 of section D: RTP and RTCP (RFC 3550, RFC 5506, RFC 8834)."""

import asyncio
import time

import pytest

from tests.conformance.support import call, quiet, raw
from tests.support.api import ApiFailure
from tests.support.parameters import rtp_capabilities
from tests.support.payloads import read_mark
from tests.support.player import NTP_EPOCH, ntp_now
from tests.support.rtc_client import ScriptedClient
from tests.support.rtcp_packet import (
    Bye,
    Nack,
    Pli,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    parse_rtcp,
)
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource


async def test_01_version_two_is_forwarded(server: ServerProcess, channel: str) -> None:
    async with call(server, channel) as c:
        await c.delivered(3)
        assert all(packet.serialize()[0] >> 6 == 2 for packet in c.received())


async def test_01_other_versions_are_dropped(server: ServerProcess, channel: str) -> None:
    """Also of an RTCP packet within a compound that began well: what follows it is not read."""
    async with call(server, channel, "VP8") as c:
        await c.delivered()
        good = c.publisher.protect_rtp(c.source.next_frame()[0])
        for version in (0, 1, 3):
            c.publisher.send_raw(bytes([version << 6 | good[0] & 0x3F]) + good[1:])
        await asyncio.sleep(0.6)
        asked = len(c.publisher.rtcp(Pli))
        pli = Pli(1, c.subscribed.ssrc).serialize()
        for version in (0, 1, 3):
            bad = bytes([version << 6 | pli[0] & 0x3F]) + pli[1:]
            c.subscriber.send_rtcp(ReceiverReport(1), bad, pli)
        await quiet()
        assert len(c.received()) == 1
        assert len(c.publisher.rtcp(Pli)) == asked


async def test_02_csrcs_extensions_and_padding_are_taken_off(server: ServerProcess, channel: str) -> None:
    async with call(server, channel) as c:
        await c.delivered()
        packet = c.source.next_frame()[0]
        packet.csrcs, packet.padding = (11, 12, 13), 7
        packet.extensions = {4: b"0", 9: b"\x01\x02\x03"}
        c.publisher.send_rtp(packet)
        await c.until(2)
        received = c.received()[-1]
        assert received.payload == packet.payload
        assert (received.csrcs, received.padding) == ((), 0)


async def test_02_lengths_that_do_not_fit_are_dropped(server: ServerProcess, channel: str) -> None:
    async with call(server, channel) as c:
        await c.delivered()
        for tail in (b"\x00", b"\xff"):  # a count of none, and of more than there is
            c.publisher.send_rtp(raw(c.source.next_frame()[0], first=0xA0, tail=tail))
        short = RtpPacket(c.published.payload_type, c.source.sequence_number, 0, 1000, b"\x78")
        c.publisher.send_rtp(raw(short, first=0xA0, tail=b"\x03"))
        for first in (0x8F, 0x90):  # more CSRCs than bytes; an extension header of one byte
            with pytest.raises(Exception, match="parameter"):
                c.publisher.send_rtp(raw(short, first=first))
        await quiet()
        assert len(c.received()) == 1


async def test_03_every_outgoing_stream_has_an_ssrc_of_its_own(server: ServerProcess, channel: str) -> None:
    async with (
        ScriptedClient.joined(server.url, channel, "publisher") as publisher,
        ScriptedClient.joined(server.url, channel, "subscriber") as subscriber,
    ):
        tracks = [await publisher.publish("VP8", ssrc=10 + 2 * n, rtx_ssrc=11 + 2 * n, mid=f"v{n}") for n in range(4)]
        got = [await subscriber.subscribe(track.track_id) for track in tracks * 3]
        ssrcs = [one for each in got for one in (each.ssrc, each.rtx_ssrc)]
        assert len(set(ssrcs)) == len(ssrcs)
        assert not set(ssrcs) & set(range(10, 18))


async def test_03_a_collision_within_a_session_is_refused(server: ServerProcess, channel: str) -> None:
    async with call(server, channel) as c:
        with pytest.raises(ApiFailure) as failure:
            await c.subscriber.publish("opus", ssrc=c.subscribed.ssrc)
        assert failure.value.status == 422
        assert failure.value.pointers == ["/rtp_parameters/encodings/0/ssrc"]


async def test_04_numbers_begin_at_random_and_go_on_without_gaps(server: ServerProcess, channel: str) -> None:
    """Also over a switch between the encodings of a simulcast, and over a pause."""
    async with (
        ScriptedClient.joined(server.url, channel, "publisher") as publisher,
        ScriptedClient.joined(server.url, channel, "subscriber") as subscriber,
    ):
        published = await publisher.publish("VP8", encodings=[{"ssrc": 1}, {"ssrc": 2}])
        got = [await subscriber.subscribe(published.track_id) for _ in range(6)]
        sources = [
            VideoSource(
                ssrc=ssrc, payload_type=published.payload_type, packets_per_frame=1, size_bytes=100, key_every=5
            )
            for ssrc in (1, 2)
        ]

        async def frames(count: int) -> None:
            for _ in range(count):
                for source in sources:
                    for packet in source.next_frame():
                        publisher.send_rtp(packet)
                await asyncio.sleep(0.004)

        await frames(20)
        path = f"/sessions/{subscriber.session_id}/subscriptions/{got[0].subscription_id}"
        for layer in (0, 1, 0):
            await subscriber.api.call("PATCH", path, {"preferred_layers": {"spatial": layer, "temporal": 0}})
            await frames(20)
        await subscriber.api.call("PATCH", path, {"paused": True})
        await frames(10)
        await subscriber.api.call("PATCH", path, {"paused": False})
        await frames(20)
        await quiet()
        packets = subscriber.rtp(got[0].ssrc)
        assert {read_mark(packet.payload)[0] for packet in packets} == {1, 2}
        numbers = [packet.sequence_number for packet in packets]
        assert numbers == [(numbers[0] + step) & 0xFFFF for step in range(len(numbers))]
        steps = [(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in zip(packets, packets[1:], strict=False)]
        assert all(0 < step < 1 << 31 for step in steps)
        first = [subscriber.rtp(one.ssrc)[0] for one in got]
        assert len({packet.sequence_number for packet in first}) > 3
        assert len({packet.timestamp for packet in first}) == len(first)


async def test_04_a_number_is_not_used_twice(server: ServerProcess, channel: str) -> None:
    """Duplicates of the publisher's (under SRTP numbers of their own) are not passed on. See also attack 24."""
    async with call(server, channel, "VP8", rtx_ssrc=1001) as c:
        packets = await c.delivered(3)
        for packet in packets:
            copy = packet.altered(
                ssrc=1001,
                payload_type=c.published.rtx_payload_type,
                sequence_number=packet.sequence_number,
                payload=packet.sequence_number.to_bytes(2) + packet.payload,
            )
            c.publisher.send_rtp(copy)
        await quiet()
        assert len({packet.sequence_number for packet in c.received()}) == len(c.received()) == len(packets)


class Clock:
    """A publisher's media clocks, all of which stand on one wall clock that is `ahead` of ours."""

    def __init__(self, ahead: float) -> None:
        self.ahead, self.began = ahead, time.monotonic()

    def ntp(self) -> int:
        return ntp_now() + round(self.ahead * (1 << 32))

    def timestamp(self, rate: int, offset: int) -> int:
        return round((time.monotonic() - self.began) * rate + offset) & 0xFFFFFFFF


async def instants(
    server: ServerProcess, channel: str, ahead: float
) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Sound and picture of the same instants; when each was captured by the sender reports that the subscriber gets.

    By subscription SSRC: NTP seconds of each packet, and how far they are from the moment at which it was sent.
    """
    async with (
        ScriptedClient.joined(server.url, channel, "publisher") as publisher,
        ScriptedClient.joined(server.url, channel, "subscriber") as subscriber,
    ):
        clock = Clock(ahead)
        audio, video = await publisher.publish("opus", ssrc=1), await publisher.publish("VP8", ssrc=2)
        heard, seen = await subscriber.subscribe(audio.track_id), await subscriber.subscribe(video.track_id)
        sound = AudioSource(ssrc=1, payload_type=audio.payload_type)
        picture = VideoSource(ssrc=2, payload_type=video.payload_type, packets_per_frame=1, size_bytes=100, key_every=5)
        rates, offsets = {1: 48000, 2: 90000}, {1: 123_456, 2: 4_000_000_000}
        sent_at: dict[tuple[int, int], float] = {}
        began, reported = time.monotonic(), 0.0
        while time.monotonic() - began < 2.6:
            for source in (sound, picture):
                source.timestamp = clock.timestamp(rates[source.ssrc], offsets[source.ssrc])
            now = time.time() + NTP_EPOCH
            for packet in (*sound.next_frame(), *picture.next_frame()):
                sent_at[read_mark(packet.payload)] = now
                publisher.send_rtp(packet)
            if time.monotonic() - reported > 0.5:
                reported = time.monotonic()
                for ssrc in (1, 2):
                    stamp = clock.timestamp(rates[ssrc], offsets[ssrc])
                    publisher.send_rtcp(SenderReport(ssrc, clock.ntp(), stamp, 1, 1), SourceDescription({ssrc: "p"}))
            await asyncio.sleep(0.02)
        await subscriber.until(lambda: {one.ssrc for one in subscriber.rtcp(SenderReport)} >= {heard.ssrc, seen.ssrc})
        captured: dict[int, list[float]] = {}
        late: dict[int, list[float]] = {}
        for one, rate in ((heard, 48000), (seen, 90000)):
            report = [r for r in subscriber.rtcp(SenderReport) if r.ssrc == one.ssrc][-1]
            for packet in subscriber.rtp(one.ssrc)[-50:]:
                back = (report.rtp_timestamp - packet.timestamp + (1 << 31)) % (1 << 32) - (1 << 31)
                at = report.ntp / (1 << 32) - back / rate
                captured.setdefault(one.ssrc, []).append(at)
                late.setdefault(one.ssrc, []).append(at - sent_at[read_mark(packet.payload)])
        return captured, late


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -86_400.0])
async def test_05_sender_reports_keep_sound_and_picture_together(
    server: ServerProcess, channel: str, ahead: float
) -> None:
    """Whatever the publisher's wall clock says: what was captured together maps to one instant, and that is about
    now."""
    captured, late = await instants(server, channel, ahead)
    (sound, picture) = captured.values()
    apart = [min(abs(a - b) for b in picture) for a in sound[-10:]]
    assert sorted(apart)[len(apart) // 2] < 0.001
    assert max(apart) < 0.02
    assert all(abs(one) < 0.5 for both in late.values() for one in both)


async def test_05_a_report_about_nothing_moves_nothing(server: ServerProcess, channel: str) -> None:
    """A sender report for an SSRC that the peer does not publish is not believed."""
    async with call(server, channel) as c:
        playing = asyncio.create_task(c.publisher.play(c.source, seconds=60))

        async def start_of_timestamps() -> float:
            """The instant to which the next report maps the timestamp 0."""
            known = len(c.subscriber.rtcp(SenderReport))
            await c.subscriber.until(lambda: len(c.subscriber.rtcp(SenderReport)) > known)
            report = c.subscriber.rtcp(SenderReport)[-1]
            assert isinstance(report, SenderReport)
            assert abs(report.ntp / (1 << 32) - NTP_EPOCH - time.time()) < 5
            return report.ntp / (1 << 32) - report.rtp_timestamp / 48_000

        await start_of_timestamps()
        before = await start_of_timestamps()
        for ssrc in (1000, c.subscribed.ssrc):
            c.subscriber.send_rtcp(SenderReport(ssrc, 1 << 60, 1, 1, 1))
        await start_of_timestamps()
        assert abs(await start_of_timestamps() - before) < 0.5
        playing.cancel()


def blocks(client: ScriptedClient, ssrc: int) -> list[ReportBlock]:
    """The report blocks about one of a client's streams, in order."""
    reports = client.rtcp(ReceiverReport, SenderReport)
    return [block for report in reports for block in report.reports if block.ssrc == ssrc]  # type: ignore[union-attr]


async def test_06_receiver_reports_say_what_was_lost(server: ServerProcess, channel: str) -> None:
    """Fraction, cumulative number, extended highest sequence number over a wrap, jitter, LSR and DLSR."""
    async with call(server, channel, source={"sequence_number": 65_500}) as c:
        ntp = ntp_now()
        c.send()
        c.publisher.send_rtcp(SenderReport(1000, ntp, c.source.timestamp, 1, 80), SourceDescription({1000: "p"}))
        for number in range(99):
            c.send(lose=lambda packet, number=number: number % 10 == 5)
            await asyncio.sleep(0.005)
        seen = len(blocks(c.publisher, 1000))
        await c.publisher.until(lambda: len(blocks(c.publisher, 1000)) >= seen + 2)
        last = blocks(c.publisher, 1000)[-1]
        assert last.packets_lost == 10
        assert last.highest_sequence == (1 << 16) + (65_500 + 99 & 0xFFFF)
        assert last.last_sr == ntp >> 16 & 0xFFFFFFFF
        assert 0 < last.delay_since_last_sr / 65536 < 10
        assert last.jitter < 48000
        assert any(20 < block.fraction_lost < 32 for block in blocks(c.publisher, 1000))


async def test_06_nothing_lost_is_nothing_lost(server: ServerProcess, channel: str) -> None:
    """Duplicates and late packets are no losses, and no gains either; without a sender report LSR and DLSR are zero."""
    async with call(server, channel) as c:
        await c.delivered()
        packets = [c.source.next_frame()[0] for _ in range(50)]
        for index in range(0, 50, 2):
            c.publisher.send_rtp(packets[index + 1])
            c.publisher.send_rtp(packets[index])
        await c.publisher.until(lambda: len(blocks(c.publisher, 1000)) >= 2)
        last = blocks(c.publisher, 1000)[-1]
        assert (last.packets_lost, last.fraction_lost) == (0, 0)
        assert (last.last_sr, last.delay_since_last_sr) == (0, 0)


async def test_07_reports_are_compounds_with_a_cname(server: ServerProcess, channel: str) -> None:
    """A publisher's streams have one CNAME, another's have another (RFC 8834 §4.9)."""
    async with (
        ScriptedClient.joined(server.url, channel, "one") as one,
        ScriptedClient.joined(server.url, channel, "two") as two,
        ScriptedClient.joined(server.url, channel, "subscriber") as subscriber,
    ):
        names: dict[int, str] = {}
        owners: dict[int, str] = {}
        for client in (one, two):
            for ssrc in (1, 2):
                published = await client.publish("opus", ssrc=ssrc, mid=str(ssrc))
                subscribed = await subscriber.subscribe(published.track_id)
                owners[subscribed.ssrc] = client.user
                assert subscribed.rtp_parameters["rtcp"]["cname"]
                client.send_rtp(AudioSource(ssrc=ssrc, payload_type=published.payload_type).next_frame()[0])
        await subscriber.until(lambda: {r.ssrc for r in subscriber.rtcp(SenderReport)} == set(owners))  # type: ignore[union-attr]
        for received in subscriber.rtcp_log:
            packets = parse_rtcp(received.data)
            assert isinstance(packets[0], SenderReport | ReceiverReport)
            (description,) = [packet for packet in packets if isinstance(packet, SourceDescription)]
            for report in packets:
                if isinstance(report, SenderReport):
                    names[report.ssrc] = description.cnames[report.ssrc]
        assert len({(owners[ssrc], name) for ssrc, name in names.items()}) == 2
        assert len(set(names.values())) == 2
        assert {one.user, two.user} & set(names.values()) == set()  # nobody learns a user's name this way


async def test_07_without_reduced_size_nothing_is_published(server: ServerProcess, channel: str) -> None:
    """RFC 5506 §4.1: feedback goes alone only where that was agreed on; a publisher that refuses it is told so."""
    async with ScriptedClient(server.url, channel, "publisher") as publisher:
        await publisher.create()
        parameters = {
            "codecs": [{"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000, "channels": 2}],
            "encodings": [{"ssrc": 1}],
            "rtcp": {"cname": "x", "reducedSize": False, "mux": True},
        }
        body = {"kind": "audio", "rtp_parameters": parameters}
        with pytest.raises(ApiFailure) as failure:
            await publisher.api.call("POST", f"/sessions/{publisher.session_id}/publish", body)
        assert failure.value.pointers == ["/rtp_parameters/rtcp/reducedSize"]


async def test_08_rtcp_takes_a_twentieth_at_most(server: ServerProcess, channel: str) -> None:
    """RFC 3550 §6.2, both ways, for a call of sound and picture."""
    async with (
        ScriptedClient.joined(server.url, channel, "publisher") as publisher,
        ScriptedClient.joined(server.url, channel, "subscriber") as subscriber,
    ):
        audio, video = await publisher.publish("opus", ssrc=1), await publisher.publish("VP8", ssrc=2, rtx_ssrc=3)
        for track in (audio, video):
            await subscriber.subscribe(track.track_id)
        sources = (
            AudioSource(ssrc=1, payload_type=audio.payload_type),
            VideoSource(ssrc=2, payload_type=video.payload_type, packets_per_frame=2, size_bytes=1000),
        )
        await publisher.play(*sources, seconds=2.5)
        media = sum(source.octets_sent for source in sources)
        for client in (publisher, subscriber):
            rtcp = sum(len(received.data) + 14 for received in client.rtcp_log)
            assert 0 < rtcp < 0.05 * media


async def test_08_a_subscriber_that_gets_nothing_gets_few_reports(server: ServerProcess, channel: str) -> None:
    async with call(server, channel) as c:
        await asyncio.sleep(1.2)
        assert sum(len(received.data) for received in c.subscriber.rtcp_log) == 0


async def test_09_a_stream_that_falls_silent_is_no_longer_counted_on(server: ServerProcess, channel: str) -> None:
    """The upper encoding of a simulcast stops: within seconds the lower one is sent instead."""
    async with (
        ScriptedClient.joined(server.url, channel, "publisher") as publisher,
        ScriptedClient.joined(server.url, channel, "subscriber") as subscriber,
    ):
        published = await publisher.publish("VP8", encodings=[{"ssrc": 1}, {"ssrc": 2}])
        got = await subscriber.subscribe(published.track_id)
        sources = [
            VideoSource(ssrc=ssrc, payload_type=published.payload_type, packets_per_frame=1, size_bytes=60, key_every=4)
            for ssrc in (1, 2)
        ]

        def last() -> int:
            packets = subscriber.rtp(got.ssrc)
            return read_mark(packets[-1].payload)[0] if packets else 0

        async def play(some: list[VideoSource], wanted: int) -> None:
            deadline = time.monotonic() + 6
            while last() != wanted:
                assert time.monotonic() < deadline
                for source in some:
                    for packet in source.next_frame():
                        publisher.send_rtp(packet)
                await asyncio.sleep(0.02)

        await play(sources, 2)
        await play(sources[:1], 1)


async def test_09_a_goodbye_of_anothers_ends_nothing(server: ServerProcess, channel: str) -> None:
    async with call(server, channel) as c:
        await c.delivered()
        c.subscriber.send_rtcp(ReceiverReport(1), Bye((1000, c.subscribed.ssrc)))
        await c.delivered(2)


@pytest.mark.parametrize("leaving", ["unpublish", "close"])
async def test_09_whoever_leaves_says_goodbye(server: ServerProcess, channel: str, leaving: str) -> None:
    """RFC 3550 §6.6: the subscriber hears that the stream has ended, and that at once."""
    async with call(server, channel) as c:
        await c.delivered(3)
        if leaving == "unpublish":
            await c.publisher.api.call("DELETE", f"/sessions/{c.publisher.session_id}/tracks/{c.published.track_id}")
        else:
            await c.publisher.close()
        await c.subscriber.until(lambda: c.subscriber.rtcp(Bye))
        assert [one.ssrcs for one in c.subscriber.rtcp(Bye)] == [(c.subscribed.ssrc,)]  # type: ignore[union-attr]


async def test_09_a_subscription_that_sent_nothing_has_nobody_to_say_goodbye(
    server: ServerProcess, channel: str
) -> None:
    async with call(server, channel) as c:
        path = f"/sessions/{c.subscriber.session_id}/subscriptions/{c.subscribed.subscription_id}"
        await c.subscriber.api.call("DELETE", path)
        await quiet()
        assert c.subscriber.rtcp(Bye, Nack, TransportFeedback) == []
        assert rtp_capabilities()["codecs"]
