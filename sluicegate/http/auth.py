"""Who calls: tokens (JWT, RFC 7519, HS256) to callers.

A token says `sub` (user id), `channel_id` (or `*`), `exp`, `grants`, and optionally the caps `max_preset`,
`max_bitrate_bps` and `max_tracks`. It is trusted for what it says, so every claim is checked for shape, and a token
with a claim of the wrong shape is refused whole: a cap that is not understood must not become no cap.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from aiohttp import web

from sluicegate.errors import Unauthorized
from sluicegate.ids import UserId, valid_name
from sluicegate.session.caller import ANY_CHANNEL, Caller, Grant
from sluicegate.session.names import PresetName

ALGORITHM = "HS256"

# Longer ones are refused before anything is decoded. A token with every claim at its longest has under 1 KiB.
MAX_TOKEN = 4096

# Clocks of the issuer and of this machine differ by so much. Lower: honest tokens fail. Higher: tokens live on after
# their end.
LEEWAY = 10.0


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, and when the token ends (Unix seconds; None: there is no token)."""

    caller: Caller
    expires_at: float | None = None

    @property
    def key(self) -> str:
        """Text that is the same for two tokens of one user and channel, and for no others; no name holds a slash."""
        return f"{self.caller.channel_id}/{self.caller.user_id}"


class Authenticator:
    """Checks tokens against one secret; without a secret everyone is the open caller."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret

    @property
    def open(self) -> bool:
        """Whether calls need no token."""
        return self._secret is None

    def identify(self, request: web.Request, *, token_in_query: bool) -> Identity:
        """The caller of `request`; `Unauthorized` without a good token. The query counts only where headers cannot be
        set."""
        if self._secret is None:
            return Identity(Caller.open())
        token = bearer_token(request.headers.get("Authorization"))
        if token is None and token_in_query:
            token = request.query.get("access_token")
        if not token:
            raise Unauthorized("This call needs a token: Authorization: Bearer <JWT>.")
        return self.verify(token)

    def verify(self, token: str) -> Identity:
        """The caller that `token` names; `Unauthorized` for any other text."""
        if self._secret is None:
            return Identity(Caller.open())
        if len(token) > MAX_TOKEN or not token.isascii():
            raise Unauthorized("The token is not a JWT.")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                leeway=LEEWAY,
                options={"require": ["exp", "sub"], "verify_aud": False, "verify_iss": False, "verify_iat": False},
            )
            return Identity(_caller(claims), float(claims["exp"]))
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired.") from None
        except jwt.InvalidSignatureError:
            raise Unauthorized("The token's signature is wrong.") from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthorized(f"The token has no claim {error.claim}.") from None
        except jwt.InvalidAlgorithmError:
            raise Unauthorized(f"The token is not signed with {ALGORITHM}.") from None
        # The header is read before the signature is checked: nesting and odd numbers in it are a stranger's.
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthorized("The token is not a valid JWT.") from None


def bearer_token(header: str | None) -> str | None:
    """The token of an `Authorization` header (RFC 6750 §2.1); None if it holds no bearer token."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def mint_token(
    secret: str,
    *,
    user_id: str,
    channel_id: str = ANY_CHANNEL,
    grants: Iterable[Grant] = (),
    lifetime: float = 3600.0,
    max_preset: PresetName | None = None,
    max_bitrate_bps: int | None = None,
    max_tracks: int | None = None,
    now: float | None = None,
) -> str:
    """A token for one user, `lifetime` seconds long; `ValueError` for claims that `Authenticator` would refuse."""
    issued = time.time() if now is None else now
    claims: dict[str, Any] = {
        "sub": user_id,
        "channel_id": channel_id,
        "grants": sorted(grant.value for grant in grants),
        "iat": int(issued),
        "exp": int(issued + lifetime),
    }
    caps = {"max_preset": max_preset, "max_bitrate_bps": max_bitrate_bps, "max_tracks": max_tracks}
    claims.update({name: value for name, value in caps.items() if value is not None})
    try:
        _caller(claims)
    except Unauthorized as error:
        raise ValueError(error.detail) from None
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def _caller(claims: Mapping[str, Any]) -> Caller:
    grants = _grants(claims.get("grants"))
    user_id = claims.get("sub")
    if not isinstance(user_id, str) or not valid_name(user_id):
        raise Unauthorized("The token's sub is not a user id.")
    channel_id = claims.get("channel_id", ANY_CHANNEL if Grant.ADMIN in grants else None)
    if not isinstance(channel_id, str) or not (channel_id == ANY_CHANNEL or valid_name(channel_id)):
        raise Unauthorized("The token's channel_id is neither a channel id nor *.")
    return Caller(
        user_id=UserId(user_id),
        channel_id=channel_id,
        grants=grants,
        max_preset=_preset(claims.get("max_preset")),
        max_bitrate_bps=_count(claims, "max_bitrate_bps"),
        max_tracks=_count(claims, "max_tracks"),
    )


def _grants(value: object) -> frozenset[Grant]:
    if not isinstance(value, list):
        raise Unauthorized("The token's grants are not a list.")
    try:
        return frozenset(Grant(grant) for grant in value)
    except (ValueError, TypeError):
        known = ", ".join(grant.value for grant in Grant)
        raise Unauthorized(f"The token's grants hold something other than {known}.") from None


def _preset(value: object) -> PresetName | None:
    if value is None:
        return None
    for preset in PresetName:
        if preset.value == value:
            return preset
    raise Unauthorized("The token's max_preset is not a preset.")


def _count(claims: Mapping[str, Any], name: str) -> int | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise Unauthorized(f"The token's {name} is not a count.")
    return value
