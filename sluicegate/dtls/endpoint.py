"""One DTLS 1.2 association that yields SRTP keys (RFC 6347, RFC 5764), over pyOpenSSL's memory BIOs; no I/O.

The keys leave this object only when the handshake has finished, the peer has proved the certificate that one of its
fingerprints names, and both ends share an SRTP profile; until then nothing about the peer is believed. Fingerprints
may come after the handshake. With them OpenSSL's object goes, and `farewell` says and hears goodbye. Every call costs
up to a millisecond of cryptography: calls belong off the event loop, one at a time.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from OpenSSL import SSL, crypto

from sluicegate.dtls.certificate import Fingerprint, any_matches
from sluicegate.dtls.context import DtlsContext, DtlsRole
from sluicegate.dtls.farewell import Farewell, Suite, derive_farewell
from sluicegate.dtls.records import (
    ContentType,
    HandshakeGuard,
    epoch_of,
    pack_datagrams,
    split_records,
)
from sluicegate.dtls.srtp_keys import EXPORTER_LABEL, keying_material_length, split_keying_material
from sluicegate.rtp.srtp import SrtpKeys, SrtpProfile

# A flight that is not answered leaves again, byte for byte, after this long, then twice as long, and so on.
# OpenSSL's own timer begins at a second, which a lost ServerHello would add to every join; a peer that has the
# flight discards the copy as a replay. Lower: copies on long paths. Higher: slower joins where packets are lost.
FIRST_REPEAT = 0.2
_LAST_REPEAT = 5.0

# Encrypted records that came before their turn, kept until it comes: a Finished that overtook its flight.
_HELD_RECORDS = 4
_HELD_RECORD_BYTES = 512


# OpenSSL's words for waiting for the peer's ChangeCipherSpec, and for having taken it.
_BEFORE_CHANGE = {
    DtlsRole.CLIENT: b"SSLv3/TLS write finished",
    DtlsRole.SERVER: b"SSLv3/TLS read certificate verify",
}
_AFTER_CHANGE = b"SSLv3/TLS read change cipher spec"


class DtlsFailure(StrEnum):
    """Why an association came to nothing, in words for the session's owner."""

    HANDSHAKE = "DTLS handshake failed"
    FINGERPRINT = "certificate fingerprint mismatch"
    NO_PROFILE = "no common SRTP profile"


@dataclass(frozen=True, slots=True)
class HandshakeFinished:
    """Both Finished messages are exchanged; the peer may still be unverified."""


@dataclass(frozen=True, slots=True)
class KeysReady:
    """The handshake is finished and the peer's certificate verified."""

    keys: SrtpKeys


@dataclass(frozen=True, slots=True)
class DtlsFailed:
    reason: DtlsFailure


@dataclass(frozen=True, slots=True)
class ClosedByPeer:
    """The peer sent close_notify."""


DtlsEvent = HandshakeFinished | KeysReady | DtlsFailed | ClosedByPeer


