"""The host candidates that a server announces (RFC 8445 §5.1): one for each media address, all on one UDP port."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

_HOST_TYPE_PREFERENCE = 126  # RFC 8445 §5.1.2.2
_RTP_COMPONENT = 1  # RTCP is multiplexed (RFC 5761), so there is no other


@dataclass(frozen=True, slots=True)
class HostCandidate:
    """A UDP host candidate; `address` is numeric."""

    foundation: str
    priority: int
    address: str
    port: int


def candidate_priority(local_preference: int, *, type_preference: int = _HOST_TYPE_PREFERENCE) -> int:
    """The priority of RFC 8445 §5.1.2.1 for component 1; `local_preference` is 0–65535."""
    return (type_preference << 24) | (local_preference << 8) | (256 - _RTP_COMPONENT)


def host_candidates(addresses: Iterable[str], port: int) -> tuple[HostCandidate, ...]:
    """Candidates for `addresses` (IPv4 or IPv6, numeric) in order, the first preferred; repeated ones are given once.

    Foundations differ because base addresses do (§5.1.1.3); preferences step down, so no two priorities are equal
    (§5.1.2.1).
    """
    unique = dict.fromkeys(str(ipaddress.ip_address(address)) for address in addresses)
    return tuple(
        HostCandidate(str(index + 1), candidate_priority(65535 - index), address, port)
        for index, address in enumerate(unique)
    )
