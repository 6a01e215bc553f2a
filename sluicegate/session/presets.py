"""Presets: steps of quality, and what they ask of a publisher.

On publish a preset caps what the publisher is asked to send; that comes back as one `EncodingAdvice` for each
encoding. With several encodings the preset is the top one, and the others follow by their scale: half the height
takes 2^-1.5 of the bitrate, which meets the table (720 lines 1500 kbps → 360 lines 530 kbps → 180 lines 190 kbps).
"""

import math
from dataclasses import dataclass

from sluicegate.session.names import Kind, PresetName, Source
from sluicegate.session.views import EncodingAdvice


@dataclass(frozen=True, slots=True)
class AudioPreset:
    bitrate_bps: int
    channels: int


@dataclass(frozen=True, slots=True)
class VideoPreset:
    width: int
    height: int
    framerate: int
    bitrate_bps: int


ORDER: tuple[PresetName, ...] = (PresetName.LOW, PresetName.MEDIUM, PresetName.HIGH, PresetName.ULTRA)

AUDIO_PRESETS: dict[PresetName, AudioPreset] = {
    PresetName.LOW: AudioPreset(16_000, 1),
    PresetName.MEDIUM: AudioPreset(32_000, 1),
    PresetName.HIGH: AudioPreset(64_000, 2),
}

VIDEO_PRESETS: dict[PresetName, VideoPreset] = {
    PresetName.LOW: VideoPreset(320, 180, 15, 200_000),
    PresetName.MEDIUM: VideoPreset(640, 360, 24, 500_000),
    PresetName.HIGH: VideoPreset(1280, 720, 30, 1_500_000),
    PresetName.ULTRA: VideoPreset(1920, 1080, 30, 2_500_000),
}

BITRATE_EXPONENT = 1.5
"""Bitrate falls with the height to this power: a small picture needs more bits for a pixel than a large one."""

# An encoding that would get less than this part of what it needs is not worth sending: the one below looks as good.
LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class EncodingShape:
    """What is known of one encoding before it arrives. `scale` is `scaleResolutionDownBy`; None: not said."""

    ssrc: int | None = None
    rid: str | None = None
    scale: float | None = None
    max_bitrate_bps: int | None = None


def fits(preset: PresetName, kind: Kind) -> bool:
    """Whether a track of this kind may have the preset: `ultra` is for video."""
    return kind is Kind.VIDEO or preset in AUDIO_PRESETS


def exceeds(preset: PresetName, cap: PresetName | None) -> bool:
    """Whether `preset` is above `cap`."""
    return cap is not None and ORDER.index(preset) > ORDER.index(cap)


def lowest(*presets: PresetName | None) -> PresetName | None:
    """The lowest of those that are said."""
    return min((preset for preset in presets if preset is not None), key=ORDER.index, default=None)


def audio_preset(preset: PresetName) -> AudioPreset:
    """What `preset` means for audio; `ultra` (of a session or a cap) means `high`."""
    return AUDIO_PRESETS.get(preset, AUDIO_PRESETS[PresetName.HIGH])


def nominal_preset(source: Source | None) -> VideoPreset:
    """What is assumed of a video track that no preset caps: a screen is larger than a camera's picture."""
    return VIDEO_PRESETS[PresetName.ULTRA if source is Source.SCREEN else PresetName.HIGH]


def scales(shapes: tuple[EncodingShape, ...]) -> tuple[float, ...]:
    """How many times each encoding is smaller than the largest, in order; by halves where the publisher did not say."""
    said = [shape.scale for shape in shapes]
    if all(scale is not None for scale in said):
        known = [scale for scale in said if scale is not None]
        return tuple(scale / min(known) for scale in known)
    return tuple(2.0 ** (len(shapes) - 1 - index) for index in range(len(shapes)))


def scaled_bitrate(bitrate_bps: int, scale: float) -> int:
    """The bitrate of a picture `scale` times smaller, in whole kbps."""
    return max(1, round(bitrate_bps * math.pow(scale, -BITRATE_EXPONENT) / 1000)) * 1000


def advise(
    kind: Kind,
    shapes: tuple[EncodingShape, ...],
    preset: PresetName | None,
    max_bitrate_bps: int | None,
    source: Source | None = None,
) -> tuple[EncodingAdvice, ...]:
    """What a publisher of these encodings is asked to send at most.

    `max_bitrate_bps` caps the sum of all encodings; it is dealt out from the lowest up, so that the lowest always
    stays.
    """
    advice = tuple(_advise_audio(shape, preset) for shape in shapes)
    if kind is Kind.VIDEO:
        advice = tuple(_advise_video(shape, scale, preset) for shape, scale in zip(shapes, scales(shapes), strict=True))
    if max_bitrate_bps is None:
        return advice
    wanted = [_wanted(kind, item, scale, source) for item, scale in zip(advice, scales(shapes), strict=True)]
    return _within(advice, wanted, max_bitrate_bps)


def _advise_audio(shape: EncodingShape, preset: PresetName | None) -> EncodingAdvice:
    if preset is None:
        return EncodingAdvice(ssrc=shape.ssrc, rid=shape.rid, max_bitrate_bps=shape.max_bitrate_bps)
    target = audio_preset(preset)
    bitrate_bps = min(target.bitrate_bps, shape.max_bitrate_bps or target.bitrate_bps)
    return EncodingAdvice(ssrc=shape.ssrc, rid=shape.rid, max_bitrate_bps=bitrate_bps, channels=target.channels)


def _advise_video(shape: EncodingShape, scale: float, preset: PresetName | None) -> EncodingAdvice:
    if preset is None:
        return EncodingAdvice(ssrc=shape.ssrc, rid=shape.rid, max_bitrate_bps=shape.max_bitrate_bps)
    target = VIDEO_PRESETS[preset]
    bitrate_bps = scaled_bitrate(target.bitrate_bps, scale)
    return EncodingAdvice(
        ssrc=shape.ssrc,
        rid=shape.rid,
        max_bitrate_bps=min(bitrate_bps, shape.max_bitrate_bps or bitrate_bps),
        max_width=max(1, round(target.width / scale)),
        max_height=max(1, round(target.height / scale)),
        max_framerate=target.framerate,
    )


def _wanted(kind: Kind, advice: EncodingAdvice, scale: float, source: Source | None) -> int:
    """What the encoding would take: as advised, else as is usual for such a track."""
    if advice.max_bitrate_bps is not None:
        return advice.max_bitrate_bps
    if kind is Kind.AUDIO:
        return AUDIO_PRESETS[PresetName.HIGH].bitrate_bps
    return scaled_bitrate(nominal_preset(source).bitrate_bps, scale)


def _within(advice: tuple[EncodingAdvice, ...], wanted: list[int], budget_bps: int) -> tuple[EncodingAdvice, ...]:
    """`advice` with bitrates whose sum is at most `budget_bps`; the encodings stand from the lowest to the highest."""
    result = []
    for index, (item, wanted_bps) in enumerate(zip(advice, wanted, strict=True)):
        share = min(wanted_bps, budget_bps)
        active = index == 0 or share >= LEAST_SHARE * wanted_bps
        budget_bps -= share if active else budget_bps
        result.append(
            EncodingAdvice(
                ssrc=item.ssrc,
                rid=item.rid,
                active=active,
                max_bitrate_bps=share if active else 0,
                max_width=item.max_width,
                max_height=item.max_height,
                max_framerate=item.max_framerate,
                channels=item.channels,
            )
        )
    return tuple(result)
