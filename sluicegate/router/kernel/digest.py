"""HMAC-SHA1 (RFC 2104) by OpenSSL: the MESSAGE-INTEGRITY of STUN, and the tag of SRTP with AES-CM.

The two key blocks are hashed once; a digest then goes on from their states, which `hash_context` is set to.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.native import call
from sluicegate.router.records import DIGEST_BYTES, DIGEST_WORDS
from sluicegate.router.tables import Tables
from sluicegate.rtp.sealing import BLOCK_BYTES, CONTEXT_FILLED, CONTEXT_LENGTH


@kernel
def set_key(t: Tables, state: Any, words: Any, start: int) -> None:
    """Hash the key block (64 bytes in 8 little-endian words) into `state`: five words inner, five outer."""
    native, pointers = t.native[0], t.pointers[0]
    for half in range(2):
        pad = 0x5C if half else 0x36
        for index in range(BLOCK_BYTES):
            t.key_block[index] = ((words[start + (index >> 3)] >> (8 * (index & 7))) & 0xFF) ^ pad
        call(native.sha1_init, pointers.hash_context, 0, 0, 0, 0)
        call(native.sha1_update, pointers.hash_context, pointers.key_block, BLOCK_BYTES, 0, 0)
        for index in range(DIGEST_WORDS):
            state[half * DIGEST_WORDS + index] = i64(t.hash_context[index])
    for index in range(BLOCK_BYTES):
        t.key_block[index] = 0


@kernel
def hmac_sha1(t: Tables, state: Any, address: int, length: int) -> None:
    """The digest of the bytes at an address, into the 20 bytes of `t.digest`."""
    hash_from(t, state, 0, address, length)
    hash_from(t, state, DIGEST_WORDS, t.pointers[0].digest, DIGEST_BYTES)


@kernel
def hash_from(t: Tables, state: Any, half: int, address: int, length: int) -> None:
    """Go on from one of the key states over the bytes at an address, into `t.digest`."""
    native, pointers = t.native[0], t.pointers[0]
    for index in range(DIGEST_WORDS):
        t.hash_context[index] = state[half + index]
    t.hash_context[CONTEXT_LENGTH] = 8 * BLOCK_BYTES
    t.hash_context[CONTEXT_LENGTH + 1] = 0
    t.hash_context[CONTEXT_FILLED] = 0
    call(native.sha1_update, pointers.hash_context, address, length, 0, 0)
    call(native.sha1_final, pointers.digest, pointers.hash_context, 0, 0, 0)
