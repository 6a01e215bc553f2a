"""The ICE-lite agent of one peer (RFC 8445 §2.5, §7.3, §8.2): always controlled, it answers checks and sends none.

A check counts when its MESSAGE-INTEGRITY is that of this agent's password; anything else leaves no trace but a
`StunDrop`. The addresses that checks have come from are the peer's *pairs* (our side has one socket). One of them
is the *path* that we send on:

- before any nomination the best pair so far serves, so that DTLS need not wait for USE-CANDIDATE;
- USE-CANDIDATE moves the path. Shortly after the first nomination only upward in priority, since a browser that
  nominates aggressively (RFC 5245 §8.1.1.2) nominates every pair; later to wherever the peer says;
- a new address with the priority of the path's own candidate is that candidate behind a NAT that changed its
  mapping, and a path that has gone silent gives way to a pair that has not: both without USE-CANDIDATE, which
  consent checks need not carry;
- after `restart` the old credentials and the old path stay until a check with the new ones arrives and nominates (§9).

Consent (RFC 7675) is the peer's own checks: 30 s without one and it is lost, for good.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from sluicegate.errors import ParseError
from sluicegate.ice.credentials import Credentials
from sluicegate.ice.stun import (
    Address,
    ErrorCode,
    IntegrityKey,
    Message,
    MessageType,
    parse_message,
    serialize_error,
    serialize_success,
)

CONSENT_TIMEOUT = 30.0  # RFC 7675 §5.1

# Checks come every 2.5 s from browsers, every 4–6 s from aioice. Lower: one lost check looks like trouble. Higher:
# late news.
DISCONNECTED_AFTER = 10.0

# A path without checks for this long gives way to another pair. Lower: peers that check seldom flap. Higher: a
# longer silence.
SILENT_PATH_AFTER = 8.0

# How long nominations only move the path upward. Browsers have nominated all their pairs by then.
NOMINATION_SETTLES_AFTER = 2.0

# How long after a nomination a new address of the same priority is still an establishment check, not a rebinding.
REBINDING_AFTER = 1.0

# Pairs remembered. A browser with four interfaces, two families and a relay makes ten; a hostile peer could make
# any number.
MAX_PAIRS = 16

# One restart may overlap with the credentials in use; each further one replaces it.
MAX_GENERATIONS = 2


class IceState(StrEnum):
    NEW = "new"
    CONNECTED = "connected"
    COMPLETED = "completed"
    DISCONNECTED = "disconnected"
    CLOSED = "closed"


class StunDrop(StrEnum):
    """Why a STUN datagram was dropped without an answer."""

    MALFORMED = "stun_malformed"
    NOT_A_REQUEST = "stun_not_a_request"
    NO_CREDENTIALS = "stun_no_credentials"
    UNKNOWN_USERNAME = "stun_unknown_username"
    BAD_INTEGRITY = "stun_bad_integrity"
    WRONG_REMOTE = "stun_wrong_remote"
    CLOSED = "stun_closed"


@dataclass(frozen=True, slots=True)
class PairAdded:
    """An authenticated check came from `address` for the first time: what it sends is this peer's."""

    address: Address


@dataclass(frozen=True, slots=True)
class PairRemoved:
    """`address` is forgotten."""

    address: Address


@dataclass(frozen=True, slots=True)
class PathChanged:
    """Where to send from now on; None: nowhere."""

    address: Address | None


@dataclass(frozen=True, slots=True)
class CredentialsRetired:
    """The fragment is no longer accepted."""

    username_fragment: str


@dataclass(frozen=True, slots=True)
class ChecksSettled:
    """Checks with this username from the path change nothing any more but the time of the last one.

    Who can may answer them in the agent's place, signed with `password`, and say so by `note_check`.
    """

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChecksUnsettled:
    """Every check is the agent's again."""


@dataclass(frozen=True, slots=True)
class ConsentLost:
    """No check for `CONSENT_TIMEOUT`; the agent is closed."""


IceEvent = PairAdded | PairRemoved | PathChanged | CredentialsRetired | ChecksSettled | ChecksUnsettled | ConsentLost


class _Generation:
    """One set of local credentials, and the fragment of the peer that goes with it where it is known."""

    __slots__ = ("credentials", "key", "number", "remote_fragment")

    def __init__(self, credentials: Credentials, number: int) -> None:
        self.credentials = credentials
        self.key = IntegrityKey(credentials.password)
        self.number = number
        self.remote_fragment: str | None = None


