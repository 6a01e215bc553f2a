"""Connectivity checks that change nothing, answered where they arrive (RFC 8445 §7.3, RFC 8489).

A peer whose path is settled asks again every few seconds whether we are still there (RFC 7675). The loop tells the
plane the username and the key of such a peer (`AnswerChecks`). A request from the address that we send to, with that
username, the right MESSAGE-INTEGRITY and FINGERPRINT, and no attribute that could mean anything else, is answered here;
every other one is punted, and the loop judges it as if there were no such thing. So consent does not depend on the
interpreter: a collection or a slow request holds up no answer, and a thousand peers cost no wake-ups.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.digest import hmac_sha1, set_key
from sluicegate.router.kernel.egress import claim_slot
from sluicegate.router.kernel.header import copy_bytes, read_16, read_32, write_16, write_32
from sluicegate.router.kernel.maps import parse_name
from sluicegate.router.kernel.output import enqueue
from sluicegate.router.records import CHECK_NAME_BYTES, DIGEST_BYTES, NONE, SLOT_BYTES
from sluicegate.router.tables import Tables

MAGIC_COOKIE = 0x2112A442
FINGERPRINT_XOR = 0x5354554E
BINDING_REQUEST, BINDING_SUCCESS = 0x0001, 0x0101
USERNAME, MESSAGE_INTEGRITY, PRIORITY, USE_CANDIDATE = 0x0006, 0x0008, 0x0024, 0x0025
XOR_MAPPED_ADDRESS, FINGERPRINT, ICE_CONTROLLED, ICE_CONTROLLING = 0x0020, 0x8028, 0x8029, 0x802A
OPTIONAL = 0x8000
HEADER = 20
LONGEST = 320
"""Browsers' checks have a hundred bytes or so. Higher: more to hash in the plane for what may be forged."""
SPACING_US = 20_000
"""Checks of one peer that come faster, genuine or not, are the loop's, which a flood cannot reach faster than it
reads."""
IPV4_MAPPED = 0xFFFF


