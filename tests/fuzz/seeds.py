"""Real datagrams to begin with: what clients send before and after they are known, in the clear."""

import struct

from tests.support import ice, payloads
from tests.support.dtls import DtlsEndpoint
from tests.support.parameters import EXTENSION_IDS
from tests.support.rtcp_packet import (
    PSFB,
    RTPFB,
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
    pack,
)
from tests.support.rtp_packet import RtpPacket
from tests.support.sources import AudioSource, VideoSource

DESCRIPTOR = bytes.fromhex("800001800214eaa860414d141020842701df010d")


def stun(credentials: ice.IceCredentials) -> list[bytes]:
    """Checks and other STUN messages."""
    made = [
        bytes(ice.binding_request(credentials, use_candidate=use, controlling=controlling))
        for use in (True, False)
        for controlling in (True, False)
    ]
    made += [
        bytes(ice.binding_request(credentials, integrity=False)),
        bytes(ice.binding_request(credentials, attributes={"REALM": "example", "NONCE": b"nonce"})),
        b"\x00\x11\x00\x00\x21\x12\xa4\x42" + bytes(12),
        b"\x01\x01\x00\x0c\x21\x12\xa4\x42" + bytes(12) + b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43",
    ]
    return made


def dtls() -> list[bytes]:
    """All flights of a handshake, and what may come beside it."""
    client, server = DtlsEndpoint(client=True), DtlsEndpoint(client=False)
    flights: list[bytes] = []
    client.handshake()
    while not (client.finished and server.finished):
        for one, other in ((client, server), (server, client)):
            for datagram in one.datagrams():
                flights.append(datagram)
                other.receive(datagram)
    client.shutdown()
    return [
        *flights,
        *client.datagrams(),
        b"\x15\xfe\xfd\x00\x00" + bytes(6) + b"\x00\x02\x02\x28",
        b"\x14\xfe\xfd\x00\x00" + bytes(6) + b"\x00\x01\x01",
        b"\x17\xfe\xfd\x00\x01" + bytes(6) + b"\x00\x05hello",
    ]


def rtp(codec: str, ssrc: int, payload_type: int, rtx: tuple[int, int] | None = None) -> list[bytes]:
    """Packets of one stream with its header extensions, and retransmissions of them."""
    source: AudioSource | VideoSource
    if codec == "opus":
        source = AudioSource(
            ssrc=ssrc, payload_type=payload_type, sequence_number=100, audio_level_id=EXTENSION_IDS["audio_level"]
        )
    else:
        source = VideoSource(
            codec=codec,
            ssrc=ssrc,
            payload_type=payload_type,
            sequence_number=100,
            packets_per_frame=2,
            size_bytes=120,
            temporal_ids=(0, 2, 1, 2),
            spatial_layers=2 if codec == "VP9" else 1,
            key_every=5,
        )
    packets: list[RtpPacket] = []
    for _ in range(8):
        for packet in source.next_frame():
            packet.extensions |= {EXTENSION_IDS["mid"]: b"0", EXTENSION_IDS["transport_cc"]: b"\x00\x01"}
            packet.extensions |= {EXTENSION_IDS["abs_send_time"]: b"\x01\x02\x03"}
            if codec in ("AV1", "H264"):
                packet.extensions[EXTENSION_IDS["dependency_descriptor"]] = DESCRIPTOR
            packets.append(packet)
    made = [packet.serialize() for packet in packets]
    made += [packet.altered(padding=9, csrcs=(1, 2)).serialize(two_byte=True) for packet in packets[:3]]
    if rtx is not None:
        made += [
            payloads.rtx(packet, ssrc=rtx[0], payload_type=rtx[1], sequence_number=number).serialize()
            for number, packet in enumerate(packets)
        ]
    return made


def rtcp(ssrcs: tuple[int, ...], media: tuple[int, ...]) -> list[bytes]:
    """RTCP of a peer that publishes `ssrcs` and receives `media`."""
    made: list[bytes] = []
    for ssrc in media:
        block = ReportBlock(ssrc, 1, 2, 3, 4, 5, 6)
        made += [
            ReceiverReport(1, (block, block)).serialize(),
            Nack(1, ssrc, (1, 2, 3, 40, 41)).serialize(),
            Pli(1, ssrc).serialize(),
            Fir(1, ((ssrc, 1), (ssrc, 2))).serialize(),
            Remb(1, 300_000, (ssrc,)).serialize(),
            TransportFeedback(1, ssrc, 5, 1, tuple([1.0 + n / 1000 if n % 7 else None for n in range(50)])).serialize(),
            pack(RTPFB, 15, struct.pack("!IIHHI", 1, ssrc, 0, 300, 1 << 8) + b"\x20\xff\xd5\x55\xbf\xff" + bytes(40)),
            pack(PSFB, 15, struct.pack("!II", 1, ssrc) + b"test" + bytes(8)),
        ]
    for ssrc in ssrcs:
        made += [
            SenderReport(ssrc, 1 << 60, 1000, 10, 1000).serialize() + SourceDescription({ssrc: "name"}).serialize(),
            Bye((ssrc,)).serialize(),
            pack(207, 0, struct.pack("!I", ssrc) + b"\x04\x00\x00\x02" + bytes(8)),
        ]
    return made
