"""What a publisher will send us, and what a subscriber will get from us, as both sides' dictionaries say.

The model is mediasoup's: a publisher names its own payload types, ids and SSRCs; a subscriber says what it can
receive, by numbers of its own choice, and gets one stream under an SSRC of ours, whatever the track consists of.
"""

from sluicegate.errors import Invalid
from sluicegate.ortc.capabilities import FIR, NACK, PLI, REMB, TRANSPORT_CC
from sluicegate.ortc.checks import check_codecs, check_encodings, check_extensions, check_mid, check_rtcp
from sluicegate.ortc.match import MIME_TYPES, RED_MIME_TYPE, RTX_MIME_TYPE, red_parameters
from sluicegate.ortc.media import PublishedEncoding, PublishedMedia, SubscribedMedia, TrackType
from sluicegate.ortc.parameters import (
    FormatParameter,
    RtcpFeedback,
    RtcpParameters,
    RtpCapabilities,
    RtpCodecCapability,
    RtpCodecParameters,
    RtpEncodingParameters,
    RtpHeaderExtensionParameters,
    RtpParameters,
    RtxParameters,
)
from sluicegate.ortc.select import common_feedback, find_decoder, find_extensions, find_red, find_rtx, usable_feedback
from sluicegate.rtp.names import EXTENSION_URIS, Codec, MediaKind

__all__ = [
    "PublishedEncoding",
    "PublishedMedia",
    "SubscribedMedia",
    "TrackType",
    "can_consume",
    "negotiate_publish",
    "negotiate_subscribe",
]


def negotiate_publish(kind: MediaKind, rtp_parameters: RtpParameters) -> PublishedMedia:
    """Checks what a publisher says it sends. Raises `Invalid`, with a pointer into `rtp_parameters`."""
    check_mid(rtp_parameters.mid)
    check_rtcp(rtp_parameters.rtcp)
    codecs = check_codecs(kind, rtp_parameters.codecs)
    extensions = check_extensions(rtp_parameters.header_extensions)
    encodings = check_encodings(rtp_parameters, codecs, extensions)
    # A client lists all that both ends know, but its answer keeps one of transport-cc and REMB; so do we.
    feedback = usable_feedback(common_feedback(kind, codecs.media.rtcp_feedback), extensions)
    return PublishedMedia(
        kind=kind,
        format=codecs.format,
        type=_track_type(encodings),
        clock_rate=codecs.media.clock_rate,
        mid=rtp_parameters.mid,
        payload_types=codecs.payload_types,
        rtx_payload_type=codecs.rtx_payload_type,
        encodings=encodings,
        extensions=extensions,
        nack=NACK in feedback,
        pli=PLI in feedback,
        fir=FIR in feedback,
        transport_cc=TRANSPORT_CC in feedback,
        remb=REMB in feedback,
        parameters=rtp_parameters,
    )


def can_consume(published: PublishedMedia, rtp_capabilities: RtpCapabilities) -> bool:
    """Whether a subscriber with these capabilities can play the track."""
    return find_decoder(published.format, rtp_capabilities) is not None


