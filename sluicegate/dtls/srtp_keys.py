"""SRTP keys from a finished handshake (RFC 5764 §4.2)."""

from sluicegate.rtp.srtp import SrtpKeys, SrtpProfile

EXPORTER_LABEL = b"EXTRACTOR-dtls_srtp"


def keying_material_length(profile: SrtpProfile) -> int:
    """Bytes to export: a master key and a master salt for each side."""
    return 2 * (profile.key_length + profile.salt_length)


def split_keying_material(profile: SrtpProfile, material: bytes, *, is_client: bool) -> SrtpKeys:
    """The keys of one end. The exporter gives client key, server key, client salt and server salt, in this order."""
    key, salt = profile.key_length, profile.salt_length
    salts = material[2 * key :]
    client = material[:key] + salts[:salt]
    server = material[key : 2 * key] + salts[salt : 2 * salt]
    if is_client:
        return SrtpKeys(profile, receive_key=server, transmit_key=client)
    return SrtpKeys(profile, receive_key=client, transmit_key=server)
