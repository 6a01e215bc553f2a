"""Known answers: RFC 3711 appendix B, RFC 6188 §7, RFC 7714 §16 and §17, against libsrtp as the server uses it.

The RFCs give session keys; an SRTP session takes a master key. So each vector is checked in two steps that meet: the
RFC's figures hold for the plain construction below (key derivation and cipher by `cryptography`), and libsrtp agrees
with that construction for a master key. RFC 5769's vectors are in `tests/ice/test_stun.py`.
"""

import hashlib
import hmac

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pylibsrtp import Error

from sluicegate.rtp.sealing import AUTHENTICATION, ENCRYPTION, SALTING, derive_key
from sluicegate.rtp.srtp import SrtpKeys, SrtpProfile, open_sessions
from tests.ice import test_stun as rfc5769


def counter_mode(key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)


def derive(master: bytes, salt: bytes, label: int, length: int) -> bytes:
    """RFC 3711 §4.3.3 with a key derivation rate of 0; AES with the master key's size (RFC 6188 §3)."""
    x = int.from_bytes(salt.ljust(14, b"\0")) ^ label << 48
    return counter_mode(master, (x << 16).to_bytes(16), bytes(length))


# RFC 3711 §B.3
MASTER_128 = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")
SALT = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
# RFC 6188 §7.2 (AES-256)
MASTER_256 = bytes.fromhex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6")
SALT_256 = bytes.fromhex("3b04803de51ee7c96423ab5b78d2")


def test_rfc_3711_key_stream() -> None:
    """§B.2: AES-CM with SSRC, index and ROC zero."""
    key = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
    salt = bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000")
    stream = counter_mode(key, salt, bytes(48))
    assert stream.hex().upper() == (
        "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB41E95B3BB0A2E8DD477901E4FCA894C0"
    )


def test_rfc_3711_key_derivation() -> None:
    """§B.3: cipher key, cipher salt and authentication key of one master key."""
    assert derive(MASTER_128, SALT, 0, 16).hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert derive(MASTER_128, SALT, 2, 14).hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
    assert derive(MASTER_128, SALT, 1, 94).hex().upper() == (
        "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE"
        "E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25"
        "6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2"
    )


def test_the_plane_derives_the_keys_of_the_rfcs() -> None:
    """RFC 3711 §B.3, RFC 6188 §7.2; a salt of 12 bytes is filled up with zeros (RFC 7714 §11)."""
    for master, salt in ((MASTER_128, SALT), (MASTER_256, SALT_256), (MASTER_128, SALT[:12])):
        for label, length in ((ENCRYPTION, len(master)), (AUTHENTICATION, 94), (SALTING, len(salt))):
            assert derive_key(master, salt, label, length) == derive(master, salt, label, length)


def test_rfc_6188_key_stream_of_256_bits() -> None:
    """§7.1: AES-256-CM."""
    key = bytes.fromhex("57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98")
    salt = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000")
    assert counter_mode(key, salt, bytes(48)).hex() == (
        "92bdd28a93c3f52511c677d08b5515a49da71b2378a854f67050756ded165bac63c4868b7096d88421b563b8c94c9a31"
    )


def test_rfc_6188_key_derivation_of_256_bits() -> None:
    """§7.2, where AES-256 derives."""
    assert (
        derive(MASTER_256, SALT_256, 0, 32).hex() == "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"
    )
    assert derive(MASTER_256, SALT_256, 2, 14).hex() == "fa31791685ca444a9e07c6c64e93"


PLAIN = b"Gallia est omnis divisa in partes tres"
HEADER = bytes.fromhex("8040f17b8041f8d35501a0b2")  # RFC 7714 §16: sequence number f17b, SSRC 5501a0b2
KEY_128 = bytes(range(16))
KEY_256 = bytes(range(32))
GCM_SALT = bytes.fromhex("517569642070726f2071756f")


def gcm_nonce(salt: bytes, ssrc: bytes, roc: int, sequence: bytes) -> bytes:
    """RFC 7714 §8.1."""
    plain = bytes(2) + ssrc + roc.to_bytes(4) + sequence
    return bytes(a ^ b for a, b in zip(plain, salt, strict=True))


def test_rfc_7714_srtp_vectors() -> None:
    """§16.1.1 (AES-128) and §16.2.1 (AES-256): nonce, ciphertext and tag."""
    nonce = gcm_nonce(GCM_SALT, HEADER[8:12], 0, HEADER[2:4])
    assert nonce.hex() == "51753c6580c2726f20718414"
    assert AESGCM(KEY_128).encrypt(nonce, PLAIN, HEADER).hex() == (
        "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce"
    )
    assert AESGCM(KEY_256).encrypt(nonce, PLAIN, HEADER).hex() == (
        "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13"
    )


