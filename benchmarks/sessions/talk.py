"""`python -m benchmarks.sessions.talk URL`: an audio call of two in a process of its own; answers each line of input.

The kernel notes when each packet reaches the subscriber's socket, so how late this process reads it does not matter;
how late it sends is told beside it.
"""

import asyncio
import json
import socket
import struct
import sys
import time
from itertools import pairwise
from typing import Any

from benchmarks.sessions.crowd import Member, crowd
from sluicegate.loadtest.parameters import OPUS
from sluicegate.loadtest.peer import SO_TIMESTAMPNS

INTERVAL = 0.020
PAYLOAD = bytes(90)


class Talk:
    """Sends 50 packets a second, and keeps when each was sent and when one arrived."""

    def __init__(self, speaker: Member, listener: Member) -> None:
        self._speaker, self._listener = speaker, listener
        self.sent: list[float] = []
        self.arrived: dict[int, float] = {}
        self._first: int | None = None

    async def send(self) -> None:
        assert self._speaker.peer.sessions is not None
        session = self._speaker.peer.sessions[1]
        due = time.monotonic()
        while True:
            number = len(self.sent)
            header = struct.pack(">BBHII", 0x80, OPUS, number & 0xFFFF, number * 960, self._speaker.ssrc)
            packet = session.protect(header + PAYLOAD)
            self.sent.append(time.time())
            self._speaker.peer.send(packet)
            due += INTERVAL
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def receive(self) -> None:
        assert self._listener.peer.sock is not None
        while True:
            try:
                data, controls, _, _ = self._listener.peer.sock.recvmsg(2048, 64)
            except BlockingIOError:
                return
            if len(data) < 12 or not 128 <= data[0] <= 191 or 64 <= data[1] & 0x7F <= 95:
                continue
            number = int.from_bytes(data[2:4], "big")
            self._first = number if self._first is None else self._first
            self.arrived[(number - self._first) & 0xFFFF] = _timestamp(controls)

    def summary(self, since: int) -> dict[str, float]:
        """Of the packets from number `since` on, as far as they have had the time to arrive."""
        sent = self.sent[since:]
        arrived = sorted(at for number, at in self.arrived.items() if number >= since)
        delays = [at - self.sent[number] for number, at in self.arrived.items() if number >= since]
        settled = sum(1 for at in sent if at < time.time() - 1.0)
        return {
            "sent": len(sent),
            "lost": sum(number not in self.arrived for number in range(since, since + settled)),
            "longest_gap": _longest(arrived),
            "longest_gap_sent": _longest(sent),
            "longest_delay": max(delays, default=0.0),
        }


def _timestamp(controls: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in controls:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return float(seconds + nanoseconds / 1e9)
    return time.time()


def _longest(times: list[float]) -> float:
    return max((after - before for before, after in pairwise(times)), default=0.0)


async def run(url: str) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    async with crowd(url) as people:
        speaker, listener = await people.join(0), await people.join(0)
        assert speaker is not None and listener is not None, people.times.failures
        await people.publish(speaker)
        assert speaker.track_id is not None
        await people.subscribe(listener, speaker.track_id)
        talk = Talk(speaker, listener)
        loop.add_reader(listener.peer.sock, talk.receive)
        sending = asyncio.create_task(talk.send())
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        since = 0
        while await reader.readline():
            until = len(talk.sent)
            print(json.dumps(talk.summary(since)), flush=True)
            since = until
        sending.cancel()
        loop.remove_reader(listener.peer.sock)
        await people.leave(people.members)


class TalkProcess:
    """The call, made from another process. `mark()` tells of the time since the last one."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> "TalkProcess":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__ if __name__ != "__main__" else "benchmarks.sessions.talk",
            self._url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self.mark()
        return self

    async def mark(self) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"mark\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the call broke down: {await self._process.wait()}")
        return dict(json.loads(line))

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
