"""What the parts of a node count, as the samples that `/metrics` shows."""

from collections.abc import Iterable

from sluicegate.cluster.bus import ProcessBus
from sluicegate.http.connections import ApiRunner
from sluicegate.http.metrics import HistogramSample, Metrics, Sample
from sluicegate.ice.lite_agent import StunDrop
from sluicegate.load import LoadMeter
from sluicegate.router.plane import Plane
from sluicegate.router.router import Router
from sluicegate.session.service import Service
from sluicegate.transport.driver import Transports
from sluicegate.transport.state import TransportDrop

TICK_COUNTERS = {
    "packets_received": "datagrams",
    "bytes_received": "bytes_in",
    "packets_sent": "packets_out",
    "bytes_sent": "bytes_out",
    "plane_ticks": "turns",
}

# All of them from the start: a series that comes with its first drop looks like growth, and has no rate.
CONTROL_DROPS = tuple(reason.value for reason in (*StunDrop, *TransportDrop))


class Meter:
    """Reads the counters of a node's parts; observes lag and load. On the event loop."""

    def __init__(
        self, service: Service, router: Router, transports: Transports, bus: ProcessBus, metrics: Metrics
    ) -> None:
        self._service = service
        self._router = router
        self._transports = transports
        self._bus = bus
        self._metrics = metrics
        self._load = LoadMeter(router.thread_ids)
        self._overrun = 0

    def observe(self, lag: float) -> None:
        """The loop ran a timer this late, in seconds."""
        self._metrics.observe_loop_lag(max(lag, 0.0))

    def load(self, now: float) -> float | None:
        """How busy the busiest plane was lately, 0–1; None where that was not measured again.

        A plane that drops video to keep up with sound is full, however much time that has left it.
        """
        load = self._load.read(now)
        if load is None:
            return None
        before, self._overrun = self._overrun, sum(plane.drops()["overrun"] for plane in self._router.planes)
        return 1.0 if self._overrun > before else load

    def samples(self) -> Iterable[Sample | HistogramSample]:
        """Everything, at a scrape."""
        counts = self._service.counts()
        yield Sample("channels", counts.channels)
        for kind, count in counts.sessions_by_type.items():
            yield Sample("sessions", count, {"type": kind})
        for kind, count in counts.tracks_by_kind.items():
            yield Sample("tracks", count, {"kind": kind})
        for kind, count in counts.subscriptions_by_kind.items():
            yield Sample("subscriptions", count, {"kind": kind})
        yield Sample("events_published", self._bus.published)
        shedder = self._service.overload.shedder
        yield Sample("load", shedder.load)
        yield Sample("shedding_mode", shedder.mode)
        yield Sample("shedding_changes", shedder.changes)
        for plane in self._router.planes:
            yield from _plane_samples(plane)
        for reason in CONTROL_DROPS:
            yield Sample("packets_dropped", self._transports.drops[reason], {"plane": "control", "reason": reason})


def connection_samples(runner: ApiRunner) -> Iterable[Sample]:
    """What the HTTP server's connection table holds."""
    yield Sample("http_connections", runner.open_connections)


def _plane_samples(plane: Plane) -> Iterable[Sample | HistogramSample]:
    labels = {"plane": str(plane.index)}
    counters = plane.counters()
    for name, counter in TICK_COUNTERS.items():
        yield Sample(name, counters[counter], labels)
    for reason, count in plane.drops().items():
        yield Sample("packets_dropped", count, {**labels, "reason": reason})
    usage = plane.usage()
    yield Sample("plane_transports", usage["transports"][0], labels)
    yield Sample("plane_tracks", usage["tracks"][0], labels)
    yield Sample("plane_sends", usage["subscriptions"][0], labels)
    yield HistogramSample("plane_tick_seconds", plane.turn_histogram(), counters["turn_us"] / 1e6, labels)
    yield HistogramSample("plane_batch_packets", plane.batch_histogram(), counters["datagrams"], labels)
