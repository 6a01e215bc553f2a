"""Seeded changes to bytes: the same seed makes the same million datagrams."""

import random
from collections.abc import Sequence

INTERESTING = (0x00, 0x01, 0x0F, 0x10, 0x1F, 0x20, 0x3F, 0x40, 0x7F, 0x80, 0xBE, 0xC0, 0xDE, 0xF0, 0xFE, 0xFF)
LONGEST = 1472


class Mutator:
    """Draws from seeds and bends what it drew."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def choice(self, seeds: Sequence[bytes]) -> bytes:
        """One of the seeds as it is."""
        return self._random.choice(seeds)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def mutated(self, seeds: Sequence[bytes]) -> bytes:
        """One of the seeds, changed one to eight times."""
        data = bytearray(self._random.choice(seeds))
        # Most changes are few: a packet that is wrong in one place gets furthest.
        for _ in range(min(1 + int(self._random.expovariate(0.8)), 8)):
            self._change(data, seeds)
        return bytes(data[:LONGEST])

    def _change(self, data: bytearray, seeds: Sequence[bytes]) -> None:
        draw = self._random
        place = draw.randrange(len(data)) if data else 0
        match draw.randrange(10):
            case 0 | 1 if data:
                data[place] ^= 1 << draw.randrange(8)
            case 2 if data:
                data[place] = draw.choice(INTERESTING)
            case 3 if data:
                data[place] = draw.randrange(256)
            case 4:
                del data[place:]
            case 5:
                data += draw.randbytes(draw.randrange(1, 40))
            case 6:
                data[place:place] = draw.randbytes(draw.randrange(1, 8))
            case 7:
                del data[place : place + draw.randrange(1, 8)]
            case 8 if len(data) > 2:  # a 16-bit field: lengths and counts
                value = draw.choice((0, 1, len(data) // 4, len(data), 0x7FFF, 0x8000, 0xFFFF, draw.randrange(65536)))
                data[place : place + 2] = value.to_bytes(2)
            case 9:
                other = draw.choice(seeds)
                cut = draw.randrange(len(other)) if other else 0
                data[place:] = other[cut:]
