"""The clients' media can be recognised after it has been encoded and decoded."""

from collections.abc import Callable

import av
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.jitterbuffer import JitterFrame

from tests.support.aiortc_client import loopback_only
from tests.support.media_tracks import CounterTrack, Meter, ToneTrack, counter_picture, read_counter
from tests.support.tones import SAMPLE_RATE, dominant_frequency, share, tone


@pytest.mark.parametrize("frequency_hz", [300.0, 440.0, 1234.0])
def test_a_tone_is_recognised(frequency_hz: float) -> None:
    samples = tone(frequency_hz, 1.0)
    assert dominant_frequency(samples) == pytest.approx(frequency_hz, abs=6)
    assert share(samples, frequency_hz) > 0.99


def test_two_tones_have_their_shares_and_silence_has_none() -> None:
    mixed = (tone(440, 1.0) // 2 + tone(900, 1.0) // 2).astype(np.int16)
    assert share(mixed, 440) == pytest.approx(0.5, abs=0.05)
    assert share(mixed, 600) < 0.01
    assert dominant_frequency(np.zeros(SAMPLE_RATE, np.int16)) == 0.0


@pytest.mark.parametrize("number", [0, 1, 0x5A5A, 0xFFFF])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_counter_is_read(number: int, scale: int) -> None:
    frame = av.VideoFrame.from_ndarray(counter_picture(number, 320, 240), format="yuv420p")
    assert read_counter(frame.reformat(320 // scale, 240 // scale)) == number


async def test_a_tone_survives_opus() -> None:
    track, encoder, decoder, heard = ToneTrack(500), OpusEncoder(), OpusDecoder(), []
    for _ in range(25):
        payloads, timestamp = encoder.encode(await track.recv())
        for payload in payloads:
            for frame in decoder.decode(JitterFrame(payload, timestamp)):
                heard.append(frame.to_ndarray().reshape(-1, 2)[:, 0])
    assert dominant_frequency(np.concatenate(heard)) == pytest.approx(500, abs=6)


@pytest.mark.parametrize("make", [lambda: ToneTrack(700), CounterTrack], ids=["audio", "video"])
async def test_meters_measure_what_a_connection_brings(make: Callable[[], ToneTrack | CounterTrack]) -> None:
    loopback_only()
    nobody = RTCConfiguration(iceServers=[])  # None would mean a public STUN server
    out, back = RTCPeerConnection(nobody), RTCPeerConnection(nobody)
    meters: list[Meter] = []
    back.on("track", lambda track: meters.append(Meter(track, track.kind).start()))
    out.addTrack(make())
    await out.setLocalDescription(await out.createOffer())
    await back.setRemoteDescription(out.localDescription)
    await back.setLocalDescription(await back.createAnswer())
    await out.setRemoteDescription(back.localDescription)
    (meter,) = meters
    try:
        await meter.until(frames=30)
        if meter.kind == "audio":
            assert meter.frequency() == pytest.approx(700, abs=6)
        else:
            assert meter.size == (320, 240)
            steps = np.diff(meter.counters)
            assert (steps >= 1).all()
            assert np.median(steps) == 1
    finally:
        await meter.stop()
        await out.close()
        await back.close()
