"""What is particular about sound: two channels stay two, and silence that is not sent is heard as silence."""

import asyncio
import time
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc import MediaStreamTrack
from av import AudioFrame
from numpy.typing import NDArray

from tests.interop.room import PATIENCE, TONE_TOLERANCE_HZ, enter
from tests.support.browser import browsers, listen
from tests.support.clients import CLIENTS, join
from tests.support.server import ServerProcess
from tests.support.tones import SAMPLE_RATE, dominant_frequency, tone

LEFT_HZ, RIGHT_HZ = 440.0, 880.0
VOICE_HZ = 660.0
# Long enough for Opus to stop sending (it waits a fifth of a second), and for several looks at it.
SPEECH_SECONDS, SILENCE_SECONDS = 1.0, 2.0
FRAME_SECONDS = 0.02


class StereoTrack(MediaStreamTrack):
    """One tone on the left and another on the right, in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._frames = 0
        self._start = time.monotonic()

    async def recv(self) -> AudioFrame:
        at = self._frames * FRAME_SECONDS
        await asyncio.sleep(max(0.0, self._start + at - time.monotonic()))
        sides = [tone(frequency, FRAME_SECONDS, start=at) for frequency in (LEFT_HZ, RIGHT_HZ)]
        frame = AudioFrame.from_ndarray(np.stack(sides, 1).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
        frame.pts = self._frames * sides[0].size
        self._frames += 1
        return frame


async def publish(client: Any, track: MediaStreamTrack) -> str:
    """Publish it by the means of the library; the track's id."""
    if hasattr(client, "publish"):
        return str(await client.publish(track, "opus"))
    return str((await client.send.produce(track=track, stopTracks=True)).id)


async def record(track: MediaStreamTrack, frames: int) -> NDArray[np.int16]:
    """So many frames as they are decoded: one row for each sample, one column for each channel."""
    got = []
    for _ in range(frames):
        frame = await track.recv()
        assert isinstance(frame, AudioFrame)
        got.append(frame.to_ndarray().reshape(-1, len(frame.layout.channels)))
    return np.concatenate(got)


@pytest.mark.parametrize("subscriber", CLIENTS)
@pytest.mark.parametrize("publisher", CLIENTS)
async def test_left_and_right_are_kept_apart(
    publisher: str, subscriber: str, server: ServerProcess, channel: str
) -> None:
    async with (
        join(publisher, server.url, channel, "alice") as alice,
        join(subscriber, server.url, channel, "bob") as bob,
    ):
        meter = await bob.subscribe(await publish(alice, StereoTrack()))
        await meter.until(frames=25, timeout=PATIENCE)
        await meter.stop()
        async with asyncio.timeout(PATIENCE):
            heard = await record(meter.track, 50)
    assert heard.shape[1] == 2
    left, right = (dominant_frequency(heard[:, side]) for side in (0, 1))
    assert abs(left - LEFT_HZ) < TONE_TOLERANCE_HZ, f"{left} Hz on the left"
    assert abs(right - RIGHT_HZ) < TONE_TOLERANCE_HZ, f"{right} Hz on the right"


async def test_silence_is_not_sent_and_the_voice_comes_back(
    server: ServerProcess, channel: str, tmp_path: Path
) -> None:
    microphone = write_pauses(tmp_path / "pauses.wav")
    async with browsers() as open_window, join("aiortc", server.url, channel, "cem") as cem:
        ada, ben = await asyncio.gather(
            open_window("chromium", flags=(f"--use-file-for-fake-audio-capture={microphone}",)), open_window("chromium")
        )
        await asyncio.gather(
            enter(ada, server, channel, "ada", camera=0), enter(ben, server, channel, "ben", camera=0, microphone=0)
        )
        (spoken,) = [one["track_id"] for one in await cem.api.tracks(channel) if one["user_id"] == "ada"]
        meter = await cem.subscribe(spoken)
        await ben.until("Boolean(sluicegate.peers.get('ada')?.audio.track)", PATIENCE)
        await hear(ben, speech)
        before = await sent(ada)
        for wanted in (silence, speech, silence, speech):
            await hear(ben, wanted)
        after = await sent(ada)
        rate = (after["packets"] - before["packets"]) / (after["at"] - before["at"])
        assert rate < 0.8 / FRAME_SECONDS, f"{rate:.0f} packets a second are no silence"
        received = await ben.evaluate("sluicegate.stats().then((all) => all.ada.microphone)")
        assert received["packetsLost"] == 0, received
        await meter.until(frames=50, timeout=PATIENCE)
        assert abs(meter.frequency() - VOICE_HZ) < TONE_TOLERANCE_HZ


def speech(frequency: float) -> bool:
    return abs(frequency - VOICE_HZ) < TONE_TOLERANCE_HZ


def silence(frequency: float) -> bool:
    return frequency == 0.0


async def hear(window: Any, wanted: Callable[[float], bool]) -> None:
    """Wait until this is what the window plays of `ada`."""
    heard, deadline = list[float](), time.monotonic() + PATIENCE
    while not heard or not wanted(heard[-1]):
        assert time.monotonic() < deadline, f"no {wanted.__name__}, but {heard} Hz"
        heard.append(await listen(window, "sluicegate.peers.get('ada').audio.track", 0.3))


async def sent(window: Any) -> dict[str, float]:
    """How many packets of voice `ada` has sent, and when, in seconds."""
    microphone = "sluicegate.stats().then((all) => all.ada.microphone.packets)"
    counted: dict[str, float] = await window.evaluate(
        f"{microphone}.then((packets) => ({{ packets, at: performance.now() / 1000 }}))"
    )
    return counted


def write_pauses(path: Path) -> Path:
    """A WAV file, which Chromium plays again and again: a voice, then nothing."""
    samples = np.concatenate([tone(VOICE_HZ, SPEECH_SECONDS), np.zeros(round(SILENCE_SECONDS * SAMPLE_RATE), np.int16)])
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(samples.tobytes())
    return path
