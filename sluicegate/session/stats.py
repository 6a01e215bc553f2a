"""The statistics of a session as the API shows them."""

from sluicegate.session.channel import Channel
from sluicegate.session.figures import flowing_paths, incoming_figures, outgoing_figures
from sluicegate.session.names import Direction, Kind
from sluicegate.session.presenting import layers
from sluicegate.session.quality import BEST_MOS, PathFigures, mos, stream_score
from sluicegate.session.sampling import IncomingSample, OutgoingSample
from sluicegate.session.session import Session
from sluicegate.session.subscription import Subscription
from sluicegate.session.track import Track
from sluicegate.session.views import AvailableBitrate, LayerStats, Quality, StatsView, TrackStats


def sources_of(channel: Channel) -> dict[str, IncomingSample]:
    """What arrives of every track of the channel, by track id, as of the latest sample of its publisher."""
    return {
        track_id: session.sample.incoming[track_id]
        for track_id, (session, _) in channel.tracks.items()
        if track_id in session.sample.incoming
    }


def stats_view(session: Session, channel: Channel, now: float) -> StatsView:
    """The figures of a session, as of its latest sample. `now`: monotonic seconds."""
    sample, transport = session.sample, session.sample.transport
    sources = sources_of(channel)
    rtt = None if transport is None else transport.rtt
    incoming = tuple(
        _incoming(track, sample.incoming[track.track_id], rtt)
        for track in session.tracks.values()
        if track.track_id in sample.incoming
    )
    outgoing = tuple(
        _outgoing(one, sample.outgoing[one.subscription_id], sources.get(one.track.track_id), rtt)
        for one in session.subscriptions.values()
        if one.subscription_id in sample.outgoing
    )
    return StatsView(
        session_id=session.session_id,
        duration=round(max(0.0, now - session.identity.created), 3),
        state=session.state,
        rtt=rtt,
        available_bitrate=AvailableBitrate(outgoing=None if transport is None else transport.available_outgoing_bps),
        quality=quality_of(session, sources),
        tracks=incoming + outgoing,
    )


def quality_of(session: Session, sources: dict[str, IncomingSample]) -> Quality:
    """The quality of a session: that of the worst of its streams."""
    transport = session.sample.transport
    paths = [figures for _, _, figures in flowing_paths(session, sources)]
    if not paths:
        paths = [PathFigures(rtt=None if transport is None else transport.rtt)]
    return Quality(
        score=min(stream_score(figures) for figures in paths),
        mos=round(min(BEST_MOS, *(mos(figures) for figures in paths)), 2),
        limitation=session.quality.limitation,
    )


def _incoming(track: Track, sample: IncomingSample, rtt: float | None) -> TrackStats:
    rows, video = sample.figures, track.kind is Kind.VIDEO
    figures = incoming_figures(sample, rtt)
    return TrackStats(
        track_id=track.track_id,
        kind=track.kind,
        direction=Direction.INCOMING,
        codec=track.codec,
        bitrate=sample.bitrate_bps,
        packets_sent=0,
        packets_received=sum(row.packets for row in rows),
        packets_lost=sum(row.packets_lost for row in rows),
        fraction_lost=_fraction(figures.loss),
        jitter=figures.jitter,
        rtt=rtt,
        nacks=sum(row.nacks for row in rows),
        plis=sum(row.plis for row in rows),
        retransmissions=sum(row.retransmissions for row in rows),
        layers=tuple(
            LayerStats(
                spatial=index,
                temporal=max(0, row.temporal_layers - 1),
                bitrate=window.bitrate_bps,
                ssrc=row.ssrc,
                rid=row.rid,
                frames_per_second=window.frames_per_second if video else None,
            )
            for index, (row, window) in enumerate(zip(rows, sample.windows, strict=False))
        ),
        frames_per_second=max((window.frames_per_second for window in sample.windows), default=0.0) if video else None,
        score=stream_score(figures),
    )


def _outgoing(
    subscription: Subscription, sample: OutgoingSample, source: IncomingSample | None, rtt: float | None
) -> TrackStats:
    track, row, window = subscription.track, sample.figures, sample.window
    assert row is not None, "a sample in the table has been taken"
    video = track.kind is Kind.VIDEO
    figures = outgoing_figures(sample, source, subscription)
    sent = layers(row.spatial, row.temporal) if video and row.packets and not subscription.stopped else None
    current = (
        ()
        if sent is None
        else (
            LayerStats(
                spatial=sent.spatial,
                temporal=sent.temporal,
                bitrate=window.bitrate_bps,
                ssrc=row.ssrc,
                frames_per_second=window.frames_per_second,
            ),
        )
    )
    return TrackStats(
        track_id=track.track_id,
        kind=track.kind,
        direction=Direction.OUTGOING,
        codec=track.codec,
        bitrate=window.bitrate_bps,
        packets_sent=row.packets,
        packets_received=0,
        packets_lost=max(0, row.packets_lost),
        fraction_lost=_fraction(row.fraction_lost),
        jitter=row.jitter,
        rtt=rtt if row.rtt is None else row.rtt,
        nacks=row.nacks,
        plis=row.plis,
        retransmissions=row.retransmissions,
        layers=current,
        frames_per_second=window.frames_per_second if video else None,
        score=stream_score(figures),
        subscription_id=subscription.subscription_id,
    )


def _fraction(value: float) -> float:
    return min(1.0, max(0.0, value))