@kernel
def expect_checks(t: Tables, handle: int, words: Any) -> None:
    """Take on a peer's checks: `words` hold the username's length and bytes and the key block; length 0 ends it.

    Without OpenSSL's SHA-1 the loop keeps them.
    """
    length = words[3] if t.native[0].sha1_update else 0
    name = t.check_names[handle]
    t.transports[handle].check_name_length = length
    for index in range(length):
        name[index] = (words[4 + (index >> 3)] >> (8 * (index & 7))) & 0xFF
    if length:
        set_key(t, t.check_keys[handle], words, 4 + CHECK_NAME_BYTES // 8)


@kernel
def answer_check(t: Tables, handle: int, serial: int, length: int, name: Any) -> bool:
    """Answer a request of this transport's peer, which came from the sockaddr `name`; False if it is the loop's."""
    place = serial & (len(t.arena) - 1)
    row = t.arena[place]
    transport = t.transports[handle]
    now = t.state[0].now
    if transport.check_name_length == 0 or now - transport.check_tried < SPACING_US or not transport.has_destination:
        return False
    if length < HEADER or length > LONGEST or read_16(row, 0) != BINDING_REQUEST:
        return False
    if read_16(row, 2) != length - HEADER or length & 3 or read_32(row, 4) != MAGIC_COOKIE:
        return False
    integrity = find_integrity(t, handle, row, length)
    if integrity < 0 or not comes_by_the_path(t, handle, name):
        return False
    transport.check_tried = now
    if not is_genuine(t, handle, place, length, integrity):
        return False
    slot = claim_slot(t)
    if slot < 0:
        return True
    transport.last_check = now
    transport.last_receive = now
    transport.packets_received += 1
    transport.bytes_received += length
    enqueue(t, slot, handle, write_answer(t, handle, slot, row, name))
    return True


@kernel
def find_integrity(t: Tables, handle: int, row: Any, length: int) -> int:
    """Walk over the attributes: the offset of a MESSAGE-INTEGRITY that stands before a last FINGERPRINT, or NONE where
    anything is there that is not of a plain check under the expected username."""
    transport = t.transports[handle]
    named, controlling = False, False
    offset = HEADER
    while offset + 4 <= length:
        kind, size = read_16(row, offset), read_16(row, offset + 2)
        value = offset + 4
        if value + size > length:
            return NONE
        if kind == USERNAME:
            if named or size != transport.check_name_length:
                return NONE
            for index in range(size):
                if row[value + index] != t.check_names[handle, index]:
                    return NONE
            named = True
        elif kind == ICE_CONTROLLING:
            controlling = True
        elif kind == MESSAGE_INTEGRITY:
            last = offset + 4 + DIGEST_BYTES
            if not named or not controlling or size != DIGEST_BYTES or last + 8 != length:
                return NONE
            return offset if read_16(row, last) == FINGERPRINT and read_16(row, last + 2) == 4 else NONE
        elif kind == ICE_CONTROLLED or kind == FINGERPRINT:
            return NONE
        elif kind < OPTIONAL and kind != PRIORITY and kind != USE_CANDIDATE:
            return NONE
        offset = value + ((size + 3) & ~3)
    return NONE


@kernel
def comes_by_the_path(t: Tables, handle: int, name: Any) -> bool:
    """Whether a sockaddr is where this transport sends."""
    came, goes = t.scratch[0:3], t.scratch[3:6]
    if not parse_name(name, came) or not parse_name(t.names[handle], goes):
        return False
    return bool(came[0] == goes[0] and came[1] == goes[1] and came[2] == goes[2])


@kernel
def is_genuine(t: Tables, handle: int, place: int, length: int, integrity: int) -> bool:
    """Whether FINGERPRINT and MESSAGE-INTEGRITY are right; the latter is compared in constant time."""
    row = t.arena[place]
    if crc_32(row, length - 8) ^ FINGERPRINT_XOR != read_32(row, length - 4):
        return False
    write_16(row, 2, integrity + 4 + DIGEST_BYTES - HEADER)  # as if it were the last attribute (RFC 8489 §14.5)
    hmac_sha1(t, t.check_keys[handle], t.pointers[0].arena + place * SLOT_BYTES, integrity)
    write_16(row, 2, length - HEADER)
    different = 0
    for index in range(DIGEST_BYTES):
        different |= i64(t.digest[index]) ^ i64(row[integrity + 4 + index])
    return different == 0


@kernel
def write_answer(t: Tables, handle: int, slot: int, row: Any, name: Any) -> int:
    """A binding success response that tells the peer its address; its length."""
    out = t.out[slot]
    key = t.scratch[0:3]
    parse_name(name, key)
    copy_bytes(out, 0, row, 0, HEADER)
    write_16(out, 0, BINDING_SUCCESS)
    write_16(out, 20, XOR_MAPPED_ADDRESS)
    write_16(out, 26, key[2] ^ (MAGIC_COOKIE >> 16))
    if key[0] == 0 and key[1] >> 32 == IPV4_MAPPED:
        write_16(out, 22, 8)
        write_16(out, 24, 1)
        write_32(out, 28, key[1] ^ MAGIC_COOKIE)
        end = 32
    else:
        write_16(out, 22, 20)
        write_16(out, 24, 2)
        write_32(out, 28, (key[0] >> 32) ^ MAGIC_COOKIE)
        write_32(out, 32, key[0] ^ read_32(row, 8))
        write_32(out, 36, (key[1] >> 32) ^ read_32(row, 12))
        write_32(out, 40, key[1] ^ read_32(row, 16))
        end = 44
    write_16(out, 2, end + 4 + DIGEST_BYTES - HEADER)
    hmac_sha1(t, t.check_keys[handle], t.pointers[0].out + slot * SLOT_BYTES, end)
    write_16(out, end, MESSAGE_INTEGRITY)
    write_16(out, end + 2, DIGEST_BYTES)
    copy_bytes(out, end + 4, t.digest, 0, DIGEST_BYTES)
    end += 4 + DIGEST_BYTES
    write_16(out, 2, end + 8 - HEADER)
    write_16(out, end, FINGERPRINT)
    write_16(out, end + 2, 4)
    write_32(out, end + 4, crc_32(out, end) ^ FINGERPRINT_XOR)
    return end + 8


@kernel
def crc_32(row: Any, length: int) -> int:
    """The CRC-32 of ISO 3309, bit by bit: a check has a hundred bytes, and a table would be cold when it comes."""
    crc = 0xFFFFFFFF
    for index in range(length):
        crc ^= i64(row[index])
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 & -(crc & 1))
    return crc ^ 0xFFFFFFFF
