"""RTCP: reports both ways with the right mapping of clocks, and feedback to publishers about the path."""

import asyncio
import time
from statistics import median

from tests.behaviour.scene import PATIENCE, arrived, ordinals, people, steps
from tests.support.parameters import EXTENSION_IDS, VIDEO_FEEDBACK, extension_ids
from tests.support.player import NTP_EPOCH, ntp_now
from tests.support.rtc_client import FeedbackOptions, ScriptedClient
from tests.support.rtcp_packet import (
    Nack,
    ReceiverReport,
    Remb,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    parse_rtcp,
)
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import AudioSource, VideoSource


def blocks(client: ScriptedClient) -> list[ReportBlock]:
    """The report blocks that a client has received, of both kinds of report."""
    return [block for report in client.rtcp(ReceiverReport, SenderReport) for block in report.reports]


async def test_sender_reports_map_the_clocks_of_the_media(server: ServerProcess, channel: str) -> None:
    """What a subscriber computes from its reports is what the publisher said: to 1 ms, and lips to voice exactly."""
    skew = 7.25  # the publisher's clock is wrong by this; only the server's counts for subscribers
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        picture = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        sound = await alice.publish("opus", ssrc=3)
        seen, heard = [await bob.subscribe(track.track_id) for track in (picture, sound)]
        video, audio = VideoSource(ssrc=1, payload_type=120), AudioSource(ssrc=3, payload_type=109)
        video_start, audio_start, began = video.timestamp, audio.timestamp, time.time()

        async def report() -> None:
            # Often, so that some of them meet no delay on the way: the quickest is what the server goes by.
            while True:
                now = time.time()
                ntp = now + NTP_EPOCH + skew
                stamp = int(ntp) << 32 | int(ntp % 1 * (1 << 32))
                for ssrc, start, rate in ((1, video_start, 90000), (3, audio_start, 48000)):
                    rtp = start + round((now - began) * rate) & 0xFFFFFFFF
                    alice.send_rtcp(SenderReport(ssrc, stamp, rtp, 1, 1))
                await asyncio.sleep(0.02)

        reporting = asyncio.create_task(report())
        await alice.play(video, audio, seconds=3.0, reports=False)
        reporting.cancel()
        errors: dict[int, list[float]] = {}
        for subscription, source_start, ssrc in ((seen, video_start, 1), (heard, audio_start, 3)):
            first = bob.media(subscription)[0]
            rate, per_frame = subscription.clock_rate, 3 if ssrc == 1 else 1
            frame = ordinals([first])[0] // per_frame
            # The output's timestamp of the moment `began`, as the media itself shows it.
            start = first.timestamp - frame * (3000 if ssrc == 1 else 960)
            for at, report in sender_reports(bob, subscription.ssrc)[1:]:
                said = report.ntp / (1 << 32) - NTP_EPOCH
                assert abs(said - time.time()) < 60, "the server's own clock"
                expected = start + (said - began) * rate
                errors.setdefault(ssrc, []).append(
                    ((report.rtp_timestamp - expected + (1 << 31)) % (1 << 32) - (1 << 31)) / rate
                )
            assert source_start != start
        assert all(len(found) >= 2 for found in errors.values())
        best = {ssrc: min(map(abs, found)) for ssrc, found in errors.items()}
        assert max(best.values()) < 0.001, errors
        for with_picture, with_sound in zip(errors[1], errors[3], strict=False):
            assert abs(with_picture - with_sound) < 0.001


def sender_reports(client: ScriptedClient, ssrc: int) -> list[tuple[float, SenderReport]]:
    """The sender reports about one SSRC, and when they came."""
    return [
        (received.at, packet)
        for received in client.rtcp_log
        for packet in parse_rtcp(received.data)
        if isinstance(packet, SenderReport) and packet.ssrc == ssrc
    ]