class _Pair:
    __slots__ = ("address", "last_check", "priority")

    def __init__(self, address: Address, priority: int, now: float) -> None:
        self.address = address
        self.priority = priority
        self.last_check = now


class LiteAgent:
    """See the module. Once consent is lost or it was closed, it answers nothing more."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._generations = [_Generation(credentials or Credentials.generate(), 0)]
        self._pairs: dict[Address, _Pair] = {}
        self._path: _Pair | None = None
        # The generation whose USE-CANDIDATE chose the path (−1: none has), and when.
        self._nominated_generation = -1
        self._nominated_at = 0.0
        self._last_check: float | None = None
        self._settled = False
        self._state = IceState.NEW
        self._outgoing: list[tuple[bytes, Address]] = []
        self._events: list[IceEvent] = []

    @property
    def credentials(self) -> Credentials:
        """The newest credentials: what a peer that connects or restarts now is told."""
        return self._generations[-1].credentials

    @property
    def state(self) -> IceState:
        return self._state

    @property
    def path(self) -> Address | None:
        """Where to send; None before the first authenticated check."""
        return None if self._path is None else self._path.address

    @property
    def last_check(self) -> float | None:
        """When the last authenticated check arrived."""
        return self._last_check

    def knows(self, address: Address) -> bool:
        """Whether an authenticated check has come from `address`, and it has not been forgotten since."""
        return address in self._pairs

    def set_remote_fragment(self, username_fragment: str) -> None:
        """Accept only checks of a peer with this username fragment, until a restart (it then has a new one)."""
        self._unsettle()
        self._generations[-1].remote_fragment = username_fragment

    def note_check(self, at: float) -> None:
        """A check as `ChecksSettled` allows has been answered, at that time."""
        if self._path is not None and self._last_check is not None and at > self._last_check:
            self._last_check = self._path.last_check = at

    def restart(self) -> Credentials:
        """Make new credentials. The old ones, and the path, serve until a check with the new ones has come."""
        self._unsettle()
        if len(self._generations) == MAX_GENERATIONS:
            self._retire(self._generations.pop())
        number = self._generations[-1].number + 1
        self._generations.append(_Generation(Credentials.generate(), number))
        return self.credentials

    def receive_datagram(self, data: bytes, address: Address, now: float) -> StunDrop | None:
        """Handle a STUN datagram; the reason if it was dropped without an answer."""
        try:
            message = parse_message(data)
        except ParseError:
            return StunDrop.MALFORMED
        return self.receive_message(message, address, now)

    def receive_message(self, message: Message, address: Address, now: float) -> StunDrop | None:
        """Handle a parsed STUN message; the reason if it was dropped without an answer."""
        if self._state is IceState.CLOSED:
            return StunDrop.CLOSED
        if message.message_type != MessageType.BINDING_REQUEST:
            return StunDrop.NOT_A_REQUEST
        if message.username is None or message.signed is None or not message.fingerprint:
            return StunDrop.NO_CREDENTIALS
        fragment, _, remote_fragment = message.username.partition(":")
        generation = self._find_generation(fragment)
        if generation is None:
            return StunDrop.UNKNOWN_USERNAME
        if not message.verify_integrity(generation.key):
            return StunDrop.BAD_INTEGRITY
        if generation.remote_fragment is not None and generation.remote_fragment != remote_fragment:
            return StunDrop.WRONG_REMOTE
        if message.unknown:
            self._refuse(message, ErrorCode.UNKNOWN_ATTRIBUTE, generation, address)
        elif message.controlled:
            self._refuse(message, ErrorCode.ROLE_CONFLICT, generation, address)
        else:
            self._accept(message, generation, address, now)
        return None

    def forget(self, address: Address) -> None:
        """Drop a pair because its address now belongs to another peer."""
        pair = self._pairs.pop(address, None)
        if pair is None:
            return
        self._events.append(PairRemoved(address))
        if pair is self._path:
            latest = max(self._pairs.values(), key=lambda other: other.last_check, default=None)
            self._move(latest)

    def close(self) -> None:
        """Answer nothing any more."""
        self._state = IceState.CLOSED
        self._outgoing.clear()

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def next_event(self) -> IceEvent | None:
        return self._events.pop(0) if self._events else None

    def get_timer(self) -> float | None:
        if self._last_check is None or self._state is IceState.CLOSED:
            return None
        if self._state is IceState.DISCONNECTED:
            return self._last_check + CONSENT_TIMEOUT
        return self._last_check + DISCONNECTED_AFTER

    def handle_timer(self, now: float) -> None:
        if self._last_check is None or self._state is IceState.CLOSED:
            return
        if now >= self._last_check + CONSENT_TIMEOUT:
            self.close()
            self._events.append(ConsentLost())
        elif now >= self._last_check + DISCONNECTED_AFTER:
            self._state = IceState.DISCONNECTED
            self._unsettle()

    def _find_generation(self, fragment: str) -> _Generation | None:
        for generation in self._generations:
            if generation.credentials.username_fragment == fragment:
                return generation
        return None

    def _refuse(self, message: Message, code: ErrorCode, generation: _Generation, address: Address) -> None:
        answer = serialize_error(message.transaction_id, code, generation.key, message.unknown)
        self._outgoing.append((answer, address))

    def _accept(self, message: Message, generation: _Generation, address: Address, now: float) -> None:
        self._outgoing.append((serialize_success(message.transaction_id, address, generation.key), address))
        self._last_check = now
        while self._generations[0].number < generation.number:
            self._retire(self._generations.pop(0))
        pair = self._pairs.get(address)
        is_new = pair is None
        if pair is None:
            pair = self._add_pair(address, message.priority or 0, now)
        else:
            pair.last_check = now
            if message.priority is not None:
                pair.priority = message.priority
        if message.use_candidate:
            self._nominate(pair, generation, now)
        elif self._should_follow(pair, is_new, now):
            self._move(pair)
        nominated = self._nominated_generation >= 0
        self._state = IceState.COMPLETED if nominated else IceState.CONNECTED
        # Until this generation has nominated, its next check may be the one that does.
        own = self._nominated_generation == generation.number and len(self._generations) == 1
        alone = own and pair is self._path
        if alone and not self._settled and message.username is not None:
            self._settled = True
            self._events.append(ChecksSettled(message.username, generation.credentials.password))

    def _unsettle(self) -> None:
        if self._settled:
            self._settled = False
            self._events.append(ChecksUnsettled())

    def _add_pair(self, address: Address, priority: int, now: float) -> _Pair:
        if len(self._pairs) >= MAX_PAIRS:
            stale = min((p for p in self._pairs.values() if p is not self._path), key=lambda p: p.last_check)
            del self._pairs[stale.address]
            self._events.append(PairRemoved(stale.address))
        pair = self._pairs[address] = _Pair(address, priority, now)
        self._events.append(PairAdded(address))
        return pair

    def _nominate(self, pair: _Pair, generation: _Generation, now: float) -> None:
        first = generation.number > self._nominated_generation
        if first:
            self._nominated_generation = generation.number
            self._nominated_at = now
        path = self._path
        settling = not first and now - self._nominated_at < NOMINATION_SETTLES_AFTER
        if settling and path is not None and pair.priority < path.priority:
            return
        self._move(pair)

    def _should_follow(self, pair: _Pair, is_new: bool, now: float) -> bool:
        """Whether the path moves to `pair` on a check without USE-CANDIDATE."""
        path = self._path
        if path is None:
            return True
        if pair is path:
            return False
        if now - path.last_check >= SILENT_PATH_AFTER:
            return True
        if not is_new:
            return False
        if self._nominated_generation < 0:
            return pair.priority >= path.priority
        # While a restart waits for its nomination, its checks come from new addresses but the old path still serves.
        if self._nominated_generation < self._generations[0].number:
            return False
        same_candidate = pair.priority == path.priority and (":" in pair.address[0]) == (":" in path.address[0])
        return same_candidate and now - self._nominated_at >= REBINDING_AFTER

    def _move(self, pair: _Pair | None) -> None:
        if pair is not self._path:
            self._unsettle()
            self._path = pair
            self._events.append(PathChanged(None if pair is None else pair.address))

    def _retire(self, generation: _Generation) -> None:
        self._events.append(CredentialsRetired(generation.credentials.username_fragment))
