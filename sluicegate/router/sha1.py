"""SHA-1 (FIPS 180-4) of eight messages at once, one in each lane of the processor's vectors.

A processor's own instructions for SHA-1 wait for each other; eight independent messages need not, and take less than
half of the time. Where vectors hold fewer than eight words of 32 bits, the compiler makes two or four of each.

It is a C function of its own, which the plane calls by its address as it calls OpenSSL's: compiled into each of its
callers' callers, it would make the plane a third slower to compile.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sluicegate.compiled import INTERPRETED
from sluicegate.router.compilation import SourceCache
from sluicegate.router.records import DIGEST_WORDS, LANES
from sluicegate.rtp.sealing import BLOCK_BYTES, CONTEXT_FILLED, CONTEXT_WORDS, FUNCTIONS

BLOCK_WORDS = BLOCK_BYTES // 4

_WORD, _ADDRESS = ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, LANES)
_BYTES = ir.VectorType(ir.IntType(8), 4 * LANES)
_ORDER = ir.VectorType(_WORD, 4 * LANES)
_SOURCES = SourceCache("sha1-", "compiled.py", "router/records.py", "router/sha1.py")


@cache
def compress_address() -> int:
    """The address of `int compress(uint32_t states[5][8], const uint8_t *blocks[8])`, which hashes a block of 64 bytes
    for each of eight messages into its state, a column of `states`."""
    if INTERPRETED:
        return ctypes.cast(_CALLBACK, ctypes.c_void_p).value or 0
    return _SOURCES.address(_compress, 2)


def _compress(states: int, blocks: int) -> int:
    _hash_blocks(states, blocks)
    return 0


def _compress_in_turn(states: int, blocks: int) -> int:
    """The same by OpenSSL, one lane after the other, for a plane that is interpreted."""
    lanes = np.ctypeslib.as_array((ctypes.c_uint32 * LANES * DIGEST_WORDS).from_address(states))
    update = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_size_t)(FUNCTIONS["SHA1_Update"])
    context = (ctypes.c_uint32 * CONTEXT_WORDS)()
    for lane, block in enumerate((ctypes.c_int64 * LANES).from_address(blocks)):
        context[:DIGEST_WORDS] = lanes[:, lane].tolist()
        context[CONTEXT_FILLED] = 0
        update(context, block, BLOCK_BYTES)
        lanes[:, lane] = context[:DIGEST_WORDS]
    return 0


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_int64)(_compress_in_turn)


@intrinsic
def _hash_blocks(typing_context, states, blocks):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        rows = builder.inttoptr(arguments[0], _VECTOR.as_pointer())
        places = [builder.gep(rows, [_WORD(index)]) for index in range(DIGEST_WORDS)]
        state = [builder.load(place, align=4) for place in places]
        message = _load_message(builder, builder.inttoptr(arguments[1], _ADDRESS.as_pointer()))
        for place, old, new in zip(places, state, _rounds(builder, state, message), strict=True):
            builder.store(builder.add(old, new), place, align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _load_message(builder: Any, blocks: Any) -> list[Any]:
    """The words of eight blocks: vector n has the n-th of each."""
    big_endian = ir.Constant(_ORDER, [place ^ 3 for place in range(4 * LANES)])
    message = []
    for half in range(BLOCK_WORDS // LANES):
        rows = []
        for lane in range(LANES):
            block = builder.inttoptr(builder.load(builder.gep(blocks, [_WORD(lane)])), _BYTES.as_pointer())
            row = builder.load(builder.gep(block, [_WORD(half)]), align=1)
            rows.append(builder.bitcast(builder.shuffle_vector(row, row, big_endian), _VECTOR))
        message += _transpose(builder, rows)
    return message


def _transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Turn eight vectors of eight, by swapping the off-diagonal squares of 1, 2 and 4 on a side."""
    for side in (1, 2, 4):
        upper = ir.Constant(_VECTOR, [LANES + n - side if n & side else n for n in range(LANES)])
        lower = ir.Constant(_VECTOR, [LANES + n if n & side else n + side for n in range(LANES)])
        for first in [n for n in range(LANES) if not n & side]:
            pair = rows[first], rows[first + side]
            rows[first], rows[first + side] = (builder.shuffle_vector(*pair, order) for order in (upper, lower))
    return rows


def _rounds(builder: Any, state: list[Any], message: list[Any]) -> tuple[Any, ...]:
    """What the 80 rounds of §6.1.2 make of the state."""
    a, b, c, d, e = state
    schedule = list(message)
    for number in range(80):
        if number >= BLOCK_WORDS:
            word = schedule[number - 3]
            for distance in (8, 14, 16):
                word = builder.xor(word, schedule[number - distance])
            schedule.append(_rotate(builder, word, 1))
        constant, mix = _PHASES[number // 20]
        early = builder.add(builder.add(e, _all(constant)), builder.add(schedule[number], mix(builder, b, c, d)))
        a, b, c, d, e = builder.add(_rotate(builder, a, 5), early), a, _rotate(builder, b, 30), c, d
    return a, b, c, d, e


def _all(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _rotate(builder: Any, value: Any, bits: int) -> Any:
    return builder.or_(builder.shl(value, _all(bits)), builder.lshr(value, _all(32 - bits)))


def _choose(builder: Any, b: Any, c: Any, d: Any) -> Any:
    return builder.xor(d, builder.and_(b, builder.xor(c, d)))


def _parity(builder: Any, b: Any, c: Any, d: Any) -> Any:
    return builder.xor(b, builder.xor(c, d))


def _majority(builder: Any, b: Any, c: Any, d: Any) -> Any:
    return builder.or_(builder.and_(b, c), builder.and_(d, builder.or_(b, c)))


_PHASES = ((0x5A827999, _choose), (0x6ED9EBA1, _parity), (0x8F1BBCDC, _majority), (0xCA62C1D6, _parity))
