"""Which codec a dictionary means, and whose decoder plays it: names, profiles and packetization modes.

H.264 profiles follow RFC 6184 §8.1 and H.264 annex A: a stream may go to a decoder of a higher profile that contains
its own, and single-NAL streams (mode 0) to one that also takes fragments (mode 1). VP9 and AV1 profiles must be the
same (RFC 9628 §6, AV1 RTP §7.2). Levels are not compared: we cannot transcode, and browsers play above the level
that they state.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum

from sluicegate.ortc.parameters import FormatParameter
from sluicegate.rtp.names import Codec, MediaKind

MIME_TYPES: dict[Codec, str] = {
    Codec.OPUS: "audio/opus",
    Codec.VP8: "video/VP8",
    Codec.VP9: "video/VP9",
    Codec.H264: "video/H264",
    Codec.AV1: "video/AV1",
}
RED_MIME_TYPE = "audio/red"
RTX_MIME_TYPE = "video/rtx"

_CODECS = {name.lower(): codec for codec, name in MIME_TYPES.items()}
# Repair and signalling formats that we do not carry; a publisher may list them, and is heard without them.
_PASSED_OVER = frozenset(
    {
        "audio/rtx",
        "audio/cn",
        "audio/telephone-event",
        "audio/ulpfec",
        "audio/flexfec",
        "video/red",
        "video/ulpfec",
        "video/flexfec",
        "video/flexfec-03",
    }
)


class Role(Enum):
    """What a payload type is for."""

    MEDIA = "media"
    RED = "red"
    RTX = "rtx"
    PASSED_OVER = "passed over"
    UNKNOWN = "unknown"


class H264Profile(IntEnum):
    CONSTRAINED_BASELINE = 0
    BASELINE = 1
    MAIN = 2
    CONSTRAINED_HIGH = 3
    HIGH = 4


class UnsupportedFormat(ValueError):
    """A codec that we know, in a form that we do not carry; `parameter` is the format parameter that says so."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(detail)
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """A codec and what of its parameters decides whether a decoder plays it.

    `profile` is an `H264Profile` for H.264, the profile number for VP9 and AV1, else 0; `packetization_mode` is
    H.264's.
    """

    codec: Codec
    profile: int = 0
    packetization_mode: int = 0

    def __str__(self) -> str:
        name = MIME_TYPES[self.codec]
        if self.codec is Codec.H264:
            profile = H264Profile(self.profile).name.lower().replace("_", " ")
            return f"{name} ({profile} profile, packetization mode {self.packetization_mode})"
        return f"{name} (profile {self.profile})" if self.codec in (Codec.VP9, Codec.AV1) else name


def kind_of(mime_type: str) -> MediaKind | None:
    """The media kind that a MIME type begins with; None when it is neither audio nor video."""
    top = mime_type.partition("/")[0].lower()
    return {"audio": MediaKind.AUDIO, "video": MediaKind.VIDEO}.get(top)


def codec_of(mime_type: str) -> Codec | None:
    """The codec of a MIME type in any spelling of its case; None for RED, RTX and what we do not know."""
    return _CODECS.get(mime_type.lower())


def role_of(mime_type: str) -> Role:
    name = mime_type.lower()
    if name in _CODECS:
        return Role.MEDIA
    if name == RED_MIME_TYPE:
        return Role.RED
    if name == RTX_MIME_TYPE:
        return Role.RTX
    return Role.PASSED_OVER if name in _PASSED_OVER else Role.UNKNOWN


def usable_payload_type(payload_type: int) -> bool:
    """Whether RTP may have this payload type on a port that RTCP shares (RFC 5761 §4)."""
    return not 64 <= payload_type <= 95


