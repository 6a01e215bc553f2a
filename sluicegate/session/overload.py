"""Carrying out what the `Shedder` decides: which subscriptions get less, and who is turned away.

A mode is a limit like a token's: it goes into the choice of layers beside what the client asked for, and a
subscription that it stops stays as its client left it. So nothing has to be remembered to be given back.
"""

import structlog

from sluicegate.errors import Unavailable
from sluicegate.router.commands import Command, PauseSubscription
from sluicegate.session.core import Core
from sluicegate.session.layers import LayerCause
from sluicegate.session.names import DegradationCause, Kind, QualityMetric, SubscriptionType
from sluicegate.session.quality import Finding
from sluicegate.session.session import Session
from sluicegate.session.shedding import Mode, Shedder, ShedLimits
from sluicegate.session.subscription import Subscription

log = structlog.get_logger("sluicegate.session.overload")

RETRY_AFTER_OVERLOAD = 30.0
"""Half of the shortest time that an overload lasts; lower, and refused clients are a load of their own."""

MODE_WORDS = {
    Mode.NORMAL: "everything is served",
    Mode.REDUCED: "overloaded: no new sessions, no top video layers",
    Mode.AUDIO_ONLY: "overloaded: no new sessions, no video",
}


class Overload:
    """Keeps a node's subscriptions in step with its load."""

    def __init__(self, core: Core, limits: ShedLimits) -> None:
        self._core = core
        self.shedder = Shedder(limits)

    def observe(self, load: float, now: float) -> None:
        """Takes the planes' load, 0–1, since the last call."""
        if not self.shedder.observe(load, now):
            return
        mode = self._core.mode = self.shedder.mode
        log.warning("load shedding", mode=mode.name.lower(), load=round(self.shedder.load, 2))
        for channel in self._core.channels.values():
            commands: list[Command] = []
            for session in channel.sessions.values():
                for subscription in session.subscriptions.values():
                    if subscription.track.kind is Kind.VIDEO:
                        commands += self._commands(session, subscription)
            if commands:
                channel.plane.submit(*commands)

    def _commands(self, session: Session, subscription: Subscription) -> list[Command]:
        """What a subscription's plane has to be told after the mode changed."""
        layers = self._core.layer_commands(session, subscription)
        stops = self._core.stop_commands(session, subscription)
        waits = subscription.track.type is SubscriptionType.SIMULCAST and not subscription.stopped
        if layers and waits and self._core.mode is Mode.REDUCED and not stops:
            # The lower encoding is taken up at its key frame, which stands behind all that a full plane has not read
            # yet, for seconds. Not to forward until then lets it catch up; the picture stands still meanwhile.
            handle = subscription.handle
            return [PauseSubscription(handle, True), *layers, PauseSubscription(handle, False)]
        return [*layers, *stops]

    def check_admission(self) -> None:
        """Raises `Unavailable` while the node has too much to do already."""
        if self.shedder.mode is not Mode.NORMAL:
            raise Unavailable("This node is overloaded and takes no new sessions.", retry_after=RETRY_AFTER_OVERLOAD)

    def describe(self) -> str:
        """The mode and the load, in words."""
        return f"{MODE_WORDS[self.shedder.mode]} (load {self.shedder.load:.2f})"

    def findings(self, session: Session) -> list[Finding]:
        """The first of the session's subscriptions that gets less than it would otherwise."""
        for subscription in session.subscriptions.values():
            if subscription.shed or subscription.choice.cause is LayerCause.SERVER_CPU:
                return [
                    Finding(
                        DegradationCause.SERVER_CPU,
                        QualityMetric.CPU,
                        round(self.shedder.peak, 3),
                        self.shedder.limits.enter,
                        subscription.track.track_id,
                        subscription.subscription_id,
                    )
                ]
        return []
