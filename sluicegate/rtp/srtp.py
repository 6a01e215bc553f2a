"""SRTP protection profiles, keys and sessions (RFC 3711, RFC 7714, RFC 5764 §4.1.2).

libsrtp unprotects what arrives and protects RTCP; for RTP that leaves there is `sealing`. pylibsrtp makes and keeps the
sessions. The packet plane calls the C functions on `session_pointer`, so a `Session` object must outlive its last use
there: freeing it frees the C context. A session belongs to one thread at a time.
"""

from dataclasses import dataclass, field
from enum import Enum

from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi

# Packets that come this many sequence numbers late are still taken, once. libsrtp's default of 128 packets is 0.3 s
# of a 4 Mbps stream: what a network held up for longer would be lost. Higher costs 1 bit for each stream and
# packet.
REPLAY_WINDOW = 1024
# The same on the way out, where libsrtp protects RTP: nothing is sent under a number further back than the 512 of a
# send stream that are kept. The window is moved for every packet, so half of it is 1 % of what a packet costs.
TRANSMIT_WINDOW = 512


class SrtpProfile(Enum):
    """The profiles that this server speaks, best first; the values are their names in RFC 5764, RFC 7714 and
    OpenSSL.
    """

    AEAD_AES_128_GCM = "SRTP_AEAD_AES_128_GCM"
    AEAD_AES_256_GCM = "SRTP_AEAD_AES_256_GCM"
    AES128_CM_SHA1_80 = "SRTP_AES128_CM_SHA1_80"

    @property
    def key_length(self) -> int:
        """Bytes of the master key."""
        return 32 if self is SrtpProfile.AEAD_AES_256_GCM else 16

    @property
    def salt_length(self) -> int:
        """Bytes of the master salt."""
        return 14 if self is SrtpProfile.AES128_CM_SHA1_80 else 12

    @property
    def libsrtp_profile(self) -> int:
        """The constant of libsrtp."""
        return _LIBSRTP_PROFILES[self]


_LIBSRTP_PROFILES: dict[SrtpProfile, int] = {
    SrtpProfile.AEAD_AES_128_GCM: Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    SrtpProfile.AEAD_AES_256_GCM: Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    SrtpProfile.AES128_CM_SHA1_80: Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """The keys of one transport, each a master key followed by its master salt; never shown by `repr`."""

    profile: SrtpProfile
    receive_key: bytes = field(repr=False)
    transmit_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        length = self.profile.key_length + self.profile.salt_length
        if len(self.receive_key) != length or len(self.transmit_key) != length:
            raise ValueError(f"{self.profile.value} takes keys of {length} bytes")


def open_sessions(keys: SrtpKeys) -> tuple[Session, Session]:
    """The sessions that unprotect what arrives and protect what leaves, for any SSRC.

    libsrtp makes state for an SSRC when its first packet has authenticated, not before.
    """
    receive = _policy(keys.profile, keys.receive_key, Policy.SSRC_ANY_INBOUND, REPLAY_WINDOW)
    transmit = _policy(keys.profile, keys.transmit_key, Policy.SSRC_ANY_OUTBOUND, TRANSMIT_WINDOW)
    # A packet that is sent again unchanged is the same bytes under the same nonce; without this libsrtp refuses it.
    transmit.allow_repeat_tx = True
    return Session(receive), Session(transmit)


def _policy(profile: SrtpProfile, key: bytes, ssrc_type: int, window: int) -> Policy:
    policy = Policy(key=key, ssrc_type=ssrc_type, srtp_profile=profile.libsrtp_profile)
    policy.window_size = window
    return policy


def session_pointer(session: Session) -> int:
    """The address of the `srtp_ctx_t` in `session`: the first argument of `srtp_protect` and its sisters."""
    return int(ffi.cast("uintptr_t", session._srtp[0]))


def _check_binding() -> None:
    """Fail at import, with a reason, where a pylibsrtp keeps its sessions or functions in another shape than we
    call.
    """
    session = Session()
    holder = getattr(session, "_srtp", None)
    try:
        holds_pointer = holder is not None and ffi.typeof(holder).cname == "struct srtp_ctx_t_ * *"
    except TypeError:
        holds_pointer = False
    if not holds_pointer or session_pointer(session) == 0:
        raise ImportError("pylibsrtp.Session no longer holds an srtp_t in _srtp[0]; pylibsrtp 1.0 does")


_check_binding()
