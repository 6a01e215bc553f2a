"""The tests' own packet formats, against the RFCs' pictures and against aiortc's."""

from contextlib import suppress

import aiortc.rtp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rtcp_packet import (
    Bye,
    Fir,
    Nack,
    Pli,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    Unknown,
    parse_rtcp,
)
from tests.support.rtp_packet import RtpPacket

# version 2, padding, extension, one CSRC | marker, PT 96 | sequence 1 | timestamp 2 | SSRC 3 | CSRC 4
# 0xBEDE, one word: id 1, three bytes | payload aa bb | two bytes of padding
VECTOR = bytes.fromhex("b1e0000100000002 00000003 00000004 bede0001 12616263 aabb 0002".replace(" ", ""))


def test_a_packet_with_everything_parses_and_serializes() -> None:
    packet = RtpPacket.parse(VECTOR)
    assert packet == RtpPacket(96, 1, 2, 3, b"\xaa\xbb", True, (4,), {1: b"abc"}, 2)
    assert packet.serialize() == VECTOR


@given(
    st.builds(
        RtpPacket,
        payload_type=st.integers(0, 127),
        sequence_number=st.integers(0, 65535),
        timestamp=st.integers(0, 2**32 - 1),
        ssrc=st.integers(0, 2**32 - 1),
        payload=st.binary(max_size=50),
        marker=st.booleans(),
        csrcs=st.lists(st.integers(0, 2**32 - 1), max_size=15).map(tuple),
        extensions=st.dictionaries(st.integers(1, 255), st.binary(max_size=255), max_size=4),
        padding=st.integers(0, 255),
    )
)
def test_any_packet_survives_a_round_trip(packet: RtpPacket) -> None:
    assert RtpPacket.parse(packet.serialize()) == packet


@given(st.binary(max_size=80))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    for parse in (RtpPacket.parse, parse_rtcp):
        with suppress(ValueError):
            parse(data)


PACKETS = [
    SenderReport(1, 2**63 + 5, 6, 7, 8, (ReportBlock(9, 128, -3, 70000, 4, 5, 6),)),
    ReceiverReport(1, (ReportBlock(2), ReportBlock(3, packets_lost=12))),
    SourceDescription({1: "someone", 2: "x"}),
    Bye((1, 2)),
    Nack(1, 2, (65534, 65535, 3, 40)),
    Pli(1, 2),
    Fir(1, ((2, 3),)),
    Remb(1, 1_500_000 >> 3 << 3, (5, 6)),
    TransportFeedback(1, 2, 65533, 4, (1.0, None, 1.01025, 1.0, 1.2) + (1.25,) * 20),
    Unknown(204, 3, b"abcdefgh"),
]


@pytest.mark.parametrize("packet", PACKETS, ids=lambda packet: type(packet).__name__)
def test_rtcp_survives_a_round_trip(packet: object) -> None:
    assert parse_rtcp(packet.serialize()) == [packet]  # type: ignore[attr-defined]


def test_a_compound_is_a_list() -> None:
    assert parse_rtcp(b"".join(packet.serialize() for packet in PACKETS)) == PACKETS


def test_run_length_feedback_parses() -> None:
    # base 7, four packets, reference time 64 ms, two runs: three small deltas, one missing
    body = bytes.fromhex("00000001 00000002 0007 0004 000001 00 2003 0001 04 08 0c 00".replace(" ", ""))
    parsed = parse_rtcp(bytes.fromhex("8fcd0006") + body)
    assert parsed == [TransportFeedback(1, 2, 7, 0, (0.065, 0.067, 0.07, None))]


def test_aiortc_reads_the_same() -> None:
    (nack,) = aiortc.rtp.RtcpPacket.parse(Nack(1, 2, (65534, 65535, 3, 40)).serialize())
    assert isinstance(nack, aiortc.rtp.RtcpRtpfbPacket)
    assert [lost % 65536 for lost in nack.lost] == [65534, 65535, 3, 40]  # aiortc does not wrap within one item
    (remb,) = aiortc.rtp.RtcpPacket.parse(Remb(1, 1_500_000, (5,)).serialize())
    assert aiortc.rtp.unpack_remb_fci(remb.fci) == (1_500_000 >> 3 << 3, [5])
    packet = aiortc.rtp.RtpPacket.parse(VECTOR)
    assert (packet.ssrc, packet.payload, packet.marker) == (3, b"\xaa\xbb", 1)
