"""What is looked at again and again: who speaks, how good it is, and whether a publisher keeps within its bitrate.

`poll` is called every 300 ms. Speakers are judged each time (the paper's decision interval), each session with media
once a second; thousands that are merely connected cost next to nothing.
"""

from sluicegate.ids import TrackId, UserId
from sluicegate.session.channel import Channel
from sluicegate.session.core import Core
from sluicegate.session.events import QualityDegradedEvent
from sluicegate.session.figures import FlowingPath, flowing_paths, is_layered
from sluicegate.session.layers import LayerCause
from sluicegate.session.names import DegradationCause, QualityMetric
from sluicegate.session.overload import Overload
from sluicegate.session.ports import PathObserver
from sluicegate.session.quality import Finding, Transition, path_findings
from sluicegate.session.sampling import IncomingSample
from sluicegate.session.session import Session
from sluicegate.session.stats import quality_of, sources_of
from sluicegate.session.subscription import Subscription

# A layer may be away for a moment: until the next key frame, or while the publisher's own estimate recovers.
LAYER_PATIENCE = 3.0
# A publisher's encoder overshoots at key frames and takes a second to follow; what goes on is disregard. Lower:
# honest tracks are held.
OVERSHOOT = 1.5
OVERSHOOT_SAMPLES = 3


class Monitor:
    """Polls one node's channels."""

    def __init__(self, core: Core, paths: PathObserver, overload: Overload) -> None:
        self._core = core
        self._paths = paths
        self._overload = overload

    def poll(self, now: float) -> None:
        """Looks at everything that is due. `now`: monotonic seconds."""
        for channel in list(self._core.channels.values()):
            listen(self._core, channel, now)
            due = [one for one in channel.sessions.values() if one.sample.due(now) and not self._rests(one)]
            for session in due:
                sample_session(session, channel, now)
            sources = sources_of(channel) if due else {}
            for session in due:
                paths = list(flowing_paths(session, sources))
                self._judge(session, paths, sources, now)
                self._show_paths(session, paths)
                enforce_bitrates(self._core, session)

    def _rests(self, session: Session) -> bool:
        """Whether there is nothing to see: no media, now or in the latest sample, and nothing wrong that could end."""
        sample = session.sample
        media = session.tracks or session.subscriptions or sample.incoming or sample.outgoing
        return not (media or session.quality.troubled)

    def _judge(
        self, session: Session, paths: list[FlowingPath], sources: dict[str, IncomingSample], now: float
    ) -> None:
        findings = [
            *_path_findings(session, paths),
            *_layer_findings(session, sources, now),
            *self._overload.findings(session),
        ]
        transition = session.quality.observe(findings, now)
        if transition is not None:
            self._tell(session, transition, sources)

    def _show_paths(self, session: Session, paths: list[FlowingPath]) -> None:
        transport = session.sample.transport
        if transport is not None and transport.rtt is not None:
            self._paths.observe_round_trip(transport.rtt)
        for _, subscription, figures in paths:
            direction = "incoming" if subscription is None else "outgoing"
            self._paths.observe_fraction_lost(direction, figures.loss)

    def _tell(self, session: Session, transition: Transition, sources: dict[str, IncomingSample]) -> None:
        finding, quality = transition.finding, quality_of(session, sources)
        session.timeline.add(
            "quality_degraded" if transition.degraded else "quality_recovered",
            f"{finding.cause}: {finding.metric} {finding.value:g}, threshold {finding.threshold:g}",
            track_id=finding.track_id,
            subscription_id=finding.subscription_id,
            estimate=None if session.sample.transport is None else session.sample.transport.available_outgoing_bps,
        )
        self._core.emit(
            QualityDegradedEvent,
            session.channel_id,
            session,
            degraded=transition.degraded,
            cause=finding.cause,
            metric=finding.metric,
            value=finding.value,
            threshold=finding.threshold,
            score=quality.score,
            mos=quality.mos,
            track_id=finding.track_id,
            subscription_id=finding.subscription_id,
        )


def sample_session(session: Session, channel: Channel, now: float) -> None:
    """Takes the plane's totals for one session."""
    tracks, subscriptions = session.tracks.values(), session.subscriptions.values()
    session.sample.take(channel.plane, session.transport.handle, tracks, subscriptions, now)


