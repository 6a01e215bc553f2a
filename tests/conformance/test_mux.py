"""Statements 16 to 18 and 35 to 37 of section D: one port for everything, header extensions, simulcast, RED."""

import asyncio

import pytest

from tests.attacks.strangers import Drops
from tests.conformance.support import call, quiet, raw
from tests.support import payloads
from tests.support.api import ApiFailure
from tests.support.parameters import EXTENSION_IDS, rtp_capabilities
from tests.support.payloads import read_mark
from tests.support.rtc_client import ScriptedClient
from tests.support.rtcp_packet import ReceiverReport
from tests.support.rtp_packet import RtpPacket
from tests.support.server import ServerProcess
from tests.support.sources import VideoSource


async def test_16_each_first_byte_finds_its_protocol(server: ServerProcess, channel: str) -> None:
    """STUN 0–3, DTLS 20–63, RTP and RTCP 128–191 (RFC 7983 §7): all on one 5-tuple."""
    async with call(server, channel) as c:
        await c.delivered(2)  # RTP both ways, after STUN and DTLS
        await c.publisher.until(lambda: c.publisher.rtcp(ReceiverReport))
        firsts = {received.data[0] for received, _ in c.subscriber.stun_log}
        assert firsts and firsts <= {0, 1}
        assert {received.data[0] for received in c.subscriber.dtls_log} <= set(range(20, 64))
        assert c.subscriber.other_log == []


async def test_16_all_other_first_bytes_are_ignored(server: ServerProcess, channel: str) -> None:
    """4–19, 64–127 (TURN channels, ZRTP, QUIC) and 192–255, of a member and of a stranger: no answer, no harm."""
    async with call(server, channel) as c:
        await c.delivered()
        drops = Drops(server)
        others = [*range(4, 20), *range(64, 128), *range(192, 256)]
        for first in others:
            c.publisher.send_raw(bytes([first]) + bytes(39))
            c.subscriber.send_raw(bytes([first]) + bytes(39))
        await drops.until(2 * len(others), "unclassified")
        c.publisher.send_raw(b"")
        await c.delivered(2)
        assert c.subscriber.other_log == []


async def test_17_rtcp_is_told_from_rtp_by_its_type(server: ServerProcess, channel: str) -> None:
    """RFC 5761 §4: 64–95 in the second byte is RTCP; what the server sends keeps to that."""
    async with call(server, channel) as c:
        await c.delivered(3)
        await c.subscriber.until(lambda: c.subscriber.rtcp_log)
        assert all(192 <= received.data[1] <= 223 for received in c.subscriber.rtcp_log)
        assert all(not 64 <= received.data[1] & 0x7F <= 95 for received in c.subscriber.rtp_log)


@pytest.mark.parametrize("payload_type", [64, 72, 95])
async def test_17_payload_types_that_rtcp_has_are_refused(
    server: ServerProcess, channel: str, payload_type: int
) -> None:
    """To publish under one is a mistake; to ask for one gets nothing under it; and RTCP on another port is refused."""
    async with ScriptedClient(server.url, channel, "publisher") as publisher:
        await publisher.create()
        good = await publisher.publish("opus", ssrc=1)
        for change, pointer in (
            ({"payloadType": payload_type}, "/rtp_parameters/codecs/0/payloadType"),
            ({}, "/rtp_parameters/rtcp/mux"),
        ):
            parameters = {**good.rtp_parameters, "encodings": [{"ssrc": 2}], "mid": "other"}
            parameters["codecs"] = [{**parameters["codecs"][0], **change}]
            if not change:
                parameters["rtcp"] = {**parameters["rtcp"], "mux": False}
            body = {"kind": "audio", "rtp_parameters": parameters}
            with pytest.raises(ApiFailure) as failure:
                await publisher.api.call("POST", f"/sessions/{publisher.session_id}/publish", body)
            assert failure.value.pointers == [pointer]
        with pytest.raises(ApiFailure) as failure:
            await publisher.subscribe(good.track_id, rtp_capabilities(("opus",), payload_types={"opus": payload_type}))
        assert failure.value.status == 422


