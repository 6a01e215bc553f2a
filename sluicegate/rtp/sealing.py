"""What protecting outgoing RTP needs, beside libsrtp: session keys, a cipher that has been given its key, addresses.

libsrtp looks a stream up, moves a window against replays and asks for five other things for each packet; of what it
then costs to send one, the packet plane needs none, since it chose the number itself
([decision 8](../../docs/decisions/0008-sealing-in-the-plane.md)). The plane therefore calls OpenSSL, the same that
libsrtp uses, itself (`router/kernel/seal.py`). Where a build of pylibsrtp does not show OpenSSL's functions,
`FUNCTIONS` is empty, and libsrtp protects.
"""

import ctypes
import struct
import weakref
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pylibsrtp import _binding

from sluicegate.rtp.srtp import SrtpKeys, SrtpProfile

BLOCK_BYTES = 64
"""Of SHA-1, and so of the key of its HMAC."""
CONTEXT_WORDS = 24
"""Of 32 bits in a SHA_CTX of OpenSSL: five of state, two of length in bits, a block, and how much of it is filled."""
CONTEXT_LENGTH, CONTEXT_FILLED = 5, 23
TAG_KEY_BYTES = 20
ENCRYPTION, AUTHENTICATION, SALTING = 0, 1, 2  # labels of RFC 3711 §4.3.1

_CIPHERS = {
    SrtpProfile.AEAD_AES_128_GCM: b"AES-128-GCM",
    SrtpProfile.AEAD_AES_256_GCM: b"AES-256-GCM",
    SrtpProfile.AES128_CM_SHA1_80: b"AES-128-CTR",
}
_NAMES = (
    "EVP_EncryptInit_ex",
    "EVP_EncryptUpdate",
    "EVP_EncryptFinal_ex",
    "EVP_CIPHER_CTX_ctrl",
    "SHA1_Init",
    "SHA1_Update",
    "SHA1_Final",
)
_library = ctypes.CDLL(_binding.__file__)


def _find_functions() -> dict[str, int]:
    """The addresses of `_NAMES`, or none where one is missing or keeps its state in another shape than we read."""
    try:
        found = {name: ctypes.cast(getattr(_library, name), ctypes.c_void_p).value or 0 for name in _NAMES}
        context = (ctypes.c_uint32 * CONTEXT_WORDS)()
        _library.SHA1_Init(context)
        _library.SHA1_Update(context, bytes(BLOCK_BYTES), ctypes.c_size_t(BLOCK_BYTES))
        for name in ("EVP_CIPHER_CTX_new", "EVP_CIPHER_fetch"):
            getattr(_library, name).restype = ctypes.c_void_p
        _library.EVP_CIPHER_CTX_free.argtypes = [ctypes.c_void_p]
        _library.EVP_EncryptInit_ex.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_char_p] * 2
    except AttributeError:
        return {}
    expected = [0x92B404E5, 0x56588CED, 0x6C1ACD4E, 0xBF053F68, 0x09F73A93]  # of a block of zeros
    shape = (
        list(context[:5]) == expected and context[CONTEXT_LENGTH] == 8 * BLOCK_BYTES and context[CONTEXT_FILLED] == 0
    )
    return found if shape else {}


FUNCTIONS: Final = _find_functions()
"""Where OpenSSL's functions are, by name; empty where they cannot be called."""


def derive_key(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """A session key (RFC 3711 §4.3.3, RFC 6188, RFC 7714 §11): AES counter mode under the master key, rate 0."""
    start = bytearray(master_salt.ljust(16, b"\0"))
    start[7] ^= label
    return Cipher(algorithms.AES(master_key), modes.CTR(bytes(start))).encryptor().update(bytes(length))


class Sealer:
    """A transport's outgoing RTP: its cipher, which must outlive its last use by the plane, its salt, its tag key.

    `address` is that of an EVP_CIPHER_CTX with the session key. `salt` is two 64-bit words: the session salt where it
    meets SSRC and index in a 16-byte counter block of AES-CM; the nonce of AES-GCM is the same from its third byte on.
    `tag_key` is the HMAC key filled up to a block, or None where the cipher authenticates.
    """

    def __init__(self, keys: SrtpKeys) -> None:
        profile = keys.profile
        master = keys.transmit_key[: profile.key_length], keys.transmit_key[profile.key_length :]
        salt = derive_key(*master, SALTING, profile.salt_length)
        counter_mode = profile is SrtpProfile.AES128_CM_SHA1_80
        self.salt: tuple[int, int] = struct.unpack(">qq", (salt if counter_mode else b"\0\0" + salt).ljust(16, b"\0"))
        self.tag_key = (
            derive_key(*master, AUTHENTICATION, TAG_KEY_BYTES).ljust(BLOCK_BYTES, b"\0") if counter_mode else None
        )
        self.address: int = _library.EVP_CIPHER_CTX_new() or 0
        if not self.address:
            raise MemoryError("OpenSSL has no memory for a cipher")
        # Not when the process ends: a plane may still be sending then.
        weakref.finalize(self, _library.EVP_CIPHER_CTX_free, self.address).atexit = False
        key = derive_key(*master, ENCRYPTION, profile.key_length)
        if _library.EVP_EncryptInit_ex(self.address, _cipher(profile), None, key, None) != 1:
            raise RuntimeError(f"OpenSSL refuses a key for {profile.value}")


_fetched: dict[SrtpProfile, int] = {}


def _cipher(profile: SrtpProfile) -> int:
    """OpenSSL's EVP_CIPHER of a profile, fetched once."""
    if profile not in _fetched:
        _fetched[profile] = _library.EVP_CIPHER_fetch(None, _CIPHERS[profile], None) or 0
        if not _fetched[profile]:
            raise RuntimeError(f"OpenSSL has no {_CIPHERS[profile].decode()}")
    return _fetched[profile]
