"""Protecting outgoing RTP (RFC 3711 §3.1, RFC 7714 §8) with OpenSSL's ciphers.

A cipher has its key already and gets a nonce for each packet: SSRC, rollover counter and sequence number, mixed with
the transport's salt. A packet's index is known, not guessed, since the plane numbers what it sends. One index is one
packet: what is sent again under its own number is the same to the bit (`rewrite.py`), and everything else has a number
of its own; under AES-GCM a nonce with two messages would give the key away.
"""

from typing import Any

from sluicegate.compiled import i64, kernel
from sluicegate.router.kernel.header import RTP_HEADER, read_16, read_32, write_32
from sluicegate.router.kernel.tags import TAG
from sluicegate.router.native import call
from sluicegate.router.records import SLOT_BYTES
from sluicegate.router.tables import Tables

GCM_TAG = 16
EVP_CTRL_AEAD_GET_TAG = 0x10
GCM_NONCE_OFFSET = 2
"""Where a nonce of AES-GCM begins in a counter block of AES-CM: the SSRC is its third byte and the other's fifth."""
EXTENDED = 0x10


@kernel
def seal(t: Tables, handle: int, slot: int, length: int, index: int) -> int:
    """Encrypt the RTP packet in an out slot, the `index`-th (48 bits) of its SSRC, and authenticate it, or have
    `tags.write_tags` do so; the new length, or 0 where that fails."""
    out = t.out[slot]
    address = t.pointers[0].out + slot * SLOT_BYTES
    head = RTP_HEADER
    if i64(out[0]) & EXTENDED:
        head += 4 + 4 * read_16(out, RTP_HEADER + 2)
    transport = t.transports[handle]
    write_nonce(t, transport, read_32(out, 8), index)
    if transport.tagged:
        return seal_counter_mode(t, handle, slot, address, head, length, index >> 16)
    return seal_gcm(t, transport.cipher, address, head, length)


@kernel
def write_nonce(t: Tables, transport: Any, ssrc: int, index: int) -> None:
    """The counter block of AES-CM (RFC 3711 §4.1.1); the nonce of AES-GCM (RFC 7714 §8.1) is a part of it."""
    high, low = transport.salt_high ^ ssrc, transport.salt_low ^ (index << 16)
    write_32(t.nonce, 0, high >> 32)
    write_32(t.nonce, 4, high)
    write_32(t.nonce, 8, low >> 32)
    write_32(t.nonce, 12, low)


@kernel
def seal_gcm(t: Tables, cipher: int, address: int, head: int, length: int) -> int:
    native, pointers = t.native[0], t.pointers[0]
    payload, end = address + head, address + length
    done = call(native.encrypt_init, cipher, 0, 0, 0, pointers.nonce + GCM_NONCE_OFFSET)
    done += call(native.encrypt_update, cipher, 0, pointers.scratch, address, head)
    done += call(native.encrypt_update, cipher, payload, pointers.scratch, payload, length - head)
    done += call(native.encrypt_final, cipher, end, pointers.scratch, 0, 0)
    done += call(native.cipher_control, cipher, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, end, 0)
    return length + GCM_TAG if done == 5 else 0


@kernel
def seal_counter_mode(t: Tables, handle: int, slot: int, address: int, head: int, length: int, rollovers: int) -> int:
    native, pointers = t.native[0], t.pointers[0]
    payload = address + head
    cipher = t.transports[handle].cipher
    done = call(native.encrypt_init, cipher, 0, 0, 0, pointers.nonce)
    done += call(native.encrypt_update, cipher, payload, pointers.scratch, payload, length - head)
    if done != 2:
        return 0
    write_32(t.out[slot], length, rollovers)
    t.out_slots[slot].untagged = handle
    t.state[0].untagged += 1
    return length + TAG