def test_rfc_7714_a_changed_bit_does_not_verify() -> None:
    nonce = gcm_nonce(GCM_SALT, HEADER[8:12], 0, HEADER[2:4])
    sealed = bytearray(AESGCM(KEY_128).encrypt(nonce, PLAIN, HEADER))
    for position in (0, 20, len(sealed) - 1):
        sealed[position] ^= 1
        with pytest.raises(InvalidTag):
            AESGCM(KEY_128).decrypt(nonce, bytes(sealed), HEADER)
        sealed[position] ^= 1


def construct(profile: SrtpProfile, master: bytes, salt: bytes, packet: bytes, roc: int = 0) -> bytes:
    """An SRTP packet, as the RFCs say it is made."""
    key = derive(master, salt, 0, len(master))
    session_salt = derive(master, salt, 2, len(salt))
    header, payload, ssrc, sequence = packet[:12], packet[12:], packet[8:12], packet[2:4]
    if profile is not SrtpProfile.AES128_CM_SHA1_80:
        return header + AESGCM(key).encrypt(gcm_nonce(session_salt, ssrc, roc, sequence), payload, header)
    index = roc << 16 | int.from_bytes(sequence)
    iv = int.from_bytes(session_salt) << 16 ^ int.from_bytes(ssrc) << 64 ^ index << 16
    sealed = header + counter_mode(key, iv.to_bytes(16), payload)
    tag = hmac.new(derive(master, salt, 1, 20), sealed + roc.to_bytes(4), hashlib.sha1).digest()[:10]
    return sealed + tag


def material(profile: SrtpProfile) -> tuple[bytes, bytes]:
    """The RFCs' own master keys and salts, as long as the profile has them."""
    master = MASTER_256 if profile is SrtpProfile.AEAD_AES_256_GCM else MASTER_128
    return master, SALT[: profile.salt_length]


@pytest.mark.parametrize("profile", list(SrtpProfile))
def test_libsrtp_makes_the_packets_that_the_rfcs_describe(profile: SrtpProfile) -> None:
    """Over a wrap of the sequence number too, where the rollover counter comes in."""
    master, salt = material(profile)
    keys = SrtpKeys(profile, master + salt, master + salt)
    receive, transmit = open_sessions(keys)
    for number in (0xF17B, 0xFFFF, 0x10000, 0x10001):
        packet = HEADER[:2] + (number & 0xFFFF).to_bytes(2) + HEADER[4:] + PLAIN
        expected = construct(profile, master, salt, packet, number >> 16)
        assert transmit.protect(packet) == expected
        assert receive.unprotect(expected) == packet


@pytest.mark.parametrize("profile", list(SrtpProfile))
def test_libsrtp_refuses_another_rollover_counter(profile: SrtpProfile) -> None:
    master, salt = material(profile)
    receive, _ = open_sessions(SrtpKeys(profile, master + salt, master + salt))
    packet = HEADER + PLAIN
    with pytest.raises(Error):
        receive.unprotect(construct(profile, master, salt, packet, roc=1))
    assert receive.unprotect(construct(profile, master, salt, packet)) == packet


def construct_rtcp(master: bytes, salt: bytes, packet: bytes, index: int) -> bytes:
    """SRTCP with AES-GCM (RFC 7714 §9): the index with its E bit is authenticated, and stands behind the tag."""
    key, session_salt = derive(master, salt, 3, len(master)), derive(master, salt, 5, len(salt))
    trailer = (1 << 31 | index).to_bytes(4)
    plain = bytes(2) + packet[4:8] + bytes(2) + index.to_bytes(4)
    nonce = bytes(a ^ b for a, b in zip(plain, session_salt, strict=True))
    return packet[:8] + AESGCM(key).encrypt(nonce, packet[8:], packet[:8] + trailer) + trailer


@pytest.mark.parametrize("profile", [SrtpProfile.AEAD_AES_128_GCM, SrtpProfile.AEAD_AES_256_GCM])
def test_libsrtp_makes_the_rtcp_that_rfc_7714_describes(profile: SrtpProfile) -> None:
    master, salt = material(profile)
    receive, transmit = open_sessions(SrtpKeys(profile, master + salt, master + salt))
    report = bytes.fromhex("81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeef")
    report += bytes.fromhex("deadbeefdeadbeef")
    for index in (1, 2):
        expected = construct_rtcp(master, salt, report, index)
        assert transmit.protect_rtcp(report) == expected
        assert receive.unprotect_rtcp(expected) == report


def test_rfc_5769_is_checked_beside_the_codec() -> None:
    """Sample request and both responses, and the negative ones beside them."""
    names = [name for name in dir(rfc5769) if name.startswith("test_") and "5769" in name]
    assert len(names) >= 3
    rfc5769.test_rfc_5769_sample_request()
