"""ICE credentials: a username fragment that names an agent and a password that signs its checks (RFC 8445 §5.3)."""

import base64
import secrets
from dataclasses import dataclass, field

# The RFC asks for 24 and 128 random bits; twice that costs nothing, and no guess at a fragment ever finds a peer.
# Whole groups of three bytes give base64 without padding, whose 64 characters are exactly ice-char.
_FRAGMENT_BYTES = 6
_PASSWORD_BYTES = 24


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a peer must know to send valid checks; `repr` does not show the password."""

    username_fragment: str
    password: str = field(repr=False)

    @classmethod
    def generate(cls) -> "Credentials":
        """Fresh credentials: a fragment of 8 and a password of 32 characters, from the system's generator."""
        return cls(_random_text(_FRAGMENT_BYTES), _random_text(_PASSWORD_BYTES))


def _random_text(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode("ascii")
