"""What a load test found, as a value, as text and as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

from sluicegate.loadtest.plan import Scenario
from sluicegate.loadtest.tables import LATENCY_STEPS


@dataclass(frozen=True, slots=True)
class Joining:
    """How the clients got in."""

    clients: int
    seconds: float
    median_seconds: float
    slowest_seconds: float


@dataclass(frozen=True, slots=True)
class Latency:
    """From just before the sender's system call to the kernel's receipt at the receiver's socket, in ms."""

    p50: float
    p99: float
    p999: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Result:
    """One run. Rates and CPU are of the measured seconds, loss is of everything from first to last packet."""

    scenario: str
    profile: str
    clients: int
    tracks: int
    subscriptions: int
    seconds: float
    packets_sent_per_second: float
    packets_received_per_second: float
    megabits_received_per_second: float
    packet_bytes: dict[str, float]
    expected: int
    received: int
    loss: float
    latency: Latency | None
    joining: Joining
    server_cpu_seconds: float | None = None
    server_cpu_us_per_packet: float | None = None
    server_cpu_load: float | None = None
    server_threads_us_per_packet: dict[str, float] = field(default_factory=dict)
    client_cpu_load: float = 0.0
    verified: int = 0
    failed_authentication: int = 0
    wrong_payload: int = 0
    latest_send_ms: float = 0.0
    late_packets: int = 0
    key_frame_requests: int = 0
    nacks: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """The summary for people."""
        rows = [
            (
                "received",
                f"{self.packets_received_per_second:,.0f} packets/s, {self.megabits_received_per_second:.1f} Mbps",
            ),
            ("sent", f"{self.packets_sent_per_second:,.0f} packets/s"),
            ("lost", f"{100 * self.loss:.3f} % ({self.expected - self.received:,} of {self.expected:,})"),
        ]
        if self.latency is not None:
            one = self.latency
            rows.append(
                (
                    "latency",
                    f"p50 {one.p50:.2f} ms, p99 {one.p99:.2f} ms, p99.9 {one.p999:.2f} ms, max {one.maximum:.1f} ms",
                )
            )
        if self.server_cpu_us_per_packet is not None and self.server_cpu_load is not None:
            rows.append(
                (
                    "server CPU",
                    f"{self.server_cpu_us_per_packet:.2f} µs a packet, {100 * self.server_cpu_load:.1f} % of a core",
                )
            )
        for name, cost in sorted(self.server_threads_us_per_packet.items(), key=lambda item: -item[1])[:4]:
            rows.append((f"  {name}", f"{cost:.2f} µs a packet"))
        rows.append(("verified", f"{self.verified:,} packets decrypted and right, {self._wrong} wrong"))
        joining = self.joining
        rows.append(
            (
                "joined",
                f"{joining.clients} clients in {joining.seconds:.1f} s, each {1000 * joining.median_seconds:.0f} ms",
            )
        )
        rows.append(
            (
                "this client",
                f"{100 * self.client_cpu_load:.0f} % of a core, sent up to {self.latest_send_ms:.1f} ms late",
            )
        )
        return [f"  {name:<12} {text}" for name, text in rows]

    @property
    def _wrong(self) -> int:
        return self.failed_authentication + self.wrong_payload


def percentile(buckets: Any, share: float) -> float:
    """The value (ms) that `share` of the counts do not exceed, to the width of a bucket."""
    total = int(buckets.sum())
    if total == 0:
        return 0.0
    rank = share * total
    seen = 0
    for index, count in enumerate(buckets.tolist()):
        seen += count
        if seen >= rank:
            return bucket_top(index) / 1000
    return bucket_top(len(buckets) - 1) / 1000


def bucket_top(index: int) -> int:
    """The µs just above a bucket of `engine.latency_bucket`."""
    if index < 2 * LATENCY_STEPS:
        return index + 1
    octave = index // LATENCY_STEPS - 1
    return (index - octave * LATENCY_STEPS + 1) << octave


def title(scenario: Scenario) -> str:
    """One line that says what is loaded."""
    kinds = "+".join(kind.name.lower() for kind in reversed(scenario.kinds))
    people = f"{scenario.publishers} publishing {kinds}"
    if scenario.mesh:
        people += " to each other"
    if scenario.subscribers:
        people += f", {scenario.subscribers} receiving"
    rooms = f"{scenario.rooms} rooms of " if scenario.rooms > 1 else ""
    return f"{scenario.name}: {rooms}{people}, {scenario.profile.value}"
