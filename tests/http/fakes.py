"""A service that answers every call with a made-up view, and remembers what it was asked; and a server around it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from sluicegate.clock import monotonic
from sluicegate.cluster.bus import ProcessBus
from sluicegate.config import Settings
from sluicegate.http.app import build_app
from sluicegate.http.auth import mint_token
from sluicegate.http.connections import DEFAULT_LIMITS, ApiRunner, ConnectionLimits
from sluicegate.http.metrics import Metrics
from sluicegate.ids import ChannelId, NodeId, new_id
from sluicegate.ortc.capabilities import ROUTER_CAPABILITIES
from sluicegate.ortc.parameters import DtlsFingerprint, DtlsParameters, IceCandidate, IceParameters, RtpParameters
from sluicegate.session.caller import Caller, Grant
from sluicegate.session.events import Snapshot
from sluicegate.session.names import Kind, SessionState, SessionType, SubscriptionType
from sluicegate.session.service import ChannelWatch
from sluicegate.session.views import (
    AvailableBitrate,
    ChannelList,
    ChannelView,
    IceRestarted,
    Quality,
    RoutesView,
    SessionCreated,
    SessionPage,
    SessionView,
    StatsView,
    SubscriptionCreated,
    SubscriptionView,
    TrackPublished,
    TrackUpdated,
    WhyView,
)

SECRET = "a secret of thirty-two bytes, or more than that"
NODE = NodeId("node")
AT = "2026-01-01T00:00:00.000Z"

ICE = IceParameters(username_fragment="ufragufrag", password="password" * 3, ice_lite=True)
CANDIDATE = IceCandidate(
    foundation="1", priority=1, ip="192.0.2.1", address="192.0.2.1", protocol="udp", port=50000, type="host"
)
DTLS = DtlsParameters(role="auto", fingerprints=(DtlsFingerprint(algorithm="sha-256", value="AA"),))


class FakeService:
    """Has the calls of `Service`. `raises` makes the next calls fail; `calls` holds (name, caller, arguments)."""

    draining = False

    def __init__(self) -> None:
        self.calls: list[tuple[str, Caller, tuple[Any, ...]]] = []
        self.raises: BaseException | None = None
        self.bus = ProcessBus(NODE, queue_length=8)

    def _called(self, name: str, caller: Caller, *arguments: Any) -> None:
        self.calls.append((name, caller, arguments))
        if self.raises is not None:
            raise self.raises

    async def create_session(self, caller, request):
        self._called("create_session", caller, request)
        return SessionCreated(
            session_id=new_id(),
            type=request.type,
            channel_id=request.channel_id,
            user_id=request.user_id,
            node_id=NODE,
            ice_servers=(),
            ice_parameters=ICE,
            ice_candidates=(CANDIDATE,),
            dtls_parameters=DTLS,
            rtp_capabilities=ROUTER_CAPABILITIES,
            expires_at=AT,
        )

    async def connect(self, caller, session_id, request):
        self._called("connect", caller, session_id, request)

    async def restart_ice(self, caller, session_id):
        self._called("restart_ice", caller, session_id)
        return IceRestarted(ice_parameters=ICE, ice_candidates=(CANDIDATE,))

    async def publish(self, caller, session_id, request):
        self._called("publish", caller, session_id, request)
        return TrackPublished(track_id=new_id(), kind=request.kind, encodings=())

    async def update_track(self, caller, session_id, track_id, request):
        self._called("update_track", caller, session_id, track_id, request)
        return TrackUpdated(
            track_id=track_id,
            kind=Kind.AUDIO,
            type=SubscriptionType.SIMPLE,
            codec="opus",
            session_id=session_id,
            user_id="ada",
            paused=False,
            encodings=(),
        )

    async def unpublish(self, caller, session_id, track_id):
        self._called("unpublish", caller, session_id, track_id)

    async def subscribe(self, caller, session_id, request):
        self._called("subscribe", caller, session_id, request)
        return SubscriptionCreated(
            subscription_id=new_id(),
            track_id=request.track_id,
            kind=Kind.AUDIO,
            type=SubscriptionType.SIMPLE,
            rtp_parameters=RtpParameters(codecs=()),
            paused=False,
            track_paused=False,
        )

    async def update_subscription(self, caller, session_id, subscription_id, request):
        self._called("update_subscription", caller, session_id, subscription_id, request)
        return SubscriptionView(
            subscription_id=subscription_id,
            track_id=new_id(),
            kind=Kind.VIDEO,
            type=SubscriptionType.SIMULCAST,
            mid="0",
            paused=False,
            track_paused=False,
            muted_by_route=False,
            priority=1,
        )

    async def unsubscribe(self, caller, session_id, subscription_id):
        self._called("unsubscribe", caller, session_id, subscription_id)

    async def update_session(self, caller, session_id, request):
        self._called("update_session", caller, session_id, request)
        return _session(session_id)

    async def get_session(self, caller, session_id):
        self._called("get_session", caller, session_id)
        return _session(session_id)

    async def why(self, caller, session_id):
        self._called("why", caller, session_id)
        return WhyView(session_id=session_id, state=SessionState.NEW)

    async def stats(self, caller, session_id):
        self._called("stats", caller, session_id)
        return StatsView(
            session_id=session_id,
            duration=1.0,
            state=SessionState.NEW,
            rtt=None,
            available_bitrate=AvailableBitrate(),
            quality=Quality(score=10, mos=4.4),
            tracks=(),
        )

    async def delete_session(self, caller, session_id):
        self._called("delete_session", caller, session_id)

    async def list_sessions(self, caller, *, channel_id=None, user_id=None, cursor=None, limit=100):
        self._called("list_sessions", caller, channel_id, user_id, cursor, limit)
        return SessionPage(sessions=())

    async def list_channels(self, caller):
        self._called("list_channels", caller)
        return ChannelList(channels=())

    async def get_channel(self, caller, channel_id):
        self._called("get_channel", caller, channel_id)
        return _channel(channel_id)

    async def set_routes(self, caller, channel_id, request):
        self._called("set_routes", caller, channel_id, request)
        return RoutesView(channel_id=channel_id, default=request.default, gains=request.gains)

    async def watch_channel(self, caller, channel_id):
        self._called("watch_channel", caller, channel_id)
        watcher = self.bus.subscribe(ChannelId(channel_id))
        snapshot = Snapshot(
            event_id=new_id(), at=AT, node_id=NODE, channel_id=ChannelId(channel_id), channel=_channel(channel_id)
        )
        return ChannelWatch(snapshot, watcher)


def _session(session_id: str) -> SessionView:
    return SessionView(
        session_id=session_id,
        type=SessionType.AUDIO,
        channel_id="lobby",
        user_id="ada",
        node_id=NODE,
        state=SessionState.NEW,
        created_at=AT,
        ice_state="new",
        dtls_state="new",
        tracks=(),
        subscriptions=(),
    )


def _channel(channel_id: str) -> ChannelView:
    return ChannelView(channel_id=channel_id, node_id=NODE, created_at=AT, members=(), tracks=())


def token(
    *grants: Grant, user_id: str = "ada", channel_id: str = "lobby", lifetime: float = 86400.0, **caps: Any
) -> str:
    """A token of the test server's secret."""
    return mint_token(SECRET, user_id=user_id, channel_id=channel_id, grants=grants, lifetime=lifetime, **caps)


def bearer(*grants: Grant, **claims: Any) -> dict[str, str]:
    """The header with such a token."""
    return {"Authorization": f"Bearer {token(*grants, **claims)}"}


ADMIN = bearer(Grant.ADMIN)


@dataclass
class Running:
    """A server on loopback, and a client for it."""

    service: Any
    client: aiohttp.ClientSession
    port: int
    metrics: Metrics
    app: web.Application
    runner: ApiRunner
    ready: list[tuple[str, bool, str]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def serve(
    settings: Settings | None = None,
    *,
    connections: ConnectionLimits = DEFAULT_LIMITS,
    service: Any = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """Runs the application around a fake service, as the real server does."""
    service = FakeService() if service is None else service
    metrics, ready = Metrics(), [("plane", True, "compiled")]
    options.setdefault("monotonic", monotonic)
    app = build_app(
        service=service,
        settings=settings or Settings(api_secret=SECRET),
        metrics=metrics,
        ready=lambda: ready,
        **options,
    )
    runner = ApiRunner(app, limits=connections, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{site.port}") as client:
            yield Running(service, client, site.port, metrics, app, runner, ready)
    finally:
        await runner.cleanup()
