"""Counters after hours: row 23 of section A. A node in this process, whose counters are set to just below their
wrap."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sluicegate import app
from sluicegate.config import Settings
from sluicegate.router.plane import Plane
from tests.support.feedback import FeedbackOptions
from tests.support.rtc_client import ScriptedClient
from tests.support.rtcp_packet import ReceiverReport, SenderReport
from tests.support.server import free_tcp_port, free_udp_ports
from tests.support.sources import AudioSource, VideoSource

WRAP = 1 << 32


@asynccontextmanager
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, Plane]]:
    """A whole node on this event loop: its URL, and its plane."""
    planes: list[Plane] = []

    def made(*arguments: Any, **options: Any) -> Plane:
        planes.append(Plane(*arguments, **options))
        return planes[-1]

    monkeypatch.setattr(app, "Plane", made)
    first, port = free_udp_ports(4), free_tcp_port()
    settings = Settings(port=port, rtc_min_port=first, rtc_max_port=first + 3, announced_addresses=("127.0.0.1",))
    async with app.node(settings):
        yield f"http://127.0.0.1:{port}", planes[0]


async def test_a23_packet_and_octet_counts_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 3550 §6.4.1 counts modulo 2^32; aiortc raised an error there (#792), Janus gave up after six hours
    (#2217)."""
    async with node(monkeypatch) as (url, plane):
        options = FeedbackOptions(reports=True)
        async with (
            ScriptedClient.joined(url, "room", "alice") as alice,
            ScriptedClient.joined(url, "room", "bob", feedback=options) as bob,
        ):
            audio = await alice.publish("opus", ssrc=1)
            video = await alice.publish("VP8", ssrc=2, rtx_ssrc=3)
            heard, seen = await bob.subscribe(audio.track_id), await bob.subscribe(video.track_id)
            sound = AudioSource(ssrc=1, payload_type=audio.payload_type)
            picture = VideoSource(ssrc=2, payload_type=video.payload_type, packets_per_frame=1, size_bytes=200)
            playing = asyncio.create_task(alice.play(sound, picture, seconds=4.0))
            await bob.until(lambda: len(bob.rtp(seen.ssrc)) > 5 and len(bob.rtp(heard.ssrc)) > 5)
            tables = plane.tables
            used = [row for row in tables.send_streams if row.in_use]
            assert len(used) == 2
            for row in used:
                row.packets, row.octets, row.bytes = WRAP - 10, WRAP - 10, WRAP - 10
            for row in tables.receive_streams:
                if row.in_use:
                    row.packets, row.bytes, row.received = WRAP - 10, WRAP - 10, row.received
            for row in tables.transports:
                if row.in_use:
                    for name in ("packets_received", "bytes_received", "packets_sent", "bytes_sent", "remb_bytes"):
                        row[name] = WRAP - 10
            row = tables.counters[0]
            for name in ("packets_in", "bytes_in", "packets_out", "bytes_out", "datagrams"):
                row[name] = WRAP - 10
            bob.rtcp_log.clear()
            await playing
            reports = [one for one in bob.rtcp(SenderReport) if isinstance(one, SenderReport)]
            wrapped = {one.ssrc: one for one in reports}
            assert set(wrapped) == {heard.ssrc, seen.ssrc}
            for report in wrapped.values():
                assert 0 < report.packets < 1000
                assert 0 < report.octets < 1_000_000
            assert any(one.reports for one in alice.rtcp(ReceiverReport, SenderReport))
            for client in (alice, bob):
                stats = await client.api.call("GET", f"/sessions/{client.session_id}/stats")
                assert all(one["bitrate"] >= 0 for one in stats["tracks"])
            metrics = await bob.api.request("GET", "/metrics")
            assert metrics.status == 200
            assert bob.gaps(heard) == 0


async def test_a23_sequence_numbers_and_losses_of_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream whose extended numbers are far beyond 32 bits, and that has lost more than 24 bits can say."""
    async with node(monkeypatch) as (url, plane):
        async with (
            ScriptedClient.joined(url, "room", "alice") as alice,
            ScriptedClient.joined(url, "room", "bob") as bob,
        ):
            audio = await alice.publish("opus", ssrc=1)
            heard = await bob.subscribe(audio.track_id)
            sound = AudioSource(ssrc=1, payload_type=audio.payload_type)
            playing = asyncio.create_task(alice.play(sound, seconds=4.0))
            await bob.until(lambda: len(bob.rtp(heard.ssrc)) > 5)
            for row in plane.tables.receive_streams:
                if row.in_use:
                    row.base_sequence -= (1 << 34) + (1 << 25)  # as if it had begun long ago, and lost most of it
            alice.rtcp_log.clear()
            await playing
            blocks = [block for one in alice.rtcp(ReceiverReport, SenderReport) for block in one.reports]  # type: ignore[union-attr]
            assert blocks
            assert all(block.packets_lost == 0x7FFFFF for block in blocks)  # clamped, not wrapped to a gain
            assert bob.gaps(heard) == 0
