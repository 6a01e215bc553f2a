"""The dependency descriptor header extension (AV1 RTP payload specification, appendix A).

Each packet names a *template* (layer, indications, references, chains) and may override parts of it. The templates come
with a key frame, in the template dependency structure, and are kept per receive stream in a `STRUCTURE` record.

    f(1) start_of_frame   f(1) end_of_frame   f(6) template id   f(16) frame_number
    if longer than 3 bytes:
      f(1) structure   f(1) active targets   f(1) custom indications   f(1) custom references   f(1) custom chains
      [structure]      [f(targets) mask]     [f(2) each target]        [f(2) size, f(4 size)]…  [f(8) each chain]

Bits are read with `value, at = read_bits(packet, at, stop, count)`, offsets in bits. A read that does not fit gives 0
and an offset behind `stop`, and so does every read after it: one look at the end tells whether all were good.
"""

from typing import cast

import numpy as np

from sluicegate.compiled import compiled
from sluicegate.rtp.payload.descriptor import MAX_CHAINS, MAX_REFERENCES, Packet, byte, reset_descriptor

MAX_TEMPLATES = 64
MAX_TARGETS = 32
MAX_SPATIAL = 3
MAX_TEMPORAL = 7
"""Layer ids have two and three bits in AV1 (§5.3.3)."""

# Not plain literals: numba compiles a function once more for each literal that it is called with.
BITS_1, BITS_2, BITS_4, BITS_5, BITS_6, BITS_8 = cast(tuple[int, ...], tuple(np.array([1, 2, 4, 5, 6, 8], np.int64)))
CHECK, STORE = np.bool_(False), np.bool_(True)

NOT_PRESENT = 0
DISCARDABLE = 1
SWITCH = 2
REQUIRED = 3

STRUCTURE = np.dtype(
    [
        ("template_id_offset", np.int64),
        ("template_count", np.int64),  # 0: no structure has come yet
        ("decode_target_count", np.int64),
        ("chain_count", np.int64),
        ("active_decode_targets", np.int64),  # mask, from the last packet that had one
        ("template_present", np.int64, (MAX_TEMPLATES,)),  # masks of decode targets, as in `DESCRIPTOR`
        ("template_switch", np.int64, (MAX_TEMPLATES,)),
        ("template_discardable", np.int64, (MAX_TEMPLATES,)),
        ("template_spatial", np.int64, (MAX_TEMPLATES,)),
        ("template_temporal", np.int64, (MAX_TEMPLATES,)),
        ("template_reference_count", np.int64, (MAX_TEMPLATES,)),
        ("target_chain", np.int64, (MAX_TARGETS,)),  # which chain protects it, if chain_count > 0
        ("target_spatial", np.int64, (MAX_TARGETS,)),  # the highest layer that it has
        ("target_temporal", np.int64, (MAX_TARGETS,)),
        ("template_references", np.uint8, (MAX_TEMPLATES, MAX_REFERENCES)),  # 1…16
        ("template_chain_diffs", np.uint8, (MAX_TEMPLATES, MAX_CHAINS)),  # 0…15
    ],
    align=True,
)
"""The template dependency structure of one receive stream; all zeros before the first. A row of an `np.recarray`."""


def new_structures(count: int) -> np.recarray:
    """`count` structures that have not come yet."""
    return np.zeros(count, STRUCTURE).view(np.recarray)


@compiled
def parse_dependency_descriptor(packet: Packet, start: int, end: int, structure: np.record, d: np.record) -> None:
    """Fill `d` from the extension's data `packet[start:end]`, and `structure` if the extension brings one.

    Not valid, with `structure` as it was: data that ends too early, a limit of this module exceeded, or a template that
    the structure does not have (the packet that brought it was lost). `key_frame`: a structure came, at the start of a
    frame of spatial layer 0. `switching_up`: the frame is a switch indication for some decode target; `switch_targets`
    says which.
    """
    reset_descriptor(d)
    if end - start < 3:
        return
    at, stop = start * 8 + 24, end * 8
    header = byte(packet, start)
    flags = 0
    offset, templates, targets = structure.template_id_offset, structure.template_count, structure.decode_target_count
    chains, active = structure.chain_count, structure.active_decode_targets
    structure_at, active_at = at + 5, -1
    if end - start > 3:
        flags, at = read_bits(packet, at, stop, BITS_5)
        if flags & 0x10:
            at, offset, templates, targets, chains = _read_structure(packet, at, stop, structure, CHECK)
            active = (1 << targets) - 1
        if flags & 0x08:
            active_at = at
            active, at = read_bits(packet, at, stop, targets)
    index = (header - offset) & 0x3F
    if at > stop or index >= templates:
        return
    at = _read_custom(packet, at, stop, flags, targets, chains, d)
    if at > stop:
        reset_descriptor(d)
        return
    if flags & 0x10:
        _read_structure(packet, structure_at, stop, structure, STORE)
    structure.active_decode_targets = active
    d.active_decode_targets = active
    d.active_decode_targets_bit = active_at
    d.start_of_frame = header >> 7
    d.end_of_frame = header >> 6 & 1
    d.template_id = header & 0x3F
    d.frame_number = byte(packet, start + 1) << 8 | byte(packet, start + 2)
    _apply_template(structure, index, flags, d)
    d.valid = 1


