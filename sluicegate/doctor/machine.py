"""What this machine offers: software, processors, the kernel's help with datagrams, crypto, libraries."""

import ctypes
import ctypes.util
import os
import platform
import resource
import socket
import sys
import time
from collections.abc import Iterator

import cryptography
import llvmlite
import numba
import OpenSSL.SSL
import pylibsrtp

from sluicegate.config import Settings
from sluicegate.doctor.check import Check, Status
from sluicegate.router.compilation import PLANE
from sluicegate.rtp.sealing import FUNCTIONS

SOL_UDP = socket.IPPROTO_UDP
UDP_SEGMENT = 103  # linux/udp.h: send one buffer as many datagrams (GSO)
UDP_GRO = 104  # and receive many as one buffer
# 1.5 Mbps to 200 people is 300 Mbps out of one socket: 4 MiB are 110 ms of it, what a busy core may stay away.
WANTED_SOCKET_BUFFER_BYTES = 4 << 20
CRYPTO_PACKETS = 2000
CRYPTO_PACKET_BYTES = 1100
# Far above every processor with AES instructions (1 to 3 µs with the call from Python): only one without them is told.
SLOW_CRYPTO_US = 5.0


def check_software() -> Iterator[Check]:
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] <= (3, 14)
    yield Check("python", Status.OK if fits else Status.WARN, f"{platform.python_implementation()} {version}")
    yield Check("compiler", Status.OK, f"numba {numba.__version__}, llvmlite {llvmlite.__version__}")
    library = OpenSSL.SSL.OpenSSL_version(OpenSSL.SSL.OPENSSL_VERSION).decode()
    yield Check(
        "dtls", Status.OK, f"pyOpenSSL {OpenSSL.__version__}, cryptography {cryptography.__version__}, {library}"
    )


