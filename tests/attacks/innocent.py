"""An innocent call that goes on while others are attacked: two people, sound and picture, in a process of its own.

    with InnocentCall(server.url) as call:
        before = call.mark()
        ...
        after = call.mark()          # what was sent and what arrived since `before`

Each packet carries a counter, so a mark knows exactly which of those sent until then have arrived. Nothing is asked
for again: what the counters show is what the server lost.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.payloads import read_mark
from tests.support.rtc_client import ScriptedClient
from tests.support.rtp_packet import RtpPacket
from tests.support.sources import AudioSource, VideoSource

ROOT = Path(__file__).resolve().parents[2]
CHANNEL = "innocent"
AUDIO, VIDEO = 0x11110001, 0x11110002
# How long a mark waits for the last packets that were sent before it.
PATIENCE = 2.0
# Longer than any run of the suite.
LONGEST = 3600.0


@dataclass(frozen=True, slots=True)
class Harm:
    """What happened to the call between two marks. `longest_gap`: seconds without sound, as its listener saw it."""

    sent: int
    lost: int
    longest_gap: float

    @property
    def fraction(self) -> float:
        return self.lost / self.sent if self.sent else 0.0


class InnocentCall:
    """The process. Raises RuntimeError when the call cannot be made or has broken down."""

    def __init__(self, url: str) -> None:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.attacks.innocent", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        self.mark()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def mark(self) -> Harm:
        """What happened since the last mark."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write("mark\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the innocent call broke down: {self._process.wait(10)}")
        return Harm(**json.loads(line))

    def close(self) -> None:
        """End the call."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class _Listener:
    """Which of the packets have arrived, and the longest wait between two of sound."""

    def __init__(self) -> None:
        self.arrived: dict[int, set[int]] = {AUDIO: set(), VIDEO: set()}
        self.longest_gap = 0.0
        self._last_sound: float | None = None

    def receive(self, packet: RtpPacket, now: float) -> None:
        source, ordinal = read_mark(packet.payload)
        self.arrived[source].add(ordinal)
        if source == AUDIO:
            if self._last_sound is not None:
                self.longest_gap = max(self.longest_gap, now - self._last_sound)
            self._last_sound = now


async def run(url: str) -> None:
    """The call, until standard input ends; an answer for each line of it."""
    async with (
        ScriptedClient.joined(url, CHANNEL, "innocent-speaker") as speaker,
        ScriptedClient.joined(url, CHANNEL, "innocent-listener") as hearer,
    ):
        sound = await speaker.publish("opus", ssrc=AUDIO)
        picture = await speaker.publish("VP8", ssrc=VIDEO)
        for published in (sound, picture):
            await hearer.subscribe(published.track_id)
        listener = _Listener()
        hearer.on_rtp.append(listener.receive)
        audio = AudioSource(ssrc=AUDIO, payload_type=sound.payload_type)
        video = VideoSource(ssrc=VIDEO, payload_type=picture.payload_type, packets_per_frame=2, size_bytes=600)
        playing = asyncio.create_task(speaker.play(audio, video, seconds=LONGEST))
        await hearer.until(lambda: min(map(len, listener.arrived.values())) > 5, timeout=20)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        counted = {AUDIO: max(listener.arrived[AUDIO]), VIDEO: max(listener.arrived[VIDEO])}
        while await reader.readline():
            if playing.done():
                playing.result()
            until = {AUDIO: audio.packets_sent, VIDEO: video.packets_sent}
            wanted = {ssrc: set(range(counted[ssrc], until[ssrc])) for ssrc in until}
            deadline = time.monotonic() + PATIENCE
            while any(wanted[s] - listener.arrived[s] for s in wanted) and time.monotonic() < deadline:
                await asyncio.sleep(0.005)
            lost = sum(len(wanted[ssrc] - listener.arrived[ssrc]) for ssrc in wanted)
            print(json.dumps(vars_of(sum(map(len, wanted.values())), lost, listener.longest_gap)), flush=True)
            counted, listener.longest_gap = until, 0.0
            for log in (hearer.rtp_log, speaker.rtcp_log, hearer.rtcp_log):
                log.clear()
        playing.cancel()


def vars_of(sent: int, lost: int, longest_gap: float) -> dict[str, float]:
    """A `Harm` as JSON."""
    return {"sent": sent, "lost": lost, "longest_gap": longest_gap}


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
