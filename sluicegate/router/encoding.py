"""Commands as words: what `kernel/apply.py` reads. Values above, rows of 64-bit integers below."""

import ipaddress
import secrets
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pylibsrtp import Session

from sluicegate.router import commands as cmd
from sluicegate.router.kernel import apply
from sluicegate.router.kernel.header import ELEMENTS
from sluicegate.router.records import (
    CHECK_NAME_BYTES,
    CNAME_BYTES,
    MAX_ENCODINGS,
    MAX_FORMATS,
    NAME_BYTES,
    NONE,
    RECEIVE_STREAM,
    SEND_STREAM,
    TRACK,
)
from sluicegate.rtp.names import Extension
from sluicegate.rtp.sealing import BLOCK_BYTES, Sealer
from sluicegate.rtp.srtp import session_pointer

TRANSPORT_IDS = (Extension.MID, Extension.RID, Extension.REPAIRED_RID, Extension.TRANSPORT_CC)


def words(opcode: int, *operands: int) -> list[int]:
    """One command: its length, its opcode, its operands."""
    return [2 + len(operands), opcode, *operands]


def address_key(address: cmd.Address) -> tuple[int, int, int]:
    """An address as the address map keys it: the high and low half of its IPv6 form (IPv4 mapped), and the port."""
    host, port = address
    parsed = ipaddress.ip_address(host.partition("%")[0])
    if parsed.version == 4:
        return 0, 0xFFFF << 32 | int(parsed), port
    high, low = struct.unpack("!qq", parsed.packed)
    return high, low, port


def sockaddr(address: cmd.Address, family: int) -> bytes:
    """The struct sockaddr of an address for a socket of `family`; IPv4 is mapped on an IPv6 socket."""
    host, port = address
    parsed = ipaddress.ip_address(host.partition("%")[0])
    if family == socket.AF_INET:
        if parsed.version == 6:
            raise ValueError("an IPv4 socket cannot send to an IPv6 address")
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + parsed.packed + bytes(8)
    packed = parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0) + packed + bytes(4)


def address_of(name: bytes) -> cmd.Address:
    """The address in a struct sockaddr; a mapped IPv4 address comes back as IPv4."""
    (family,) = struct.unpack_from("=H", name)
    (port,) = struct.unpack_from("!H", name, 2)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, name[4:8]), port
    address = ipaddress.IPv6Address(name[8:24])
    return str(address.ipv4_mapped or address), port


