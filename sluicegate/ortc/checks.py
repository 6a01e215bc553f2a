"""What the parameters of a publisher must be for the plane to find, read and forward its packets.

Each check raises `Invalid` with a pointer into the `rtp_parameters`, and returns what the plane needs to know. One
track has one codec (RED may go beside Opus); what we do not carry, such as FEC, is passed over, since the stream is
complete without it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sluicegate.errors import Invalid
from sluicegate.ortc.match import (
    MIME_TYPES,
    H264Profile,
    MediaFormat,
    Role,
    UnsupportedFormat,
    codec_of,
    integer,
    kind_of,
    read_format,
    red_payload_types,
    role_of,
    usable_payload_type,
)
from sluicegate.ortc.media import PublishedEncoding
from sluicegate.ortc.parameters import (
    RtcpParameters,
    RtpCodecParameters,
    RtpEncodingParameters,
    RtpHeaderExtensionParameters,
    RtpParameters,
)
from sluicegate.rtp.names import EXTENSION_URIS, Codec, Extension, MediaKind

# Low, middle and high are usual; a screen with a thumbnail makes four. The plane's layer numbers end there too.
MAX_ENCODINGS = 4

# The plane looks at elements with ids of the one-byte form, and at 15 of the two-byte form (RFC 8285); a packet's table
# of elements has no place for more. Clients number from 1, so only one with fifteen extensions goes beyond.
LAST_READ_ID = 15
MAX_SPATIAL_LAYERS = 4
MAX_TEMPORAL_LAYERS = 8

# What the plane compares packets with is 16 bytes long. RFC 8851 §10 would have letters, digits, `-` and `_` in a RID.
_RID = re.compile(r"[A-Za-z0-9._-]{1,16}")
# A token of RFC 8866 §9.
_MID = re.compile(r"[!#$%&'*+.^_`{|}~A-Za-z0-9-]{1,16}")
# Names of the W3C's "Scalable Video Coding (SVC) Extension for WebRTC": L3T3, L2T2h, L3T3_KEY_SHIFT, S2T1.
_SCALABILITY_MODE = re.compile(r"[LS]([1-9][0-9]?)T([1-9][0-9]?)h?(_[A-Z]+)*")

_EXTENSIONS = {uri: extension for extension, uri in EXTENSION_URIS.items()}
_LAYERED = (Codec.VP9, Codec.AV1)


@dataclass(frozen=True, slots=True)
class ChosenCodecs:
    """The payload types of a track: the codec itself, RED around it, RTX for it; and the dictionary of the codec."""

    format: MediaFormat
    media: RtpCodecParameters
    red_payload_type: int | None
    rtx_payload_type: int | None

    @property
    def payload_types(self) -> tuple[int, ...]:
        """The codec's own first, then RED's, whatever order the publisher lists them in."""
        return (self.media.payload_type,) + (() if self.red_payload_type is None else (self.red_payload_type,))


def layers_of(scalability_mode: str) -> tuple[int, int] | None:
    """The spatial and temporal layers that a scalability mode names; None when it is no mode."""
    found = _SCALABILITY_MODE.fullmatch(scalability_mode)
    return (int(found[1]), int(found[2])) if found else None


def check_codecs(kind: MediaKind, codecs: tuple[RtpCodecParameters, ...]) -> ChosenCodecs:
    _check_payload_types(codecs)
    media: tuple[MediaFormat, RtpCodecParameters] | None = None
    for index, codec in enumerate(codecs):
        pointer = f"/codecs/{index}"
        role = _checked_role(kind, codec, pointer)
        if role is not Role.MEDIA:
            continue
        if media is not None:
            raise Invalid(
                "a track has one codec; publish each codec as a track of its own", pointer=f"{pointer}/mimeType"
            )
        media = (_checked_format(codec, pointer), codec)
    if media is None:
        raise Invalid("no codec to publish: there must be one besides retransmission, RED and FEC", pointer="/codecs")
    format_, chosen = media
    return ChosenCodecs(
        format=format_,
        media=chosen,
        red_payload_type=_check_red(codecs, chosen),
        rtx_payload_type=_check_rtx(codecs, chosen),
    )


def _check_payload_types(codecs: tuple[RtpCodecParameters, ...]) -> None:
    seen: set[int] = set()
    for index, codec in enumerate(codecs):
        pointer = f"/codecs/{index}/payloadType"
        if codec.payload_type in seen:
            raise Invalid(f"payload type {codec.payload_type} stands for two codecs", pointer=pointer)
        if not usable_payload_type(codec.payload_type):
            raise Invalid(f"payload type {codec.payload_type} would be taken for RTCP (RFC 5761 §4)", pointer=pointer)
        seen.add(codec.payload_type)


def _checked_role(kind: MediaKind, codec: RtpCodecParameters, pointer: str) -> Role:
    role = role_of(codec.mime_type)
    if kind_of(codec.mime_type) is not kind:
        raise Invalid(f"{codec.mime_type} in a track of kind {kind.name.lower()}", pointer=f"{pointer}/mimeType")
    if role is Role.UNKNOWN:
        known = ", ".join(name for name in MIME_TYPES.values() if kind_of(name) is kind)
        raise Invalid(f"{codec.mime_type} is not supported (supported: {known})", pointer=f"{pointer}/mimeType")
    if role in (Role.MEDIA, Role.RED):
        clock_rate = 48000 if kind is MediaKind.AUDIO else 90000
        if codec.clock_rate != clock_rate:
            raise Invalid(f"the clock rate of {codec.mime_type} is {clock_rate}", pointer=f"{pointer}/clockRate")
        # Opus is always signalled with two channels, whatever it holds (RFC 7587 §7).
        if kind is MediaKind.AUDIO and codec.channels not in (None, 2):
            raise Invalid(f"{codec.mime_type} has 2 channels, also for mono sound", pointer=f"{pointer}/channels")
    return role


def _checked_format(codec: RtpCodecParameters, pointer: str) -> MediaFormat:
    named = codec_of(codec.mime_type)
    assert named is not None, "a codec in the role of media has a name"
    try:
        found = read_format(named, codec.parameters)
        # Decoders of constrained baseline, which is what browsers have, need not know its slice groups.
        if found.codec is Codec.H264 and found.profile == H264Profile.BASELINE:
            raise UnsupportedFormat("profile-level-id", "H.264 baseline is not supported, constrained baseline is")
    except UnsupportedFormat as error:
        raise Invalid(str(error), pointer=f"{pointer}/parameters/{error.parameter}") from None
    return found


def _check_red(codecs: tuple[RtpCodecParameters, ...], media: RtpCodecParameters) -> int | None:
    """The payload type of RED, which must hold what `media` is (RFC 2198 §5)."""
    found = None
    for index, codec in enumerate(codecs):
        if role_of(codec.mime_type) is not Role.RED:
            continue
        if found is not None:
            raise Invalid("RED is listed twice", pointer=f"/codecs/{index}/mimeType")
        held = red_payload_types(codec.parameters)
        if any(payload_type != media.payload_type for payload_type in held):
            detail = f"RED must hold payload type {media.payload_type} ({media.mime_type}) only"
            raise Invalid(detail, pointer=f"/codecs/{index}/parameters")
        found = codec.payload_type
    return found


def _check_rtx(codecs: tuple[RtpCodecParameters, ...], media: RtpCodecParameters) -> int | None:
    """The payload type of RTX for `media`; every RTX must belong to some listed codec (RFC 4588 §8.1)."""
    found = None
    originals = {codec.payload_type for codec in codecs if role_of(codec.mime_type) is not Role.RTX}
    for index, codec in enumerate(codecs):
        if role_of(codec.mime_type) is not Role.RTX:
            continue
        apt = integer(codec.parameters.get("apt"))
        if apt not in originals:
            pointer = f"/codecs/{index}/parameters/apt"
            raise Invalid("apt must be the payload type of the codec that is sent again", pointer=pointer)
        if apt == media.payload_type:
            if found is not None:
                raise Invalid(f"payload type {apt} has two RTX codecs", pointer=f"/codecs/{index}/parameters/apt")
            found = codec.payload_type
    return found


def check_extensions(extensions: tuple[RtpHeaderExtensionParameters, ...]) -> dict[Extension, int]:
    """The ids of the header extensions that the plane reads.

    Those of an unknown URI are passed over (RFC 8285 §5), and so are those beyond `LAST_READ_ID`.
    """
    ids: set[int] = set()
    known: dict[Extension, int] = {}
    for index, entry in enumerate(extensions):
        pointer = f"/headerExtensions/{index}"
        if entry.id in ids:
            raise Invalid(f"id {entry.id} stands for two header extensions", pointer=f"{pointer}/id")
        ids.add(entry.id)
        extension = _EXTENSIONS.get(entry.uri)
        if extension is None:
            continue
        if entry.encrypt:
            raise Invalid("encrypted header extensions (RFC 6904) are not supported", pointer=f"{pointer}/encrypt")
        if extension in known:
            raise Invalid(f"{entry.uri} has two ids", pointer=f"{pointer}/uri")
        if entry.id <= LAST_READ_ID:
            known[extension] = entry.id
    return known


def check_mid(mid: str | None) -> None:
    if mid is not None and not _MID.fullmatch(mid):
        raise Invalid("mid must be 1 to 16 characters of an SDP token", pointer="/mid")


def check_rtcp(rtcp: RtcpParameters) -> None:
    if not rtcp.mux:
        raise Invalid("RTCP on a port of its own is not supported (RFC 8834 §4.5)", pointer="/rtcp/mux")
    if not rtcp.reduced_size:
        raise Invalid(
            "feedback goes in packets of reduced size (RFC 5506), as browsers take it", pointer="/rtcp/reducedSize"
        )


def check_encodings(
    parameters: RtpParameters, codecs: ChosenCodecs, extensions: dict[Extension, int]
) -> tuple[PublishedEncoding, ...]:
    encodings = parameters.encodings
    most = 1 if codecs.format.codec is Codec.OPUS else MAX_ENCODINGS
    if not 1 <= len(encodings) <= most:
        allowed = "one encoding" if most == 1 else f"1 to {most} encodings"
        raise Invalid(f"{codecs.media.mime_type} has {allowed}, not {len(encodings)}", pointer="/encodings")
    _check_unique(encodings)
    return tuple(
        _check_encoding(encoding, f"/encodings/{index}", parameters.mid, codecs, extensions, alone=len(encodings) == 1)
        for index, encoding in enumerate(encodings)
    )


def _check_unique(encodings: tuple[RtpEncodingParameters, ...]) -> None:
    def names() -> Iterator[tuple[str, int | str | None]]:
        for index, encoding in enumerate(encodings):
            yield f"/encodings/{index}/ssrc", encoding.ssrc
            yield f"/encodings/{index}/rtx/ssrc", encoding.rtx.ssrc if encoding.rtx else None
            yield f"/encodings/{index}/rid", encoding.rid

    seen: set[int | str] = set()
    for pointer, name in names():
        if name is None:
            continue
        if name in seen:
            raise Invalid(f"{name} names two streams of this track", pointer=pointer)
        seen.add(name)


def _check_encoding(
    encoding: RtpEncodingParameters,
    pointer: str,
    mid: str | None,
    codecs: ChosenCodecs,
    extensions: dict[Extension, int],
    *,
    alone: bool,
) -> PublishedEncoding:
    if encoding.rid is not None and not _RID.fullmatch(encoding.rid):
        raise Invalid("a rid is 1 to 16 letters, digits, `.`, `-` or `_`", pointer=f"{pointer}/rid")
    if encoding.ssrc is None:
        if encoding.rid is None or mid is None:
            raise Invalid("an encoding needs an ssrc, or a rid beside the mid of its track", pointer=pointer)
        for needed in (Extension.MID, Extension.RID):
            if needed not in extensions:
                detail = f"an encoding without ssrc is found by {EXTENSION_URIS[needed]}, which is not listed"
                raise Invalid(detail, pointer="/headerExtensions")
    payload_type = encoding.codec_payload_type
    if payload_type is not None and payload_type not in codecs.payload_types:
        raise Invalid(f"payload type {payload_type} is not this track's codec", pointer=f"{pointer}/codecPayloadType")
    spatial, temporal = _check_layers(encoding.scalability_mode, f"{pointer}/scalabilityMode")
    return PublishedEncoding(
        ssrc=encoding.ssrc,
        rtx_ssrc=encoding.rtx.ssrc if encoding.rtx and codecs.rtx_payload_type is not None else None,
        rid=encoding.rid,
        # Browsers pass on a mode that the codec does not have, and encode without it.
        spatial_layers=spatial if alone and codecs.format.codec in _LAYERED else 1,
        temporal_layers=temporal if codecs.format.codec is not Codec.OPUS else 1,
        max_bitrate=None if encoding.max_bitrate is None else int(encoding.max_bitrate),
    )


def _check_layers(scalability_mode: str | None, pointer: str) -> tuple[int, int]:
    if not scalability_mode:
        return 1, 1
    layers = layers_of(scalability_mode)
    if layers is None:
        raise Invalid(f"{scalability_mode!r} is not a scalability mode such as L1T3 or L3T3_KEY", pointer=pointer)
    if layers[0] > MAX_SPATIAL_LAYERS or layers[1] > MAX_TEMPORAL_LAYERS:
        detail = f"at most {MAX_SPATIAL_LAYERS} spatial and {MAX_TEMPORAL_LAYERS} temporal layers are supported"
        raise Invalid(detail, pointer=pointer)
    return layers