@compiled
def decode_target_indication(structure: np.record, d: np.record, target: int) -> int:
    """What the frame of `d` is for decode target `target`: NOT_PRESENT, DISCARDABLE, SWITCH or REQUIRED.

    NOT_PRESENT for a target that the structure does not have, and for a record that is not valid.
    """
    if target < 0 or target >= structure.decode_target_count or d.present_targets >> target & 1 == 0:
        return NOT_PRESENT
    if d.switch_targets >> target & 1:
        return SWITCH
    return DISCARDABLE if d.discardable_targets >> target & 1 else REQUIRED


@compiled
def decode_target_layers(structure: np.record, target: int) -> tuple[int, int]:
    """The highest spatial and temporal layer of decode target `target`; (-1, -1) if there is no such target."""
    if target < 0 or target >= structure.decode_target_count:
        return -1, -1
    return structure.target_spatial[target], structure.target_temporal[target]


@compiled
def read_bits(packet: Packet, at: int, stop: int, count: int) -> tuple[int, int]:
    """The next `count` ≤ 32 bits, and the offset behind them; (0, stop + 1) if they do not end by `stop`."""
    if at + count > stop:
        return 0, stop + 1
    value = 0
    while count > 0:
        left = 8 - (at & 7)
        take = min(left, count)
        value = value << take | (byte(packet, at >> 3) >> (left - take)) & ((1 << take) - 1)
        at += take
        count -= take
    return value, at


@compiled
def _read_ns(packet: Packet, at: int, stop: int, limit: int) -> tuple[int, int]:
    """A number below `limit` ≥ 1, of which the lower ones take a bit less: ns(n) of A.8.2."""
    width = 0
    while limit >> width:
        width += 1
    short = (1 << width) - limit
    value, at = read_bits(packet, at, stop, width - 1)
    if value < short:
        return value, at
    extra, at = read_bits(packet, at, stop, BITS_1)
    return (value << 1) - short + extra, at


@compiled
def _read_structure(
    packet: Packet, at: int, stop: int, structure: np.record, store: np.bool_
) -> tuple[int, int, int, int, int]:
    """Walk a template dependency structure, and write it down if `store`.

    The first walk finds out whether all of it is good, so that a bad one changes nothing; the second one stores.
    Returns (offset behind it, or behind `stop`; template_id_offset; templates; decode targets; chains).
    """
    offset, at = read_bits(packet, at, stop, BITS_6)
    targets, at = read_bits(packet, at, stop, BITS_5)
    targets += 1
    at, templates, spatial = _read_layers(packet, at, stop, structure, store)
    at = _read_indications(packet, at, stop, templates, targets, structure, store)
    at = _read_references(packet, at, stop, templates, structure, store)
    at, chains = _read_chains(packet, at, stop, templates, targets, structure, store)
    resolutions, at = read_bits(packet, at, stop, BITS_1)
    if resolutions:  # width and height, 16 bits each, of each spatial layer
        at += 32 * (spatial + 1)
    if store:
        structure.template_id_offset = offset
        structure.template_count = templates
        structure.decode_target_count = targets
        structure.chain_count = chains
        _derive_target_layers(structure, templates, targets)
    return at, offset, templates, targets, chains


@compiled
def _read_layers(packet: Packet, at: int, stop: int, structure: np.record, store: np.bool_) -> tuple[int, int, int]:
    """Returns (offset, number of templates, highest spatial layer)."""
    spatial, temporal = 0, 0
    for template in range(MAX_TEMPLATES):
        if store:
            structure.template_spatial[template] = spatial
            structure.template_temporal[template] = temporal
        step, at = read_bits(packet, at, stop, BITS_2)
        if step == 1:
            temporal += 1
        elif step == 2:
            temporal = 0
            spatial += 1
        elif step == 3:
            return at, template + 1, spatial
        if at > stop or spatial > MAX_SPATIAL or temporal > MAX_TEMPORAL:
            break
    return stop + 1, 0, 0


@compiled
def _read_target_masks(packet: Packet, at: int, stop: int, targets: int) -> tuple[int, int, int, int]:
    """Two bits for each decode target. Returns (offset, present, switch and discardable mask)."""
    present, switch, discardable = 0, 0, 0
    for target in range(targets):
        indication, at = read_bits(packet, at, stop, BITS_2)
        if indication != NOT_PRESENT:
            present |= 1 << target
        if indication == SWITCH:
            switch |= 1 << target
        elif indication == DISCARDABLE:
            discardable |= 1 << target
    return at, present, switch, discardable