async def test_18_all_media_of_a_session_is_on_one_5_tuple(server: ServerProcess, channel: str) -> None:
    """Tracks are told apart by MID where their SSRCs were not announced (RFC 9143 §9.2)."""
    async with (
        ScriptedClient.joined(server.url, channel, "publisher") as publisher,
        ScriptedClient.joined(server.url, channel, "subscriber") as subscriber,
    ):
        tracks = {
            mid: await publisher.publish("VP8", encodings=[{"rid": "r"}], mid=mid) for mid in ("a", "bb", "c" * 16)
        }
        got = {mid: await subscriber.subscribe(track.track_id) for mid, track in tracks.items()}
        assert len({one.rtp_parameters["mid"] for one in got.values()}) == 3
        for number, mid in enumerate(tracks):
            source = VideoSource(ssrc=70 + number, payload_type=120, packets_per_frame=1, size_bytes=100)
            for _ in range(3):
                for packet in source.next_frame():
                    packet.extensions |= {EXTENSION_IDS["mid"]: mid.encode(), EXTENSION_IDS["rid"]: b"r"}
                    publisher.send_rtp(packet)
        await subscriber.until(lambda: all(len(subscriber.rtp(one.ssrc)) == 3 for one in got.values()))
        for number, one in enumerate(got.values()):
            assert {read_mark(packet.payload)[0] for packet in subscriber.rtp(one.ssrc)} == {70 + number}
            mids = {packet.extensions[one.extensions["mid"]].decode() for packet in subscriber.rtp(one.ssrc)}
            assert mids == {one.rtp_parameters["mid"]}


async def test_18_a_meaning_twice_and_a_mid_of_nobody(server: ServerProcess, channel: str) -> None:
    """One payload type for two codecs, one MID for two tracks: refused. Packets of an unknown MID: dropped."""
    async with call(server, channel, "VP8", mid="cam") as c:
        await c.delivered()
        parameters = c.published.rtp_parameters
        for changed in (
            {
                **parameters,
                "codecs": [*parameters["codecs"], {**parameters["codecs"][0]}],
                "encodings": [{"ssrc": 5}],
                "mid": "x",
            },
            {**parameters, "encodings": [{"ssrc": 5}]},
        ):
            body = {"kind": "video", "rtp_parameters": changed}
            with pytest.raises(ApiFailure) as failure:
                await c.publisher.api.call("POST", f"/sessions/{c.publisher.session_id}/publish", body)
            assert failure.value.status == 422
        drops = Drops(server)
        stray = c.source.next_frame()[0].altered(ssrc=77)
        stray.extensions |= {EXTENSION_IDS["mid"]: b"nobody", EXTENSION_IDS["rid"]: b"r"}
        c.publisher.send_rtp(stray)
        await drops.until(1, "unknown_stream")
        assert len(c.received()) == 1