def integer(value: FormatParameter) -> int | None:
    """The whole number that a format parameter stands for (clients send `96`, `"96"` and `96.0`), or None."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"[0-9]{1,10}", value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return None if value is None else int(value)


def read_format(codec: Codec, parameters: Mapping[str, FormatParameter]) -> MediaFormat:
    """The format that the parameters of `codec` describe; raises `UnsupportedFormat`."""
    if codec is Codec.H264:
        mode = _number(parameters, "packetization-mode", (0, 1))
        return MediaFormat(codec, _h264_profile(parameters.get("profile-level-id")), mode)
    if codec is Codec.VP9:
        return MediaFormat(codec, _number(parameters, "profile-id", (0, 2)))
    if codec is Codec.AV1:
        return MediaFormat(codec, _number(parameters, "profile", (0,)))
    return MediaFormat(codec)


def _number(parameters: Mapping[str, FormatParameter], name: str, supported: tuple[int, ...]) -> int:
    """A numeric parameter, which stands for 0 when it is absent (RFC 6184 §8.1, RFC 9628 §6, AV1 RTP §7.2)."""
    value = parameters.get(name, 0)
    number = integer(value)
    if number not in supported:
        raise UnsupportedFormat(
            name, f"{name} {value!r} is not supported (supported: {', '.join(map(str, supported))})"
        )
    return number


# profile_idc, which bits of profile_iop count, their values (RFC 6184 table 5; the last two from H.264 A.2.4). Of
# High the progressive variant (constraint_set4) is a part, so that bit does not count.
_H264_PROFILES = (
    (0x42, 0x4F, 0x40, H264Profile.CONSTRAINED_BASELINE),
    (0x4D, 0x8F, 0x80, H264Profile.CONSTRAINED_BASELINE),
    (0x58, 0xCF, 0xC0, H264Profile.CONSTRAINED_BASELINE),
    (0x42, 0x4F, 0x00, H264Profile.BASELINE),
    (0x58, 0xCF, 0x80, H264Profile.BASELINE),
    (0x4D, 0xAF, 0x00, H264Profile.MAIN),
    (0x64, 0xFF, 0x0C, H264Profile.CONSTRAINED_HIGH),
    (0x64, 0xF7, 0x00, H264Profile.HIGH),
)


def _h264_profile(value: FormatParameter) -> H264Profile:
    # RFC 6184 would have baseline when there is none; browsers mean constrained baseline, and send that.
    if value is None:
        return H264Profile.CONSTRAINED_BASELINE
    # A client that parses SDP by number makes `640029` an integer.
    text = str(value)
    if re.fullmatch(r"[0-9A-Fa-f]{6}", text):
        profile_idc, profile_iop = int(text[:2], 16), int(text[2:4], 16)
        for idc, mask, bits, profile in _H264_PROFILES:
            if profile_idc == idc and profile_iop & mask == bits:
                return profile
    raise UnsupportedFormat(
        "profile-level-id", f"profile-level-id {value!r} is not a profile of H.264 that is supported"
    )


# Whose decoders play a stream of each profile, best first. Plain baseline may use slice groups, which browsers cannot
# decode.
_H264_DECODERS: dict[int, tuple[H264Profile, ...]] = {
    H264Profile.CONSTRAINED_BASELINE: (
        H264Profile.CONSTRAINED_BASELINE,
        H264Profile.BASELINE,
        H264Profile.MAIN,
        H264Profile.CONSTRAINED_HIGH,
        H264Profile.HIGH,
    ),
    H264Profile.BASELINE: (H264Profile.BASELINE,),
    H264Profile.MAIN: (H264Profile.MAIN, H264Profile.HIGH),
    H264Profile.CONSTRAINED_HIGH: (H264Profile.CONSTRAINED_HIGH, H264Profile.HIGH),
    H264Profile.HIGH: (H264Profile.HIGH,),
}


def decoder_rank(stream: MediaFormat, decoder: MediaFormat) -> int | None:
    """How far from exact a decoder's format is for a stream: 0 is the same, None means that it cannot play it."""
    if stream.codec is not decoder.codec:
        return None
    if stream.codec is not Codec.H264:
        return 0 if stream == decoder else None
    profiles = _H264_DECODERS[stream.profile]
    if decoder.profile not in profiles or decoder.packetization_mode < stream.packetization_mode:
        return None
    return 2 * profiles.index(H264Profile(decoder.profile)) + decoder.packetization_mode - stream.packetization_mode


_RED_BINDING = re.compile(r"[0-9]{1,3}(/[0-9]{1,3})*")


def red_parameters(opus_payload_type: int) -> dict[str, str]:
    """The format parameters of RED over Opus, for `a=fmtp:97 96/96` (RFC 2198 §5).

    The value stands under an empty key: clients write `key=value`, and Chromium reads `=96/96` as what it should be,
    while for `96/96=` (the text as a key) it refuses RED (seen in Chromium 156 under mediasoup-client 3.18).
    """
    return {"": f"{opus_payload_type}/{opus_payload_type}"}


def red_payload_types(parameters: Mapping[str, FormatParameter]) -> tuple[int, ...]:
    """The payload types that RED's parameters name, be the text a key or the value of an empty one; () when none."""
    for key, value in parameters.items():
        text = key or str(value)
        if _RED_BINDING.fullmatch(text):
            return tuple(int(part) for part in text.split("/"))
    return ()