async def test_reports_count_what_was_sent_and_name_their_source(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        tracks = [await alice.publish("VP8", ssrc=1, rtx_ssrc=2), await alice.publish("opus", ssrc=3)]
        subscriptions = [await bob.subscribe(track.track_id) for track in tracks]
        await alice.play(VideoSource(ssrc=1, payload_type=120), AudioSource(ssrc=3, payload_type=109), seconds=2.5)
        for subscription in subscriptions:
            reports = sender_reports(bob, subscription.ssrc)
            assert len(reports) >= 2
            received = bob.rtp(subscription.ssrc)
            for at, report in reports:
                until = [packet for entry, packet in zip(bob.rtp_log, bob.rtp(), strict=True) if entry.at <= at]
                mine = [packet for packet in until if packet.ssrc == subscription.ssrc]
                # Media and reports leave in turns, so what came before a report is what it counts, but for one turn's
                # worth.
                assert abs(report.packets - len(mine)) <= 8
                assert report.packets <= len(received)
            octets = [report.octets for _, report in reports]
            assert octets == sorted(octets)
            cname = subscription.rtp_parameters["rtcp"]["cname"]
            names = {
                name
                for item in bob.rtcp(SourceDescription)
                for ssrc, name in item.cnames.items()
                if ssrc == subscription.ssrc
            }
            assert names == {cname}
        assert len({subscription.rtp_parameters["rtcp"]["cname"] for subscription in subscriptions}) == 1


async def test_receiver_reports_tell_a_publisher_what_arrived(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}) as (alice,):
        await alice.publish("opus", ssrc=1, feedback=[])
        source = AudioSource(ssrc=1, payload_type=109, sequence_number=65500)
        lost: list[RtpPacket] = []

        def lose(packet: RtpPacket) -> bool:
            if packet.sequence_number % 5 == 0 and source.packets_sent > 1:
                lost.append(packet)
            return lost[-1:] == [packet]

        reported: list[int] = []  # the middle 32 bits of each report that we sent

        def note(packets: list[RtcpPacket], _: float) -> None:
            for packet in packets:
                if isinstance(packet, ReceiverReport):
                    echoes.extend(packet.reports)

        echoes: list[ReportBlock] = []
        alice.on_rtcp.append(note)
        send = alice.send_rtcp

        def send_and_note(*packets: RtcpPacket | bytes) -> None:
            reported.extend(packet.ntp >> 16 & 0xFFFFFFFF for packet in packets if isinstance(packet, SenderReport))
            send(*packets)

        alice.send_rtcp = send_and_note  # type: ignore[method-assign]
        await alice.play(source, seconds=3.5, lose=lose)
        await alice.until(lambda: len(echoes) >= 3, PATIENCE)
        last = echoes[-1]
        assert {block.ssrc for block in echoes} == {1}
        assert 0.15 < last.fraction_lost / 256 < 0.25
        cycles, number = divmod(last.highest_sequence, 65536)
        assert cycles == 1
        behind = (source.sequence_number - number) % 65536
        expected = last.highest_sequence - 65500 + 1
        assert last.packets_lost == sum((packet.sequence_number - 65500) % 65536 < expected for packet in lost)
        assert behind <= 60
        assert last.jitter < 48000  # of a second
        assert last.last_sr in reported
        assert 0 <= last.delay_since_last_sr < 5 * 65536
        round_trip = ((ntp_now() >> 16) - last.last_sr - last.delay_since_last_sr) % (1 << 32) / 65536
        assert 0 <= round_trip < 10
        assert not alice.rtcp(Nack)


async def test_the_server_learns_the_round_trip_and_the_loss_of_a_subscriber(
    server: ServerProcess, channel: str
) -> None:
    feedback = FeedbackOptions(reports=True)
    async with people(server.url, channel, alice={}, bob={"feedback": feedback}) as (alice, bob):
        published = await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        await bob.subscribe(published.track_id)
        await alice.play(VideoSource(ssrc=1, payload_type=120), seconds=3.5)
        stats = await bob.api.call("GET", f"/sessions/{bob.session_id}/stats")
        assert 0 <= stats["rtt"] < 1
        (track,) = stats["tracks"]
        assert track["direction"] == "outgoing"
        assert track["packets_lost"] == 0


