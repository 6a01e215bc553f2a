"""Calling a payload parser so that a read outside the payload shows, whichever way the parser runs.

Each payload is parsed three times: alone in an array of exactly its size (interpreted or with `NUMBA_BOUNDSCHECK=1`
a read past its end raises), and between bytes that are all ones or all zeros. All must agree, offsets counted from the
payload's start.
"""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from sluicegate.rtp.payload.descriptor import DESCRIPTOR, new_descriptors

PLACEMENTS = ((b"", b""), (b"\xff" * 3, b"\xff" * 64), (b"\x00" * 5, b"\x00" * 64))
BYTE_OFFSETS = ("picture_id_offset", "tl0_offset")
BIT_OFFSETS = ("active_decode_targets_bit",)

Parser = Callable[[np.ndarray, int, int, Any], None]


def snapshot(d: Any, start: int = 0) -> dict[str, Any]:
    """The record as plain values, offsets relative to `start`, lists as long as their counts say."""
    values = {name: getattr(d, name) for name in DESCRIPTOR.names}
    values["references"] = tuple(map(int, values["references"][: values["reference_count"]]))
    values["chain_diffs"] = tuple(map(int, values["chain_diffs"][: values["chain_count"]]))
    for name, unit in [(name, 1) for name in BYTE_OFFSETS] + [(name, 8) for name in BIT_OFFSETS]:
        if values[name] != -1:
            values[name] -= unit * start
    return {name: value if isinstance(value, tuple) else int(value) for name, value in values.items()}


NOTHING = snapshot(new_descriptors(1)[0])
"""What a record says after bytes that make no sense."""


def parse(parser: Parser, payload: bytes) -> SimpleNamespace:
    """What `parser` says of `payload`; a payload that is not valid must leave nothing behind."""
    results = []
    for before, after in PLACEMENTS:
        packet = np.frombuffer(before + payload + after, np.uint8).copy()
        d = np.frombuffer(b"\x5a" * DESCRIPTOR.itemsize, DESCRIPTOR).copy().view(np.recarray)[0]
        d.reference_count = d.chain_count = 0
        parser(packet, len(before), len(before) + len(payload), d)
        results.append(snapshot(d, len(before)))
    assert all(result == results[0] for result in results), payload.hex()
    assert results[0]["valid"] in (0, 1)
    if not results[0]["valid"]:
        assert results[0] == NOTHING, payload.hex()
    return SimpleNamespace(**results[0])


def check(parser: Parser, payload: bytes, expected: dict[str, Any]) -> None:
    """`payload` is valid and says `expected`, and nothing else."""
    assert vars(parse(parser, payload)) == {**NOTHING, "valid": 1, **expected}, payload.hex()


def cuts(payload: bytes) -> Iterator[bytes]:
    """`payload` truncated at every byte."""
    return (payload[:size] for size in range(len(payload)))
