"""From samples to what a path is like: loss, delay and jitter of each stream, and how much of it arrives."""

from collections.abc import Iterator

from sluicegate.session.names import Kind, SubscriptionType
from sluicegate.session.quality import PathFigures
from sluicegate.session.sampling import IncomingSample, OutgoingSample, SessionSample
from sluicegate.session.session import Session
from sluicegate.session.subscription import Subscription
from sluicegate.session.track import Track

FlowingPath = tuple[Track, Subscription | None, PathFigures]
"""A stream that flows: the track, the subscription or None on the publisher's leg, and what its path is like."""


def incoming_figures(sample: IncomingSample, rtt: float | None) -> PathFigures:
    """The path from a publisher: the worst of the encodings that arrive."""
    flowing = [
        row for row, window in zip(sample.figures, sample.windows, strict=False) if row.packets and window.bitrate_bps
    ]
    return PathFigures(
        loss=max((row.fraction_lost for row in flowing), default=0.0),
        rtt=rtt,
        jitter=max((row.jitter for row in flowing), default=0.0),
    )


def outgoing_figures(sample: OutgoingSample, source: IncomingSample | None, subscription: Subscription) -> PathFigures:
    """The path to a subscriber, as its receiver reports it; `source` is what arrives of the track."""
    figures = sample.figures
    if figures is None:
        return PathFigures()
    return PathFigures(
        loss=figures.fraction_lost,
        rtt=figures.rtt,
        jitter=figures.jitter,
        delivered=_delivered(sample, source, subscription),
    )


def _delivered(sample: OutgoingSample, source: IncomingSample | None, subscription: Subscription) -> float:
    """The bitrate that is sent, over that of the encoding which the subscriber should have; 1 where that says nothing.

    Layers inside one stream have no bitrate of their own to compare with.
    """
    target = subscription.target()
    if source is None or target is None or subscription.track.type is SubscriptionType.SVC:
        return 1.0
    limited = (
        subscription.terms.preferred_layers is not None and subscription.terms.preferred_layers.temporal is not None
    )
    arriving = [window.bitrate_bps for window in source.windows[: target.spatial + 1] if window.bitrate_bps]
    if limited or not arriving or not sample.window.bitrate_bps:
        return 1.0
    return min(1.0, sample.window.bitrate_bps / arriving[-1])


def flowing_paths(session: Session, sources: dict[str, IncomingSample]) -> Iterator[FlowingPath]:
    """Every stream of the session that should flow and has begun to, with figures. `sources`: samples by track id."""
    sample: SessionSample = session.sample
    rtt = None if sample.transport is None else sample.transport.rtt
    for track in session.tracks.values():
        received = sample.incoming.get(track.track_id)
        if received is not None and not track.stopped and any(row.packets for row in received.figures):
            yield track, None, incoming_figures(received, rtt)
    for subscription in session.subscriptions.values():
        sent = sample.outgoing.get(subscription.subscription_id)
        idle = subscription.stopped or subscription.track.stopped
        if sent is not None and not idle and sent.figures is not None and sent.figures.packets:
            source = sources.get(subscription.track.track_id)
            yield subscription.track, subscription, outgoing_figures(sent, source, subscription)


def is_layered(track: Track) -> bool:
    """Whether a subscriber may get less of the track than there is."""
    return track.kind is Kind.VIDEO and track.type in (SubscriptionType.SIMULCAST, SubscriptionType.SVC)
