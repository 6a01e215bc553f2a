"""Tones: to speak with, and to recognise a speaker by."""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48000
# A steady tone is what noise suppression removes; one that swells as speech does, four times a second, passes.
SYLLABLES_PER_SECOND = 4
LOUDNESS = 0.4


def tone(frequency_hz: float, seconds: float, *, start: float = 0.0, rate: int = SAMPLE_RATE) -> NDArray[np.int16]:
    """Mono samples of a swelling tone, from `start` seconds on; whole seconds of a whole frequency join smoothly."""
    times = start + np.arange(round(seconds * rate)) / rate
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * SYLLABLES_PER_SECOND * times)
    return (LOUDNESS * 32767 * swell * np.sin(2 * np.pi * frequency_hz * times)).astype(np.int16)


def write_tone(path: Path, frequency_hz: float, seconds: float = 2.0) -> Path:
    """A WAV file of such a tone."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(tone(frequency_hz, seconds).tobytes())
    return path


def dominant_frequency(samples: NDArray[np.int16], rate: int = SAMPLE_RATE) -> float:
    """The frequency in Hz of the strongest component; 0.0 for silence (below −60 dBFS)."""
    values = samples.astype(np.float64)
    if values.size == 0 or np.sqrt(np.mean(values**2)) < 32.767:
        return 0.0
    spectrum = np.abs(np.fft.rfft(values * np.hanning(values.size)))
    return float(np.argmax(spectrum[1:]) + 1) * rate / values.size


def share(samples: NDArray[np.int16], frequency_hz: float, rate: int = SAMPLE_RATE, width_hz: float = 20.0) -> float:
    """The part of the energy, 0–1, that lies within `width_hz` of a frequency: to find several tones in one mix."""
    power = np.abs(np.fft.rfft(samples.astype(np.float64) * np.hanning(samples.size))) ** 2
    frequencies = np.fft.rfftfreq(samples.size, 1 / rate)
    total = float(power[1:].sum())
    return float(power[np.abs(frequencies - frequency_hz) <= width_hz].sum()) / total if total else 0.0
