"""What all DTLS associations of a server share: the certificate, and what it is willing to negotiate."""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from OpenSSL import SSL, crypto

from sluicegate.dtls.certificate import Certificate
from sluicegate.dtls.records import DATAGRAM_BYTES
from sluicegate.rtp.srtp import SrtpProfile

_DTLS_1_2 = 0xFEFD

# Forward secrecy and AEAD only; AES-128 first for its speed. RSA is for peers that are the server, and have such a key.
_CIPHERS = b"ECDHE+AES128+AESGCM:ECDHE+AES256+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"


class DtlsRole(Enum):
    CLIENT = "client"
    SERVER = "server"


class CertificateJudge(Protocol):
    """Who decides about the peer's certificate within a handshake."""

    def accepts(self, certificate_der: bytes) -> bool: ...


class DtlsContext:
    """Makes OpenSSL's object for each association; `profiles` are the SRTP profiles offered, best first."""

    def __init__(self, certificate: Certificate, profiles: Sequence[SrtpProfile] = tuple(SrtpProfile)) -> None:
        self.certificate = certificate
        context = SSL.Context(SSL.DTLS_METHOD)
        # 1.3 has other records, and other retransmission, than what this package deals with.
        context.set_min_proto_version(_DTLS_1_2)
        context.set_max_proto_version(_DTLS_1_2)
        # Memory BIOs have no MTU to ask for; without this OpenSSL forgets the one that it is given.
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
        context.set_cipher_list(_CIPHERS)
        context.set_tlsext_use_srtp(":".join(profile.value for profile in profiles).encode())
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.private_key)
        self._context = context

    def associate(self, role: DtlsRole, judge: CertificateJudge) -> SSL.Connection:
        """A fresh association in `role`, over memory BIOs; `judge` is kept as its application data."""
        connection = SSL.Connection(self._context)
        connection.set_app_data(judge)
        connection.set_ciphertext_mtu(DATAGRAM_BYTES)
        if role is DtlsRole.CLIENT:
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        return connection


def _verify(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, preverified: int) -> bool:
    """Refuse a wrong certificate within the handshake, where the fingerprints are known by then.

    No authority vouches for these certificates, so OpenSSL's opinion of the chain is of no account (RFC 8827 §6.5).
    """
    judge: CertificateJudge = connection.get_app_data()
    return depth != 0 or judge.accepts(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))