def check_processors(settings: Settings) -> Iterator[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    enough = settings.plane_threads <= usable
    advice = "" if enough else f"; PLANE_THREADS is {settings.plane_threads}: threads would take turns on a core"
    yield Check("processors", Status.OK if enough else Status.WARN, f"{usable} usable of {os.cpu_count()}{advice}")
    interval_ms = sys.getswitchinterval() * 1000
    # The plane needs the GIL only to hand events up, but then waits for a busy Python thread at most this long.
    yield Check("thread switching", Status.OK, f"a busy Python thread gives way after {interval_ms:g} ms")


def check_offload() -> Iterator[Check]:
    lost = "; each packet is a system call of its own"
    try:
        arrived = _send_segmented()
    except OSError as error:
        yield Check("GSO", Status.WARN, f"UDP_SEGMENT refused: {error.strerror}{lost}")
    else:
        works = arrived == 2
        yield Check(
            "GSO",
            Status.OK if works else Status.WARN,
            f"one sendmsg gave {arrived} of 2 datagrams" + ("" if works else lost),
        )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(SOL_UDP, UDP_GRO, 1)
        except OSError as error:
            yield Check("GRO", Status.WARN, f"UDP_GRO refused: {error.strerror}; receiving costs more")
        else:
            yield Check("GRO", Status.OK, "UDP_GRO accepted")


def _send_segmented() -> int:
    """Send two datagrams of 100 bytes on loopback as one; returns how many arrived."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.5)
        segment = (100).to_bytes(2, sys.byteorder)
        sender.sendmsg([bytes(200)], [(SOL_UDP, UDP_SEGMENT, segment)], 0, receiver.getsockname())
        arrived = 0
        try:
            while arrived < 2 and len(receiver.recv(2048)) == 100:
                arrived += 1
        except TimeoutError:
            pass
        return arrived


def check_socket_buffers() -> Iterator[Check]:
    for name, option, limit in (
        ("receive buffer", socket.SO_RCVBUF, "net.core.rmem_max"),
        ("send buffer", socket.SO_SNDBUF, "net.core.wmem_max"),
    ):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, option, WANTED_SOCKET_BUFFER_BYTES)
            # Linux doubles what was asked for, to have room for its own book-keeping (socket(7)).
            granted = probe.getsockopt(socket.SOL_SOCKET, option) // (2 if sys.platform == "linux" else 1)
        wanted = f"{WANTED_SOCKET_BUFFER_BYTES >> 10} KiB"
        if granted >= WANTED_SOCKET_BUFFER_BYTES:
            yield Check(name, Status.OK, f"{granted >> 10} KiB granted")
        else:
            remedy = f"sysctl -w {limit}={WANTED_SOCKET_BUFFER_BYTES}"
            yield Check(name, Status.WARN, f"{granted >> 10} KiB of {wanted} granted; bursts may be lost; {remedy}")


def check_open_files(settings: Settings) -> Iterator[Check]:
    """The hard limit: `serve` raises its soft one to it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_sessions + 256  # each client may hold one event stream open
    why = f"for MAX_SESSIONS={settings.max_sessions}"
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        yield Check("open files", Status.OK, f"{'no limit' if hard == resource.RLIM_INFINITY else hard} {why}")
    else:
        yield Check("open files", Status.WARN, f"{hard} of {wanted} {why}; raise the hard limit (ulimit -Hn)")


def check_crypto() -> Iterator[Check]:
    if FUNCTIONS:
        yield Check("sealing", Status.OK, "the packet plane calls OpenSSL")
    else:
        costs = "sending costs up to a fifth more, and consent checks wait for the event loop"
        yield Check("sealing", Status.WARN, f"this build of pylibsrtp hides OpenSSL's functions; {costs}")
    for name, profile in (
        ("AES-128-GCM", pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM),
        ("AES-128-CM-SHA1", pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80),
    ):
        try:
            took_us = _measure_protect(profile)
        except pylibsrtp.Error as error:
            yield Check(f"srtp {name}", Status.FAIL, f"libsrtp refused it: {error}")
            continue
        status = Status.OK if took_us < SLOW_CRYPTO_US else Status.WARN
        yield Check(
            f"srtp {name}", status, f"{took_us:.2f} µs to protect {CRYPTO_PACKET_BYTES} bytes, called from Python"
        )


def _measure_protect(profile: int) -> float:
    """Microseconds to protect one packet, the best of five rounds (the machine may be busy)."""
    policy = pylibsrtp.Policy(key=bytes(range(46)), ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
    session = pylibsrtp.Session(policy)
    rest = bytes(8) + bytes(CRYPTO_PACKET_BYTES - 12)
    packets = [b"\x80\x60" + number.to_bytes(2, "big") + rest for number in range(CRYPTO_PACKETS)]
    best = float("inf")
    for start in range(0, CRYPTO_PACKETS, CRYPTO_PACKETS // 5):
        batch = packets[start : start + CRYPTO_PACKETS // 5]
        began = time.perf_counter()
        for packet in batch:
            session.protect(packet)
        best = min(best, (time.perf_counter() - began) / len(batch))
    return best * 1e6


def check_opus() -> Check:
    found = ctypes.util.find_library("opus")
    if found is None:
        return Check(
            "libopus", Status.WARN, "not found; only what mixes or decodes audio needs it (apt install libopus0)"
        )
    library = ctypes.CDLL(found)
    library.opus_get_version_string.restype = ctypes.c_char_p
    return Check("libopus", Status.OK, f"{library.opus_get_version_string().decode()} ({found})")


def check_compile_cache() -> Check:
    folder = PLANE.folder
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    size = sum(file.stat().st_size for file in folder.rglob("*.nb[ic]"))
    state = f"{size / 1e6:.1f} MB" if size else "empty: the next start compiles"
    if os.access(nearest, os.W_OK):
        return Check("compile cache", Status.OK, f"{folder}, {state}")
    return Check("compile cache", Status.WARN, f"{folder} cannot be written: every start compiles; set NUMBA_CACHE_DIR")
