"""STUN messages of a full ICE agent in the controlling role (RFC 8445 §7.2), each part of which a test may bend."""

from dataclasses import dataclass, field
from typing import Any

from aioice import stun
from aioice.utils import random_string

PRIORITY = 1853824767  # of a peer-reflexive candidate (RFC 8445 §5.1.2.1)


@dataclass(slots=True)
class IceCredentials:
    """Both ends' ufrag and password."""

    remote_ufrag: str
    remote_password: str
    local_ufrag: str = field(default_factory=lambda: random_string(8))
    local_password: str = field(default_factory=lambda: random_string(24))
    tie_breaker: int = field(default_factory=lambda: int.from_bytes(stun.random_transaction_id()[:8], "big"))


def binding_request(
    credentials: IceCredentials,
    *,
    use_candidate: bool = True,
    controlling: bool = True,
    username: str | None = None,
    password: str | None = None,
    integrity: bool = True,
    fingerprint: bool = True,
    attributes: dict[str, Any] | None = None,
) -> stun.Message:
    """A connectivity check. `username`, `password` replace the right ones; `attributes` (aioice's names) are added."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = username or f"{credentials.remote_ufrag}:{credentials.local_ufrag}"
    message.attributes["PRIORITY"] = PRIORITY
    message.attributes["ICE-CONTROLLING" if controlling else "ICE-CONTROLLED"] = credentials.tie_breaker
    if use_candidate:
        message.attributes["USE-CANDIDATE"] = None
    message.attributes.update(attributes or {})
    if integrity:
        message.add_message_integrity((password or credentials.remote_password).encode())
        if not fingerprint:
            del message.attributes["FINGERPRINT"]
    elif fingerprint:
        message.add_fingerprint()
    return message


def parse(data: bytes) -> stun.Message | None:
    """A STUN message, or None for what is none."""
    try:
        return stun.parse_message(data)
    except ValueError:
        return None
