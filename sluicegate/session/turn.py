"""The TURN server that clients are told of, and the credentials for it.

With a shared secret every session gets credentials of its own that end by themselves
(draft-uberti-behave-turn-rest-00, as coturn's `use-auth-secret` reads them): the user name is `expiry:user_id` and
the password base64(HMAC-SHA1(secret, user name)).
"""

import base64
import hashlib
import hmac

from sluicegate.ids import UserId
from sluicegate.ortc.parameters import IceServer
from sluicegate.session.ports import ServiceSettings

# coturn checks the expiry when an allocation is made and not when it is refreshed, so this bounds how late a client
# may connect or restart ICE. Shorter: a call that moves to another network after an hour cannot. Longer: leaked
# credentials are of more use.
CREDENTIALS_SECONDS = 3600


def ice_servers(settings: ServiceSettings, user_id: UserId, wall: float) -> tuple[IceServer, ...]:
    """What the client of `user_id` is told; empty where no TURN server is configured. `wall`: Unix seconds."""
    if settings.turn_url is None:
        return ()
    if settings.turn_secret is not None:
        username = f"{int(wall) + CREDENTIALS_SECONDS}:{user_id}"
        digest = hmac.digest(settings.turn_secret.encode(), username.encode(), hashlib.sha1)
        return (IceServer((settings.turn_url,), username, base64.b64encode(digest).decode()),)
    return (IceServer((settings.turn_url,), settings.turn_username, settings.turn_password),)
