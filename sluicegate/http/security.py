"""What browsers are told, and which of them are believed: security headers, CORS, and the guard of a server that runs
open.

A server without `API_SECRET` listens on loopback and trusts whoever reaches it. A web page somewhere else reaches it
too, through the browser of its visitor, in two ways, and both are refused (403):

- by a request to `http://localhost:8089` from a foreign page: it carries that page's `Origin`, which must be our own or
  listed;
- by a name of its own that it makes point at 127.0.0.1 (DNS rebinding): it carries that name as `Host`, which must be
  an address, a name of loopback, or the host of a listed origin.

With tokens neither is possible, since no browser attaches a bearer token by itself, and proxies that rename hosts keep
working.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping

from aiohttp import web

from sluicegate.errors import Forbidden

API_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), autoplay=(self), "
    "screen-wake-lock=(self), geolocation=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What every answer carries, unless it says otherwise itself."""

SERVER = "sluicegate"

ALLOWED_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Range"
EXPOSED_HEADERS = "Accept-Ranges, Content-Range, ETag, Idempotency-Replayed, Link, Location, Retry-After"

# Lower: more preflights. Higher: a changed CORS_ORIGINS takes longer to be believed. Chromium caps it at 2 h.
PREFLIGHT_SECONDS = 600

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{1,5})?")


def page_policy(host: str) -> str:
    """The Content-Security-Policy of the web app: scripts and styles of this server only, its sockets, and media of the
    page."""
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; manifest-src 'self'; "
        "img-src 'self' data: blob:; media-src 'self' blob: mediastream:; worker-src 'self' blob:; "
        f"connect-src 'self'{sockets}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def host_name(host: str) -> str | None:
    """The name or address in a `Host` header, without port and brackets, in lower case; None if it is neither."""
    match = _HOST.fullmatch(host.strip())
    if match is None:
        return None
    return (match["v6"] or match["name"]).lower().rstrip(".")


def is_address(name: str) -> bool:
    """Whether `name` is an IP address, which no name server can make point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class OriginPolicy:
    """Which origins may call from a browser. `guard` is on where a server runs open; `check_host` where it is on
    loopback too."""

    def __init__(self, origins: Iterable[str], *, guard: bool, check_host: bool) -> None:
        listed = [origin.lower().rstrip("/") for origin in origins]
        self._any = "*" in listed
        self._origins = frozenset(listed)
        self._hosts = frozenset(host_name(origin.partition("://")[2]) for origin in listed)
        self._guard = guard
        self._check_host = check_host

    def allows(self, origin: str) -> bool:
        """Whether `origin` is listed in `CORS_ORIGINS`."""
        return self._any or origin.lower() in self._origins

    def check(self, request: web.Request) -> None:
        """403 for what a foreign page makes a browser send to a server that runs open."""
        if not self._guard:
            return
        host = request.headers.get("Host", "")
        if self._check_host and not self._knows(host):
            raise Forbidden(
                "This server runs open and serves only its own addresses; set API_SECRET, or list the origin."
            )
        origin = request.headers.get("Origin")
        changes = request.method not in _SAFE_METHODS or "Upgrade" in request.headers
        if origin is None or not changes or self.allows(origin):
            return
        # A page cannot set Sec-Fetch-Site; it tells our own page from others behind a proxy that renames the host.
        own = (
            origin.lower().partition("://")[2] == host.lower() or request.headers.get("Sec-Fetch-Site") == "same-origin"
        )
        if not own:
            raise Forbidden("Pages of this origin may not call; CORS_ORIGINS lists those that may.")

    def _knows(self, host: str) -> bool:
        if not host:
            return True  # HTTP/1.0, which no browser speaks
        name = host_name(host)
        if name is None:
            return False
        return is_address(name) or name == "localhost" or name.endswith(".localhost") or name in self._hosts

    def preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a CORS preflight, None if `request` is none."""
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        if not self.allows(request.headers.get("Origin", "")):
            raise Forbidden("Pages of this origin may not call; CORS_ORIGINS lists those that may.")
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": ALLOWED_METHODS,
                "Access-Control-Allow-Headers": ALLOWED_HEADERS,
                "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            },
        )

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Completes an answer that is about to leave (a signal of aiohttp: `on_response_prepare`)."""
        for name, value in API_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = SERVER  # aiohttp has put its version and Python's there
        if not self._origins:
            return
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin is not None and self.allows(origin):
            # Credentials are never allowed: the token travels in a header that the page sets itself.
            response.headers["Access-Control-Allow-Origin"] = "*" if self._any else origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
