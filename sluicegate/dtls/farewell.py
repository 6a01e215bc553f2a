"""Goodbyes of a finished association without OpenSSL: close_notify out, alerts in (RFC 5246 §7.2, RFC 6347 §4.1).

OpenSSL keeps 75 kB for each association, which for DTLS it never gives back before the end. Once SRTP has its keys
nothing else is said in one but goodbye; the keys of its records, of some hundred bytes, are enough for that.
"""

import hmac
from dataclasses import dataclass, field
from enum import Enum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from sluicegate.dtls.records import RECORD_HEADER_LENGTH, ContentType

_VERSION = b"\xfe\xfd"
_EPOCH = b"\x00\x01"
_TAG_LENGTH = 16
_WARNING, _FATAL = 1, 2
_CLOSE_NOTIFY = 0

# Our only record of this object, far behind those that OpenSSL may have numbered: with ChaCha20 the number is the
# nonce. With GCM it is the explicit half of it, which OpenSSL counts from 64 random bits.
_SEQUENCE_NUMBER = 1 << 32


class Suite(Enum):
    """How records are protected: bytes of the key, of the fixed and of the explicit nonce, and the PRF's hash."""

    AES_128_GCM = 16, 4, 8, "sha256"
    AES_256_GCM = 32, 4, 8, "sha384"
    CHACHA20_POLY1305 = 32, 12, 0, "sha256"

    @classmethod
    def of(cls, cipher_name: str | None) -> "Suite | None":
        """By OpenSSL's name of the cipher; None for one that has no place here."""
        for ending, suite in _ENDINGS.items():
            if cipher_name is not None and cipher_name.endswith(ending):
                return suite
        return None

    @property
    def key_length(self) -> int:
        return self.value[0]

    @property
    def fixed_length(self) -> int:
        return self.value[1]

    @property
    def explicit_length(self) -> int:
        return self.value[2]

    @property
    def hash_name(self) -> str:
        return self.value[3]

    def cipher(self, key: bytes) -> AESGCM | ChaCha20Poly1305:
        return ChaCha20Poly1305(key) if self is Suite.CHACHA20_POLY1305 else AESGCM(key)

    def nonce(self, fixed: bytes, explicit: bytes, number: bytes) -> bytes:
        """RFC 5288 §3; RFC 7905 §2 (`number`: epoch and sequence number)."""
        if self.explicit_length:
            return fixed + explicit
        return bytes(one ^ other for one, other in zip(fixed, bytes(4) + number, strict=True))


_ENDINGS = {
    "AES128-GCM-SHA256": Suite.AES_128_GCM,
    "AES256-GCM-SHA384": Suite.AES_256_GCM,
    "CHACHA20-POLY1305": Suite.CHACHA20_POLY1305,
}


@dataclass(frozen=True, slots=True)
class Farewell:
    """The keys and fixed nonces of both directions; never shown by `repr`."""

    suite: Suite
    write_key: bytes = field(repr=False)
    write_fixed: bytes = field(repr=False)
    read_key: bytes = field(repr=False)
    read_fixed: bytes = field(repr=False)

    def close_notify(self) -> bytes:
        """Our goodbye, as a record. May be asked for once: a second one would use its nonce again."""
        number = _EPOCH + _SEQUENCE_NUMBER.to_bytes(6, "big")
        explicit = number[: self.suite.explicit_length]
        alert = bytes([_WARNING, _CLOSE_NOTIFY])
        head = bytes([ContentType.ALERT]) + _VERSION
        cipher = self.suite.cipher(self.write_key)
        nonce = self.suite.nonce(self.write_fixed, explicit, number)
        body = explicit + cipher.encrypt(nonce, alert, number + head + len(alert).to_bytes(2, "big"))
        return head + number + len(body).to_bytes(2, "big") + body

    def ends(self, record: bytes) -> bool:
        """Whether a whole record is an alert, genuinely of the peer, that ends the association."""
        if record[0] != ContentType.ALERT or record[3:5] != _EPOCH:
            return False
        number, body = record[3:11], record[RECORD_HEADER_LENGTH:]
        explicit, protected = body[: self.suite.explicit_length], body[self.suite.explicit_length :]
        length = len(protected) - _TAG_LENGTH
        if length != 2:
            return False
        head = record[:3]
        cipher = self.suite.cipher(self.read_key)
        nonce = self.suite.nonce(self.read_fixed, explicit, number)
        try:
            level, description = cipher.decrypt(nonce, protected, number + head + length.to_bytes(2, "big"))
        except InvalidTag:
            return False
        return level == _FATAL or description == _CLOSE_NOTIFY


def derive_farewell(
    suite: Suite, master_secret: bytes, client_random: bytes, server_random: bytes, *, is_client: bool
) -> Farewell:
    """The record keys of one end (RFC 5246 §6.3)."""
    key, fixed = suite.key_length, suite.fixed_length
    seed = b"key expansion" + server_random + client_random
    block = _expand(suite.hash_name, master_secret, seed, 2 * (key + fixed))
    client = block[:key], block[2 * key : 2 * key + fixed]
    server = block[key : 2 * key], block[2 * key + fixed :]
    ours, theirs = (client, server) if is_client else (server, client)
    return Farewell(suite, *ours, *theirs)


def _expand(hash_name: str, secret: bytes, seed: bytes, length: int) -> bytes:
    """P_hash (RFC 5246 §5)."""
    output, link = b"", seed
    while len(output) < length:
        link = hmac.digest(secret, link, hash_name)
        output += hmac.digest(secret, link + seed, hash_name)
    return output[:length]