def negotiate_subscribe(
    published: PublishedMedia, rtp_capabilities: RtpCapabilities, *, mid: str, ssrc: int, rtx_ssrc: int, cname: str
) -> SubscribedMedia:
    """What a subscriber with these capabilities gets of a track, under the SSRCs given.

    `rtx_ssrc` is used only if the subscriber takes RTX for the codec. Raises `Invalid`, with a pointer into
    `rtp_capabilities`, when it cannot play the track.
    """
    decoder = find_decoder(published.format, rtp_capabilities)
    if decoder is None:
        detail = f"rtp_capabilities have no codec that plays this track's {published.format}"
        raise Invalid(detail, pointer="/codecs")
    red = find_red(published, rtp_capabilities, decoder)
    rtx = find_rtx(rtp_capabilities, decoder)
    extensions = find_extensions(published, rtp_capabilities, with_rtx=rtx is not None)
    feedback = usable_feedback(common_feedback(published.kind, decoder.rtcp_feedback), extensions)
    parameters = RtpParameters(
        mid=mid,
        codecs=_codecs(published, decoder, red, rtx, feedback),
        header_extensions=tuple(
            RtpHeaderExtensionParameters(EXTENSION_URIS[extension], number) for extension, number in extensions.items()
        ),
        encodings=(_encoding(published, ssrc, None if rtx is None else rtx_ssrc),),
        rtcp=RtcpParameters(cname=cname, reduced_size=True, mux=True),
    )
    with_red = len(published.payload_types) > 1
    return SubscribedMedia(
        rtp_parameters=parameters,
        type=published.type,
        ssrc=ssrc,
        rtx_ssrc=None if rtx is None else rtx_ssrc,
        payload_types=(decoder.preferred_payload_type, *((_payload_type(red),) if with_red else ())),
        rtx_payload_type=_payload_type(rtx),
        extensions=extensions,
        nack=NACK in feedback,
        transport_cc=TRANSPORT_CC in feedback,
        remb=REMB in feedback,
    )


def _payload_type(entry: RtpCodecCapability | None) -> int | None:
    return None if entry is None else entry.preferred_payload_type


def _track_type(encodings: tuple[PublishedEncoding, ...]) -> TrackType:
    if len(encodings) > 1:
        return "simulcast"
    return "svc" if encodings[0].spatial_layers > 1 else "simple"


def _codecs(
    published: PublishedMedia,
    decoder: RtpCodecCapability,
    red: RtpCodecCapability | None,
    rtx: RtpCodecCapability | None,
    feedback: tuple[RtcpFeedback, ...],
) -> tuple[RtpCodecParameters, ...]:
    """The codec first, since clients look there for what the track is; then RED, then RTX."""
    own, channels = decoder.preferred_payload_type, 2 if published.kind is MediaKind.AUDIO else None
    name, rate = MIME_TYPES[published.codec], published.clock_rate
    codecs = [RtpCodecParameters(name, own, rate, channels, _format_parameters(published, decoder), feedback)]
    if red is not None:
        named: dict[str, FormatParameter] = {**red_parameters(own)}
        codecs.append(RtpCodecParameters(RED_MIME_TYPE, red.preferred_payload_type, rate, channels, named))
    if rtx is not None:
        codecs.append(RtpCodecParameters(RTX_MIME_TYPE, rtx.preferred_payload_type, rate, None, {"apt": own}))
    return tuple(codecs)


def _format_parameters(published: PublishedMedia, decoder: RtpCodecCapability) -> dict[str, FormatParameter]:
    """The publisher's own, which say what is in the stream (stereo, FEC, DTX), as text and numbers.

    H.264's profile and mode are put in the subscriber's words: a client accepts only a profile that it lists itself,
    and the stream may be of one below.
    """
    parameters = dict(published.media.parameters)
    if published.codec is Codec.H264:
        for name in ("profile-level-id", "packetization-mode"):
            parameters.pop(name, None)
            if name in decoder.parameters:
                parameters[name] = decoder.parameters[name]
    # Clients refuse `null` and booleans in there, though some send them.
    return {
        key: "" if value is None else int(value) if isinstance(value, bool) else value
        for key, value in parameters.items()
    }


def _encoding(published: PublishedMedia, ssrc: int, rtx_ssrc: int | None) -> RtpEncodingParameters:
    """The one stream that a subscriber gets; its scalability mode counts the layers that it may choose from."""
    first = published.parameters.encodings[0]
    mode = first.scalability_mode or None
    if published.type == "simulcast":
        mode = f"L{published.spatial_layers}T{published.temporal_layers}"
    return RtpEncodingParameters(
        ssrc=ssrc,
        rtx=None if rtx_ssrc is None else RtxParameters(rtx_ssrc),
        dtx=first.dtx,
        scalability_mode=mode,
    )
