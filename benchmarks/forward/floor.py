"""The floor: a process that sends packets of the same sizes, at the same pace, to as many sockets, and nothing else.

It is started as `python -m benchmarks.forward.floor` with a `Script` as JSON on standard input, on the server's core,
and prints what it cost. Per frame and receiver it makes one message, GSO where there are several packets, and hands as
many messages as the kernel takes to one sendmmsg. It neither receives nor encrypts nor writes a byte of what it sends.
"""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.machine import pin
from benchmarks.process import ROOT
from sluicegate.compiled import compiled, kernel
from sluicegate.loadtest.compilation import compile_loop, run_loop
from sluicegate.loadtest.peer import RECEIVE_BUFFER_BYTES, SO_RCVBUFFORCE, SO_TIMESTAMPNS
from sluicegate.loadtest.tables import IOVEC, MESSAGE, LoadTables, empty_tables
from sluicegate.router.native import call, libc_address
from sluicegate.rtp.names import MediaKind

SLOT_BYTES = 1536
SLOTS = 2048
"""As many different buffers as the server's out arena has, so that the cache sees as much memory."""
MESSAGES = 1024  # UIO_MAXIOV, the most that one sendmmsg takes
CONTROL_BYTES = 24
SOL_UDP, UDP_SEGMENT = 17, 103
MSG_DONTWAIT = 0x40
CLOCK_MONOTONIC, TIMER_ABSTIME = 1, 1
STREAM = np.dtype(
    [
        (name, "i8")
        for name in ("interval_us", "phase_us", "step_us", "packets", "left", "bytes", "spread", "first", "count")
    ]
    + [("next_due", "i8"), ("next_frame", "i8"), ("seed", "i8")]
)
TOTALS = np.dtype([(name, "i8") for name in ("packets", "bytes", "errors", "calls", "messages")])
ADDRESSES = np.dtype([(name, "i8") for name in ("sendmmsg", "clock_gettime", "clock_nanosleep")])


@dataclass(frozen=True, slots=True)
class Stream:
    """One track as the server sends it: sizes of the ciphertext, and to whom (indices of ports)."""

    interval_us: int
    phase_us: int
    packets: int
    least_bytes: int
    most_bytes: int
    receivers: list[int]


@dataclass(frozen=True, slots=True)
class Script:
    """What the floor process shall do."""

    core: int
    ports: list[int]
    streams: list[Stream]
    together: bool
    """The packets of a frame at once; else spread over its interval."""
    warm_up: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Floor:
    """What it cost, and how much of it arrived."""

    cpu_us_per_packet: float
    cpu_load: float
    packets_per_second: float
    loss: float


def make_script(
    tables: LoadTables,
    tracks: int,
    packet_bytes: dict[str, float],
    ports: Sequence[int],
    core: int,
    warm_up: float,
    seconds: float,
) -> Script:
    """The floor of a stage: the streams of its tables with their phases and receivers, in the sizes that these saw."""
    clients: dict[int, list[int]] = {}
    for row in tables.receives:
        clients.setdefault(int(row.sender), []).append(int(row.client))
    streams = []
    for send in tables.sends[:tracks]:
        size = packet_bytes[MediaKind(int(send.kind)).name.lower()]
        half = (int(send.payload_spread) - 1) / 2
        sizes = round(size - half), round(size + half)
        receivers = clients.get(int(send.ssrc), [])
        streams.append(Stream(int(send.interval_us), int(send.phase_us), int(send.packets_of_frame), *sizes, receivers))
    return Script(core, list(ports), streams, not tables.state[0].pacing, warm_up, seconds)


class Sink:
    """Sockets that are read as the clients of a load test read theirs, by the same loop."""

    def __init__(self, count: int) -> None:
        self.sockets = [_open_socket() for _ in range(count)]
        self.ports = [int(one.getsockname()[1]) for one in self.sockets]
        self._tables: LoadTables = empty_tables(count, 0, 0)
        for index, one in enumerate(self.sockets):
            self._tables.clients[index].socket = one.fileno()
        self._thread = threading.Thread(target=run_loop, args=(self._tables,), daemon=True)

    def __enter__(self) -> "Sink":
        compile_loop(empty_tables(0, 0, 0))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.state[0].stop = 1
        self._thread.join()
        for one in self.sockets:
            one.close()

    @property
    def received(self) -> int:
        return int(self._tables.state[0].strays)


async def measure_floor(script: Script, sink: Sink) -> Floor:
    """Run the floor process against a sink that is open."""
    before = sink.received
    arguments = [sys.executable, "-m", "benchmarks.forward.floor"]
    process = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    output, _ = await process.communicate(json.dumps(asdict(script)).encode())
    if process.returncode:
        raise RuntimeError(f"the floor process ended with {process.returncode}")
    await asyncio.sleep(0.3)
    found = json.loads(output)
    lost = 1 - (sink.received - before) / max(found["total_packets"], 1)
    return Floor(
        found["cpu"] / max(found["packets"], 1) * 1e6,
        found["cpu"] / found["seconds"],
        found["packets"] / found["seconds"],
        max(0.0, lost),
    )


def _open_socket() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except OSError:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    one.bind(("127.0.0.1", 0))
    return one


@kernel
def _now(native: Any, moment: Any) -> int:
    call(native[0].clock_gettime, CLOCK_MONOTONIC, moment.ctypes.data, 0, 0, 0)
    return moment[0] * 1_000_000 + moment[1] // 1000


@kernel
def _send(native: Any, totals: Any, descriptor: int, messages: Any, count: int) -> None:
    done = 0
    while done < count:
        address = messages.ctypes.data + done * 64
        sent = call(native[0].sendmmsg, descriptor, address, count - done, MSG_DONTWAIT, 0)
        totals[0].calls += 1
        if sent <= 0:
            totals[0].errors += 1
            sent = 1
        else:
            totals[0].messages += sent
        done += sent


