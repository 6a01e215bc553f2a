"""Every parser by itself, for atheris and for seeded mutations.

    python -m tests.fuzz.targets stun -max_total_time=60        (atheris; options are libFuzzer's)
    python -m tests.fuzz.targets --all 60                       (each of them for so many seconds)
    python -m tests.fuzz.targets --seeded 5000                  (all of them, without atheris)

The compiled parsers run as plain Python (`NUMBA_DISABLE_JIT=1`): numpy then checks the bounds of every read, which no
fuzzer of compiled code would see. A target raises for whatever it finds.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

import msgspec
import numpy as np

from tests.fuzz import seeds
from tests.fuzz.mutations import Mutator
from tests.support import ice, payloads
from tests.support.parameters import rtp_capabilities, rtp_parameters
from tests.support.rtp_packet import RtpPacket

if __name__ == "__main__" and sys.argv[1:] and not sys.argv[1].startswith("--"):
    import atheris

    _importing: Any = atheris.instrument_imports(include=["sluicegate"])
else:
    _importing = contextlib.nullcontext()

with _importing:  # what atheris is to see the coverage of must be imported under its eyes
    from sluicegate.dtls.certificate import parse_fingerprints
    from sluicegate.dtls.records import HandshakeGuard, is_client_hello, pack_datagrams, split_records
    from sluicegate.errors import ApiError, Invalid, Malformed, ParseError
    from sluicegate.http.schemas import BodyDecoder
    from sluicegate.ice.credentials import Credentials
    from sluicegate.ice.lite_agent import LiteAgent
    from sluicegate.ice.stun import parse_message
    from sluicegate.ortc.negotiate import negotiate_publish, negotiate_subscribe
    from sluicegate.router.kernel.header import parse_header
    from sluicegate.router.tables import PACKET
    from sluicegate.rtp.names import MediaKind
    from sluicegate.rtp.payload.av1 import parse_av1
    from sluicegate.rtp.payload.dependency_descriptor import STRUCTURE, parse_dependency_descriptor
    from sluicegate.rtp.payload.descriptor import new_descriptors
    from sluicegate.rtp.payload.h264 import parse_h264
    from sluicegate.rtp.payload.vp8 import parse_vp8
    from sluicegate.rtp.payload.vp9 import parse_vp9
    from sluicegate.rtp.rtcp.transport_cc import read_transport_cc
    from sluicegate.session import requests

MOST_FEEDBACK = 1024
DECODERS = [
    BodyDecoder(kind)
    for kind in (
        requests.CreateSession,
        requests.Connect,
        requests.Publish,
        requests.TrackPatch,
        requests.Subscribe,
        requests.SubscriptionPatch,
        requests.SessionPatch,
        requests.Routes,
    )
]
PUBLISH, SUBSCRIBE = BodyDecoder(requests.Publish), BodyDecoder(requests.Subscribe)
CREDENTIALS = Credentials("fragment", "password-of-thirty-two-characters")


def stun(data: bytes) -> None:
    """A message or ParseError; and the agent answers nothing that is longer than one and a half times the question."""
    try:
        parse_message(data)
    except ParseError:
        pass
    agent = LiteAgent(CREDENTIALS)
    agent.receive_datagram(data, ("192.0.2.1", 1), 0.0)
    for answer, _ in agent.datagrams_to_send():
        assert len(answer) <= max(1.5 * len(data), 96)


def dtls(data: bytes) -> None:
    """Cutting datagrams into records loses and invents nothing, and the guard stays within its bounds."""
    records = list(split_records(data))
    assert data.startswith(b"".join(records))
    assert b"".join(pack_datagrams(records)) == b"".join(records)
    is_client_hello(data)
    guard = HandshakeGuard()
    for record in records:
        guard.admits(record)
    assert guard._total <= 32 * 1024


def http(data: bytes) -> None:
    """Any body for any call: a value, 400 or 422."""
    for decoder in DECODERS:
        try:
            decoder.decode(data)
        except (Malformed, Invalid):
            pass


def ortc(data: bytes) -> None:
    """Whatever the schema lets through is negotiated, or refused with a pointer."""
    try:
        published = PUBLISH.decode(data)
        media = negotiate_publish(MediaKind[published.kind.name], published.rtp_parameters)
    except ApiError as error:
        assert error.status in (400, 422)
        return
    assert all(0 < number < 16 for number in media.extensions.values())
    assert all(0 <= number < 128 and not 64 <= number <= 95 for number in media.payload_types)
    for body in (ALL_CAPABILITIES, data):
        try:
            wanted = SUBSCRIBE.decode(body)
            negotiate_subscribe(media, wanted.rtp_capabilities, mid="0", ssrc=1, rtx_ssrc=2, cname="c")
        except ApiError as error:
            assert error.status in (400, 422)


def fingerprints(data: bytes) -> None:
    """Algorithm and value, each whatever it is."""
    algorithm, _, value = data.decode("utf-8", "replace").partition(" ")
    try:
        parse_fingerprints([(algorithm, value)])
    except Invalid:
        pass


def payload(data: bytes) -> None:
    """The payload parsers, over arrays of exactly the payload's size."""
    array = np.frombuffer(data, np.uint8)
    for parser in (parse_vp8, parse_vp9, parse_h264, parse_av1):
        descriptor = new_descriptors(1)[0]
        parser(array, 0, len(array), descriptor)
        for offset in (descriptor.picture_id_offset, descriptor.tl0_offset):
            assert -1 <= offset < max(len(array), 1)


