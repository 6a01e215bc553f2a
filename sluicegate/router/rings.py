"""The loop's ends of the rings between it and a plane.

Everything is read and written through memoryviews of 64-bit words and bytes, made once: reaching a field of a numpy
record from Python costs 2 µs, an item of a memoryview 40 ns.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from sluicegate.router.records import EVENT_WORDS, NAME_BYTES, RING, SLOT_BYTES
from sluicegate.router.tables import COMMAND_RING, EVENT_RING, PUNT_RING, Tables

_NAME_STRIDE = NAME_BYTES + 4


class Ring:
    """One ring's three words."""

    def __init__(self, tables: Tables, index: int) -> None:
        words = memoryview(tables.rings.view(np.ndarray).view(np.int64))
        width = len(RING.names or ())
        self._words = words[index * width : (index + 1) * width]

    @property
    def head(self) -> int:
        return self._words[0]

    @head.setter
    def head(self, value: int) -> None:
        self._words[0] = value

    @property
    def tail(self) -> int:
        return self._words[1]

    @tail.setter
    def tail(self, value: int) -> None:
        self._words[1] = value

    @property
    def signalled(self) -> bool:
        """Whether the other side has been woken and has not looked yet."""
        return self._words[2] != 0

    @signalled.setter
    def signalled(self, value: bool) -> None:
        self._words[2] = int(value)


class CommandRing(Ring):
    """Written here, read by the plane."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables, COMMAND_RING)
        self._commands = memoryview(tables.commands)

    def put(self, command: Sequence[int]) -> bool:
        """Write one command; False when there is no room."""
        size, head = len(self._commands), self.head
        if head + len(command) - self.tail > size:
            return False
        for index, word in enumerate(command, head):
            self._commands[index % size] = word
        self.head = head + len(command)
        return True


class EventRing(Ring):
    """Written by the plane, read here."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables, EVENT_RING)
        self._words_of = memoryview(tables.events).cast("B").cast("q")

    def take(self) -> Iterator[tuple[int, int, int, int]]:
        """What is there now, each a kind and three words; what is written meanwhile waits for the next time."""
        rows = len(self._words_of) // EVENT_WORDS
        tail, head = self.tail, self.head
        while tail != head:
            at = tail % rows * EVENT_WORDS
            kind, a, b, c = self._words_of[at : at + 4]
            tail += 1
            self.tail = tail
            yield kind, a, b, c


class PuntRing(Ring):
    """Datagrams that are not the plane's business."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables, PUNT_RING)
        self._data = memoryview(tables.punts).cast("B")
        self._names = memoryview(tables.punt_names).cast("B")
        self._meta = memoryview(tables.punt_meta).cast("B").cast("q")

    def take(self) -> Iterator[tuple[bytes, bytes, int]]:
        """What is there now: datagram, struct sockaddr, transport or −1. A flood must not keep the loop here."""
        rows = len(self._meta) // 2
        tail, head = self.tail, self.head
        while tail != head:
            slot = tail % rows
            length, transport = self._meta[2 * slot], self._meta[2 * slot + 1]
            data = bytes(self._data[slot * SLOT_BYTES : slot * SLOT_BYTES + length])
            name = bytes(self._names[slot * _NAME_STRIDE : slot * _NAME_STRIDE + NAME_BYTES])
            tail += 1
            self.tail = tail
            yield data, name, transport