@compiled
def send_until(
    native: Any,
    moment: Any,
    streams: Any,
    receivers: Any,
    names: Any,
    arena: Any,
    iovecs: Any,
    messages: Any,
    controls: Any,
    totals: Any,
    descriptor: int,
    together: int,
    end: int,
) -> None:
    """Send what is due until `end` (monotonic µs), and sleep between."""
    slot = 0
    while True:
        now = _now(native, moment)
        if now >= end:
            return
        wake = end
        count = 0
        filled = 0
        for index in range(len(streams)):
            stream = streams[index]
            while stream.next_due <= now:
                if stream.left == 0:
                    stream.left = stream.packets
                packets = stream.left if together else 1
                stream.seed = (stream.seed * 1103515245 + 12345) & 0x7FFFFFFF
                size = stream.bytes + (stream.seed >> 16) % stream.spread
                for position in range(stream.first, stream.first + stream.count):
                    if count == len(messages) or filled + packets > len(iovecs):
                        _send(native, totals, descriptor, messages, count)
                        count = 0
                        filled = 0
                    message = messages[count]
                    message.name = names.ctypes.data + receivers[position] * 16
                    message.iovecs = iovecs.ctypes.data + filled * 16
                    message.iovec_count = packets
                    message.control = 0
                    message.control_length = 0
                    if packets > 1:
                        message.control = controls.ctypes.data + count * CONTROL_BYTES
                        message.control_length = CONTROL_BYTES
                        controls[count, 16] = size & 0xFF
                        controls[count, 17] = size >> 8
                    for _ in range(packets):
                        iovecs[filled].base = arena.ctypes.data + slot * SLOT_BYTES
                        iovecs[filled].length = size
                        filled += 1
                        slot = (slot + 1) & (SLOTS - 1)
                    count += 1
                    totals[0].packets += packets
                    totals[0].bytes += packets * size
                stream.left -= packets
                if stream.left == 0:
                    stream.next_frame += stream.interval_us
                    stream.next_due = stream.next_frame
                else:
                    stream.next_due += stream.step_us
            wake = min(wake, stream.next_due)
        if count:
            _send(native, totals, descriptor, messages, count)
        if wake > _now(native, moment):
            moment[0] = wake // 1_000_000
            moment[1] = wake % 1_000_000 * 1000
            call(native[0].clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, moment.ctypes.data, 0, 0)


def main() -> None:
    """The process: read the script, send, print the cost."""
    given = json.load(sys.stdin)
    script = Script(**{**given, "streams": [Stream(**one) for one in given["streams"]]})
    pin(script.core)
    native = np.zeros(1, ADDRESSES).view(np.recarray)
    for name in ADDRESSES.names or ():
        native[0][name] = libc_address(name)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    sender.bind(("127.0.0.1", 0))
    streams, receivers = _streams(script)
    arrays = _message_arrays(script)
    totals = np.zeros(1, TOTALS).view(np.recarray)
    moment = np.zeros(2, np.int64)

    def run(seconds: float) -> tuple[float, int]:
        began, packets = time.process_time(), int(totals[0].packets)
        end = int((time.monotonic() + seconds) * 1e6)
        send_until(native, moment, streams, receivers, *arrays, totals, sender.fileno(), int(script.together), end)
        return time.process_time() - began, int(totals[0].packets) - packets

    streams["next_due"] = 1 << 62
    run(0.001)  # compiles
    streams["next_frame"] = streams["next_due"] = int(time.monotonic() * 1e6) + streams["phase_us"]
    run(script.warm_up)
    began = time.monotonic()
    cpu, packets = run(script.seconds)
    seconds = time.monotonic() - began
    print(json.dumps({"cpu": cpu, "packets": packets, "seconds": seconds, "total_packets": int(totals[0].packets)}))


def _streams(script: Script) -> tuple[Any, Any]:
    streams = np.zeros(len(script.streams), STREAM).view(np.recarray)
    receivers: list[int] = []
    for index, given in enumerate(script.streams):
        row = streams[index]
        row.interval_us, row.phase_us, row.packets = given.interval_us, given.phase_us, given.packets
        row.step_us, row.seed = given.interval_us // given.packets, index + 1
        row.bytes, row.spread = given.least_bytes, given.most_bytes - given.least_bytes + 1
        row.first, row.count = len(receivers), len(given.receivers)
        receivers += given.receivers
    return streams, np.array(receivers, np.int64)


def _message_arrays(script: Script) -> tuple[Any, ...]:
    names = np.zeros((len(script.ports), 16), np.uint8)
    for index, port in enumerate(script.ports):
        name = socket.AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton("127.0.0.1")
        names[index, :8] = np.frombuffer(name, np.uint8)
    arena = np.random.default_rng(1).integers(0, 256, (SLOTS, SLOT_BYTES), np.uint8)
    arena[:, 0], arena[:, 1] = 0x90, 96  # RTP in the eyes of the sink
    iovecs = np.zeros(SLOTS, IOVEC).view(np.recarray)
    messages = np.zeros(MESSAGES, MESSAGE).view(np.recarray)
    messages["name_length"] = 16
    controls = np.zeros((MESSAGES, CONTROL_BYTES), np.uint8)
    head = np.array([18], np.int64).tobytes() + np.array([SOL_UDP, UDP_SEGMENT], np.int32).tobytes()
    controls[:, :16] = np.frombuffer(head, np.uint8)
    return names, arena, iovecs, messages, controls


if __name__ == "__main__":
    main()
