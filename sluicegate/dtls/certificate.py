"""The server's certificate, and the fingerprints by which each side knows the other's (RFC 8122, RFC 8827 §6.5)."""

import datetime
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sluicegate.errors import Invalid

# Digest length by name (RFC 8122 §5). SHA-1 and MD5 can be forged, so a peer must offer one of these.
FINGERPRINT_ALGORITHMS = {"sha-256": 32, "sha-384": 48, "sha-512": 64}

# A peer has one certificate, perhaps two, each under a few algorithms.
MAX_FINGERPRINTS = 16

# Peers check the fingerprint, not the dates; a year outlives any process, a day behind forgives any clock.
_LIFETIME = datetime.timedelta(days=365)
_CLOCK_SLACK = datetime.timedelta(days=1)

_COLON_HEX = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The digest of a certificate's DER under `algorithm` (lower case, as in FINGERPRINT_ALGORITHMS)."""

    algorithm: str
    digest: bytes

    @classmethod
    def of(cls, certificate_der: bytes, algorithm: str = "sha-256") -> "Fingerprint":
        return cls(algorithm, hashlib.new(algorithm.replace("-", ""), certificate_der).digest())

    @property
    def text(self) -> str:
        """The digest as SDP and ORTC write it: upper-case hex with colons."""
        return self.digest.hex(":").upper()

    def matches(self, certificate_der: bytes) -> bool:
        """Whether it is this certificate's; compared in constant time."""
        return hmac.compare_digest(self.digest, Fingerprint.of(certificate_der, self.algorithm).digest)


def parse_fingerprints(pairs: Sequence[tuple[str, str]]) -> tuple[Fingerprint, ...]:
    """Fingerprints from (algorithm, value) texts.

    Algorithms that are unknown or weak are passed over where another one stands beside them. Raises `Invalid` with a
    pointer below `/fingerprints` when none is left, when there are too many, or when a value is malformed.
    """
    if not pairs:
        raise Invalid("at least one fingerprint is needed", pointer="/fingerprints")
    if len(pairs) > MAX_FINGERPRINTS:
        raise Invalid(f"at most {MAX_FINGERPRINTS} fingerprints are taken", pointer="/fingerprints")
    fingerprints = []
    for index, (algorithm, value) in enumerate(pairs):
        length = FINGERPRINT_ALGORITHMS.get(algorithm.lower())
        if length is None:
            continue
        if len(value) != 3 * length - 1 or not _COLON_HEX.fullmatch(value):
            detail = f"a {algorithm.lower()} fingerprint is {length} bytes in hex with colons between"
            raise Invalid(detail, pointer=f"/fingerprints/{index}/value")
        fingerprints.append(Fingerprint(algorithm.lower(), bytes.fromhex(value.replace(":", ""))))
    if not fingerprints:
        names = ", ".join(FINGERPRINT_ALGORITHMS)
        raise Invalid(f"a fingerprint must use one of {names}", pointer="/fingerprints/0/algorithm")
    return tuple(fingerprints)


def any_matches(fingerprints: Iterable[Fingerprint], certificate_der: bytes) -> bool:
    """Whether one of `fingerprints` is the certificate's (RFC 8122 §6.2)."""
    return any(fingerprint.matches(certificate_der) for fingerprint in fingerprints)


@dataclass(frozen=True, slots=True)
class Certificate:
    """An ECDSA P-256 key and its self-signed certificate; the fingerprint is what peers are told."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> "Certificate":
        """A fresh one, valid for a year by the wall clock."""
        private_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sluicegate")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SLACK)
            .not_valid_after(now + _LIFETIME)
            .sign(private_key, hashes.SHA256())
        )
        return cls(certificate, private_key)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def fingerprint(self) -> Fingerprint:
        """SHA-256, which every peer understands (RFC 8122 §5)."""
        return Fingerprint.of(self.der)
