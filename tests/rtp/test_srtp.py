"""SRTP profiles, keys and sessions: RFC 3711 and RFC 7714 vectors, replay, repeated sends."""

import pytest
from pylibsrtp import Error

from sluicegate.rtp.srtp import SrtpKeys, SrtpProfile, open_sessions, session_pointer

PROFILES = list(SrtpProfile)


def keys_of(profile: SrtpProfile, receive: int = 1, transmit: int = 2) -> SrtpKeys:
    length = profile.key_length + profile.salt_length
    return SrtpKeys(profile, bytes([receive]) * length, bytes([transmit]) * length)


def pair(profile: SrtpProfile):
    """(our sessions, the peer's sessions) as (receive, transmit) each."""
    return open_sessions(keys_of(profile, 1, 2)), open_sessions(keys_of(profile, 2, 1))


def rtp(sequence_number: int, ssrc: int = 0xCAFEBABE, payload: bytes = b"payload") -> bytes:
    return b"\x80\x60" + sequence_number.to_bytes(2, "big") + bytes(4) + ssrc.to_bytes(4, "big") + payload


def test_preference_is_gcm_128_then_256_then_counter_mode():
    names = ["SRTP_AEAD_AES_128_GCM", "SRTP_AEAD_AES_256_GCM", "SRTP_AES128_CM_SHA1_80"]
    assert [profile.value for profile in SrtpProfile] == names


@pytest.mark.parametrize("profile", PROFILES)
def test_what_one_side_protects_the_other_unprotects(profile):
    (receive, transmit), (peer_receive, peer_transmit) = pair(profile)
    assert peer_receive.unprotect(transmit.protect(rtp(7))) == rtp(7)
    assert receive.unprotect(peer_transmit.protect(rtp(9))) == rtp(9)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_flipped_bit_anywhere_is_refused(profile):
    (_, transmit), (peer_receive, _) = pair(profile)
    protected = transmit.protect(rtp(7))
    for position in range(12, len(protected)):
        broken = bytearray(protected)
        broken[position] ^= 1
        with pytest.raises(Error):
            peer_receive.unprotect(bytes(broken))
    assert peer_receive.unprotect(protected) == rtp(7)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_replayed_packet_is_refused_and_a_late_one_is_taken_once_within_the_window(profile):
    (_, transmit), (peer_receive, _) = pair(profile)
    protected = [transmit.protect(rtp(number)) for number in range(1, 1200)]
    peer_receive.unprotect(protected[0])
    peer_receive.unprotect(protected[1010])
    with pytest.raises(Error):
        peer_receive.unprotect(protected[1010])
    assert peer_receive.unprotect(protected[5]) == rtp(6)
    with pytest.raises(Error):
        peer_receive.unprotect(protected[5])


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_packet_may_be_sent_again(profile):
    (_, transmit), _ = pair(profile)
    first = transmit.protect(rtp(7))
    transmit.protect(rtp(8))
    assert transmit.protect(rtp(7)) == first


@pytest.mark.parametrize("profile", PROFILES)
def test_rtcp_must_be_encrypted_and_authentic(profile):
    (_, transmit), (peer_receive, _) = pair(profile)
    report = b"\x80\xc9\x00\x01\x00\x00\x00\x01"
    protected = transmit.protect_rtcp(report)
    with pytest.raises(Error):
        peer_receive.unprotect_rtcp(report + bytes(28))
    cleared = bytearray(protected)
    tag = 10 if profile is SrtpProfile.AES128_CM_SHA1_80 else 0
    cleared[len(cleared) - tag - 4] &= 0x7F
    with pytest.raises(Error):
        peer_receive.unprotect_rtcp(bytes(cleared))
    assert peer_receive.unprotect_rtcp(protected) == report


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("length", range(65))
def test_short_packets_are_refused_and_nothing_else_happens(profile, length):
    receive, _ = open_sessions(keys_of(profile))
    for first, second in ((0x80, 0x60), (0x80, 0xC8), (0xBF, 0x60), (0x90, 0x60)):
        data = (bytes([first, second]) + bytes(63))[:length]
        for unprotect in (receive.unprotect, receive.unprotect_rtcp):
            with pytest.raises(Error):
                unprotect(data)


def test_keys_of_a_wrong_length_are_refused():
    with pytest.raises(ValueError, match="28 bytes"):
        SrtpKeys(SrtpProfile.AEAD_AES_128_GCM, bytes(30), bytes(28))


def test_keys_do_not_show_in_their_text():
    assert "0101" not in repr(keys_of(SrtpProfile.AEAD_AES_128_GCM))
    assert "receive_key" not in repr(keys_of(SrtpProfile.AEAD_AES_128_GCM))


def test_pointers_of_sessions_differ_and_are_not_null():
    receive, transmit = open_sessions(keys_of(SrtpProfile.AEAD_AES_128_GCM))
    assert session_pointer(receive) != 0
    assert session_pointer(receive) != session_pointer(transmit)


def test_gcm_agrees_with_keys_derived_and_packets_sealed_as_the_rfcs_say():
    """An independent RFC 3711 §4.3 key derivation and RFC 7714 §8 seal by `cryptography`, byte for byte."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    master = bytes(range(16))
    salt = bytes(range(0xA0, 0xAC))

    def derive(label: int, length: int) -> bytes:
        block = bytearray(salt + bytes(4))
        block[7] ^= label
        counter = Cipher(algorithms.AES(master), modes.CTR(bytes(block))).encryptor()
        return counter.update(bytes(length))

    key, session_salt = derive(0, 16), derive(2, 12)
    packet = rtp(0xF17B, 0x55667788, b"Gallia est omnis divisa in partes tres")
    nonce = bytes(2) + packet[8:12] + bytes(4) + packet[2:4]
    nonce = bytes(a ^ b for a, b in zip(nonce, session_salt, strict=True))
    expected = packet[:12] + AESGCM(key).encrypt(nonce, packet[12:], packet[:12])

    _, transmit = open_sessions(SrtpKeys(SrtpProfile.AEAD_AES_128_GCM, master + salt, master + salt))
    assert transmit.protect(packet) == expected
