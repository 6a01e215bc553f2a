"""The WebRTC dictionaries of the API, key for key as mediasoup-client and pymediasoup give and take them.

Decoding is the first check of what a caller sent: types, ranges and lengths are refused here
(`msgspec.ValidationError`, with the path to the field), unknown keys are passed over, and `null` is taken as if the
key were absent, since some clients send it. Encoding leaves out what is `None` and writes lists and maps even when
they are empty, because clients iterate over them. What the fields mean together is checked in `checks.py`. A struct
that is built by hand, not decoded, is not checked by msgspec.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

T = TypeVar("T")

# A field that a caller may send as `null`: the declared default stands in, so that no reader ever sees `None`.
if TYPE_CHECKING:
    Nullable = Annotated[T, "null stands for absent"]
else:
    Nullable = T | None

FormatParameter = str | int | float | bool | None
KindName = Literal["audio", "video"]
Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DtlsRole = Literal["auto", "client", "server"]

# A pattern's `$` also matches before a final line feed, which must not get into anybody's SDP: hence the lookahead.
_END = r"$(?!\n)"

PayloadType = Annotated[int, Meta(ge=0, le=127)]
ExtensionId = Annotated[int, Meta(ge=1, le=255)]
# Zero is what RTCP writes for "no source" (RFC 5104 §4.3.1.2), and clients read as absent; no sender may choose it.
Ssrc = Annotated[int, Meta(ge=1, le=0xFFFFFFFF)]
Port = Annotated[int, Meta(ge=0, le=65535)]
ClockRate = Annotated[int, Meta(ge=1, le=0xFFFFFFFF)]
Channels = Annotated[int, Meta(ge=1, le=255)]
Text = Annotated[str, Meta(max_length=255)]
PlainText = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*" + _END)]
MimeType = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z]+/[A-Za-z0-9._+-]+" + _END)]
Ratio = Annotated[float, Meta(ge=0, le=1e6)]
Bitrate = Annotated[int, Meta(ge=0, le=10**12)] | Annotated[float, Meta(ge=0, le=1e12)]

# Format parameters of a publisher reach the SDP of its subscribers (`key=value;key=value`), so nothing in them may
# end a parameter or a line: printable ASCII without `;`, keys also without `=` and space. A key may be empty: see
# `match.red_parameters`.
FormatKey = Annotated[str, Meta(max_length=64, pattern="^[!-:<>-~]*" + _END)]
FormatValue = (
    Annotated[str, Meta(max_length=255, pattern="^[ -:<-~]*" + _END)]
    | Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)]
    | Annotated[float, Meta(ge=-1e15, le=1e15)]
    | bool
    | None
)
FormatParameters = Annotated[dict[FormatKey, FormatValue], Meta(max_length=32)]


def _written(default: T) -> T:
    """A default (of an immutable value) that is encoded even so; a plain default would be left out of the JSON."""

    def make() -> T:
        return default

    value: T = msgspec.field(default_factory=make)
    return value


def _no_parameters() -> dict[str, Any]:
    return {}


@cache
def _stand_ins(struct: type[Struct]) -> tuple[tuple[str, Callable[[], Any]], ...]:
    """The fields of `struct` that never hold `None`, each with what makes its default."""

    def maker(info: msgspec.structs.FieldInfo) -> Callable[[], Any] | None:
        if info.default_factory is not msgspec.NODEFAULT:
            factory: Callable[[], Any] = info.default_factory
            return factory
        if info.default is msgspec.NODEFAULT or info.default is None:
            return None
        return lambda: info.default

    pairs = ((info.name, maker(info)) for info in msgspec.structs.fields(struct))
    return tuple((name, make) for name, make in pairs if make is not None)


class Dictionary(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Base of all: camelCase keys, and the default of a field in place of `null`."""

    def __post_init__(self) -> None:
        for name, make in _stand_ins(type(self)):
            if getattr(self, name) is None:
                msgspec.structs.force_setattr(self, name, make())


class RtcpFeedback(Dictionary, frozen=True):
    """One `a=rtcp-fb`: `nack`, `nack pli`, `ccm fir`, `goog-remb`, `transport-cc`."""

    type: Text
    parameter: Nullable[Text] = _written("")


class RtpCodecCapability(Dictionary, frozen=True):
    """A codec that an end can handle, and the payload type by which it would know it."""

    kind: KindName
    mime_type: MimeType
    preferred_payload_type: PayloadType
    clock_rate: ClockRate
    channels: Channels | None = None
    parameters: Nullable[FormatParameters] = msgspec.field(default_factory=_no_parameters)
    rtcp_feedback: Nullable[Annotated[tuple[RtcpFeedback, ...], Meta(max_length=32)]] = _written(())


class RtpHeaderExtension(Dictionary, frozen=True, kw_only=True):
    """A header extension that an end can handle. An absent or empty `kind` stands for both."""

    kind: Literal["audio", "video", ""] | None = None
    uri: Text
    preferred_id: ExtensionId
    preferred_encrypt: Nullable[bool] = _written(False)
    direction: Nullable[Direction] = _written("sendrecv")