class DtlsEndpoint:
    """See the module. Once it has failed or closed it takes nothing and sends nothing more."""

    def __init__(self, context: DtlsContext, role: DtlsRole, fingerprints: Sequence[Fingerprint] = ()) -> None:
        self.role = role
        self._fingerprints = tuple(fingerprints)
        # OpenSSL's object, until there are keys; from then on `_farewell`.
        self._openssl: SSL.Connection | None = context.associate(role, self)
        self._farewell: Farewell | None = None
        self._guard = HandshakeGuard()
        self._held: list[bytes] = []
        self._held_change: bytes | None = None
        self._finished = False
        self._over = False
        self._mismatched = False
        self._peer_der: bytes | None = None
        # What we sent last in the handshake, as datagrams, and whether the next output is such a flight.
        self._flight: list[bytes] = []
        self._repeats = True
        self._repeat_at: float | None = None
        self._repeat_interval = FIRST_REPEAT
        self._openssl_at: float | None = None
        self._outgoing: list[bytes] = []
        self._events: list[DtlsEvent] = []

    @property
    def _connection(self) -> SSL.Connection:
        assert self._openssl is not None, "there are keys, so OpenSSL is not asked any more"
        return self._openssl

    @property
    def finished(self) -> bool:
        """Whether the handshake is done, verified or not."""
        return self._finished

    def accepts(self, certificate_der: bytes) -> bool:
        """Whether this may be the peer's certificate, as far as is known by now."""
        self._mismatched = bool(self._fingerprints) and not any_matches(self._fingerprints, certificate_der)
        return not self._mismatched

    def set_fingerprints(self, fingerprints: Sequence[Fingerprint], now: float) -> None:
        """Say which certificates may be the peer's; a finished handshake is judged at once."""
        self._fingerprints = tuple(fingerprints)
        if self._finished and not self._over and self._farewell is None:
            self._release_keys()
            self._collect(now)

    def start(self, now: float) -> None:
        """As client: send the first flight."""
        self._handshake()
        self._collect(now)

    def receive_datagram(self, data: bytes, now: float) -> None:
        """Take one datagram of the peer; what is no use is ignored."""
        if self._over:
            return
        if self._finished:
            self._receive_after_handshake(data)
        else:
            self._receive_in_handshake(data)
        self._collect(now)

    def close(self, now: float) -> None:
        """Tell the peer goodbye (close_notify) if there is anyone to tell; nothing happens after it."""
        if self._over:
            return
        self._end()
        self._collect(now)

    def datagrams_to_send(self) -> list[bytes]:
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def next_event(self) -> DtlsEvent | None:
        return self._events.pop(0) if self._events else None

    def get_timer(self) -> float | None:
        if self._over or self._finished:
            return None
        return min((at for at in (self._repeat_at, self._openssl_at) if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        if self._over or self._finished:
            return
        interval = min(2 * self._repeat_interval, _LAST_REPEAT)
        if self._openssl_at is not None and now >= self._openssl_at:
            try:
                self._connection.DTLSv1_handle_timeout()
            except SSL.Error:
                self._fail(DtlsFailure.HANDSHAKE)
            self._collect(now, interval)
        if self._repeat_at is not None and now >= self._repeat_at:
            self._outgoing += self._flight
            self._repeat_interval, self._repeat_at = interval, now + interval

    def _receive_in_handshake(self, data: bytes) -> None:
        for record in split_records(data):
            if epoch_of(record) > 0:
                if len(record) <= _HELD_RECORD_BYTES:
                    self._held = [*self._held, record][-_HELD_RECORDS:]
            elif record[0] == ContentType.CHANGE_CIPHER_SPEC:
                self._held_change = record
            elif self._guard.admits(record):
                self._feed(record)
            self._release_held()

    def _release_held(self) -> None:
        """Feed ChangeCipherSpec and what is encrypted when their turn has come.

        OpenSSL throws an early ChangeCipherSpec away, and stores early encrypted records at 16 kB each.
        """
        if self._held_change is not None and self._connection.get_state_string() == _BEFORE_CHANGE[self.role]:
            self._feed(self._held_change)
            self._held_change = None
        while self._held and self._connection.get_state_string() == _AFTER_CHANGE:
            self._feed(self._held.pop(0))

    def _receive_after_handshake(self, data: bytes) -> None:
        records = [record for record in split_records(data) if epoch_of(record) > 0]
        if any(record[0] == ContentType.HANDSHAKE for record in records):
            # The peer repeats its last flight: ours was lost. Nothing else is negotiated, so OpenSSL need not see it.
            self._outgoing += self._flight
        for record in records:
            if self._over or record[0] == ContentType.HANDSHAKE:
                continue
            if self._farewell is None:
                self._connection.bio_write(record)
                self._read()
            elif self._farewell.ends(record):
                self._end()
                self._events.append(ClosedByPeer())

    def _feed(self, record: bytes) -> None:
        if self._finished or self._over:
            return
        self._connection.bio_write(record)
        self._handshake()

    def _handshake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error:
            self._fail(DtlsFailure.FINGERPRINT if self._mismatched else DtlsFailure.HANDSHAKE)
            return
        self._finished = True
        certificate = self._connection.get_peer_certificate()
        assert certificate is not None, "VERIFY_FAIL_IF_NO_PEER_CERT let a peer without certificate pass"
        self._peer_der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        self._events.append(HandshakeFinished())
        self._release_keys()

    def _release_keys(self) -> None:
        """Announce the keys once the peer is verified; end the association where it cannot be."""
        try:
            profile = SrtpProfile(self._connection.get_selected_srtp_profile().decode())
        except ValueError:
            # No use_srtp, or none in common: OpenSSL finishes all the same, with an empty name.
            self._fail(DtlsFailure.NO_PROFILE)
            return
        if not self._fingerprints:
            return
        assert self._peer_der is not None
        if not self.accepts(self._peer_der):
            self._fail(DtlsFailure.FINGERPRINT)
            return
        length = keying_material_length(profile)
        material = self._connection.export_keying_material(EXPORTER_LABEL, length)
        keys = split_keying_material(profile, material, is_client=self.role is DtlsRole.CLIENT)
        self._events.append(KeysReady(keys))
        self._derive_farewell()

    def _derive_farewell(self) -> None:
        connection = self._connection
        suite = Suite.of(connection.get_cipher_name())
        secret = connection.master_key()
        randoms = connection.client_random(), connection.server_random()
        if suite is not None and secret is not None and randoms[0] is not None and randoms[1] is not None:
            is_client = self.role is DtlsRole.CLIENT
            self._farewell = derive_farewell(suite, secret, randoms[0], randoms[1], is_client=is_client)

    def _read(self) -> None:
        """Let OpenSSL work on an alert, or on application data, which means nothing here."""
        try:
            while True:
                self._connection.recv(1 << 14)
        except SSL.WantReadError:
            return
        except SSL.Error:
            # close_notify, or an alert of the peer under the agreed keys: either way it is gone.
            self._end()
            self._events.append(ClosedByPeer())

    def _fail(self, reason: DtlsFailure) -> None:
        self._end()
        self._events.append(DtlsFailed(reason))

    def _end(self) -> None:
        """The association is over; the peer, if there is one, is told with close_notify."""
        self._over = True
        if self._farewell is not None and self._openssl is None:
            self._outgoing.append(self._farewell.close_notify())
        elif self._finished:
            with contextlib.suppress(SSL.Error):
                self._connection.shutdown()

    def _collect(self, now: float, repeat_interval: float = FIRST_REPEAT) -> None:
        """Take what OpenSSL wrote; during the handshake it is a flight, to be repeated until the peer answers."""
        written = b"".join(self._written())
        if written:
            datagrams = pack_datagrams(split_records(written))
            self._outgoing += datagrams
            if self._repeats:
                self._flight = datagrams
                self._repeat_interval, self._repeat_at = repeat_interval, now + repeat_interval
        if self._finished or self._over:
            # A server's last flight is kept, to be repeated when the client repeats its own; a client's is answered.
            if self.role is DtlsRole.CLIENT:
                self._flight = []
            self._repeats, self._repeat_at, self._openssl_at = False, None, None
            self._held.clear()
            if self._openssl is not None and (self._over or self._farewell is not None):
                # The two refer to each other: without this they wait for the cyclic collector.
                self._openssl.set_app_data(None)
                self._openssl = None
        else:
            remaining = self._connection.DTLSv1_get_timeout()
            self._openssl_at = None if remaining is None else now + remaining

    def _written(self) -> Iterable[bytes]:
        while self._openssl is not None:
            try:
                yield self._openssl.bio_read(1 << 16)
            except SSL.WantReadError:
                return
