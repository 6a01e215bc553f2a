"""What the domain needs of the world around it, as Protocols; `app.py` brings the implementations together.

All calls are made on the event loop, and none of them waits: what takes time is done by the implementation in the
background.
"""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from sluicegate.ids import ChannelId, NodeId, SessionId, UserId
from sluicegate.ortc.parameters import DtlsParameters, IceCandidate, IceParameters
from sluicegate.router.commands import Command, SendHandle, TrackHandle, TransportHandle
from sluicegate.router.events import ReceiveStatistics, SendStatistics, TransportStatistics
from sluicegate.session.events import AnyEvent


class EventSink(Protocol):
    """Where events go. Publishing never fails and never waits."""

    def publish(self, event: AnyEvent) -> None: ...


class Watcher(Protocol):
    """The events of one channel, from the moment of `subscribe` on, for one reader.

    The queue is bounded: a reader that is too slow loses the oldest events, and then gets an `EventsDroppedEvent`
    that says how many. Iteration ends after `close` or when the bus closes.
    """

    def __aiter__(self) -> AsyncIterator[AnyEvent]: ...

    async def next_event(self) -> AnyEvent | None:
        """The next event, when there is one; None at the end."""

    def close(self) -> None: ...


class EventBus(EventSink, Protocol):
    """An `EventSink` that can be watched."""

    def subscribe(self, channel_id: ChannelId | None = None) -> Watcher:
        """The events of one channel, or of all; raises `Unavailable` when there are too many watchers."""


class Directory(Protocol):
    """Where it is made known which node has which channel and session."""

    def session_opened(self, session_id: SessionId, channel_id: ChannelId, user_id: UserId) -> None: ...

    def session_closed(self, session_id: SessionId) -> None: ...

    def channel_opened(self, channel_id: ChannelId) -> None: ...

    def channel_closed(self, channel_id: ChannelId) -> None: ...


class PathObserver(Protocol):
    """Is shown what the paths of all sessions are like, once a second each."""

    def observe_round_trip(self, seconds: float) -> None:
        """A session's round trip."""

    def observe_fraction_lost(self, direction: str, fraction: float) -> None:
        """A stream's loss, 0–1; `direction` is `incoming` or `outgoing`, as the server sees it."""


class NoPathObserver:
    """Looks away."""

    def observe_round_trip(self, seconds: float) -> None:
        pass

    def observe_fraction_lost(self, direction: str, fraction: float) -> None:
        pass


class ServiceSettings(Protocol):
    """The settings that the domain looks at (`config.Settings` has them)."""

    @property
    def node_id(self) -> NodeId: ...
    @property
    def region(self) -> str | None: ...
    @property
    def max_sessions(self) -> int: ...
    @property
    def turn_url(self) -> str | None: ...
    @property
    def turn_username(self) -> str | None: ...
    @property
    def turn_password(self) -> str | None: ...
    @property
    def turn_secret(self) -> str | None: ...


class PlanePort(Protocol):
    """The side of `router.plane.Plane` that the domain uses."""

    @property
    def index(self) -> int: ...
    def allocate_track(self) -> TrackHandle: ...
    def allocate_send(self) -> SendHandle: ...
    def submit(self, *commands: Command) -> None: ...
    def transport_statistics(self, transport: TransportHandle) -> TransportStatistics: ...
    def receive_statistics(self, track: TrackHandle) -> tuple[ReceiveStatistics, ...]: ...
    def send_statistics(self, send: SendHandle) -> SendStatistics: ...


class RouterPort(Protocol):
    """The side of `router.router.Router` that the domain uses."""

    def plane_for_channel(self, channel_id: ChannelId) -> PlanePort: ...
    def release_channel(self, channel_id: ChannelId) -> None: ...


class TransportStateLike(Protocol):
    """`ice`: new, connected, completed, disconnected, closed. `dtls`: new, connecting, connected, failed, closed."""

    @property
    def ice(self) -> str: ...
    @property
    def dtls(self) -> str: ...


class TransportPort(Protocol):
    """The side of `transport.driver.Transport` that the domain uses."""

    @property
    def handle(self) -> TransportHandle: ...
    @property
    def ice_parameters(self) -> IceParameters: ...
    @property
    def ice_candidates(self) -> tuple[IceCandidate, ...]: ...
    @property
    def dtls_parameters(self) -> DtlsParameters: ...
    @property
    def state(self) -> TransportStateLike: ...
    def connect(self, dtls_parameters: DtlsParameters, ice_parameters: IceParameters | None) -> None: ...
    def restart_ice(self) -> IceParameters: ...
    def close(self, reason: str) -> None: ...


OnState = Callable[[TransportStateLike, str | None], None]
"""Called on the loop with the new state, and the reason where it is closed."""


class TransportsPort(Protocol):
    """The side of `transport.driver.Transports` that the domain uses."""

    def open(self, session_id: SessionId, plane: PlanePort, on_state: OnState) -> TransportPort: ...
