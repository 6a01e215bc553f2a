"""A session: one WebRTC transport of one user in one channel, with what is published and received over it."""

from dataclasses import dataclass, field
from typing import Any

from sluicegate.ids import ChannelId, SessionId, SubscriptionId, TrackId, UserId
from sluicegate.session.names import PresetName, SessionState, SessionType
from sluicegate.session.ports import TransportPort, TransportStateLike
from sluicegate.session.quality import QualityWatch
from sluicegate.session.requests import AudioProcessing
from sluicegate.session.sampling import SessionSample
from sluicegate.session.subscription import Subscription
from sluicegate.session.timeline import Timeline
from sluicegate.session.track import Track


@dataclass(frozen=True, slots=True)
class SessionIdentity:
    """What a session is all its life. `created_wall`: Unix, `created`: monotonic seconds; `number` counts sessions."""

    session_id: SessionId
    type: SessionType
    channel_id: ChannelId
    user_id: UserId
    number: int
    created_wall: float
    created: float


@dataclass(slots=True, eq=False)
class Session:
    """One user's transport in a channel. `next_mid` only grows: a client keeps the m-line of what has ended."""

    identity: SessionIdentity
    transport: TransportPort
    timeline: Timeline
    preset: PresetName | None = None
    region: str | None = None
    audio_processing: AudioProcessing | None = None
    metadata: dict[str, Any] | None = None
    tracks: dict[TrackId, Track] = field(default_factory=dict)
    subscriptions: dict[SubscriptionId, Subscription] = field(default_factory=dict)
    quality: QualityWatch = field(default_factory=QualityWatch)
    sample: SessionSample = field(default_factory=SessionSample)
    next_mid: int = 0
    closed: bool = False

    @property
    def session_id(self) -> SessionId:
        return self.identity.session_id

    @property
    def channel_id(self) -> ChannelId:
        return self.identity.channel_id

    @property
    def user_id(self) -> UserId:
        return self.identity.user_id

    @property
    def state(self) -> SessionState:
        """ICE and DTLS in one word."""
        return SessionState.CLOSED if self.closed else state_of(self.transport.state)

    def incoming_ssrcs(self) -> set[int]:
        """The SSRCs that its tracks announced."""
        return set().union(*(track.ssrcs() for track in self.tracks.values()))

    def outgoing_ssrcs(self) -> set[int]:
        """The SSRCs by which it receives."""
        return set().union(*(subscription.ssrcs() for subscription in self.subscriptions.values()))

    def take_mid(self) -> str:
        """A MID that no subscription of this session ever had, and none of its tracks has."""
        used = {track.media.mid for track in self.tracks.values()}
        while (mid := str(self.next_mid)) in used:
            self.next_mid += 1
        self.next_mid += 1
        return mid


def state_of(state: TransportStateLike) -> SessionState:
    """ICE and DTLS in one word."""
    if state.ice == "closed" or state.dtls in ("closed", "failed"):
        return SessionState.CLOSED
    if state.ice == "disconnected":
        return SessionState.DISCONNECTED
    if state.dtls == "connected" and state.ice in ("connected", "completed"):
        return SessionState.CONNECTED
    return SessionState.NEW if state.ice == "new" and state.dtls == "new" else SessionState.CONNECTING
