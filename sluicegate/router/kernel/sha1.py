"""HMAC-SHA1 (RFC 2104, RFC 3174) over what stands in `t.hash_input`: the MESSAGE-INTEGRITY of STUN.

The two key blocks of a transport are hashed once; a digest then costs one block for each 64 bytes and one more.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.header import copy_bytes, read_32, write_32
from sluicegate.router.records import DIGEST_WORDS
from sluicegate.router.tables import Tables

BLOCK = 64
DIGEST = 20
MASK = 0xFFFFFFFF


@kernel
def set_key(t: Tables, state: Any, words: Any, start: int) -> None:
    """Hash the key block (64 bytes in 8 little-endian words) into `state`: five words inner, five outer."""
    for half in range(2):
        pad = 0x5C if half else 0x36
        for index in range(BLOCK):
            t.hash_input[index] = ((words[start + (index >> 3)] >> (8 * (index & 7))) & 0xFF) ^ pad
        begin(t.hash_state)
        compress(t.hash_input, 0, t.hash_state, t.hash_words)
        for index in range(DIGEST_WORDS):
            state[half * DIGEST_WORDS + index] = t.hash_state[index]


@kernel
def hmac_sha1(t: Tables, state: Any, row: Any, length: int) -> None:
    """The digest of `row[:length]`, which `t.hash_input` has room for, into the first 20 bytes of `t.hash_input`."""
    data = t.hash_input
    copy_bytes(data, 0, row, 0, length)
    digest(t, state, 0, length)
    digest(t, state, DIGEST_WORDS, DIGEST)


@kernel
def digest(t: Tables, state: Any, half: int, length: int) -> None:
    """Go on from one of the key states over `t.hash_input[:length]`; the result takes its place."""
    data, words = t.hash_input, t.hash_state
    end = (length + 9 + BLOCK - 1) // BLOCK * BLOCK
    data[length] = 0x80
    for index in range(length + 1, end - 4):
        data[index] = 0
    write_32(data, end - 4, 8 * (BLOCK + length))
    for index in range(DIGEST_WORDS):
        words[index] = state[half + index]
    for start in range(0, end, BLOCK):
        compress(data, start, words, t.hash_words)
    for index in range(DIGEST_WORDS):
        write_32(data, 4 * index, words[index])


@kernel
def begin(state: Any) -> None:
    state[0] = 0x67452301
    state[1] = 0xEFCDAB89
    state[2] = 0x98BADCFE
    state[3] = 0x10325476
    state[4] = 0xC3D2E1F0


@kernel
def rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & MASK


@kernel
def compress(data: Any, start: int, state: Any, w: Any) -> None:
    """One block (RFC 3174 §6.1); `w` has room for the 80 words of its schedule."""
    for index in range(16):
        w[index] = read_32(data, start + 4 * index)
    for index in range(16, 80):
        w[index] = rotate(w[index - 3] ^ w[index - 8] ^ w[index - 14] ^ w[index - 16], 1)
    a, b, c, d, e = i64(state[0]), i64(state[1]), i64(state[2]), i64(state[3]), i64(state[4])
    for index in range(80):
        if index < 20:
            mixed, constant = (b & c) | (~b & d), 0x5A827999
        elif index < 40:
            mixed, constant = b ^ c ^ d, 0x6ED9EBA1
        elif index < 60:
            mixed, constant = (b & c) | (b & d) | (c & d), 0x8F1BBCDC
        else:
            mixed, constant = b ^ c ^ d, 0xCA62C1D6
        a, b, c, d, e = (rotate(a, 5) + mixed + e + constant + w[index]) & MASK, a, rotate(b, 30), c, d
    state[0] = (state[0] + a) & MASK
    state[1] = (state[1] + b) & MASK
    state[2] = (state[2] + c) & MASK
    state[3] = (state[3] + d) & MASK
    state[4] = (state[4] + e) & MASK