class RtpCapabilities(Dictionary, frozen=True):
    """What an end can receive. A browser lists about fifty codecs, one for each profile, mode and repair format."""

    codecs: Nullable[Annotated[tuple[RtpCodecCapability, ...], Meta(max_length=128)]] = _written(())
    header_extensions: Nullable[Annotated[tuple[RtpHeaderExtension, ...], Meta(max_length=64)]] = _written(())


class RtpCodecParameters(Dictionary, frozen=True):
    """A codec in use under a payload type."""

    mime_type: MimeType
    payload_type: PayloadType
    clock_rate: ClockRate
    channels: Channels | None = None
    parameters: Nullable[FormatParameters] = msgspec.field(default_factory=_no_parameters)
    rtcp_feedback: Nullable[Annotated[tuple[RtcpFeedback, ...], Meta(max_length=32)]] = _written(())


class RtpHeaderExtensionParameters(Dictionary, frozen=True):
    """A header extension in use under an id (RFC 8285)."""

    uri: Text
    id: ExtensionId
    encrypt: Nullable[bool] = _written(False)
    parameters: Nullable[FormatParameters] = msgspec.field(default_factory=_no_parameters)


class RtxParameters(Dictionary, frozen=True):
    """The retransmission stream of an encoding (RFC 4588)."""

    ssrc: Ssrc


class RtpEncodingParameters(Dictionary, frozen=True):
    """One RTP stream of a track, known by its SSRC, by its RID, or by both."""

    ssrc: Ssrc | None = None
    rid: Text | None = None
    codec_payload_type: PayloadType | None = None
    rtx: RtxParameters | None = None
    dtx: Nullable[bool] = False
    scalability_mode: Text | None = None
    max_bitrate: Bitrate | None = None
    scale_resolution_down_by: Ratio | None = None
    max_framerate: Ratio | None = None
    active: Nullable[bool] = True


class RtcpParameters(Dictionary, frozen=True):
    """How RTCP of a track goes: its canonical name, reduced-size packets (RFC 5506), on the port of RTP (RFC 5761)."""

    cname: PlainText | None = None
    reduced_size: Nullable[bool] = _written(True)
    mux: Nullable[bool] = _written(True)


class RtpParameters(Dictionary, frozen=True):
    """What is sent: by a publisher to us, or by us to a subscriber (then with exactly one encoding)."""

    codecs: Annotated[tuple[RtpCodecParameters, ...], Meta(max_length=32)]
    mid: Text | None = None
    msid: PlainText | None = None
    header_extensions: Nullable[Annotated[tuple[RtpHeaderExtensionParameters, ...], Meta(max_length=32)]] = _written(())
    encodings: Nullable[Annotated[tuple[RtpEncodingParameters, ...], Meta(max_length=32)]] = _written(())
    rtcp: Nullable[RtcpParameters] = msgspec.field(default_factory=RtcpParameters)


class DtlsFingerprint(Dictionary, frozen=True):
    """A certificate's digest, as `a=fingerprint` has it (RFC 8122): `sha-256` and `AB:CD:…`."""

    algorithm: Annotated[str, Meta(min_length=1, max_length=32)]
    value: Annotated[str, Meta(min_length=2, max_length=255)]


class DtlsParameters(Dictionary, frozen=True):
    """The role that an end wants in the handshake, and the certificates that it may show; at least one."""

    fingerprints: Annotated[tuple[DtlsFingerprint, ...], Meta(min_length=1, max_length=16)]
    role: Nullable[DtlsRole] = _written("auto")


class IceParameters(Dictionary, frozen=True):
    """Short-term credentials of an ICE agent; lengths as RFC 8839 §5.4 has them."""

    username_fragment: Annotated[str, Meta(min_length=4, max_length=256, pattern="^[A-Za-z0-9+/]*" + _END)]
    password: Annotated[str, Meta(min_length=22, max_length=256, pattern="^[A-Za-z0-9+/]*" + _END)]
    ice_lite: Nullable[bool] = _written(False)


class IceCandidate(Dictionary, frozen=True):
    """Where an agent may be reached. `ip` and `address` are the same: older clients read the one, newer the other."""

    foundation: Annotated[str, Meta(min_length=1, max_length=32)]
    priority: Annotated[int, Meta(ge=1, le=0xFFFFFFFF)]
    ip: Text
    address: Text
    protocol: Literal["udp", "tcp"]
    port: Port
    type: Literal["host", "srflx", "prflx", "relay"]
    tcp_type: Literal["active", "passive", "so"] | None = None


class IceServer(Dictionary, frozen=True):
    """A STUN or TURN server for the client, as `RTCPeerConnection` takes it."""

    urls: Annotated[tuple[Text, ...], Meta(max_length=16)]
    username: Text | None = None
    credential: Text | None = None
