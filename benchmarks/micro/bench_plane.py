"""Ingress, rewriting, SRTP, feedback, grouping, sending, and all of the way from a batch to the out arena."""

import struct
from collections.abc import Callable

import pytest

from benchmarks.micro import steps
from benchmarks.micro.rig import Rig
from sluicegate.router.records import BATCH
from sluicegate.rtp.names import MediaKind
from sluicegate.rtp.srtp import SrtpProfile

VIDEO, AUDIO = MediaKind.VIDEO, MediaKind.AUDIO
KINDS = pytest.mark.parametrize("kind", [VIDEO, AUDIO], ids=["video", "audio"])
PROFILES = pytest.mark.parametrize(
    "profile", [SrtpProfile.AEAD_AES_128_GCM, SrtpProfile.AES128_CM_SHA1_80], ids=["gcm", "cm"]
)
SUBSCRIBERS = 200
FRAME = 6
Make = Callable[..., Rig]
Measure = Callable[..., None]


@KINDS
@PROFILES
def test_ingress(rig: Make, measure: Measure, kind: MediaKind, profile: SrtpProfile) -> None:
    one = rig(0, kind, profile)

    def prepare() -> tuple[object, int]:
        one.load(one.media(BATCH))
        return one.plane.handle, BATCH

    measure(steps.ingress, prepare, BATCH)


@KINDS
def test_rewriting(rig: Make, measure: Measure, kind: MediaKind) -> None:
    one = rig(SUBSCRIBERS, kind)
    one.fan_out(1)
    one.forget()
    measure(steps.rewrite, lambda: (one.plane.handle, one.track), SUBSCRIBERS)


@KINDS
@PROFILES
def test_srtp_protect(rig: Make, measure: Measure, kind: MediaKind, profile: SrtpProfile) -> None:
    """A packet for each of 200 sessions, as a fan-out has it: keys are cold."""
    one = rig(SUBSCRIBERS, kind, profile)
    one.fan_out(1)
    one.forget()
    plain = bytes([0x80, 96]) + bytes(2) + struct.pack("!II", 0, 77) + bytes(one.payload_bytes)
    numbers = iter(range(1, 60_000))

    def prepare() -> tuple[object, int, int, int, int]:
        for slot in range(SUBSCRIBERS):
            one.tables.out[slot, : len(plain)] = memoryview(plain)
        return one.plane.handle, 1, SUBSCRIBERS, len(plain), next(numbers)

    measure(steps.protect_each, prepare, SUBSCRIBERS)


@KINDS
@PROFILES
def test_srtp_unprotect(rig: Make, measure: Measure, kind: MediaKind, profile: SrtpProfile) -> None:
    one = rig(0, kind, profile)

    def prepare() -> tuple[object, int, int, int]:
        packets = one.media(BATCH)
        for slot, data in enumerate(packets):
            one.tables.arena[slot, : len(data)] = memoryview(data)
        return one.plane.handle, 0, BATCH, len(packets[0])

    measure(steps.unprotect_each, prepare, BATCH)


def test_receiver_reports(rig: Make, measure: Measure) -> None:
    one = rig(1, VIDEO)
    one.fan_out(1)
    one.forget()
    report = struct.pack("!BBHI", 0x81, 201, 7, 77) + struct.pack("!IIIIII", 10_000, 0, 1, 5, 0, 0)

    def prepare() -> tuple[object, int]:
        one.load(one.rtcp([report] * BATCH), 0)
        return one.plane.handle, BATCH

    measure(steps.feedback, prepare, BATCH)


def test_transport_feedback(rig: Make, measure: Measure) -> None:
    """Feedback about 20 packets, as a receiver of 1.5 Mbps gives every 100 ms."""
    one = rig(1, VIDEO)
    one.fan_out(1)
    one.forget()
    chunk = struct.pack("!H", 0x2000 | 20)  # a run of 20 that came, each with a small delta
    body = struct.pack("!IIHH", 77, 10_000, 0, 20) + bytes([0, 0, 1, 0]) + chunk + bytes([4] * 20)
    body += bytes(-len(body) & 3)
    message = struct.pack("!BBH", 0x8F, 205, len(body) // 4) + body

    def prepare() -> tuple[object, int]:
        one.load(one.rtcp([message] * BATCH), 0)
        return one.plane.handle, BATCH

    measure(steps.feedback, prepare, BATCH)


@KINDS
def test_fan_out(rig: Make, measure: Measure, kind: MediaKind) -> None:
    """Six packets to 200: ingress, selection, rewriting, SRTP, queueing."""
    one = rig(SUBSCRIBERS, kind)

    def prepare() -> tuple[object, int]:
        one.forget()
        one.load(one.media(FRAME))
        return one.plane.handle, FRAME

    measure(steps.fan_out, prepare, FRAME * SUBSCRIBERS)


@pytest.mark.parametrize("packets", [1, FRAME])
def test_grouping(rig: Make, measure: Measure, packets: int) -> None:
    """What waits for 200 receivers becomes one message each; counted are messages."""
    one = rig(SUBSCRIBERS, VIDEO)
    one.fan_out(packets)
    measure(steps.grouping, lambda: (one.plane.handle,), SUBSCRIBERS)


@pytest.mark.parametrize(("packets", "gso"), [(1, True), (FRAME, True), (FRAME, False)], ids=["1", "6", "6-no-gso"])
def test_send(rig: Make, measure: Measure, packets: int, gso: bool) -> None:
    """A frame for each of 200 sockets on loopback, delivery included."""
    one = rig(SUBSCRIBERS, VIDEO)
    one.state.gso = int(gso and one.state.gso)

    def prepare() -> tuple[object]:
        one.drain()
        one.fan_out(packets)
        return (one.plane.handle,)

    measure(steps.send, prepare, packets * SUBSCRIBERS)


@pytest.mark.parametrize("rtx", [True, False], ids=["padded", "as-it-is"])
def test_send_of_uneven_packets(rig: Make, measure: Measure, rtx: bool) -> None:
    """A frame whose packets differ by a byte: one message where they are padded (with RTX only), else two."""
    one = rig(SUBSCRIBERS, VIDEO, uneven=True, rtx=rtx)

    def prepare() -> tuple[object]:
        one.drain()
        one.fan_out(FRAME)
        return (one.plane.handle,)

    measure(steps.send, prepare, FRAME * SUBSCRIBERS)


def test_connectivity_checks(rig: Make, measure: Measure) -> None:
    """Checks that the plane answers, one of each of 64 peers: two HMAC-SHA1 and two CRC-32 each."""
    one = rig(BATCH, AUDIO)

    def prepare() -> tuple[object, int]:
        one.forget()
        one.load_checks()
        return one.plane.handle, BATCH

    measure(steps.fan_out, prepare, BATCH)
