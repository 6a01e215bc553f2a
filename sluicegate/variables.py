"""One variable of the environment: how its text is read, refused and shown.

A reader takes text that is not empty and gives the value, or raises ValueError. Nothing here ever shows a secret:
neither in an error nor in a listing.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, urlsplit

from sluicegate.errors import ConfigurationError
from sluicegate.ids import valid_name

# RFC 7518 §3.2: an HS256 key must be at least as long as the hash. A shorter one can be guessed from a single token.
MIN_SECRET_BYTES = 32
MASK = "***"
LONGEST_SHOWN = 100

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: `read` raises ValueError for text that is not what `allowed` says."""

    name: str
    read: Callable[[str], Any]
    allowed: str
    meaning: str
    secret: bool = False

    def parse(self, text: str) -> Any:
        try:
            return self.read(text)
        except ValueError:
            shown = MASK if self.secret else mask_url(text)
            if len(shown) > LONGEST_SHOWN:
                shown = shown[:LONGEST_SHOWN] + "…"
            held = f"holds {len(text.encode())} bytes" if self.secret else f"is {shown!r}"
            raise ConfigurationError(f"{self.name} {held}; it may hold {self.allowed}") from None

    def show(self, value: object) -> str:
        if value is None or value == ():
            return "-"
        if self.secret:
            return MASK
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return ", ".join(str(one) for one in value)
        return mask_url(str(value))


def mask_url(text: str) -> str:
    """`text` without what may be a credential: all before an `@` of a URL, and the values of its query."""
    masked = re.sub(r"(?s)^([A-Za-z][A-Za-z0-9+.-]*://|turns?:)?.*@", lambda found: f"{found[1] or ''}{MASK}@", text)
    return re.sub(r"([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*", rf"\1{MASK}", masked, flags=re.IGNORECASE)


def host_address(host: str) -> IPAddress:
    """The address that `HOST` means; ValueError when it is neither an address nor `localhost`."""
    return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)


def integer_reader(lowest: int, highest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        # int() alone would take "1_000", "+5" and other scripts' digits.
        if not re.fullmatch(r"[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
            raise ValueError(text)
        return int(text)

    return read


def choice_reader(choices: type[StrEnum]) -> Callable[[str], StrEnum]:
    return lambda text: choices(text.lower())


def read_boolean(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError(text)


def read_host(text: str) -> str:
    address = host_address(text.lower())
    if address.is_multicast:
        raise ValueError(text)
    return text.lower()


def read_addresses(text: str) -> tuple[str, ...]:
    addresses = [ipaddress.ip_address(part.strip()) for part in text.split(",")]
    if any(one.is_unspecified or one.is_multicast for one in addresses):
        raise ValueError(text)
    return tuple(dict.fromkeys(str(one) for one in sorted(addresses, key=lambda one: one.version)))


def split_url(text: str, *schemes: str) -> SplitResult:
    """`text` as a URL with a host and, if any, a valid port; ValueError otherwise."""
    parts = urlsplit(text)
    if parts.scheme not in schemes or not parts.hostname or parts.port == 0 or re.search(r"\s", text):
        raise ValueError(text)
    return parts


def url_reader(*schemes: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        split_url(text, *schemes)
        return text

    return read


def read_turn_url(text: str) -> str:
    """RFC 7065: turn:host[:port][?transport=udp|tcp], without the slashes of other URLs."""
    found = re.fullmatch(r"(turns?):([^/?@\s]+)(\?transport=(udp|tcp))?", text)
    if not found:
        raise ValueError(text)
    split_url(f"{found[1]}://{found[2]}", "turn", "turns")
    return text


def read_origins(text: str) -> tuple[str, ...]:
    origins = []
    for part in (one.strip() for one in text.split(",")):
        if part != "*":
            parts = split_url(part, "http", "https")
            if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
                raise ValueError(part)
        origins.append(part if part == "*" else part.lower())
    return tuple(dict.fromkeys(origins))


def read_storage(text: str) -> str:
    is_file = re.fullmatch(r"file:(?!//)[^\0]+", text)
    is_bucket = re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?", text)
    if not is_file and not is_bucket:
        raise ValueError(text)
    return text


def read_secret(text: str) -> str:
    if len(text.encode()) < MIN_SECRET_BYTES:
        raise ValueError(text)
    return text


def read_name(text: str) -> str:
    if not valid_name(text):
        raise ValueError(text)
    return text