def listen(core: Core, channel: Channel, now: float) -> None:
    """Feeds the levels since the last poll to the detector, and tells when another speaker dominates."""
    if not channel.levels:
        return
    for track_id, reader in channel.levels.items():
        _, track = channel.tracks[track_id]
        if track.stopped:
            reader.pause()
            continue
        # Speech has one encoding.
        figures = channel.plane.receive_statistics(track.handle)[0]
        heard = reader.read(figures.audio_level_sum, figures.audio_level_count, figures.last_packet, now)
        channel.speakers.push(track_id, heard)
    dominant = channel.speakers.evaluate()
    if dominant is not None and dominant != channel.speaking:
        core.change_speaker(channel, dominant, _speaker_user(channel, channel.speaking))


def _speaker_user(channel: Channel, track_id: TrackId | None) -> UserId | None:
    return None if track_id is None else channel.tracks[track_id][0].user_id


def _path_findings(session: Session, paths: list[FlowingPath]) -> list[Finding]:
    findings: list[Finding] = []
    degraded = session.quality.degraded
    for track, subscription, figures in paths:
        uplink = subscription is None
        findings += path_findings(
            DegradationCause.PUBLISHER_UPLINK if uplink else DegradationCause.SUBSCRIBER_DOWNLINK,
            figures,
            degraded,
            track_id=track.track_id,
            subscription_id=None if subscription is None else subscription.subscription_id,
        )
    return findings


def _layer_findings(session: Session, sources: dict[str, IncomingSample], now: float) -> list[Finding]:
    findings: list[Finding] = []
    for subscription in session.subscriptions.values():
        finding = _entitlement_finding(subscription) or _missing_finding(session, subscription, sources, now)
        if finding is not None:
            findings.append(finding)
    return findings


def _entitlement_finding(subscription: Subscription) -> Finding | None:
    """The token keeps a layer from the subscriber that it would have otherwise."""
    if subscription.choice.cause is not LayerCause.ENTITLEMENT or not is_layered(subscription.track):
        return None
    offered, target = subscription.track.offer().spatial, subscription.target()
    assert target is not None
    return Finding(
        DegradationCause.ENTITLEMENT,
        QualityMetric.BANDWIDTH,
        float(offered[target.spatial].bitrate_bps),
        float(offered[-1].bitrate_bps),
        subscription.track.track_id,
        subscription.subscription_id,
    )


def _missing_finding(
    session: Session, subscription: Subscription, sources: dict[str, IncomingSample], now: float
) -> Finding | None:
    """The layer that the subscriber should have has not come for a while, though lower ones do."""
    sent, target = session.sample.outgoing.get(subscription.subscription_id), subscription.target()
    idle = subscription.stopped or subscription.track.stopped or not is_layered(subscription.track)
    figures = None if sent is None else sent.figures
    if idle or target is None or sent is None or figures is None or not 0 <= figures.spatial < target.spatial:
        subscription.missing_since = None
        return None
    if subscription.missing_since is None:
        subscription.missing_since = now
    if now - subscription.missing_since < LAYER_PATIENCE:
        return None
    return Finding(
        DegradationCause.LAYER_MISSING,
        QualityMetric.BANDWIDTH,
        float(sent.window.bitrate_bps),
        float(subscription.track.offer().spatial[target.spatial].bitrate_bps),
        subscription.track.track_id,
        subscription.subscription_id,
    )


def enforce_bitrates(core: Core, session: Session) -> None:
    """Holds a track that keeps sending more than its publisher's token allows, until it sends less."""
    for track in session.tracks.values():
        sample, limit = session.sample.incoming.get(track.track_id), track.terms.max_bitrate_bps
        if sample is None or limit is None:
            continue
        over = sample.bitrate_bps > (limit if track.held else OVERSHOOT * limit)
        track.over_samples = track.over_samples + 1 if over else 0
        if track.held != over and (not over or track.over_samples >= OVERSHOOT_SAMPLES):
            session.timeline.add(
                "track_held" if over else "track_released",
                f"entitlement: {sample.bitrate_bps} of {limit} bit/s",
                track_id=track.track_id,
                estimate=sample.bitrate_bps,
            )
            core.stop_track(session, track, held=over)
