"""What Prometheus reads: figures that are observed as they happen, and figures that others keep and are asked for at
each scrape.

Every family is declared here, with its labels, so that no caller and no peer can make a new series: labels take their
values from fixed sets (routes of the table, drop reasons, planes). CPU and memory come from prometheus_client's own
process collector. What a source gives under a name or with labels that are not declared is left out and counted in
`sluicegate_metrics_rejected_total`; a source that raises costs its own figures only.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

log = structlog.get_logger("sluicegate.http.metrics")

PREFIX = "sluicegate_"

HTTP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
HANDSHAKE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
LAG_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
RTT_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
LOSS_BUCKETS = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric that sources fill: kind `gauge`, `counter` or `histogram`."""

    kind: str
    documentation: str
    labels: tuple[str, ...] = ()
    # More series than this under one name are a mistake of ours; the rest is rejected.
    max_series: int = 256


FAMILIES: Mapping[str, Family] = {
    "sessions": Family("gauge", "Sessions that are open.", ("type",)),
    "channels": Family("gauge", "Channels that have a member."),
    "tracks": Family("gauge", "Tracks that are published.", ("kind",)),
    "subscriptions": Family("gauge", "Subscriptions.", ("kind",)),
    "event_streams": Family("gauge", "Watchers of channel events."),
    "http_connections": Family("gauge", "Open HTTP connections."),
    "packets_received": Family("counter", "Datagrams received.", ("plane",)),
    "bytes_received": Family("counter", "Bytes received.", ("plane",)),
    "packets_sent": Family("counter", "Datagrams sent.", ("plane",)),
    "bytes_sent": Family("counter", "Bytes sent.", ("plane",)),
    "packets_dropped": Family("counter", "Packets dropped, by reason.", ("plane", "reason"), max_series=4096),
    "plane_ticks": Family("counter", "Runs of a plane's loop.", ("plane",)),
    "plane_tick_seconds": Family("histogram", "How long a plane's run takes.", ("plane",)),
    "plane_batch_packets": Family("histogram", "Packets that a plane handles in one run.", ("plane",)),
    "plane_transports": Family("gauge", "Transports in a plane's table.", ("plane",)),
    "plane_tracks": Family("gauge", "Tracks in a plane's table.", ("plane",)),
    "plane_sends": Family("gauge", "Send streams in a plane's table.", ("plane",)),
    "events_published": Family("counter", "Events given to the bus."),
    "load": Family("gauge", "Share of time in which the busiest plane works or waits for a core, smoothed; 0 to 1."),
    "shedding_mode": Family("gauge", "What load makes the server give up: 0 nothing, 1 top video layers, 2 video."),
    "shedding_changes": Family("counter", "Changes of that mode."),
    "ready": Family("gauge", "Whether a part of the server is ready.", ("check",)),
}
"""What sources may fill, without the prefix; counters get `_total`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of a source: `name` is a key of `FAMILIES`; `labels` are exactly that family's."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """A histogram that a source keeps: `buckets` are (upper bound, cumulative count), the last bound infinite; `total`
    is the sum."""

    name: str
    buckets: Sequence[tuple[float, float]]
    total: float
    labels: Mapping[str, str] = field(default_factory=dict)


Source = Callable[[], Iterable[Sample | HistogramSample]]


class Metrics:
    """The metrics of one server. All methods are called on the event loop."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry(auto_describe=False) if registry is None else registry
        self._sources: list[Source] = []
        self._http = Histogram(
            PREFIX + "http_request_seconds",
            "From the request's head to the end of its answer; event streams left out.",
            ("method", "route", "status"),
            buckets=HTTP_BUCKETS,
            registry=self.registry,
        )
        self._handshake = self._histogram(
            "handshake_seconds", "From a session's first DTLS flight to its keys.", HANDSHAKE_BUCKETS
        )
        self._lag = self._histogram("loop_lag_seconds", "How late a timer of the event loop runs.", LAG_BUCKETS)
        self._rtt = self._histogram(
            "round_trip_seconds", "Round trips to clients, one figure a session each second.", RTT_BUCKETS
        )
        loss = Histogram(
            PREFIX + "fraction_lost",
            "Packets lost, 0 to 1, one figure a stream each second.",
            ("direction",),
            buckets=LOSS_BUCKETS,
            registry=self.registry,
        )
        self._loss = {direction: loss.labels(direction) for direction in ("incoming", "outgoing")}
        self._rejected = Counter(
            PREFIX + "metrics_rejected",
            "Figures that no family is declared for, or sources that failed.",
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(_Sources(self._sources, self._rejected))

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(PREFIX + name, documentation, buckets=buckets, registry=self.registry)

    def add_source(self, source: Source) -> None:
        """`source` is called at every scrape and says how things stand; it must not wait."""
        self._sources.append(source)

    def observe_http(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request; `route` is the template of its path, never the path."""
        self._http.labels(method if method in METHODS else OTHER, route, str(status)).observe(seconds)

    def observe_handshake(self, seconds: float) -> None:
        """One finished DTLS handshake."""
        self._handshake.observe(seconds)

    def observe_loop_lag(self, seconds: float) -> None:
        """How late the loop's watchdog was called."""
        self._lag.observe(seconds)

    def observe_round_trip(self, seconds: float) -> None:
        """A session's round-trip time."""
        self._rtt.observe(seconds)

    def observe_fraction_lost(self, direction: str, fraction: float) -> None:
        """A stream's loss, 0 to 1; `direction` is `incoming` or `outgoing`."""
        self._loss[direction].observe(fraction)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type, in the form that the scraper accepts."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class _Sources(Collector):
    """Asks every source at each scrape."""

    def __init__(self, sources: list[Source], rejected: Counter) -> None:
        self._sources = sources
        self._rejected = rejected

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Any] = {}
        seen: dict[str, set[tuple[str, ...]]] = {}
        for source in self._sources:
            try:
                samples = list(source())
            except Exception:
                log.exception("a source of metrics failed")
                self._rejected.inc()
                continue
            for sample in samples:
                if not self._add(families, seen, sample):
                    self._rejected.inc()
        yield from families.values()

    def _add(
        self,
        families: dict[str, Any],
        seen: dict[str, set[tuple[str, ...]]],
        sample: Sample | HistogramSample,
    ) -> bool:
        family = FAMILIES.get(sample.name)
        is_histogram = isinstance(sample, HistogramSample)
        if family is None or (family.kind == "histogram") != is_histogram or set(sample.labels) != set(family.labels):
            return False
        values = tuple(str(sample.labels[label]) for label in family.labels)
        metric = families.get(sample.name)
        if metric is None:
            metric = families[sample.name] = _FAMILY_TYPES[family.kind](
                PREFIX + sample.name, family.documentation, labels=family.labels
            )
        series = seen.setdefault(sample.name, set())
        if values in series or len(series) >= family.max_series:
            return False
        series.add(values)
        if isinstance(sample, HistogramSample):
            metric.add_metric(values, [(_bound(limit), count) for limit, count in sample.buckets], sample.total)
        else:
            metric.add_metric(values, sample.value)
        return True


_FAMILY_TYPES: Mapping[str, Callable[..., Any]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _bound(limit: float) -> str:
    return "+Inf" if limit == float("inf") else repr(float(limit))
