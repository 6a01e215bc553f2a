"""What of a subscriber's capabilities a track is sent by: codec, RED, RTX, header extensions, feedback.

Capabilities that cannot be used (a payload type that RTCP would be taken for, an id that the plane cannot write, a
format that we do not know) are passed over as if they were not listed: a browser's list holds much that is none of
our business.
"""

from collections.abc import Iterator

from sluicegate.ortc.capabilities import REMB, TRANSPORT_CC, feedback_for
from sluicegate.ortc.match import (
    MediaFormat,
    Role,
    UnsupportedFormat,
    codec_of,
    decoder_rank,
    integer,
    kind_of,
    read_format,
    role_of,
    usable_payload_type,
)
from sluicegate.ortc.media import PublishedMedia
from sluicegate.ortc.parameters import RtcpFeedback, RtpCapabilities, RtpCodecCapability
from sluicegate.rtp.names import EXTENSION_URIS, Extension, MediaKind

# The plane writes the one-byte form (RFC 8285 §4.2), whose last id is 14.
LAST_WRITTEN_ID = 14

_WRITTEN = {
    MediaKind.AUDIO: (Extension.MID, Extension.ABS_SEND_TIME, Extension.TRANSPORT_CC, Extension.AUDIO_LEVEL),
    MediaKind.VIDEO: (
        Extension.MID,
        Extension.ABS_SEND_TIME,
        Extension.TRANSPORT_CC,
        Extension.VIDEO_ORIENTATION,
        Extension.PLAYOUT_DELAY,
        Extension.DEPENDENCY_DESCRIPTOR,
    ),
}
# New for each packet that leaves. Without RTX a packet is repeated under its own sequence number, where SRTP's key
# stream is the same again, so nothing in it may differ from the first time (RFC 3711 §9.1).
_CHANGING = (Extension.ABS_SEND_TIME, Extension.TRANSPORT_CC)


def find_decoder(stream: MediaFormat, capabilities: RtpCapabilities) -> RtpCodecCapability | None:
    """The codec of the capabilities that plays a stream, the nearest to its format; the first listed of equals."""
    ranked: list[tuple[int, int]] = []
    for index, entry in enumerate(capabilities.codecs):
        rank = _rank(stream, entry)
        if rank is not None:
            ranked.append((rank, index))
    return capabilities.codecs[min(ranked)[1]] if ranked else None


def _rank(stream: MediaFormat, entry: RtpCodecCapability) -> int | None:
    codec = codec_of(entry.mime_type)
    if codec is not stream.codec or not usable_payload_type(entry.preferred_payload_type):
        return None
    clock_rate, channels = (48000, (None, 2)) if kind_of(entry.mime_type) is MediaKind.AUDIO else (90000, (None, 1))
    if entry.clock_rate != clock_rate or entry.channels not in channels:
        return None
    try:
        return decoder_rank(stream, read_format(codec, entry.parameters))
    except UnsupportedFormat:
        return None


def find_red(
    published: PublishedMedia, capabilities: RtpCapabilities, decoder: RtpCodecCapability
) -> RtpCodecCapability | None:
    """RED of the capabilities, if the track has it too.

    What it holds is not compared: a client's device leaves its browser's numbers in the parameters.
    """
    if len(published.payload_types) == 1:
        return None
    return next(
        (
            entry
            for entry in _others(capabilities, decoder)
            if role_of(entry.mime_type) is Role.RED and entry.clock_rate == 48000 and entry.channels in (None, 2)
        ),
        None,
    )


def find_rtx(capabilities: RtpCapabilities, decoder: RtpCodecCapability) -> RtpCodecCapability | None:
    """RTX of the capabilities for a video decoder among them (RFC 4588 §8.1)."""
    return next(
        (
            entry
            for entry in _others(capabilities, decoder)
            if role_of(entry.mime_type) is Role.RTX
            and integer(entry.parameters.get("apt")) == decoder.preferred_payload_type
        ),
        None,
    )


def _others(capabilities: RtpCapabilities, decoder: RtpCodecCapability) -> Iterator[RtpCodecCapability]:
    """The codecs that could go beside `decoder`: usable payload types other than its own."""
    for entry in capabilities.codecs:
        payload_type = entry.preferred_payload_type
        if payload_type != decoder.preferred_payload_type and usable_payload_type(payload_type):
            yield entry


def find_extensions(
    published: PublishedMedia, capabilities: RtpCapabilities, *, with_rtx: bool
) -> dict[Extension, int]:
    """The header extensions that the subscriber takes and the plane writes, by the subscriber's ids."""
    found: dict[Extension, int] = {}
    kinds = (None, "", published.kind.name.lower())
    wanted = {EXTENSION_URIS[extension]: extension for extension in _writable(published, with_rtx)}
    for entry in capabilities.header_extensions:
        extension = wanted.get(entry.uri)
        if extension is None or extension in found or entry.kind not in kinds:
            continue
        if entry.direction not in ("sendrecv", "recvonly") or entry.preferred_encrypt:
            continue
        if entry.preferred_id <= LAST_WRITTEN_ID and entry.preferred_id not in found.values():
            found[extension] = entry.preferred_id
    return found


def _writable(published: PublishedMedia, with_rtx: bool) -> Iterator[Extension]:
    for extension in _WRITTEN[published.kind]:
        if extension in _CHANGING and not with_rtx:
            continue
        # Only the encoder can write one, and a decoder that was promised one may wait for it.
        if extension is Extension.DEPENDENCY_DESCRIPTOR and extension not in published.extensions:
            continue
        yield extension


def common_feedback(kind: MediaKind, theirs: tuple[RtcpFeedback, ...]) -> tuple[RtcpFeedback, ...]:
    """The feedback that both ends know, in our order."""
    return tuple(feedback for feedback in feedback_for(kind) if feedback in theirs)


def usable_feedback(feedback: tuple[RtcpFeedback, ...], extensions: dict[Extension, int]) -> tuple[RtcpFeedback, ...]:
    """`feedback` with one way at most to learn of the path: transport-cc where packets carry its number, else REMB."""
    transport_cc = TRANSPORT_CC in feedback and Extension.TRANSPORT_CC in extensions
    remb = not transport_cc and Extension.ABS_SEND_TIME in extensions
    without = {TRANSPORT_CC: not transport_cc, REMB: not remb}
    return tuple(entry for entry in feedback if not without.get(entry, False))
