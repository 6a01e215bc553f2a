"""DTLS records before OpenSSL sees them (RFC 6347 §4): cutting datagrams apart, and bounding what a stranger can store.

OpenSSL's memory BIO is a byte stream, its reassembly buffers up to ten messages of 100 kB and a hundred records of
the next epoch at 16 kB each. All of that is reachable before any key is agreed, so `HandshakeGuard` lets through
only what a handshake needs, within `MAX_MESSAGE_BYTES` and `MAX_REASSEMBLY_BYTES`.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum

RECORD_HEADER_LENGTH = 13
_HANDSHAKE_HEADER_LENGTH = 12
_MAX_RECORD_LENGTH = 1 << 14

# What we send in one datagram. Every path carries it with IPv6, UDP, TURN and VPN headers in front.
DATAGRAM_BYTES = 1200

# One handshake message. A certificate chain is the longest; WebRTC's are self-signed and under 2 kB.
MAX_MESSAGE_BYTES = 16 * 1024

# All handshake messages of one peer together.
MAX_REASSEMBLY_BYTES = 32 * 1024

# Messages of a flight are numbered from 0; no handshake of ours has more (RFC 6347 §4.2.4: the longest has 7 a side).
_MAX_MESSAGE_SEQUENCE = 10


class ContentType(IntEnum):
    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23


def is_dtls(data: bytes) -> bool:
    """Whether a datagram's first byte is DTLS's (RFC 7983)."""
    return len(data) > 0 and 20 <= data[0] <= 63


def split_records(data: bytes) -> Iterator[bytes]:
    """The whole records at the head of `data`; what is no DTLS 1.0 or 1.2 record ends it."""
    position = 0
    while position + RECORD_HEADER_LENGTH <= len(data):
        end = position + RECORD_HEADER_LENGTH + int.from_bytes(data[position + 11 : position + 13], "big")
        known = ContentType.CHANGE_CIPHER_SPEC <= data[position] <= ContentType.APPLICATION_DATA
        if not known or data[position + 1] != 0xFE or end > len(data) or end - position > _MAX_RECORD_LENGTH:
            return
        yield data[position:end]
        position = end


def pack_datagrams(records: Iterable[bytes]) -> list[bytes]:
    """Records, in order, as datagrams of at most `DATAGRAM_BYTES`; a longer record is alone in its own."""
    datagrams: list[bytes] = []
    current = b""
    for record in records:
        if current and len(current) + len(record) > DATAGRAM_BYTES:
            datagrams.append(current)
            current = b""
        current += record
    return [*datagrams, current] if current else datagrams


def epoch_of(record: bytes) -> int:
    return int.from_bytes(record[3:5], "big")


def is_client_hello(data: bytes) -> bool:
    """Whether a datagram begins with a fragment of a ClientHello in the clear."""
    return (
        len(data) >= RECORD_HEADER_LENGTH + _HANDSHAKE_HEADER_LENGTH
        and data[0] == ContentType.HANDSHAKE
        and epoch_of(data) == 0
        and data[RECORD_HEADER_LENGTH] == 1
    )


class HandshakeGuard:
    """Judges the unencrypted records of one association."""

    __slots__ = ("_lengths", "_total")

    def __init__(self) -> None:
        # Declared length by message sequence number.
        self._lengths: dict[int, int] = {}
        self._total = 0

    def admits(self, record: bytes) -> bool:
        """Whether OpenSSL may see this record of epoch 0: a handshake fragment within the bounds.

        Alerts in the clear are kept from it: nothing says who sent them, and a fatal one would end the association.
        """
        if record[0] != ContentType.HANDSHAKE:
            return False
        position = RECORD_HEADER_LENGTH
        while position < len(record):
            if position + _HANDSHAKE_HEADER_LENGTH > len(record):
                return False
            message_length = int.from_bytes(record[position + 1 : position + 4], "big")
            sequence = int.from_bytes(record[position + 4 : position + 6], "big")
            if not self._reserve(sequence, message_length):
                return False
            position += _HANDSHAKE_HEADER_LENGTH + int.from_bytes(record[position + 9 : position + 12], "big")
        return position == len(record)

    def _reserve(self, sequence: int, length: int) -> bool:
        known = self._lengths.get(sequence)
        if known is not None:
            return known == length
        fits = length <= MAX_MESSAGE_BYTES and self._total + length <= MAX_REASSEMBLY_BYTES
        if sequence > _MAX_MESSAGE_SEQUENCE or not fits:
            return False
        self._lengths[sequence] = length
        self._total += length
        return True
