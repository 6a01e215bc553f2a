"""The client's end of DTLS-SRTP (RFC 5764) over pyOpenSSL, without I/O, and the SRTP sessions that come of it.

    endpoint = DtlsEndpoint(client=True)
    endpoint.handshake()                      # and after each receive() and handle_timeout():
    for datagram in endpoint.datagrams(): ...
    endpoint.receive(datagram)
    keys = endpoint.srtp()                    # once endpoint.finished

Whoever uses it owns the socket and the clock.
"""

import datetime
import secrets
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from pylibsrtp import Policy, Session

MTU = 1200
RECORD_HEADER_BYTES = 13

DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha-1": hashes.SHA1(),
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}
# profile: (its libsrtp value, key and salt bytes)
PROFILES = {
    "SRTP_AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    "SRTP_AEAD_AES_256_GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
    "SRTP_AES128_CM_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
}


class Certificate:
    """A self-signed P-256 certificate, fresh each time."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(8))])
        now = datetime.datetime.now(datetime.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .sign(self.key, hashes.SHA256())
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256, as SDP writes it: colon-separated upper-case hex."""
        return fingerprint(self.certificate)


def fingerprint(certificate: x509.Certificate, algorithm: str = "sha-256") -> str:
    """The fingerprint of RFC 8122 §5."""
    return certificate.fingerprint(DIGESTS[algorithm.lower()]).hex(":").upper()


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """What the handshake exported: master key and salt of each direction."""

    profile: str
    send: bytes
    receive: bytes

    def sender(self) -> Session:
        """A session that protects what we send; it protects a sequence number twice without complaint."""
        policy = Policy(self.send, Policy.SSRC_ANY_OUTBOUND, srtp_profile=PROFILES[self.profile][0])
        policy.window_size = 1024
        policy.allow_repeat_tx = True
        return Session(policy)

    def receiver(self) -> Session:
        """A session that unprotects what we receive."""
        policy = Policy(self.receive, Policy.SSRC_ANY_INBOUND, srtp_profile=PROFILES[self.profile][0])
        policy.window_size = 1024
        return Session(policy)


class DtlsEndpoint:
    """One DTLS 1.2 association. `datagrams` hands out whole records, as many as fit in `MTU` bytes each."""

    def __init__(
        self, *, client: bool, certificate: Certificate | None = None, profiles: tuple[str, ...] = tuple(PROFILES)
    ) -> None:
        self.certificate = certificate or Certificate()
        self.finished = False
        self._client = client
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(0xFEFD)
        context.set_max_proto_version(0xFEFD)
        context.use_certificate(self.certificate.certificate)
        context.use_privatekey(self.certificate.key)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        if profiles:
            context.set_tlsext_use_srtp(":".join(profiles).encode())
        self._connection = SSL.Connection(context)
        self._connection.set_ciphertext_mtu(MTU)
        if client:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()

    def handshake(self) -> None:
        """Take the next step. Raises OpenSSL.SSL.Error when the handshake has failed."""
        if self.finished:
            return
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        self.finished = True

    def receive(self, datagram: bytes) -> bytes:
        """Take a datagram; returns application data, if any."""
        self._connection.bio_write(datagram)
        if not self.finished:
            self.handshake()
        if self.finished:
            with suppress(SSL.WantReadError, SSL.ZeroReturnError):
                return self._connection.recv(65535)
        return b""

    def datagrams(self) -> list[bytes]:
        """What is to be sent now."""
        pending = b""
        while True:
            try:
                pending += self._connection.bio_read(65535)
            except SSL.WantReadError:
                break
        datagrams = [b""]
        while len(pending) >= RECORD_HEADER_BYTES:
            size = RECORD_HEADER_BYTES + int.from_bytes(pending[11:13])
            record, pending = pending[:size], pending[size:]
            if datagrams[-1] and len(datagrams[-1]) + size > MTU:
                datagrams.append(b"")
            datagrams[-1] += record
        return [datagram for datagram in datagrams if datagram]

    def timeout(self) -> float | None:
        """Seconds until `handle_timeout` is due; None: no flight is waiting for an answer."""
        return self._connection.DTLSv1_get_timeout()

    def handle_timeout(self) -> None:
        """Send the last flight again."""
        self._connection.DTLSv1_handle_timeout()

    def shutdown(self) -> None:
        """Queue close_notify."""
        with suppress(SSL.Error):
            self._connection.shutdown()

    def peer_fingerprint(self, algorithm: str = "sha-256") -> str:
        """Of the certificate that the other end has shown."""
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return fingerprint(certificate, algorithm)

    def srtp(self) -> SrtpKeys:
        """RFC 5764 §4.2. Raises KeyError when no profile was agreed on."""
        profile = self._connection.get_selected_srtp_profile().decode()
        _, key, salt = PROFILES[profile]
        material = self._connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (key + salt))
        client_key, server_key = material[:key], material[key : 2 * key]
        client_salt, server_salt = material[2 * key : 2 * key + salt], material[2 * key + salt :]
        client, server = client_key + client_salt, server_key + server_salt
        return SrtpKeys(profile, client, server) if self._client else SrtpKeys(profile, server, client)
