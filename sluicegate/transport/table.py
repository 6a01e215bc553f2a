"""Whose a datagram is: peers by ICE username fragment and by address, and a limit on those who are nobody's."""

from typing import Generic, TypeVar

from sluicegate.ice.stun import Address

P = TypeVar("P")

# Checks that fail, from one IP address. A browser that has just been told the wrong credentials makes about 50 in its
# first second; thousands of users behind one address succeed, and success is free. Beyond, STUN from addresses that no
# peer has proved is dropped unless it names a peer.
FAILURES_PER_SECOND = 200.0
FAILURE_BURST = 400.0

# IP addresses remembered for that; when there are more, the one that failed longest ago is forgiven.
MAX_SOURCES = 4096


class PeerTable(Generic[P]):
    """The peers of one port. An address has one owner; a peer may have several addresses and fragments."""

    def __init__(self) -> None:
        self._by_fragment: dict[str, P] = {}
        self._by_address: dict[Address, P] = {}

    def add_fragment(self, username_fragment: str, peer: P) -> None:
        self._by_fragment[username_fragment] = peer

    def remove_fragment(self, username_fragment: str) -> None:
        self._by_fragment.pop(username_fragment, None)

    def find(self, username_fragment: str) -> P | None:
        """The peer that checks with this local fragment are for."""
        return self._by_fragment.get(username_fragment)

    def bind(self, address: Address, peer: P) -> None:
        self._by_address[address] = peer

    def release(self, address: Address, peer: P) -> None:
        """`address` is no longer `peer`'s; nothing happens where another has it."""
        if self._by_address.get(address) is peer:
            del self._by_address[address]

    def owner(self, address: Address) -> P | None:
        """The peer that has proved `address` with an authenticated check."""
        return self._by_address.get(address)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many fragments and addresses there are."""
        return len(self._by_fragment), len(self._by_address)


class FailureLimiter:
    """A token bucket of failures for each IP address, `MAX_SOURCES` of them."""

    def __init__(self) -> None:
        # Tokens left and when that was, by host; the order is that of the last failure.
        self._buckets: dict[str, tuple[float, float]] = {}

    def admits(self, host: str, now: float) -> bool:
        """Whether `host` may try again."""
        bucket = self._buckets.get(host)
        return bucket is None or self._tokens(bucket, now) >= 1.0

    def count_failure(self, host: str, now: float) -> None:
        bucket = self._buckets.pop(host, (FAILURE_BURST, now))
        if len(self._buckets) >= MAX_SOURCES:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[host] = (self._tokens(bucket, now) - 1.0, now)

    def __len__(self) -> int:
        return len(self._buckets)

    @staticmethod
    def _tokens(bucket: tuple[float, float], now: float) -> float:
        tokens, then = bucket
        return min(FAILURE_BURST, tokens + (now - then) * FAILURES_PER_SECOND)
