"""The record itself, and the picture id that two codecs share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.rtp.payload.descriptor import DESCRIPTOR, new_descriptors, read_picture_id, reset_descriptor
from tests.rtp.payload.harness import NOTHING, snapshot


def test_a_new_record_says_nothing():
    for d in new_descriptors(3):
        assert snapshot(d) == NOTHING
    assert NOTHING["valid"] == NOTHING["key_frame"] == 0
    assert NOTHING["spatial"] == NOTHING["picture_id"] == NOTHING["picture_id_offset"] == NOTHING["tl0"] == -1


def test_reset_forgets_every_field():
    d = new_descriptors(1)[0]
    for name in DESCRIPTOR.names:
        setattr(d, name, 5)
    reset_descriptor(d)
    assert snapshot(d) == NOTHING


def test_a_row_is_written_in_place():
    descriptors = new_descriptors(2)
    packet = np.frombuffer(b"\x00\x12", np.uint8).copy()
    assert read_picture_id(packet, 1, 2, descriptors[1]) == 2
    assert descriptors.picture_id.tolist() == [-1, 0x12]


@pytest.mark.parametrize("size", [0, 1])
def test_a_picture_id_that_does_not_end_is_refused(size):
    packet = np.frombuffer(b"\x80\x01", np.uint8)[:size].copy()
    assert read_picture_id(packet, 0, size, new_descriptors(1)[0]) == -1


@given(st.integers(0, 0x7FFF))
def test_long_picture_ids(picture_id):
    d = new_descriptors(1)[0]
    packet = np.frombuffer((0x8000 | picture_id).to_bytes(2, "big"), np.uint8).copy()
    assert read_picture_id(packet, 0, 2, d) == 2
    assert (d.picture_id, d.picture_id_bits, d.picture_id_offset) == (picture_id, 15, 0)
