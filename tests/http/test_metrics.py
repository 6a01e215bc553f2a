"""The exposition: declared families only, whatever sources say, and nothing a caller can grow."""

from prometheus_client.parser import text_string_to_metric_families

from sluicegate.http.metrics import HistogramSample, Metrics, Sample
from sluicegate.ids import new_id
from tests.http.fakes import ADMIN, serve


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample by its name and labels, as a scraper reads them."""
    text = metrics.render()[0].decode()
    return {
        sample.name + "".join(f"|{v}" for _, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_sources_are_asked_at_each_scrape() -> None:
    metrics = Metrics()
    sessions = 0
    metrics.add_source(lambda: [Sample("sessions", sessions, {"type": "audio"})])
    assert values(metrics)["sluicegate_sessions|audio"] == 0
    sessions = 7
    assert values(metrics)["sluicegate_sessions|audio"] == 7


def test_drops_by_reason_and_histograms() -> None:
    metrics = Metrics()
    buckets = [(0.001, 5.0), (0.01, 9.0), (float("inf"), 10.0)]
    metrics.add_source(
        lambda: [
            Sample("packets_dropped", 3, {"plane": "0", "reason": "replay"}),
            HistogramSample("plane_tick_seconds", buckets, 0.5, {"plane": "0"}),
        ]
    )
    seen = values(metrics)
    assert seen["sluicegate_packets_dropped_total|0|replay"] == 3
    assert seen["sluicegate_plane_tick_seconds_bucket|0.01|0"] == 9
    assert seen["sluicegate_plane_tick_seconds_count|0"] == 10
    assert seen["sluicegate_plane_tick_seconds_sum|0"] == 0.5


def test_what_is_not_declared_is_left_out_and_counted() -> None:
    metrics = Metrics()
    metrics.add_source(
        lambda: [
            Sample("sessions", 1, {"type": "audio"}),
            Sample("sessions", 2, {"type": "audio"}),  # twice
            Sample("sessions", 1, {"user": "ada"}),
            Sample("sessions", 1),
            Sample("made_up", 1),
            Sample("plane_tick_seconds", 1, {"plane": "0"}),  # no histogram
        ]
    )
    values(metrics)
    seen = values(metrics)
    assert seen["sluicegate_sessions|audio"] == 1
    assert seen["sluicegate_metrics_rejected_total"] >= 5
    assert not [name for name in seen if "ada" in name or "made_up" in name]


def test_a_family_is_bounded() -> None:
    metrics = Metrics()
    metrics.add_source(lambda: [Sample("sessions", 1, {"type": str(n)}) for n in range(10_000)])
    assert len([name for name in values(metrics) if name.startswith("sluicegate_sessions")]) == 256


def test_a_source_that_fails_costs_its_own_figures_only() -> None:
    metrics = Metrics()

    def broken() -> list[Sample]:
        raise RuntimeError("no")

    metrics.add_source(broken)
    metrics.add_source(lambda: [Sample("channels", 2)])
    assert values(metrics)["sluicegate_channels"] == 2


def test_observations_are_histograms() -> None:
    metrics = Metrics()
    metrics.observe_handshake(0.02)
    metrics.observe_loop_lag(0.001)
    metrics.observe_round_trip(0.05)
    metrics.observe_fraction_lost("incoming", 0.02)
    metrics.observe_http("BREW", "/x", 405, 0.001)
    seen = values(metrics)
    for name in ("handshake_seconds", "loop_lag_seconds", "round_trip_seconds"):
        assert seen[f"sluicegate_{name}_count"] == 1
    assert seen["sluicegate_fraction_lost_count|incoming"] == 1
    assert seen["sluicegate_http_request_seconds_count|other|/x|405"] == 1


async def test_requests_are_counted_by_route_never_by_path() -> None:
    async with serve() as server:
        for _ in range(20):
            async with server.client.delete(f"/sessions/{new_id()}", headers=ADMIN) as response:
                assert response.status == 204
            async with server.client.get(f"/{new_id()}") as response:
                assert response.status == 404
        async with server.client.get("/metrics", headers=ADMIN) as response:
            assert response.status == 200
            assert response.content_type == "text/plain"
            text = await response.text()
        assert 'method="DELETE",route="/sessions/{session_id}",status="204"} 20.0' in text
        assert 'method="GET",route="unmatched",status="404"} 20.0' in text
        assert 'sluicegate_ready{check="plane"} 1.0' in text
        assert "process_resident_memory_bytes" in text
        assert "process_cpu_seconds_total" in text
        series = len(text.splitlines())
        for _ in range(20):
            async with server.client.get(f"/{new_id()}") as response:
                await response.read()
        async with server.client.get("/metrics", headers=ADMIN) as response:
            # The scrape itself is a route that was not there the first time.
            assert len((await response.text()).splitlines()) <= series + 20


async def test_openmetrics_for_who_asks_for_it() -> None:
    async with serve() as server:
        headers = {**ADMIN, "Accept": "application/openmetrics-text; version=1.0.0"}
        async with server.client.get("/metrics", headers=headers) as response:
            assert response.content_type == "application/openmetrics-text"
            assert (await response.text()).endswith("# EOF\n")
