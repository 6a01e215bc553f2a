"""How much anyone may ask for: rates of requests, and the size and pace of a body.

Two kinds of buckets. *By token*: every caller who is not an admin. *By address*: whoever has not shown who they are
(pages, bad tokens, a server that runs open). A call takes one token, and one more for each millisecond that answering
it kept the event loop from others beyond the first: some calls are worth a hundred. An admin token is the key of a
backend that joins whole crowds at once, and its holder can stop the server anyway: it has no limit. Health checks have
none either, so that a flood cannot make an orchestrator kill the node.

Addresses are those of the TCP connection. `X-Forwarded-For` is not believed: behind a proxy all its clients share one
bucket for pages and bad tokens, and keep one each for everything that has a token.
"""

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from aiohttp import web

from sluicegate.errors import Malformed, TooLarge, TooManyRequests, UnsupportedMedia
from sluicegate.http.problems import RequestTimeout

T = TypeVar("T")

# The largest honest body (a publish of three layers with every codec) is under 10 KiB, the largest allowed one (4096
# gains) under 250 KiB. The documentation names this figure.
MAX_BODY = 256 * 1024

# A body of 256 KiB takes 10 s at 210 kbit/s. Lower: bad mobile links cannot publish. Higher: slow senders hold buffers
# longer.
BODY_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket's shape: `per_second` in the long run, `burst` at once."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What the server grants; see the module for who falls under which."""

    # A client joins with 4 calls and polls a few times a second. 100/s lets one token drive a room of bots in a load
    # test; a token that leaks cannot take more than a tenth of a core.
    by_token: Rate = Rate(100, 400)
    # A classroom behind one NAT loads the page at once: 40 files × 50 people within the burst. The load generator on
    # loopback makes 100 joins/s × 4 calls on a server that runs open.
    by_address: Rate = Rate(1000, 4000)
    # Bad tokens. Guessing an HS256 key is hopeless at any rate; this keeps a broken client from filling the log and the
    # CPU.
    failures: Rate = Rate(10, 100)
    # Buckets kept; the longest unused is forgotten first, which gives its owner a full bucket again.
    # Lower: an attacker with many addresses resets his own bucket. Higher: 100 bytes each.
    capacity: int = 16384


DEFAULT_LIMITS = RateLimits()


class TokenBuckets:
    """Token buckets by key, a bounded number of them. Time is an argument: float seconds, monotonic."""

    def __init__(self, rate: Rate, capacity: int) -> None:
        self._rate = rate
        self._capacity = capacity
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """Takes one token; 0.0 if there was one, else the seconds until there will be."""
        tokens, since = self._buckets.pop(key, (self._rate.burst, now))
        tokens = min(self._rate.burst, tokens + max(0.0, now - since) * self._rate.per_second)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate.per_second
        self._buckets[key] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return wait

    def charge(self, key: str, tokens: float) -> None:
        """Takes more after the fact, also what is not there yet."""
        if key in self._buckets:
            left, since = self._buckets[key]
            self._buckets[key] = (left - tokens, since)

    def __len__(self) -> int:
        return len(self._buckets)


class Metered(Generic[T]):
    """Awaits a coroutine; `seconds` is the processor time of its steps, without that of others between them."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[Any], Any] = self._coroutine.send
        argument: Any = None
        while True:
            began = time.thread_time()
            try:
                waits_for = step(argument)
            except StopIteration as end:
                return cast(T, end.value)
            finally:
                self.seconds += time.thread_time() - began
            try:
                step, argument = self._coroutine.send, (yield waits_for)
            except BaseException as error:
                step, argument = self._coroutine.throw, error


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose bucket let a call in, and pays for it."""

    buckets: TokenBuckets
    key: str

    def pay(self, seconds: float) -> None:
        """For what a call took beyond the millisecond that it has paid for."""
        self.buckets.charge(self.key, max(0.0, seconds * 1000 - 1))


class RateLimiter:
    """The three sets of buckets; every method raises `TooManyRequests` when its bucket is empty."""

    def __init__(self, limits: RateLimits = DEFAULT_LIMITS) -> None:
        self._by_token = TokenBuckets(limits.by_token, limits.capacity)
        self._by_address = TokenBuckets(limits.by_address, limits.capacity)
        self._failures = TokenBuckets(limits.failures, limits.capacity)

    def check_token(self, identity: str, now: float) -> Payer:
        """One call by a caller who is not an admin; `identity` names the user and the channel of the token."""
        _refuse(self._by_token.take(identity, now), "This token makes too many calls.")
        return Payer(self._by_token, identity)

    def check_address(self, address: str, now: float) -> Payer:
        """One call by somebody without a token."""
        network = network_of(address)
        _refuse(self._by_address.take(network, now), "This address makes too many calls.")
        return Payer(self._by_address, network)

    def check_failure(self, address: str, now: float) -> None:
        """One call with a bad token, or without one where one is needed."""
        _refuse(
            self._failures.take(network_of(address), now), "This address makes too many calls without a good token."
        )


def network_of(address: str) -> str:
    """What shares a bucket: an IPv4 address, or the /64 of an IPv6 address, which one host has all of."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


def _refuse(wait: float, detail: str) -> None:
    if wait > 0:
        raise TooManyRequests(detail, retry_after=wait)


def check_body_headers(request: web.Request) -> None:
    """Refuses by the head alone what must not be read: a body that is too long (413) or compressed (415)."""
    length = request.content_length
    if length is not None and length > MAX_BODY:
        raise TooLarge(f"The body is {length} bytes long; at most {MAX_BODY} are taken.")
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("identity", ""):
        raise UnsupportedMedia("Compressed bodies are not taken; leave Content-Encoding out.")


def check_media_type(request: web.Request, expected: str) -> None:
    """415 unless the body is declared as `expected`, in UTF-8."""
    declared, _, parameters = request.headers.get("Content-Type", "").partition(";")
    if declared.strip().lower() != expected:
        raise UnsupportedMedia(f"The body must be {expected}.")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise UnsupportedMedia("The body must be encoded in UTF-8.")


async def read_body(request: web.Request, timeout: float = BODY_TIMEOUT) -> bytes:
    """The whole body, at most `MAX_BODY` bytes; 413 as soon as it is longer, 408 when it takes longer than
    `timeout`."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > MAX_BODY:
                    raise TooLarge(f"The body is longer than {MAX_BODY} bytes.")
                chunks.append(chunk)
    except TimeoutError:
        raise RequestTimeout(f"The body did not arrive within {timeout:g} s.") from None
    except (web.RequestPayloadError, web.PayloadAccessError, ValueError) as error:
        raise Malformed(f"The body cannot be read: {error}") from None
    return b"".join(chunks)
