"""The dependency descriptor (AV1 RTP payload specification, appendix A): vectors, and an encoder written from A.8.2."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.rtp.payload.dependency_descriptor import (
    decode_target_indication,
    decode_target_layers,
    new_structures,
    parse_dependency_descriptor,
)
from sluicegate.rtp.payload.descriptor import new_descriptors
from tests.rtp.payload.harness import NOTHING, cuts, parse

MAX_INDEX = 63


class Writer:
    """Bits, high to low."""

    def __init__(self) -> None:
        self.text = ""

    def f(self, width: int, value: int) -> None:
        self.text += format(value, f"0{width}b") if width else ""

    def ns(self, limit: int, value: int) -> None:
        width = limit.bit_length()
        short = (1 << width) - limit
        if value < short:
            self.f(width - 1, value)
        else:
            self.f(width, value + short)

    def bytes(self) -> bytes:
        text = self.text + "0" * (-len(self.text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


@dataclass(frozen=True)
class Template:
    step: int  # next_layer_idc that led here from the template before
    indications: tuple[int, ...]
    references: tuple[int, ...]
    chain_diffs: tuple[int, ...]


@dataclass(frozen=True)
class Structure:
    offset: int
    templates: tuple[Template, ...]
    protected_by: tuple[int, ...]  # () without chains
    resolutions: bool = False

    @property
    def targets(self) -> int:
        return len(self.templates[0].indications)

    @property
    def chains(self) -> int:
        return len(self.templates[0].chain_diffs)

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(spatial, temporal) of each template."""
        layers = []
        spatial = temporal = 0
        for index, template in enumerate(self.templates):
            if index and template.step == 1:
                temporal += 1
            elif index and template.step == 2:
                spatial, temporal = spatial + 1, 0
            layers.append((spatial, temporal))
        return layers

    def target_layers(self, target: int) -> tuple[int, int]:
        have = [layer for layer, t in zip(self.layers, self.templates, strict=True) if t.indications[target]] or [
            (0, 0)
        ]
        return max(layer[0] for layer in have), max(layer[1] for layer in have)

    def write(self, bits: Writer) -> None:
        bits.f(6, self.offset)
        bits.f(5, self.targets - 1)
        for template in self.templates[1:]:
            bits.f(2, template.step)
        bits.f(2, 3)
        for template in self.templates:
            for indication in template.indications:
                bits.f(2, indication)
        for template in self.templates:
            for reference in template.references:
                bits.f(1, 1)
                bits.f(4, reference - 1)
            bits.f(1, 0)
        bits.ns(self.targets + 1, self.chains)
        if self.chains:
            for chain in self.protected_by:
                bits.ns(self.chains, chain)
            for template in self.templates:
                for diff in template.chain_diffs:
                    bits.f(4, diff)
        bits.f(1, self.resolutions)
        if self.resolutions:
            for spatial in range(self.layers[-1][0] + 1):
                bits.f(16, (320 << spatial) - 1)
                bits.f(16, (180 << spatial) - 1)


