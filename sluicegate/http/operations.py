"""The calls for whoever runs the server: health, readiness and metrics."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
from aiohttp import web

from sluicegate.errors import Unavailable
from sluicegate.http.metrics import Metrics
from sluicegate.http.problems import CONTENT_TYPE, Problem, problem_type
from sluicegate.http.routing import Access, Call, Operation
from sluicegate.session.caller import Grant

TAG = "Operations"

Ready = Callable[[], Iterable[tuple[str, bool, str]]]
"""What must be well before the server takes work: (name, whether it is, a sentence). It must not wait: it says what is
known."""


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


class ReadyCheck(msgspec.Struct, frozen=True):
    """One thing that the server needs."""

    name: str
    ok: bool
    detail: str


class Readiness(msgspec.Struct, frozen=True):
    """Everything that the server needs is there."""

    status: str
    checks: tuple[ReadyCheck, ...]


@dataclass(frozen=True, slots=True)
class Operations:
    """The handlers."""

    ready: Ready
    metrics: Metrics

    async def healthz(self, call: Call) -> Health:
        return Health()

    async def readyz(self, call: Call) -> Readiness | web.StreamResponse:
        checks = tuple(ReadyCheck(name, ok, detail) for name, ok, detail in self.ready())
        missing = [check.name for check in checks if not check.ok]
        if not missing:
            return Readiness("ready", checks)
        problem = Problem(
            type=problem_type(Unavailable.title),
            title=Unavailable.title,
            status=503,
            detail=f"Not ready: {', '.join(missing)}.",
            checks=tuple(msgspec.to_builtins(check) for check in checks),
        )
        body = msgspec.json.encode(problem)
        return web.Response(status=503, body=body, content_type=CONTENT_TYPE, headers={"Retry-After": "1"})

    async def render_metrics(self, call: Call) -> web.StreamResponse:
        body, content_type = self.metrics.render(call.request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def operations(self) -> tuple[Operation, ...]:
        """Rows of the table."""
        return (
            Operation(
                method="GET",
                path="/healthz",
                operation_id="health",
                summary="Whether the process is alive",
                handler=self.healthz,
                tag=TAG,
                access=Access.HEALTH,
                response=Health,
                quiet=True,
            ),
            Operation(
                method="GET",
                path="/readyz",
                operation_id="readiness",
                summary="Whether the server takes work, and if not, what is missing",
                handler=self.readyz,
                tag=TAG,
                access=Access.HEALTH,
                response=Readiness,
                refusals=(503,),
                quiet=True,
            ),
            Operation(
                method="GET",
                path="/metrics",
                operation_id="metrics",
                summary="Figures for Prometheus",
                handler=self.render_metrics,
                tag=TAG,
                grants=frozenset({Grant.ADMIN}),
                media_type="text/plain",
                quiet=True,
            ),
        )
