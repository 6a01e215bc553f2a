"""What Python clients send and how they judge what they get: a tone and a counting picture; frequency and frames."""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame
from numpy.typing import NDArray

from .tones import SAMPLE_RATE, dominant_frequency, share, tone

FRAME_SAMPLES = 960
# The counter is drawn as a row of blocks at the top, white for 1, the lowest bit first.
COUNTER_BITS, BLOCK = 16, 16
WHITE, BLACK = 235, 16


class ToneTrack(MediaStreamTrack):
    """A swelling tone in 20 ms frames, mono, 48 kHz, in real time."""

    kind = "audio"

    def __init__(self, frequency_hz: float) -> None:
        super().__init__()
        self.frequency_hz = frequency_hz
        self.frames = 0
        self._start: float | None = None

    async def recv(self) -> AudioFrame:
        self._start = await _pace(self, self._start, self.frames * 0.02)
        samples = tone(self.frequency_hz, 0.02, start=self.frames * 0.02)
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self.frames * FRAME_SAMPLES
        frame.time_base = Fraction(1, SAMPLE_RATE)
        self.frames += 1
        return frame


class CounterTrack(MediaStreamTrack):
    """A moving picture that shows the number of its frame (`read_counter`), in real time."""

    kind = "video"

    def __init__(self, width: int = 320, height: int = 240, rate: int = 15) -> None:
        super().__init__()
        self.frames = 0
        self._size = width, height
        self._rate = rate
        self._start: float | None = None

    async def recv(self) -> VideoFrame:
        self._start = await _pace(self, self._start, self.frames / self._rate)
        frame = VideoFrame.from_ndarray(counter_picture(self.frames, *self._size), format="yuv420p")
        frame.pts = self.frames * 90000 // self._rate
        frame.time_base = Fraction(1, 90000)
        self.frames += 1
        return frame


async def _pace(track: MediaStreamTrack, start: float | None, offset: float) -> float:
    if track.readyState != "live":
        raise MediaStreamError
    now = time.monotonic()
    if start is None:
        return now
    await asyncio.sleep(max(0.0, start + offset - now))
    return start


def counter_picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A yuv420p picture: the counter's blocks above a gradient that moves."""
    rows, columns = np.mgrid[0:height, 0:width]
    luma = ((rows + columns + 4 * number) % 200 + 20).astype(np.uint8)
    for bit in range(COUNTER_BITS):
        luma[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = WHITE if number >> bit & 1 else BLACK
    chroma = np.full((height // 2, width), 128, np.uint8)
    return np.concatenate([luma, chroma])


def read_counter(frame: VideoFrame) -> int:
    """The number that a decoded picture shows; the picture may have been scaled to half its size or less."""
    luma = frame.reformat(format="gray8").to_ndarray()
    block = BLOCK * frame.width // 320 if frame.width < 320 else BLOCK
    quarter = max(1, block // 4)
    number = 0
    for bit in range(COUNTER_BITS):
        left = bit * block
        inner = luma[quarter : block - quarter, left + quarter : left + block - quarter]
        number |= int(inner.mean() > 128) << bit
    return number


@dataclass(slots=True)
class Meter:
    """Reads a track until it ends. `kind` says which of the figures mean something."""

    track: MediaStreamTrack
    kind: str
    frames: int = 0
    first_at: float | None = None
    last_at: float | None = None
    counters: list[int] = field(default_factory=list)  # what the pictures showed
    size: tuple[int, int] = (0, 0)
    _samples: deque[Any] = field(default_factory=lambda: deque(maxlen=100))  # 2 s of 20 ms frames
    _task: Any = None

    def start(self) -> "Meter":
        """Begin to read."""
        self._task = asyncio.get_running_loop().create_task(self._read())
        return self

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def samples(self) -> NDArray[np.int16]:
        """The last two seconds that were heard, mono."""
        return np.concatenate(list(self._samples)) if self._samples else np.zeros(0, np.int16)

    def frequency(self) -> float:
        """The strongest frequency in them, in Hz; 0.0: silence."""
        return dominant_frequency(self.samples())

    def share(self, frequency_hz: float) -> float:
        """The part of their energy, 0–1, near a frequency."""
        return share(self.samples(), frequency_hz)

    async def until(self, frames: int, timeout: float = 15.0) -> None:
        """Wait for so many frames; raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while self.frames < frames:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.frames} of {frames} {self.kind} frames")
            await asyncio.sleep(0.02)

    async def _read(self) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await self.track.recv()
                self.last_at = time.monotonic()
                if self.first_at is None:
                    self.first_at = self.last_at
                self.frames += 1
                if isinstance(frame, VideoFrame):
                    self.size = frame.width, frame.height
                    self.counters.append(read_counter(frame))
                elif isinstance(frame, AudioFrame):
                    channels = len(frame.layout.channels)
                    self._samples.append(frame.to_ndarray().reshape(-1, channels)[:, 0])