@dataclass(frozen=True)
class Frame:
    """One descriptor. None: not in it."""

    template_id: int
    frame_number: int = 0
    start: bool = True
    end: bool = True
    structure: Structure | None = None
    active: int | None = None
    indications: tuple[int, ...] | None = None
    references: tuple[int, ...] | None = None
    chain_diffs: tuple[int, ...] | None = None

    def bytes(self, targets: int) -> bytes:
        bits = Writer()
        bits.f(1, self.start)
        bits.f(1, self.end)
        bits.f(6, self.template_id)
        bits.f(16, self.frame_number)
        parts = (self.structure, self.active, self.indications, self.references, self.chain_diffs)
        if any(part is not None for part in parts):
            for part in parts:
                bits.f(1, part is not None)
            if self.structure is not None:
                self.structure.write(bits)
            if self.active is not None:
                bits.f(targets, self.active)
            for indication in self.indications or ():
                bits.f(2, indication)
            if self.references is not None:
                for reference in self.references:
                    size = max(1, -(-(reference - 1).bit_length() // 4))
                    bits.f(2, size)
                    bits.f(4 * size, reference - 1)
                bits.f(2, 0)
            for diff in self.chain_diffs or ():
                bits.f(8, diff)
        return bits.bytes()


class Receiver:
    """One stream's structure and the record of its last packet."""

    def __init__(self) -> None:
        self.structures = new_structures(1)

    @property
    def structure(self):
        return self.structures[0]

    def parse(self, data: bytes) -> SimpleNamespace:
        """Parse; all placements must lead to the same structure, and a descriptor that is not valid to the old one."""
        outcomes = []

        def parser(packet, start, end, d):
            structures = self.structures.copy()
            parse_dependency_descriptor(packet, start, end, structures[0], d)
            outcomes.append(structures)

        parsed = parse(parser, data)
        assert all(outcome.tobytes() == outcomes[0].tobytes() for outcome in outcomes)
        if not parsed.valid:
            assert outcomes[0].tobytes() == self.structures.tobytes()
        self.structures = outcomes[0]
        return parsed

    def indications(self, data: bytes, targets: int) -> list[int]:
        d = new_descriptors(1)[0]
        packet = np.frombuffer(data, np.uint8).copy()
        parse_dependency_descriptor(packet, 0, len(data), self.structures.copy()[0], d)
        return [decode_target_indication(self.structure, d, target) for target in range(-1, targets + 1)][1:-1]


def mask(indications, *wanted: int) -> int:
    return sum(1 << target for target, indication in enumerate(indications) if indication in wanted)


# start 1, end 0, template 5, frame 100 | structure only
# offset 5, targets 2 | next template: same layer, next temporal layer, none
# indications SS SS -D | references: none, 2, 1 | one chain | chain diffs 0, 2, 1 | no resolutions
#   10000101 0000000001100100 | 10000 | 000101 00001 | 00 01 11 | 1010 1010 0001
#   0 1_0001_0 1_0000_0 | 10 | 0000 0010 0001 | 0 | padding
KEY = bytes.fromhex("850064 80a11ea851410108")
# start 0, end 1, template 7, frame 65535 | no structure, all else
# mask 01 | indications D R | references 4 (4 bits), 300 (12 bits) | chain diff 200
#   01000111 1111111111111111 | 01111 | 01 | 01 11 | 01_0011 11_000100101011 00 | 11001000 | padding
CUSTOM = bytes.fromhex("47ffff 7ae9e2566400")


def test_a_key_frame_brings_the_structure():
    receiver = Receiver()
    assert vars(receiver.parse(KEY)) == {
        **NOTHING,
        "valid": 1,
        "key_frame": 1,
        "start_of_frame": 1,
        "spatial": 0,
        "switching_up": 1,
        "frame_number": 100,
        "template_id": 5,
        "active_decode_targets": 0b11,
        "present_targets": 0b11,
        "switch_targets": 0b11,
        "switch_temporal": 1,
        "chain_count": 1,
        "chain_diffs": (0,),
    }
    structure = receiver.structure
    assert (structure.template_count, structure.decode_target_count, structure.chain_count) == (3, 2, 1)
    assert [decode_target_layers(structure, target) for target in (-1, 0, 1, 2)] == [(-1, -1), (0, 0), (0, 1), (-1, -1)]
    assert structure.target_chain[:2].tolist() == [0, 0]
    assert receiver.indications(KEY, 2) == [2, 2]


def test_later_frames_name_a_template():
    receiver = Receiver()
    receiver.parse(KEY)
    # start, end, template 6, frame 101
    base = receiver.parse(bytes.fromhex("c60065"))
    assert (base.valid, base.key_frame, base.temporal, base.switching_up, base.independent) == (1, 0, 0, 1, 0)
    assert (base.references, base.chain_diffs, base.frame_number) == ((2,), (2,), 101)
    assert (base.switch_temporal, base.inter_picture) == (1, 1)
    # start, end, template 7, frame 102
    upper = receiver.parse(bytes.fromhex("c70066"))
    assert (upper.valid, upper.temporal, upper.switching_up, upper.independent) == (1, 1, 0, 1)
    assert (upper.references, upper.chain_diffs, upper.present_targets) == ((1,), (1,), 0b10)
    assert upper.switch_temporal == -1
    assert receiver.indications(bytes.fromhex("c70066"), 2) == [0, 1]


def test_a_frame_may_bring_its_own_values():
    receiver = Receiver()
    receiver.parse(KEY)
    parsed = receiver.parse(CUSTOM)
    assert vars(parsed) == {
        **NOTHING,
        "valid": 1,
        "end_of_frame": 1,
        "spatial": 0,
        "temporal": 1,
        "frame_number": 65535,
        "template_id": 7,
        "active_decode_targets": 0b01,
        "active_decode_targets_bit": 29,
        "present_targets": 0b11,
        "discardable_targets": 0b01,
        "reference_count": 2,
        "inter_picture": 1,
        "references": (4, 300),
        "chain_count": 1,
        "chain_diffs": (200,),
    }
    assert receiver.indications(CUSTOM, 2) == [1, 3]


def test_the_active_mask_stays_until_another_comes():
    receiver = Receiver()
    receiver.parse(KEY)
    assert receiver.parse(bytes.fromhex("c60065")).active_decode_targets == 0b11
    receiver.parse(CUSTOM)
    assert receiver.parse(bytes.fromhex("c60065")).active_decode_targets == 0b01
    assert receiver.parse(KEY).active_decode_targets == 0b11


@pytest.mark.parametrize("data", [KEY, CUSTOM], ids=["key", "custom"])
def test_every_cut_is_refused_and_changes_nothing(data):
    receiver = Receiver()
    receiver.parse(KEY)
    for cut in cuts(data):
        parsed = receiver.parse(cut)
        # Three bytes are a descriptor of their own: template 5 or 7, nothing more.
        assert parsed.valid == (len(cut) == 3)


def test_a_template_that_never_came_is_refused():
    receiver = Receiver()
    assert not receiver.parse(bytes.fromhex("c50065")).valid
    assert not receiver.parse(CUSTOM).valid
    receiver.parse(KEY)
    assert [receiver.parse(bytes([0xC0 | template, 0, 1])).valid for template in (4, 5, 6, 7, 8)] == [0, 1, 1, 1, 0]


def test_template_ids_wrap():
    structure = Structure(62, tuple(Template(0, (2,), (), ()) for _ in range(4)), ())
    receiver = Receiver()
    assert receiver.parse(Frame(62, structure=structure).bytes(1)).valid
    assert [receiver.parse(Frame(template).bytes(1)).valid for template in (61, 62, 63, 0, 1, 2)] == [0, 1, 1, 1, 1, 0]


def test_a_structure_in_the_middle_of_a_frame_is_no_key_frame():
    structure = Structure(0, (Template(0, (2,), (), ()),), ())
    assert not Receiver().parse(Frame(0, start=False, structure=structure).bytes(1)).key_frame


def test_a_key_frame_of_an_upper_layer_is_none():
    structure = Structure(0, (Template(0, (2, 2), (), ()), Template(2, (0, 2), (1,), ())), ())
    parsed = Receiver().parse(Frame(1, structure=structure).bytes(2))
    assert (parsed.valid, parsed.spatial, parsed.key_frame) == (1, 1, 0)


def templates(count: int, step: int = 0) -> tuple[Template, ...]:
    return tuple(Template(step, (2,), (), ()) for _ in range(count))


@pytest.mark.parametrize(
    ("structure", "valid"),
    [
        (Structure(0, templates(64), ()), 1),
        (Structure(0, templates(65), ()), 0),
        (Structure(0, templates(4, step=2), ()), 1),
        (Structure(0, templates(5, step=2), ()), 0),
        (Structure(0, templates(8, step=1), ()), 1),
        (Structure(0, templates(9, step=1), ()), 0),
        (Structure(0, (Template(0, (2,), tuple(range(1, 9)), ()),), ()), 1),
        (Structure(0, (Template(0, (2,), tuple(range(1, 10)), ()),), ()), 0),
        (Structure(0, tuple(Template(0, (3,) * 32, (16,) * 8, (15,) * 32) for _ in range(64)), (31,) * 32), 1),
    ],
    ids=["64", "65 templates", "4", "5 spatial", "8", "9 temporal", "8", "9 references", "everything"],
)
def test_limits(structure, valid):
    assert Receiver().parse(Frame(0, structure=structure).bytes(structure.targets)).valid == valid


@pytest.mark.parametrize(("count", "valid"), [(8, 1), (9, 0)])
def test_a_frame_has_no_more_references_than_a_record_holds(count, valid):
    receiver = Receiver()
    receiver.parse(KEY)
    assert receiver.parse(Frame(5, references=(4096,) * count).bytes(2)).valid == valid


@st.composite
def structures(draw):
    targets = draw(st.integers(1, 6) | st.just(32))
    chains = draw(st.integers(0, min(targets, 4)) | st.just(targets))
    count = draw(st.integers(1, 6))
    steps = draw(st.lists(st.sampled_from((0, 1, 2)), min_size=count, max_size=count))
    made = []
    spatial = 0
    for step in steps:
        spatial += step == 2 and bool(made)
        made.append(
            Template(
                0 if spatial > 3 else step,
                tuple(draw(st.lists(st.integers(0, 3), min_size=targets, max_size=targets))),
                tuple(draw(st.lists(st.integers(1, 16), max_size=3))),
                tuple(draw(st.lists(st.integers(0, 15), min_size=chains, max_size=chains))),
            )
        )
        spatial = min(spatial, 3)
    protected = st.lists(st.integers(0, chains - 1), min_size=targets, max_size=targets) if chains else st.just([])
    return Structure(draw(st.integers(0, MAX_INDEX)), tuple(made), tuple(draw(protected)), draw(st.booleans()))


@st.composite
def frames(draw, structure: Structure):
    custom = draw(st.booleans())

    def perhaps(strategy):
        return tuple(draw(strategy)) if custom and draw(st.booleans()) else None

    targets, chains = structure.targets, structure.chains
    return Frame(
        (structure.offset + draw(st.integers(0, len(structure.templates) - 1))) % 64,
        draw(st.integers(0, 65535)),
        draw(st.booleans()),
        draw(st.booleans()),
        active=draw(st.integers(0, (1 << targets) - 1)) if custom and draw(st.booleans()) else None,
        indications=perhaps(st.lists(st.integers(0, 3), min_size=targets, max_size=targets)),
        references=perhaps(st.lists(st.sampled_from((1, 16, 17, 256, 257, 4096)), max_size=8)),
        chain_diffs=perhaps(st.lists(st.integers(0, 255), min_size=chains, max_size=chains)),
    )


def expected(structure: Structure, frame: Frame, active: int) -> dict:
    index = (frame.template_id - structure.offset) % 64
    template = structure.templates[index]
    spatial, temporal = structure.layers[index]
    indications = frame.indications if frame.indications is not None else template.indications
    references = frame.references if frame.references is not None else template.references
    present = [indication for indication in indications if indication]
    return {
        "valid": 1,
        "key_frame": int(frame.structure is not None and frame.start and spatial == 0),
        "start_of_frame": int(frame.start),
        "end_of_frame": int(frame.end),
        "spatial": spatial,
        "temporal": temporal,
        "switching_up": int(2 in indications),
        "independent": int(present != [] and set(present) == {1}),
        "frame_number": frame.frame_number,
        "template_id": frame.template_id,
        "active_decode_targets": active,
        "present_targets": mask(indications, 1, 2, 3),
        "switch_targets": mask(indications, 2),
        "switch_temporal": max(
            (structure.target_layers(target)[1] for target, indication in enumerate(indications) if indication == 2),
            default=-1,
        ),
        "inter_picture": int(any(reference > spatial for reference in references)),
        "discardable_targets": mask(indications, 1),
        "reference_count": len(references),
        "references": references,
        "chain_count": structure.chains,
        "chain_diffs": frame.chain_diffs if frame.chain_diffs is not None else template.chain_diffs,
    }


@given(st.data())
def test_what_was_written_is_read(data):
    receiver = Receiver()
    for _ in range(2):
        structure = data.draw(structures())
        targets = structure.targets
        active = (1 << targets) - 1
        for number in range(3):
            frame = data.draw(frames(structure))
            if number == 0:
                frame = replace(frame, structure=structure)
            wire = frame.bytes(targets)
            active = frame.active if frame.active is not None else active
            parsed = vars(receiver.parse(wire))
            assert (parsed.pop("active_decode_targets_bit") >= 0) == (frame.active is not None)
            assert parsed == {**{k: NOTHING[k] for k in parsed}, **expected(structure, frame, active)}
            assert receiver.indications(wire, targets) == list(
                frame.indications
                if frame.indications is not None
                else structure.templates[(frame.template_id - structure.offset) % 64].indications
            )
        for target in range(targets):
            assert decode_target_layers(receiver.structure, target) == structure.target_layers(target)
        if structure.chains:
            assert receiver.structure.target_chain[:targets].tolist() == list(structure.protected_by)


@given(st.data())
def test_a_damaged_structure_is_refused_whole_or_read_whole(data):
    structure = data.draw(structures())
    wire = bytearray(
        data.draw(frames(structure).map(lambda frame: replace(frame, structure=structure))).bytes(structure.targets)
    )
    for position in data.draw(st.lists(st.integers(24, 8 * len(wire) - 1), max_size=4)):
        wire[position >> 3] ^= 0x80 >> (position & 7)
    receiver = Receiver()
    receiver.parse(KEY)
    receiver.parse(bytes(wire))
    assert 1 <= receiver.structure.template_count <= 64
    assert 1 <= receiver.structure.decode_target_count <= 32
    assert receiver.structure.chain_count <= receiver.structure.decode_target_count
    cut = bytes(wire[: data.draw(st.integers(0, len(wire) - 1))])
    receiver.parse(cut)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.booleans())
def test_any_bytes(packets, key):
    receiver = Receiver()
    if key:
        receiver.parse(KEY)
    for packet in packets:
        receiver.parse(packet)
