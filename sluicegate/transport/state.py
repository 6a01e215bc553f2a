"""What a transport says about itself."""

from dataclasses import dataclass
from enum import StrEnum

from sluicegate.ice.lite_agent import IceState


class DtlsState(StrEnum):
    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class TransportState:
    """Both halves; a transport is over when `ice` is closed."""

    ice: IceState = IceState.NEW
    dtls: DtlsState = DtlsState.NEW


class CloseReason(StrEnum):
    """Why a transport closed of itself, beside the words of `dtls.endpoint.DtlsFailure`."""

    CONSENT_LOST = "consent lost"
    HANDSHAKE_TIMEOUT = "DTLS handshake timed out"
    NOT_CONNECTED = "not connected in time"
    CLOSED_BY_PEER = "closed by peer"
    INTERNAL_ERROR = "internal error"


class TransportDrop(StrEnum):
    """Why a datagram for the control plane was dropped, beside `ice.lite_agent.StunDrop`."""

    UNKNOWN_PROTOCOL = "unknown_protocol"
    STUN_RATE_LIMITED = "stun_rate_limited"
    STUN_ADDRESS_TAKEN = "stun_address_taken"
    DTLS_UNKNOWN_ADDRESS = "dtls_unknown_address"
    DTLS_UNEXPECTED = "dtls_unexpected"
    DTLS_OVERFLOW = "dtls_overflow"