def dependency_descriptor(data: bytes) -> None:
    """Two descriptors, the second read with the structure of the first; each ends where its array does."""
    cut = data[0] % max(len(data), 1) if data else 0
    structure = np.zeros(1, STRUCTURE).view(np.recarray)[0]
    for part in (data[1 : 1 + cut], data[1 + cut :]):
        array = np.frombuffer(part, np.uint8)
        parse_dependency_descriptor(array, 0, len(array), structure, new_descriptors(1)[0])


def rtp_header(data: bytes) -> None:
    """The header parser: what it calls payload and elements lies within the packet, as the slow parser has it."""
    array = np.frombuffer(data, np.uint8)
    packet: Any = np.zeros(1, PACKET).view(np.recarray)[0]
    good = bool(parse_header(array, len(array), packet))
    try:
        expected: RtpPacket | None = RtpPacket.parse(data)
    except ValueError:
        expected = None
    if not good:
        return
    assert 12 <= packet.payload_start <= packet.payload_end <= len(data)
    for element in packet.elements:
        assert (element >> 8) + (element & 0xFF) <= len(data)
    if expected is not None:
        assert expected.payload == data[packet.payload_start : packet.payload_end]


def transport_cc(data: bytes) -> None:
    """Transport-wide feedback: no more statuses than there is room for, whatever it counts."""
    data = data[: 4 * 365] + bytes(-len(data) % 4)
    body = b"\x8f\xcd" + (len(data) // 4).to_bytes(2) + data
    array = np.frombuffer(body, np.uint8)
    if len(array) < 16:
        return
    sequences, arrivals = np.zeros(MOST_FEEDBACK, np.int64), np.zeros(MOST_FEEDBACK, np.int64)
    assert -1 <= read_transport_cc(array, 0, len(array), sequences, arrivals) <= MOST_FEEDBACK


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


ALL_CAPABILITIES = _json({"track_id": "t", "rtp_capabilities": rtp_capabilities()})


def bodies() -> list[bytes]:
    made = [
        {"type": "video", "channel_id": "room", "user_id": "alice", "preset": "low", "metadata": {"a": [1, 2.5, None]}},
        {"dtls_parameters": {"role": "auto", "fingerprints": [{"algorithm": "sha-256", "value": "AB:CD"}]}},
        {"track_id": "mix", "rtp_capabilities": rtp_capabilities(), "priority": 3},
        {"paused": True, "preferred_layers": {"spatial": 1, "temporal": 2}},
        {"default": 1, "gains": [{"listener": "*", "speaker": "bob", "gain": 0.5}]},
    ]
    return [_json(one) for one in made]


def publishes() -> list[bytes]:
    made = []
    for codec in ("opus", "VP8", "VP9", "H264", "AV1"):
        encodings = [{"ssrc": 1, "rtx": {"ssrc": 2}, "scalabilityMode": "L1T3"}, {"rid": "hi"}][
            : 1 if codec == "opus" else 2
        ]
        kind = "audio" if codec == "opus" else "video"
        made.append(_json({"kind": kind, "rtp_parameters": rtp_parameters(codec, encodings, red=codec == "opus")}))
    return made


def payload_seeds() -> list[bytes]:
    packets = [seeds.rtp(codec, 1, 96) for codec in ("VP8", "VP9", "H264", "AV1")]
    found = [RtpPacket.parse(data).payload for some in packets for data in some]
    return [*found, payloads.h264_stap_a([payloads.H264_SPS, payloads.H264_PPS]), payloads.AV1_SEQUENCE_HEADER]


Target = Callable[[bytes], None]
TARGETS: dict[str, tuple[Target, Callable[[], list[bytes]]]] = {
    "stun": (stun, lambda: seeds.stun(ice.IceCredentials("fragment", "password-of-thirty-two-characters"))),
    "dtls": (dtls, seeds.dtls),
    "http": (http, lambda: bodies() + publishes()),
    "ortc": (ortc, publishes),
    "fingerprints": (fingerprints, lambda: [b"sha-256 " + b":".join([b"AB"] * 32), b"sha-1 AB"]),
    "payload": (payload, payload_seeds),
    "dependency_descriptor": (
        dependency_descriptor,
        lambda: [bytes([len(seeds.DESCRIPTOR)]) + seeds.DESCRIPTOR + b"\x80\x00\x02", bytes([3]) + b"\x80\x00\x02" * 3],
    ),
    "rtp_header": (rtp_header, lambda: seeds.rtp("AV1", 1, 96) + seeds.rtp("opus", 2, 109)),
    "transport_cc": (transport_cc, lambda: [data[4:] for data in seeds.rtcp((1,), (2,))]),
}


def seeded(count: int, seed: int = 1) -> str:
    """`count` mutations for each target; raises with the input that a target fails for."""
    for name, (target, made) in TARGETS.items():
        draw, inputs = Mutator(f"{name}/{seed}"), made()
        for data in (*inputs, b"", *(draw.mutated(inputs) for _ in range(count))):
            try:
                target(data)
            except Exception as error:
                raise AssertionError(f"{name}: {data.hex()}: {type(error).__name__}: {error}") from error
    return f"{count} mutations each of {', '.join(TARGETS)}"


def fuzz(name: str, arguments: list[str]) -> None:
    """Under atheris, with coverage of the whole package; runs until its options say that it is enough."""
    target, made = TARGETS[name]
    folder = os.environ.get("FUZZ_CORPUS", os.path.join(".hypothesis", "atheris", name))
    os.makedirs(folder, exist_ok=True)
    for number, data in enumerate(made()):
        with open(os.path.join(folder, f"seed-{number}"), "wb") as file:
            file.write(data)
    atheris.Setup([name, folder, "-timeout=5", "-rss_limit_mb=1024", *arguments], target)
    atheris.Fuzz()


def run_all(seconds: int) -> None:
    """Every target for so many seconds, each in a process of its own; mutations where atheris has no wheel."""
    if importlib.util.find_spec("atheris") is None:
        print(seeded(100_000), flush=True)
        return
    for name in TARGETS:
        subprocess.run([sys.executable, "-m", "tests.fuzz.targets", name, f"-max_total_time={seconds}"], check=True)


def main(arguments: list[str]) -> None:
    options = SimpleNamespace(name=arguments[0] if arguments else "--seeded", rest=arguments[1:])
    if options.name == "--seeded":
        print(seeded(int(options.rest[0]) if options.rest else 100_000), flush=True)
    elif options.name == "--all":
        run_all(int(options.rest[0]) if options.rest else 60)
    elif options.name in TARGETS:
        fuzz(options.name, options.rest)
    else:
        sys.exit(f"no such target; there are {', '.join(TARGETS)}")


if __name__ == "__main__":
    main(sys.argv[1:])