def block(profile: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return profile.to_bytes(2) + (len(body) // 4).to_bytes(2) + body


LEVEL = EXTENSION_IDS["audio_level"]


@pytest.mark.parametrize(
    ("what", "blocked", "level"),
    [
        ("one byte", block(0xBEDE, bytes([LEVEL << 4, 33])), 33),
        ("two bytes", block(0x1000, bytes([LEVEL, 1, 33])), 33),
        ("two bytes with application bits", block(0x100F, bytes([LEVEL, 1, 33])), 33),
        ("padding before and between", block(0xBEDE, bytes([0, 0, 0x90, 7, 0, LEVEL << 4, 33, 0])), 33),
        ("a zero id with a length", block(0xBEDE, bytes([0x05, LEVEL << 4, 33])), None),
        ("two-byte padding", block(0x1000, bytes([0, 0, LEVEL, 1, 33])), 33),
        ("an element of no bytes before", block(0x1000, bytes([9, 0, LEVEL, 1, 33])), 33),
        ("behind id 15", block(0xBEDE, bytes([0xF0, 0, LEVEL << 4, 33])), None),
        ("of two bytes where one is right", block(0xBEDE, bytes([LEVEL << 4 | 1, 33, 34])), None),
        ("beyond the end", block(0xBEDE, bytes([0x93, 1, 2, 3, 4, LEVEL << 4 | 3, 33])), None),
        ("of another profile", block(0xABCD, bytes([LEVEL << 4, 33])), None),
    ],
)
async def test_35_header_extensions_in_both_forms(
    server: ServerProcess, channel: str, what: str, blocked: bytes, level: int | None
) -> None:
    """RFC 8285: one and two bytes may be mixed, id 0 is padding, id 15 ends; the packet is forwarded in any case."""
    async with call(server, channel) as c:
        c.publisher.send_rtp(raw(c.source.next_frame()[0], first=0x90, block=blocked))
        await c.until(1)
        (packet,) = c.received()
        found = packet.extensions.get(c.subscribed.extensions["audio_level"])
        assert found == (None if level is None else bytes([level])), what
        assert packet.extensions[c.subscribed.extensions["mid"]].decode() == c.subscribed.rtp_parameters["mid"]


async def test_35_an_id_stands_for_one_extension(server: ServerProcess, channel: str) -> None:
    async with ScriptedClient(server.url, channel, "publisher") as publisher:
        await publisher.create()
        for extensions in ({"mid": 3, "audio_level": 3}, {"mid": 0}, {"mid": 256}):
            with pytest.raises(ApiFailure) as failure:
                await publisher.publish("opus", ssrc=1, extensions=extensions)
            assert failure.value.status == 422


async def test_36_encodings_are_found_by_rid(server: ServerProcess, channel: str) -> None:
    """RFC 8852: also with RTX found by the repaired RID; a paused encoding simply does not come."""
    async with (
        ScriptedClient.joined(server.url, channel, "publisher") as publisher,
        ScriptedClient.joined(server.url, channel, "subscriber") as subscriber,
    ):
        encodings = [{"rid": "lo"}, {"rid": "hi", "active": False}]
        published = await publisher.publish("VP8", encodings=encodings, mid="cam")
        got = await subscriber.subscribe(published.track_id)
        assert got.type == "simulcast"
        source = VideoSource(ssrc=91, payload_type=published.payload_type, packets_per_frame=1, size_bytes=100)
        identity = {EXTENSION_IDS["mid"]: b"cam", EXTENSION_IDS["rid"]: b"lo"}
        lost = []
        for number in range(20):
            for packet in source.next_frame():
                packet.extensions |= identity
                if number == 10:
                    lost.append(packet)
                else:
                    publisher.send_rtp(packet)
            await asyncio.sleep(0.01)
        (missing,) = lost
        repair = payloads.rtx(missing, ssrc=92, payload_type=published.rtx_payload_type or 0, sequence_number=5)
        repair.extensions = {EXTENSION_IDS["mid"]: b"cam", EXTENSION_IDS["repaired_rid"]: b"lo"}
        publisher.send_rtp(repair)
        await subscriber.until(lambda: len(subscriber.rtp(got.ssrc)) == 20)
        assert {read_mark(packet.payload)[1] for packet in subscriber.rtp(got.ssrc)} == set(range(20))


@pytest.mark.parametrize("rid", ["a b", "a" * 17, "ä", "", "a\n"])
async def test_36_a_rid_that_is_none_is_refused(server: ServerProcess, channel: str, rid: str) -> None:
    async with ScriptedClient(server.url, channel, "publisher") as publisher:
        await publisher.create()
        with pytest.raises(ApiFailure) as failure:
            await publisher.publish("VP8", encodings=[{"rid": rid}])
        assert failure.value.status == 422


async def test_37_red_goes_to_those_who_take_it(server: ServerProcess, channel: str) -> None:
    """RFC 2198: whoever negotiated RED gets it whole, the others the Opus that it carries."""
    async with call(server, channel, red=True) as c:
        plain = await c.subscriber.subscribe(c.published.track_id, rtp_capabilities(("opus",)))
        red_type = next(
            one["payloadType"] for one in c.subscribed.rtp_parameters["codecs"] if one["mimeType"] == "audio/red"
        )
        primary = payloads.opus(40, payloads.mark(5, 5))
        packed = payloads.red(primary, payload_type=109, redundant=[(960, b"\x78old")])
        packet = c.source.next_frame()[0]
        c.publisher.send_rtp(packet.altered(payload_type=63, payload=packed))
        await c.subscriber.until(lambda: c.received() and c.subscriber.rtp(plain.ssrc))
        (whole,), (part,) = c.received(), c.subscriber.rtp(plain.ssrc)
        assert (whole.payload_type, whole.payload) == (red_type, packed)
        assert (part.payload_type, part.payload) == (plain.payload_type, primary)
        assert all(one["mimeType"] != "audio/red" for one in plain.rtp_parameters["codecs"])


async def test_37_fec_that_nobody_negotiated_is_not_passed_on(server: ServerProcess, channel: str) -> None:
    """A publisher may list FlexFEC and ULPFEC; they are in nobody's parameters, and their packets go nowhere."""
    async with call(server, channel, "VP8") as c:
        await c.delivered()
        parameters = c.published.rtp_parameters
        fec = [
            {"mimeType": "video/flexfec-03", "payloadType": 50, "clockRate": 90000, "parameters": {"repair-window": 1}},
            {"mimeType": "video/ulpfec", "payloadType": 51, "clockRate": 90000},
        ]
        changed = {**parameters, "codecs": [*parameters["codecs"], *fec], "encodings": [{"ssrc": 5}], "mid": "fec"}
        body = {"kind": "video", "rtp_parameters": changed}
        answer = await c.publisher.api.call("POST", f"/sessions/{c.publisher.session_id}/publish", body)
        got = await c.subscriber.subscribe(answer["track_id"])
        assert {one["mimeType"] for one in got.rtp_parameters["codecs"]} == {"video/VP8", "video/rtx"}
        for number, payload_type in enumerate((50, 51, 63)):
            c.publisher.send_rtp(
                RtpPacket(payload_type, 10 + number, 0, 5, payloads.fill(b"\x10\x00\x00\x00", 60, b""))
            )
        await quiet()
        assert c.subscriber.rtp(got.ssrc) == []
