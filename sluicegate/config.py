"""The settings: one frozen object, read from the environment once, at start.

Each variable has one row in `VARIABLES`: how its text is read, what it may hold, what it is for. A bad value raises
`ConfigurationError` with one line that names the variable, what it holds (secrets masked) and what it may hold. An
empty variable counts as unset. Rules between settings hold for every `Settings`, however it was made.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from typing import Any

import ifaddr

from sluicegate.errors import ConfigurationError
from sluicegate.ids import NodeId, new_id
from sluicegate.variables import (
    MIN_SECRET_BYTES,
    IPAddress,
    Variable,
    choice_reader,
    host_address,
    integer_reader,
    mask_url,
    read_addresses,
    read_boolean,
    read_host,
    read_name,
    read_origins,
    read_secret,
    read_storage,
    read_turn_url,
    url_reader,
)


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class PlaneDriver(StrEnum):
    """Who runs the packet plane: a thread of its own without the GIL, or the event loop."""

    THREAD = "thread"
    LOOP = "loop"


class PlaneSocket(StrEnum):
    """How the plane meets the network: recvmmsg, sendmmsg and GSO, or one call a datagram."""

    BATCH = "batch"
    PORTABLE = "portable"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting in effect, as `doctor` shows it: secrets are masked in `value`."""

    variable: str
    value: str
    is_default: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server runs with; the names are the lower-cased variables of the environment."""

    host: str = "127.0.0.1"
    port: int = 8089
    rtc_min_port: int = 50000
    rtc_max_port: int = 60000
    announced_addresses: tuple[str, ...] = ()
    max_sessions: int = 1000
    turn_url: str | None = None
    turn_username: str | None = None
    turn_password: str | None = field(default=None, repr=False)
    turn_secret: str | None = field(default=None, repr=False)
    api_secret: str | None = field(default=None, repr=False)
    allow_anonymous: bool = False
    redis_url: str | None = field(default=None, repr=False)
    nats_url: str | None = field(default=None, repr=False)
    enable_recording: bool = False
    recording_storage: str = "file:recordings"
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.TEXT
    plane_threads: int = 1
    plane_driver: PlaneDriver = PlaneDriver.THREAD
    plane_socket: PlaneSocket = PlaneSocket.BATCH
    load_shedding: bool = True
    cors_origins: tuple[str, ...] = ()
    node_id: NodeId = field(default_factory=lambda: NodeId(new_id()))
    region: str | None = None

    def __post_init__(self) -> None:
        for problem in _conflicts(self):
            raise ConfigurationError(problem)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """The settings that `environ` describes; `ConfigurationError` for the first value that is not allowed."""
        values: dict[str, Any] = {}
        for variable in VARIABLES:
            text = environ.get(variable.name, "").strip()
            if text:
                values[variable.name.lower()] = variable.parse(text)
        return cls(**values)

    def media_addresses(self) -> tuple[str, ...]:
        """The addresses that ICE candidates announce, IPv4 before IPv6.

        `announced_addresses` when given, else `host` when it is one address, else the addresses of this machine (of the
        families that `host` covers): without loopback and link-local ones, unless there is nothing else. A loopback
        `host` is announced with the machine's addresses behind it, for Firefox never pairs a loopback candidate.
        """
        if self.announced_addresses:
            return self.announced_addresses
        address = host_address(self.host)
        if address.is_loopback:
            own = _machine_addresses(include_ipv6=address.version == 6)
            return tuple(dict.fromkeys((str(address), *own)))
        if not address.is_unspecified:
            return (str(address),)
        return _machine_addresses(include_ipv6=address.version == 6)

    def media_host(self) -> str:
        """What the media sockets are bound to: `host`, or everything where a loopback `host` announces more than that.

        The API stays on `host`; media is taken only from addresses that authenticated with a session's credentials.
        """
        address = host_address(self.host)
        announced = [host_address(one) for one in self.media_addresses()]
        if address.is_loopback and not all(one.is_loopback for one in announced):
            return "0.0.0.0" if address.version == 4 else "::"
        return self.host

    def page_url(self, port: int | None = None) -> str:
        """Where a browser on this machine finds the page; `port` is the one really bound when `PORT` is 0."""
        address = host_address(self.host)
        host = "localhost" if address.is_unspecified or address.is_loopback else str(address)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port if port is None else port}/"

    def describe(self) -> tuple[SettingRow, ...]:
        """Every setting in effect, in the order of `VARIABLES`, fit to be shown: secrets are masked."""
        by_name = {one.name: one for one in fields(self)}
        rows = []
        for variable in VARIABLES:
            value = getattr(self, variable.name.lower())
            is_default = value == _default(by_name[variable.name.lower()])
            rows.append(SettingRow(variable.name, variable.show(value), is_default, variable.meaning))
        return tuple(rows)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    return host_address(host).is_loopback


def _default(one: "Field[Any]") -> object:
    return one.default if one.default is not MISSING else None


def _machine_addresses(include_ipv6: bool) -> tuple[str, ...]:
    """Addresses of the interfaces, IPv4 first."""
    found: list[IPAddress] = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            found.append(ipaddress.ip_address(entry.ip if isinstance(entry.ip, str) else entry.ip[0]))
    usable = [one for one in found if one.version == 4 or include_ipv6]
    routable = [one for one in usable if not one.is_loopback and not one.is_link_local]
    chosen = sorted(routable or [one for one in usable if one.is_loopback], key=lambda one: one.version)
    return tuple(dict.fromkeys(str(one) for one in chosen))


def _conflicts(settings: Settings) -> Iterator[str]:
    """What is wrong between settings that are each right alone."""
    if not (settings.api_secret or settings.allow_anonymous or is_loopback(settings.host)):
        yield (
            f"HOST is {settings.host!r} without an API_SECRET; it may hold a loopback address "
            "(127.0.0.1, ::1, localhost); or set API_SECRET, or ALLOW_ANONYMOUS=true to serve everyone who can reach it"
        )
    low, high = settings.rtc_min_port, settings.rtc_max_port
    if (low == 0) != (high == 0):
        yield f"RTC_MIN_PORT is {low} and RTC_MAX_PORT is {high}; both may be 0 (any free port), or neither"
    elif low > high:
        yield f"RTC_MAX_PORT is {high}; it may hold a port from RTC_MIN_PORT ({low}) to 65535"
    elif low and high - low + 1 < settings.plane_threads:
        yield (
            f"PLANE_THREADS is {settings.plane_threads}; it may hold at most {high - low + 1}, "
            f"one for each port from RTC_MIN_PORT ({low}) to RTC_MAX_PORT ({high})"
        )
    if (settings.turn_username is None) != (settings.turn_password is None):
        missing = "TURN_PASSWORD" if settings.turn_password is None else "TURN_USERNAME"
        yield f"{missing} is not set; TURN_USERNAME and TURN_PASSWORD go together"
    if settings.turn_url and not settings.turn_secret and settings.turn_username is None:
        yield (
            f"TURN_URL is {mask_url(settings.turn_url)!r} without credentials, which browsers refuse; "
            "set TURN_SECRET, or TURN_USERNAME and TURN_PASSWORD"
        )


PORT = "a port from 0 (any free one) to 65535"
VARIABLES: tuple[Variable, ...] = (
    Variable("HOST", read_host, "an IPv4 or IPv6 address of this machine, or localhost", "address to listen on"),
    Variable("PORT", integer_reader(0, 65535), PORT, "TCP port of HTTP"),
    Variable("RTC_MIN_PORT", integer_reader(0, 65535), PORT, "first UDP port that media may take"),
    Variable("RTC_MAX_PORT", integer_reader(0, 65535), PORT, "last UDP port that media may take"),
    Variable("ANNOUNCED_ADDRESSES", read_addresses, "IP addresses with commas between them", "what ICE candidates say"),
    Variable("MAX_SESSIONS", integer_reader(1, 1_000_000), "a number from 1 to 1000000", "sessions beyond it get 503"),
    Variable("TURN_URL", read_turn_url, "turn:HOST[:PORT][?transport=udp|tcp], or turns:…", "TURN server for clients"),
    Variable("TURN_USERNAME", str, "any text", "fixed user name for TURN"),
    Variable("TURN_PASSWORD", str, "any text", "fixed password for TURN", secret=True),
    Variable(
        "TURN_SECRET", str, "any text", "makes time-limited TURN credentials instead of the fixed pair", secret=True
    ),
    Variable(
        "API_SECRET",
        read_secret,
        f"{MIN_SECRET_BYTES} bytes or more (`openssl rand -hex 32` makes one)",
        "key that signs and checks tokens (HS256)",
        secret=True,
    ),
    Variable("ALLOW_ANONYMOUS", read_boolean, "true or false", "listen beyond loopback without an API_SECRET"),
    Variable("REDIS_URL", url_reader("redis", "rediss"), "redis://… or rediss://…", "registry that nodes share"),
    Variable("NATS_URL", url_reader("nats", "tls"), "nats://… or tls://…", "bus for events and between nodes"),
    Variable("ENABLE_RECORDING", read_boolean, "true or false", "whether channels may be recorded"),
    Variable("RECORDING_STORAGE", read_storage, "file:PATH or s3://BUCKET[/PREFIX]", "where recordings go"),
    Variable("LOG_LEVEL", choice_reader(LogLevel), "debug, info, warning or error", "what is logged"),
    Variable("LOG_FORMAT", choice_reader(LogFormat), "text or json", "lines for people or for machines"),
    Variable(
        "PLANE_THREADS",
        integer_reader(1, 128),
        "a number from 1 to 128",
        "threads that forward, each with its UDP port",
    ),
    Variable(
        "PLANE_DRIVER", choice_reader(PlaneDriver), "thread or loop", "own thread without the GIL, or the event loop"
    ),
    Variable(
        "PLANE_SOCKET", choice_reader(PlaneSocket), "batch or portable", "recvmmsg, sendmmsg and GSO, or plain calls"
    ),
    Variable("LOAD_SHEDDING", read_boolean, "true or false", "refuse sessions and give up video when the CPU is full"),
    Variable(
        "CORS_ORIGINS", read_origins, "origins (https://HOST[:PORT]) with commas between, or *", "browsers' origins"
    ),
    Variable("NODE_ID", read_name, "1 to 128 of A-Z a-z 0-9 . _ : -", "name of this node; random when not set"),
    Variable("REGION", read_name, "1 to 128 of A-Z a-z 0-9 . _ : -", "where this node is"),
)
"""The whole configuration, in the order in which it is shown."""