@compiled
def _read_indications(
    packet: Packet, at: int, stop: int, templates: int, targets: int, structure: np.record, store: np.bool_
) -> int:
    for template in range(templates):
        at, present, switch, discardable = _read_target_masks(packet, at, stop, targets)
        if store:
            structure.template_present[template] = present
            structure.template_switch[template] = switch
            structure.template_discardable[template] = discardable
    return at


@compiled
def _read_references(packet: Packet, at: int, stop: int, templates: int, structure: np.record, store: np.bool_) -> int:
    for template in range(templates):
        count = 0
        follows, at = read_bits(packet, at, stop, BITS_1)
        while follows:
            if count == MAX_REFERENCES:
                return stop + 1
            difference, at = read_bits(packet, at, stop, BITS_4)
            if store:
                structure.template_references[template, count] = difference + 1
            count += 1
            follows, at = read_bits(packet, at, stop, BITS_1)
        if store:
            structure.template_reference_count[template] = count
    return at


@compiled
def _read_chains(
    packet: Packet, at: int, stop: int, templates: int, targets: int, structure: np.record, store: np.bool_
) -> tuple[int, int]:
    """Returns (offset, number of chains)."""
    chains, at = _read_ns(packet, at, stop, targets + 1)
    if chains == 0 or at > stop:
        return at, 0
    for target in range(targets):
        chain, at = _read_ns(packet, at, stop, chains)
        if store:
            structure.target_chain[target] = chain
    for template in range(templates):
        for chain in range(chains):
            difference, at = read_bits(packet, at, stop, BITS_4)
            if store:
                structure.template_chain_diffs[template, chain] = difference
    return at, chains


@compiled
def _derive_target_layers(structure: np.record, templates: int, targets: int) -> None:
    """decode_target_layers() of A.8.2: the maxima over the templates that a target has."""
    for target in range(targets):
        spatial, temporal = 0, 0
        for template in range(templates):
            if structure.template_present[template] >> target & 1:
                spatial = max(spatial, structure.template_spatial[template])
                temporal = max(temporal, structure.template_temporal[template])
        structure.target_spatial[target] = spatial
        structure.target_temporal[target] = temporal


@compiled
def _read_custom(packet: Packet, at: int, stop: int, flags: int, targets: int, chains: int, d: np.record) -> int:
    """Read what this frame has instead of its template's. Returns the offset behind it, or behind `stop`."""
    if flags & 0x04:
        at, d.present_targets, d.switch_targets, d.discardable_targets = _read_target_masks(packet, at, stop, targets)
    if flags & 0x02:
        size, at = read_bits(packet, at, stop, BITS_2)
        while size:
            if d.reference_count == MAX_REFERENCES:
                return stop + 1
            difference, at = read_bits(packet, at, stop, 4 * size)
            d.references[d.reference_count] = difference + 1
            d.reference_count += 1
            size, at = read_bits(packet, at, stop, BITS_2)
    if flags & 0x01:
        for chain in range(chains):
            difference, at = read_bits(packet, at, stop, BITS_8)
            d.chain_diffs[chain] = difference
    return at


@compiled
def _apply_template(structure: np.record, template: int, flags: int, d: np.record) -> None:
    """Take from the template what the frame did not bring itself, then say what follows from both."""
    d.spatial = structure.template_spatial[template]
    d.temporal = structure.template_temporal[template]
    if flags & 0x04 == 0:
        d.present_targets = structure.template_present[template]
        d.switch_targets = structure.template_switch[template]
        d.discardable_targets = structure.template_discardable[template]
    if flags & 0x02 == 0:
        d.reference_count = structure.template_reference_count[template]
        for index in range(structure.template_reference_count[template]):
            d.references[index] = np.int64(structure.template_references[template, index])
    d.chain_count = structure.chain_count
    if flags & 0x01 == 0:
        for chain in range(structure.chain_count):
            d.chain_diffs[chain] = np.int64(structure.template_chain_diffs[template, chain])
    d.switching_up = 1 if d.switch_targets else 0
    for target in range(structure.decode_target_count):
        if d.switch_targets >> target & 1:
            d.switch_temporal = max(d.switch_temporal, structure.target_temporal[target])
    # A picture has one frame for each spatial layer, from the lowest up: what lies further back is of an earlier one.
    for index in range(d.reference_count):
        if d.references[index] > d.spatial:
            d.inter_picture = 1
    if d.present_targets and d.present_targets == d.discardable_targets:
        d.independent = 1
    if flags & 0x10 and d.start_of_frame and d.spatial == 0:
        d.key_frame = 1
