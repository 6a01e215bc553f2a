"""A node without network: a plane that keeps its commands, transports that do as they are told, a clock by hand."""

import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from sluicegate.cluster.bus import ProcessBus, ProcessWatcher
from sluicegate.cluster.registry import ProcessRegistry
from sluicegate.errors import Conflict, Unavailable
from sluicegate.ids import ChannelId, NodeId, UserId
from sluicegate.ortc.capabilities import ROUTER_CAPABILITIES
from sluicegate.ortc.parameters import DtlsFingerprint, DtlsParameters, IceCandidate, IceParameters
from sluicegate.router import commands as cmd
from sluicegate.router import events as ev
from sluicegate.session.caller import Caller, Grant
from sluicegate.session.names import Kind, SessionType
from sluicegate.session.requests import CreateSession, Publish, Subscribe
from sluicegate.session.service import Service
from sluicegate.session.views import SessionCreated, SubscriptionCreated, TrackPublished
from tests.ortc.clients import opus, parameters, video

NODE = NodeId("node-1")
CHANNEL = "lounge"
FINGERPRINTS = DtlsParameters((DtlsFingerprint("sha-256", ":".join(["AB"] * 32)),), "client")

NO_RECEIVE = ev.ReceiveStatistics(
    *(None, None, 0, 0, 0, 0.0, 0.0, 0, 0, 0, 0, 0, 0, 1, 1, 0.0, 0, 0),
)
NO_SEND = ev.SendStatistics(1, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, None, -1, -1)
NO_TRANSPORT = ev.TransportStatistics(0, 0, 0, 0, 0.0, None, None, 0, 0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now


class FakePlane:
    """Keeps every command, and refuses (by assertion) those that a plane could not carry out in that order."""

    def __init__(self, index: int = 0, tracks: int = 1000) -> None:
        self.index = index
        self.commands: list[cmd.Command] = []
        self.transports: set[int] = set()
        self.tracks: dict[int, cmd.AddTrack] = {}
        self.sends: dict[int, cmd.AddSubscription] = {}
        self.paused_tracks: dict[int, bool] = {}
        self.paused_sends: dict[int, bool] = {}
        self.layers: dict[int, tuple[int, int]] = {}
        self.received: dict[int, tuple[ev.ReceiveStatistics, ...]] = {}
        self.sent: dict[int, ev.SendStatistics] = {}
        self.transport: dict[int, ev.TransportStatistics] = {}
        self._free_tracks = deque(range(tracks))
        self._next = 0

    def _number(self) -> int:
        self._next += 1
        return self._next

    def allocate_transport(self) -> cmd.TransportHandle:
        return cmd.TransportHandle(self._number())

    def allocate_track(self) -> cmd.TrackHandle:
        if not self._free_tracks:
            raise Unavailable("no room", retry_after=5)
        return cmd.TrackHandle(self._free_tracks.popleft())

    def allocate_send(self) -> cmd.SendHandle:
        return cmd.SendHandle(self._number())

    def submit(self, *commands: cmd.Command) -> None:
        for command in commands:
            self.commands.append(command)
            self._apply(command)

    def _apply(self, command: cmd.Command) -> None:
        match command:
            case cmd.AddTrack(track, transport, _, paused):
                assert track not in self.tracks and transport in self.transports
                self.tracks[track], self.paused_tracks[track] = command, paused
            case cmd.PauseTrack(track, paused):
                assert self.paused_tracks[track] != paused, "said twice"
                self.paused_tracks[track] = paused
            case cmd.RemoveTrack(track):
                assert not [send for send in self.sends.values() if send.track == track], "subscriptions first"
                del self.tracks[track]
                self._free_tracks.append(track)
            case cmd.AddSubscription(send, transport, track, media, paused):
                assert send not in self.sends and track in self.tracks and transport in self.transports
                self.sends[send], self.paused_sends[send] = command, paused
                self.layers[send] = (media.spatial, media.temporal)
            case cmd.PauseSubscription(send, paused):
                assert self.paused_sends[send] != paused, "said twice"
                self.paused_sends[send] = paused
            case cmd.SelectLayers(send, spatial, temporal):
                assert send in self.sends
                self.layers[send] = (spatial, temporal)
            case cmd.RemoveSubscription(send):
                del self.sends[send]
            case _:
                raise AssertionError(f"not the domain's to say: {command}")

    def transport_statistics(self, transport: cmd.TransportHandle) -> ev.TransportStatistics:
        assert transport in self.transports
        return self.transport.get(transport, NO_TRANSPORT)

    def receive_statistics(self, track: cmd.TrackHandle) -> tuple[ev.ReceiveStatistics, ...]:
        return self.received.get(track, (NO_RECEIVE,) * len(self.tracks[track].media.encodings))

    def send_statistics(self, send: cmd.SendHandle) -> ev.SendStatistics:
        assert send in self.sends
        return self.sent.get(send, NO_SEND)


class FakeRouter:
    def __init__(self, planes: int = 1) -> None:
        self.planes = [FakePlane(index) for index in range(planes)]
        self.channels: dict[str, FakePlane] = {}

    def plane_for_channel(self, channel_id: ChannelId) -> FakePlane:
        return self.channels.setdefault(channel_id, self.planes[len(self.channels) % len(self.planes)])

    def release_channel(self, channel_id: ChannelId) -> None:
        del self.channels[channel_id]


@dataclass(frozen=True)
class State:
    ice: str = "new"
    dtls: str = "new"


class FakeTransport:
    def __init__(self, plane: FakePlane, on_state: Any) -> None:
        self.plane, self._on_state = plane, on_state
        self.handle = plane.allocate_transport()
        plane.transports.add(self.handle)
        self.ice_parameters = IceParameters("frag", "p" * 22, True)
        self.ice_candidates = (IceCandidate("1", 100, "192.0.2.1", "192.0.2.1", "udp", 50000, "host"),)
        self.dtls_parameters = DtlsParameters(FINGERPRINTS.fingerprints, "auto")
        self.state = State()
        self.connected: DtlsParameters | None = None
        self.close_reason: str | None = None

    def connect(self, dtls_parameters: DtlsParameters, ice_parameters: IceParameters | None) -> None:
        if self.connected is not None:
            raise Conflict("connected already")
        self.connected = dtls_parameters

    def restart_ice(self) -> IceParameters:
        self.ice_parameters = IceParameters(secrets.token_hex(4), "q" * 22, True)
        return self.ice_parameters

    def change(self, ice: str, dtls: str, reason: str | None = None) -> None:
        """What the network does to it."""
        self.state = State(ice, dtls)
        self._on_state(self.state, reason)

    def close(self, reason: str) -> None:
        assert not [add for add in self.plane.tracks.values() if add.transport == self.handle]
        assert not [add for add in self.plane.sends.values() if add.transport == self.handle]
        self.close_reason = reason
        self.plane.transports.discard(self.handle)
        self.change("closed", "closed", reason)  # as the real one does, from within


class FakeTransports:
    def __init__(self) -> None:
        self.by_session: dict[str, FakeTransport] = {}
        self.full = False

    def open(self, session_id: str, plane: FakePlane, on_state: Any) -> FakeTransport:
        if self.full:
            raise Unavailable("no room", retry_after=5)
        transport = self.by_session[session_id] = FakeTransport(plane, on_state)
        return transport


@dataclass(frozen=True)
class FakeSettings:
    node_id: NodeId = NODE
    region: str | None = None
    max_sessions: int = 1000
    turn_url: str | None = None
    turn_username: str | None = None
    turn_password: str | None = None
    turn_secret: str | None = None


def member(user_id: str, channel_id: str = CHANNEL, *grants: Grant, **caps: Any) -> Caller:
    """The token of an ordinary user: join, publish and subscribe, if not said otherwise."""
    given = frozenset(grants) or frozenset({Grant.JOIN, Grant.PUBLISH, Grant.SUBSCRIBE})
    return Caller(UserId(user_id), channel_id, given, **caps)


ADMIN = Caller(UserId("root"), "*", frozenset({Grant.ADMIN}))
ANN, BEN, CAT = member("ann"), member("ben"), member("cat")


@dataclass
class Node:
    """A service with everything around it in reach."""

    settings: FakeSettings = field(default_factory=FakeSettings)
    clock: Clock = field(default_factory=Clock)
    router: FakeRouter = field(default_factory=FakeRouter)
    transports: FakeTransports = field(default_factory=FakeTransports)
    load: float | None = None

    def __post_init__(self) -> None:
        self.bus = ProcessBus(NODE)
        self.registry = ProcessRegistry(NODE)
        self.watcher: ProcessWatcher = self.bus.subscribe()
        self.service = Service(
            self.settings,
            self.router,
            self.transports,
            self.bus,
            self.registry,
            clock=self.clock.monotonic,
            wall=self.clock.wall,
        )

    @property
    def plane(self) -> FakePlane:
        return self.router.planes[0]

    def news(self) -> list[Any]:
        """The events since the last call."""
        taken = list(self.watcher._events)
        self.watcher._events.clear()
        return taken

    def told(self) -> list[str]:
        return [event.type for event in self.news()]

    def pass_time(self, seconds: float, step: float = 0.3) -> None:
        """Polls as the process does."""
        end = self.clock.now + seconds
        while self.clock.now < end - 1e-9:
            self.clock.now = min(end, self.clock.now + step)
            self.service.poll(self.clock.now, self.load)

    async def join(
        self, caller: Caller, kind: SessionType = SessionType.VIDEO, channel_id: str = CHANNEL, **more: Any
    ) -> SessionCreated:
        request = CreateSession(type=kind, channel_id=channel_id, user_id=caller.user_id, **more)
        return await self.service.create_session(caller, request)

    async def speak(self, caller: Caller, session_id: str, ssrc: int = 5, **more: Any) -> TrackPublished:
        rtp = parameters(opus(encodings=[{"ssrc": ssrc}]))
        return await self.service.publish(caller, session_id, Publish(kind=Kind.AUDIO, rtp_parameters=rtp, **more))

    async def film(
        self, caller: Caller, session_id: str, rtp: dict[str, Any] | None = None, **more: Any
    ) -> TrackPublished:
        return await self.service.publish(
            caller, session_id, Publish(kind=Kind.VIDEO, rtp_parameters=parameters(rtp or video()), **more)
        )

    async def watch(self, caller: Caller, session_id: str, track_id: str, **more: Any) -> SubscriptionCreated:
        request = Subscribe(track_id=track_id, rtp_capabilities=ROUTER_CAPABILITIES, **more)
        return await self.service.subscribe(caller, session_id, request)

    def receives(self, track: int, *rows: dict[str, Any]) -> None:
        """What the plane says of a track's encodings from now on."""
        self.plane.received[track] = tuple(replace(NO_RECEIVE, **row) for row in rows)

    def sends(self, send: int, **row: Any) -> None:
        self.plane.sent[send] = replace(NO_SEND, **row)


def simulcast(mid: str = "1", ssrcs: tuple[int, ...] = (10, 20, 30), **changes: Any) -> dict[str, Any]:
    """A camera in as many encodings as there are SSRCs, RTX each."""
    return video(mid=mid, encodings=[{"ssrc": ssrc, "rtx": {"ssrc": ssrc + 1}} for ssrc in ssrcs]) | changes
