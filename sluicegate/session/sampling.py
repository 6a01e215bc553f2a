"""Samples of the plane's running totals, and the rates between two of them.

A rate is the difference of two samples that are at least a second apart: an average since the start would hide what
happens now, and a shorter span would jump with every key frame.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sluicegate.ids import SubscriptionId, TrackId
from sluicegate.router.commands import TransportHandle
from sluicegate.router.events import ReceiveStatistics, SendStatistics, TransportStatistics
from sluicegate.session.ports import PlanePort
from sluicegate.session.subscription import Subscription
from sluicegate.session.track import Track

WINDOW = 1.0
"""Seconds between two samples, at least."""


@dataclass(slots=True)
class RateWindow:
    """Bitrate and frame rate of one stream over the latest window; 0 until there are two samples."""

    at: float | None = None
    bytes: int = 0
    frames: int = 0
    bitrate_bps: int = 0
    frames_per_second: float = 0.0

    def advance(self, now: float, total_bytes: int, total_frames: int) -> None:
        """Takes the totals at `now`. Totals that went back (the stream was replaced) begin anew."""
        elapsed = 0.0 if self.at is None else now - self.at
        moved_bytes, moved_frames = total_bytes - self.bytes, total_frames - self.frames
        if elapsed > 0 and moved_bytes >= 0 and moved_frames >= 0:
            self.bitrate_bps = round(8 * moved_bytes / elapsed)
            self.frames_per_second = round(moved_frames / elapsed, 1)
        else:
            self.bitrate_bps, self.frames_per_second = 0, 0.0
        self.at, self.bytes, self.frames = now, total_bytes, total_frames


@dataclass(slots=True)
class IncomingSample:
    """A published track: one window and one row of figures for each encoding, lowest first."""

    windows: list[RateWindow] = field(default_factory=list)
    figures: tuple[ReceiveStatistics, ...] = ()

    @property
    def bitrate_bps(self) -> int:
        return sum(window.bitrate_bps for window in self.windows)

    def take(self, figures: tuple[ReceiveStatistics, ...], now: float) -> None:
        while len(self.windows) < len(figures):
            self.windows.append(RateWindow())
        for window, row in zip(self.windows, figures, strict=False):
            window.advance(now, row.bytes, row.frames)
        self.figures = figures


@dataclass(slots=True)
class OutgoingSample:
    """A subscription."""

    window: RateWindow = field(default_factory=RateWindow)
    figures: SendStatistics | None = None

    def take(self, figures: SendStatistics, now: float) -> None:
        self.window.advance(now, figures.bytes, figures.frames)
        self.figures = figures


@dataclass(slots=True)
class SessionSample:
    """Everything that is counted for one session, as of `taken`."""

    taken: float | None = None
    transport: TransportStatistics | None = None
    incoming: dict[TrackId, IncomingSample] = field(default_factory=dict)
    outgoing: dict[SubscriptionId, OutgoingSample] = field(default_factory=dict)

    def due(self, now: float) -> bool:
        """Whether the latest sample is a window old."""
        return self.taken is None or now - self.taken >= WINDOW

    def take(
        self,
        plane: PlanePort,
        transport: TransportHandle,
        tracks: Iterable[Track],
        subscriptions: Iterable[Subscription],
        now: float,
    ) -> None:
        """Samples the session; what is gone is forgotten."""
        self.taken = now
        self.transport = plane.transport_statistics(transport)
        incoming: dict[TrackId, IncomingSample] = {}
        for track in tracks:
            incoming[track.track_id] = sample = self.incoming.get(track.track_id) or IncomingSample()
            sample.take(plane.receive_statistics(track.handle), now)
        outgoing: dict[SubscriptionId, OutgoingSample] = {}
        for subscription in subscriptions:
            key = subscription.subscription_id
            outgoing[key] = sent = self.outgoing.get(key) or OutgoingSample()
            sent.take(plane.send_statistics(subscription.handle), now)
        self.incoming, self.outgoing = incoming, outgoing
