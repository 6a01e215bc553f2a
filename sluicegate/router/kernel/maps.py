"""The plane's two hash maps (address → transport, (transport, SSRC) → receive stream): open addressing with linear
probing.

A deleted slot keeps its place so that longer probes go on behind it; an insertion fills it again. The maps have twice
to sixteen times the slots that their tables have rows, so a probe is short; one that meets no empty slot ends after a
whole round.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.records import NONE

EMPTY, USED, DELETED = 0, 1, 2
AF_INET, AF_INET6 = 2, 10
MASK_31 = (1 << 31) - 1


@kernel
def mix(value: int) -> int:
    """Spread the bits of a 32-bit value over 31 bits (finaliser in the manner of MurmurHash3, without 64-bit
    overflow)."""
    value &= 0xFFFFFFFF
    value ^= value >> 16
    value = (value * 0x45D9F3B) & 0xFFFFFFFF
    value ^= value >> 15
    value = (value * 0x45D9F3B) & 0xFFFFFFFF
    return (value ^ (value >> 16)) & MASK_31


@kernel
def read_word(row: Any, offset: int) -> int:
    """32 bits, big endian, of a row that is known to hold them."""
    return (i64(row[offset]) << 24) | (i64(row[offset + 1]) << 16) | (i64(row[offset + 2]) << 8) | i64(row[offset + 3])


@kernel
def parse_name(name: Any, key: Any) -> bool:
    """Turn a sockaddr (`name`: at least 28 bytes) into `key` = high, low (IPv6, or IPv4 mapped into it) and port."""
    family = i64(name[0]) | (i64(name[1]) << 8)
    key[2] = (i64(name[2]) << 8) | i64(name[3])
    if family == AF_INET:
        key[0] = 0
        key[1] = (0xFFFF << 32) | read_word(name, 4)
        return True
    if family == AF_INET6:
        key[0] = (read_word(name, 8) << 32) | read_word(name, 12)
        key[1] = (read_word(name, 16) << 32) | read_word(name, 20)
        return True
    return False


@kernel
def address_slot(addresses: Any, high: int, low: int, port: int) -> int:
    """The slot that holds this address, or NONE."""
    mask = len(addresses) - 1
    slot = mix(mix(mix(low) ^ (low >> 32)) ^ mix(high ^ (high >> 32)) ^ port) & mask
    for _ in range(len(addresses)):
        entry = addresses[slot]
        if entry.state == EMPTY:
            return NONE
        if entry.state == USED and entry.low == low and entry.port == port and entry.high == high:
            return slot
        slot = (slot + 1) & mask
    return NONE


@kernel
def find_transport(addresses: Any, high: int, low: int, port: int) -> int:
    """The transport whose packets come from this address, or NONE."""
    slot = address_slot(addresses, high, low, port)
    return NONE if slot < 0 else addresses[slot].transport


@kernel
def bind_address(addresses: Any, high: int, low: int, port: int, transport: int) -> bool:
    """Bind an address to a transport, moving it if it was another's; False when the map is full."""
    slot = address_slot(addresses, high, low, port)
    if slot < 0:
        mask = len(addresses) - 1
        slot = mix(mix(mix(low) ^ (low >> 32)) ^ mix(high ^ (high >> 32)) ^ port) & mask
        steps = 0
        while addresses[slot].state == USED:
            slot = (slot + 1) & mask
            steps += 1
            if steps > mask:
                return False
    entry = addresses[slot]
    entry.state = USED
    entry.high = high
    entry.low = low
    entry.port = port
    entry.transport = transport
    return True


@kernel
def unbind_address(addresses: Any, high: int, low: int, port: int, transport: int) -> None:
    """Forget an address, if it is still this transport's."""
    slot = address_slot(addresses, high, low, port)
    if slot >= 0 and addresses[slot].transport == transport:
        release_slot(addresses, slot)


@kernel
def unbind_all(addresses: Any, transport: int) -> None:
    """Forget every address of a transport."""
    for slot in range(len(addresses)):
        if addresses[slot].state == USED and addresses[slot].transport == transport:
            release_slot(addresses, slot)


@kernel
def release_slot(table: Any, slot: int) -> None:
    """Empty a slot; where nothing follows it, the deleted ones before it become empty too, so that probes stay
    short."""
    mask = len(table) - 1
    if table[(slot + 1) & mask].state != EMPTY:
        table[slot].state = DELETED
        return
    table[slot].state = EMPTY
    slot = (slot - 1) & mask
    while table[slot].state == DELETED:
        table[slot].state = EMPTY
        slot = (slot - 1) & mask


@kernel
def stream_slot(stream_keys: Any, transport: int, ssrc: int) -> int:
    """The slot that holds this transport's SSRC, or NONE."""
    mask = len(stream_keys) - 1
    slot = mix(mix(ssrc) ^ transport) & mask
    for _ in range(len(stream_keys)):
        entry = stream_keys[slot]
        if entry.state == EMPTY:
            return NONE
        if entry.state == USED and entry.ssrc == ssrc and entry.transport == transport:
            return slot
        slot = (slot + 1) & mask
    return NONE


@kernel
def bind_stream(stream_keys: Any, transport: int, ssrc: int, receive: int, rtx: int) -> bool:
    """Say that a transport's SSRC is this receive stream (or its RTX stream); False when the map is full."""
    slot = stream_slot(stream_keys, transport, ssrc)
    if slot < 0:
        mask = len(stream_keys) - 1
        slot = mix(mix(ssrc) ^ transport) & mask
        steps = 0
        while stream_keys[slot].state == USED:
            slot = (slot + 1) & mask
            steps += 1
            if steps > mask:
                return False
    entry = stream_keys[slot]
    entry.state = USED
    entry.transport = transport
    entry.ssrc = ssrc
    entry.receive = receive
    entry.rtx = rtx
    return True