async def test_feedback_on_every_packet_of_a_publisher_with_transport_cc(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}) as (alice,):
        await alice.publish("VP8", ssrc=1, rtx_ssrc=2)
        await alice.publish("opus", ssrc=3)
        video, audio = VideoSource(ssrc=1, payload_type=120), AudioSource(ssrc=3, payload_type=109)
        lost: set[int] = set()

        def lose(packet: RtpPacket) -> bool:
            """Withheld after it was numbered: the transport-wide number is lost with it."""
            if packet.ssrc == 1 and video.frames_sent in (20, 40) and packet.marker:
                stamped = alice._stamp(packet)
                lost.add(int.from_bytes(stamped.extensions[EXTENSION_IDS["transport_cc"]]))
                return True
            return False

        await alice.play(video, audio, seconds=2.5, lose=lose)
        count = video.packets_sent + audio.packets_sent
        await alice.until(lambda: sum(len(one.arrivals) for one in alice.rtcp(TransportFeedback)) >= count, PATIENCE)
        feedback = alice.rtcp(TransportFeedback)
        # Every 50–100 ms, by the server's own clock; the median, since a busy machine may hold one up.
        spans = [[at for at in one.arrivals if at is not None] for one in feedback]
        began = [span[0] for span in spans]
        apart = [after - before for before, after in zip(began, began[1:], strict=False)]
        assert 0.05 <= median(apart) <= 0.1
        bases = [one.base for one in feedback]
        assert [(a + len(one.arrivals)) & 0xFFFF for a, one in zip(bases, feedback, strict=True)][:-1] == bases[1:]
        assert set(steps([one.feedback_count for one in feedback], 8)) == {1}
        arrivals = {one.base + index: at for one in feedback for index, at in enumerate(one.arrivals)}
        assert {number for number, at in arrivals.items() if at is None} == lost
        times = [at for number, at in sorted(arrivals.items()) if at is not None]
        assert times == sorted(times)
        assert 2 < times[-1] - times[0] < 10
        assert not alice.rtcp(Remb)


async def test_remb_for_a_publisher_without_transport_cc(server: ServerProcess, channel: str) -> None:
    ids = {name: number for name, number in extension_ids("video").items() if name != "transport_cc"}
    feedback = [entry for entry in VIDEO_FEEDBACK if entry["type"] != "transport-cc"]
    async with people(server.url, channel, alice={}) as (alice,):
        await alice.publish("VP8", ssrc=1, rtx_ssrc=2, extensions=ids, feedback=feedback)
        await alice.play(VideoSource(ssrc=1, payload_type=120), seconds=2.5)
        estimates = alice.rtcp(Remb)
        assert len(estimates) >= 2
        assert {estimate.ssrcs for estimate in estimates} == {(1,)}
        assert all(100_000 <= estimate.bitrate_bps <= 10_000_000 for estimate in estimates)
        assert not alice.rtcp(TransportFeedback)


async def test_no_feedback_that_was_not_negotiated(server: ServerProcess, channel: str) -> None:
    async with people(server.url, channel, alice={}, bob={}) as (alice, bob):
        published = await alice.publish("VP8", ssrc=1, rtx=False, feedback=[], extensions={"mid": 4})
        subscription = await bob.subscribe(published.track_id)
        source = VideoSource(ssrc=1, payload_type=120)
        await alice.play(source, seconds=1.5, lose=lambda packet: source.frames_sent == 20 and not packet.marker)
        await arrived(bob, subscription, 100)
        kinds = {type(packet).__name__ for packet in alice.rtcp()}
        assert kinds <= {"ReceiverReport", "SourceDescription"}
