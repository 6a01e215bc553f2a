"""Eight SHA-1 at once are eight SHA-1."""

import ctypes
import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.router.records import LANES
from sluicegate.router.sha1 import compress_address
from sluicegate.rtp.sealing import BLOCK_BYTES

FIRST_STATE = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)  # FIPS 180-4 §5.3.1


compress = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_int64)(compress_address())


def digests(messages: list[bytes]) -> list[bytes]:
    """Of eight messages of as many blocks."""
    padded = []
    for message in messages:
        end = b"\x80" + bytes(-(len(message) + 9) % BLOCK_BYTES) + (8 * len(message)).to_bytes(8, "big")
        padded.append(np.frombuffer(message + end, np.uint8))
    states = np.repeat(np.array(FIRST_STATE, np.uint32)[:, None], LANES, axis=1)
    addresses = np.array([one.ctypes.data for one in padded], np.int64)
    for _ in range(0, len(padded[0]), BLOCK_BYTES):
        compress(states.ctypes.data, addresses.ctypes.data)
        addresses += BLOCK_BYTES
    return [states[:, lane].astype(">u4").tobytes() for lane in range(LANES)]


def test_known_answers():
    """Of FIPS 180-4, by NIST's examples."""
    known = {b"abc": "a9993e364706816aba3e25717850c26c9cd0d89d", b"": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}
    found = digests([b"abc", b""] * 4)
    assert [one.hex() for one in found] == [*known.values()] * 4


@given(
    st.integers(0, 3).flatmap(
        lambda more: st.lists(
            st.binary(min_size=BLOCK_BYTES * more, max_size=BLOCK_BYTES * more + 55), min_size=LANES, max_size=LANES
        )
    )
)
def test_lanes_do_not_meet(messages):
    """Messages at any place in memory, all of one number of blocks."""
    assert digests(messages) == [hashlib.sha1(message).digest() for message in messages]
