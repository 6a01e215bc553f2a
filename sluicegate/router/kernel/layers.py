"""What a video payload says of its place among the layers, and which packets a subscription's layers let through.

Temporal: up at a switching point (the dependency descriptor marks the frame after which all can be decoded, VP8 and VP9
the upper one itself), down at the start of any frame. Spatial (SVC): up at a key frame, or where a layer begins without
looking back (VP9 with P clear, AV1 with no reference to an earlier picture); down at the start of any picture, since no
lower layer looks at a higher one. Simulcast: at the key frame of the encoding that is wanted.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.records import NONE, SPATIAL_SHIFT, TEMPORAL_SHIFT
from sluicegate.router.tables import Tables
from sluicegate.rtp.names import Codec, MediaKind
from sluicegate.rtp.payload.av1 import parse_av1
from sluicegate.rtp.payload.dependency_descriptor import parse_dependency_descriptor
from sluicegate.rtp.payload.descriptor import reset_descriptor
from sluicegate.rtp.payload.h264 import parse_h264
from sluicegate.rtp.payload.vp8 import parse_vp8
from sluicegate.rtp.payload.vp9 import parse_vp9

PASS, DROP, WAIT_FOR_KEY_FRAME = 0, 1, 2


@kernel
def read_descriptor(t: Tables, receive: int, stream: Any, row: Any, packet: Any, descriptor: Any) -> None:
    """Fill `descriptor` from the payload, or from the dependency descriptor where the codec relies on it."""
    start, end = packet.payload_start, packet.payload_end
    element = packet.elements[stream.dependency_descriptor_id]
    if element and (stream.codec == Codec.AV1 or stream.codec == Codec.H264):
        offset = element >> 8
        parse_dependency_descriptor(row, offset, offset + (element & 0xFF), t.structures[receive], descriptor)
    elif stream.codec == Codec.VP8:
        parse_vp8(row, start, end, descriptor)
    elif stream.codec == Codec.VP9:
        parse_vp9(row, start, end, descriptor)
    elif stream.codec == Codec.H264:
        parse_h264(row, start, end, descriptor)
    elif stream.codec == Codec.AV1:
        parse_av1(row, start, end, descriptor)
    else:
        reset_descriptor(descriptor)


@kernel
def describe(t: Tables, receive: int, packet: Any, descriptor: Any) -> None:
    """Read the descriptor of a fresh packet and keep what the stream shows of itself."""
    stream = t.receive_streams[receive]
    if stream.kind != MediaKind.VIDEO or packet.payload_end == packet.payload_start:
        reset_descriptor(descriptor)
        return
    read_descriptor(t, receive, stream, t.arena[packet.serial & (len(t.arena) - 1)], packet, descriptor)
    stream.key_frames += descriptor.key_frame
    stream.spatial_seen = max(stream.spatial_seen, descriptor.spatial)
    stream.temporal_seen = max(stream.temporal_seen, descriptor.temporal)


@kernel
def may_switch(send: Any, stream: Any, descriptor: Any) -> bool:
    """Whether a simulcast subscription may go over to this encoding here; without any yet, a lower one will do."""
    if stream.kind != MediaKind.VIDEO or not descriptor.key_frame:
        return False
    lower = send.receive == NONE and stream.encoding < send.encoding_wanted
    return bool(lower or stream.encoding == send.encoding_wanted)


@kernel
def synchronise_picture(send: Any, descriptor: Any) -> None:
    """Let the picture id and TL0PICIDX (RFC 7741 §4.2) go on where they were, whatever the new encoding counts."""
    if descriptor.picture_id >= 0:
        if send.last_picture >= 0:
            send.picture_offset = send.last_picture + 1 - descriptor.picture_id
            send.tl0_offset = send.last_tl0 + 1 - descriptor.tl0
        else:
            send.picture_offset = 0
            send.tl0_offset = 0


@kernel
def layers_taken(send: Any) -> int:
    """The layers that a subscription gets at this moment, as a number that is kept for a late packet remembers them."""
    return i64((send.temporal << TEMPORAL_SHIFT) | ((send.spatial + 1) << SPATIAL_SHIFT))


@kernel
def was_taken(picture: int, descriptor: Any) -> bool:
    """Whether a late packet is of a layer that the subscription got where its number was kept.

    Others are parts of frames that were left out, whose picture ids have been given to those behind them.
    """
    if not descriptor.valid:
        return True
    temporal, spatial = (picture >> TEMPORAL_SHIFT) & 0xFF, (picture >> SPATIAL_SHIFT) & 0xFF
    return bool(descriptor.temporal <= temporal and (spatial == 0 or descriptor.spatial < spatial))


@kernel
def filter_layers(send: Any, descriptor: Any) -> int:
    """Whether this packet is of a layer that the subscription gets; changes its layers where the codec allows."""
    if not descriptor.valid:
        return PASS
    base = descriptor.start_of_frame and descriptor.spatial <= 0
    if descriptor.key_frame:
        send.temporal = send.temporal_wanted
    elif base and send.temporal_wanted < send.temporal:
        send.temporal = send.temporal_wanted
    elif base and descriptor.temporal <= send.temporal < descriptor.switch_temporal:
        send.temporal = min(send.temporal_wanted, descriptor.switch_temporal)
    if descriptor.spatial >= 0:
        if descriptor.key_frame or (base and send.spatial_wanted < send.spatial):
            send.spatial = send.spatial_wanted
        if descriptor.spatial > send.spatial:
            upward = descriptor.spatial <= send.spatial_wanted
            if not (upward and descriptor.start_of_frame and not descriptor.inter_picture):
                return WAIT_FOR_KEY_FRAME if upward else DROP
            send.spatial = descriptor.spatial
    if descriptor.temporal > send.temporal:
        if base and descriptor.switching_up and descriptor.temporal <= send.temporal_wanted:
            send.temporal = descriptor.temporal
        else:
            if base and send.codec == Codec.VP8:
                send.picture_offset -= 1
            return DROP
    return PASS