def pack_bytes(data: bytes, length: int) -> list[int]:
    """Bytes as little-endian words, zero padded to `length` bytes."""
    padded = data[:length].ljust((length + 7) // 8 * 8, b"\0")
    return list(struct.unpack(f"<{len(padded) // 8}q", padded))


def _text(text: str | None) -> list[int]:
    """A MID or RID: its length and its 16 bytes."""
    data = (text or "").encode()
    return [len(data), *pack_bytes(data, 16)]


def _row(dtype: np.dtype[Any], **fields: Any) -> list[int]:
    """A table row with these fields and zeros elsewhere, as words."""
    row = np.zeros(1, dtype)
    for name, value in fields.items():
        row[name] = value
    return [int(word) for word in row.view(np.int64)]


def _formats(payload_types: Sequence[int | None]) -> list[int]:
    known = [NONE if payload_type is None else payload_type for payload_type in payload_types[:MAX_FORMATS]]
    return known + [NONE] * (MAX_FORMATS - len(known))


def _some(value: int | None) -> int:
    return NONE if value is None else value


def encode(command: cmd.Command, *, family: int, streams: Sequence[int] = ()) -> Iterable[list[int]]:
    """The words of every command but `InstallKeys`, whose sessions the plane makes.

    `family` is the socket's; `streams` are the receive stream handles of an `AddTrack`, one an encoding.
    """
    match command:
        case cmd.AddTransport(transport):
            yield words(apply.ADD_TRANSPORT, transport, secrets.randbits(32) | 1)
        case cmd.BindAddress(transport, address):
            yield words(apply.BIND_ADDRESS, transport, *address_key(address))
        case cmd.UnbindAddress(transport, address):
            yield words(apply.UNBIND_ADDRESS, transport, *address_key(address))
        case cmd.SetDestination(transport, address):
            name = b"" if address is None else sockaddr(address, family)
            yield words(apply.SET_DESTINATION, transport, len(name), *pack_bytes(name, NAME_BYTES))
        case cmd.AnswerChecks(transport, username, password):
            fits = len(username) <= CHECK_NAME_BYTES and len(password) <= BLOCK_BYTES
            packed = pack_bytes(username, CHECK_NAME_BYTES) + pack_bytes(password, BLOCK_BYTES)
            yield words(apply.ANSWER_CHECKS, transport, len(username) if fits else 0, *packed)
        case cmd.RemoveTransport(transport):
            yield words(apply.REMOVE_TRANSPORT, transport)
        case cmd.AddTrack():
            yield from _encode_track(command, streams)
        case cmd.PauseTrack(track, paused):
            yield words(apply.PAUSE_TRACK, track, int(paused))
        case cmd.RemoveTrack(track):
            yield words(apply.REMOVE_TRACK, track)
        case cmd.AddSubscription():
            yield _encode_subscription(command)
        case cmd.PauseSubscription(send, paused):
            yield words(apply.PAUSE_SUBSCRIPTION, send, int(paused))
        case cmd.SelectLayers(send, spatial, temporal):
            yield words(apply.SELECT_LAYERS, send, spatial, temporal)
        case cmd.RemoveSubscription(send):
            yield words(apply.REMOVE_SUBSCRIPTION, send)
        case cmd.RequestKeyFrame(track):
            yield words(apply.REQUEST_KEY_FRAME, track)
        case _:
            raise TypeError(f"not a command that is words: {command!r}")


def encode_keys(transport: int, receive: Session, transmit: Session, sealer: Sealer | None) -> list[int]:
    """`InstallKeys`, of which the plane gets addresses; what stands behind them must outlive the command that ends
    their use."""
    sessions = session_pointer(receive), session_pointer(transmit)
    if sealer is None:
        return words(apply.INSTALL_KEYS, transport, *sessions, 0, 0, 0, 0)
    block = pack_bytes(sealer.tag_key or b"", BLOCK_BYTES)
    tagged = int(sealer.tag_key is not None)
    return words(apply.INSTALL_KEYS, transport, *sessions, sealer.address, *sealer.salt, tagged, *block)


def _encode_track(command: cmd.AddTrack, streams: Sequence[int]) -> Iterable[list[int]]:
    media = command.media
    # The kernel indexes `PACKET.elements` with these: one beyond its end would be read from somebody else's memory.
    extensions = {name: number for name, number in (media.extensions or {}).items() if 0 < number < ELEMENTS}
    row = _row(
        TRACK,
        in_use=1,
        transport=command.transport,
        kind=media.kind,
        codec=media.codec,
        paused=command.paused,
        encodings=len(streams),
        first_send=NONE,
        police_rate=0 if media.limit_bps is None else max(media.limit_bps // 8, 1),
        receive=[*streams, *[NONE] * (MAX_ENCODINGS - len(streams))],
    )
    yield words(apply.ADD_TRACK, command.track, *row)
    for index, (handle, encoding) in enumerate(zip(streams, media.encodings, strict=True)):
        row = _row(
            RECEIVE_STREAM,
            in_use=1,
            transport=command.transport,
            track=command.track,
            encoding=index,
            ssrc=_some(encoding.ssrc),
            rtx_ssrc=_some(encoding.rtx_ssrc),
            kind=media.kind,
            codec=media.codec,
            clock_rate=media.clock_rate,
            rtx_payload_type=_some(media.rtx_payload_type),
            payload_types=_formats(media.payload_types),
            audio_level_id=extensions.get(Extension.AUDIO_LEVEL, 0),
            video_orientation_id=extensions.get(Extension.VIDEO_ORIENTATION, 0),
            playout_delay_id=extensions.get(Extension.PLAYOUT_DELAY, 0),
            dependency_descriptor_id=extensions.get(Extension.DEPENDENCY_DESCRIPTOR, 0),
            nack=media.nack,
            pli=media.pli,
            fir=media.fir,
            bad_sequence=NONE,
            frame_timestamp=NONE,
            fir_sequence=secrets.randbits(8),
        )
        identifiers = [extensions.get(extension, 0) for extension in TRANSPORT_IDS]
        yield words(
            apply.ADD_RECEIVE_STREAM,
            handle,
            *row,
            *identifiers,
            int(media.transport_cc),
            int(media.remb),
            *_text(media.mid),
            *_text(encoding.rid),
        )


def _encode_subscription(command: cmd.AddSubscription) -> list[int]:
    media = command.media
    extensions = dict(media.extensions or {})
    if media.nack and media.rtx_ssrc is None:
        # A packet is sent again under its own number: were it not the same to the bit, SRTP would encrypt two texts
        # with one key stream (RFC 3711 §9.1).
        extensions.pop(Extension.ABS_SEND_TIME, None)
        extensions.pop(Extension.TRANSPORT_CC, None)
    mid = _text(media.mid)
    cname = media.cname.encode()[:CNAME_BYTES]
    row = _row(
        SEND_STREAM,
        in_use=1,
        transport=command.transport,
        track=command.track,
        paused=command.paused,
        ssrc=media.ssrc,
        receive=NONE,
        spatial=NONE,
        spatial_wanted=media.spatial,
        temporal_wanted=media.temporal,
        encoding_wanted=media.spatial,
        reported_spatial=NONE,
        reported_temporal=NONE,
        mid_id=extensions.get(Extension.MID, 0),
        audio_level_id=extensions.get(Extension.AUDIO_LEVEL, 0),
        video_orientation_id=extensions.get(Extension.VIDEO_ORIENTATION, 0),
        playout_delay_id=extensions.get(Extension.PLAYOUT_DELAY, 0),
        dependency_descriptor_id=extensions.get(Extension.DEPENDENCY_DESCRIPTOR, 0),
        abs_send_time_id=extensions.get(Extension.ABS_SEND_TIME, 0),
        transport_cc_id=extensions.get(Extension.TRANSPORT_CC, 0),
        mid_length=mid[0],
        mid_low=mid[1],
        mid_high=mid[2],
        last_picture=NONE,
        frame_timestamp=NONE,
        last_tl0=NONE,
        nack=media.nack,
        rtx_ssrc=_some(media.rtx_ssrc),
        rtx_payload_type=_some(media.rtx_payload_type),
        # 15 bits: were the number to wrap before the first packet arrives, the receiver would miss a rollover.
        rtx_sequence=secrets.randbits(15),
        payload_types=_formats(media.payload_types),
        first_sequence=secrets.randbits(15) if command.sequence_number is None else command.sequence_number,
        first_timestamp=secrets.randbits(32) if command.timestamp is None else command.timestamp,
        cname_length=len(cname),
    )
    return words(apply.ADD_SUBSCRIPTION, command.send, *row, *pack_bytes(cname, CNAME_BYTES))
