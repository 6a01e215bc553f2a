"""The composition root: builds every part once, owns every task, stops in order.

Nothing else knows which implementation stands behind a Protocol.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog
import uvloop
from aiohttp import web

from sluicegate import clock
from sluicegate.cluster.bus import ProcessBus
from sluicegate.cluster.registry import ProcessRegistry
from sluicegate.config import Settings
from sluicegate.dtls.certificate import Certificate
from sluicegate.errors import ConfigurationError
from sluicegate.http.app import build_app
from sluicegate.http.connections import ApiRunner
from sluicegate.http.metrics import Metrics
from sluicegate.metering import Meter
from sluicegate.router.plane import Plane
from sluicegate.router.router import Router
from sluicegate.router.sockets import ports_between
from sluicegate.session.service import Service
from sluicegate.transport.driver import Transports

log = structlog.get_logger("sluicegate.app")

POLL_INTERVAL = 0.3
"""How often speakers and quality are looked at; a lower one costs CPU, a higher one shows late who speaks."""
HANDSHAKE_THREADS = 2
"""Threads for DTLS: OpenSSL works without the GIL, so a second one helps where there is a second core."""


def serve(settings: Settings) -> int:
    """Run a node until it is told to stop; the process's exit status."""
    uvloop.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with node(settings) as address:
        print(f"Sluicegate is ready: open {address} in a browser", flush=True)
        await stop.wait()
        log.info("stopping")


@asynccontextmanager
async def node(settings: Settings) -> AsyncIterator[str]:
    """A whole running node; gives the address of its page."""
    async with AsyncExitStack() as stack:
        router = _router(settings)
        stack.push_async_callback(router.stop)
        seconds = await asyncio.to_thread(router.compile, partial(print, flush=True))
        log.info("packet plane ready", seconds=round(seconds, 1), ports=[plane.port for plane in router.planes])
        router.start()

        metrics = Metrics()
        executor = ThreadPoolExecutor(HANDSHAKE_THREADS, "dtls")
        stack.callback(executor.shutdown, wait=False)
        transports = Transports(
            router.planes,
            certificate=Certificate.generate(),
            addresses=settings.media_addresses(),
            executor=executor,
            on_handshake=metrics.observe_handshake,
        )
        stack.push_async_callback(transports.close)
        bus = ProcessBus(settings.node_id)
        stack.callback(bus.close)
        service = Service(
            settings,
            router,
            transports,
            bus,
            ProcessRegistry(settings.node_id),
            clock=clock.monotonic,
            wall=clock.wall,
        )
        for plane in router.planes:
            plane.on_event = partial(service.handle_plane_event, plane)
        stack.callback(service.close_all, "server shut down")
        meter = Meter(service, router, transports, metrics)
        metrics.add_source(meter.samples)

        runner = ApiRunner(build_app(service=service, settings=settings, metrics=metrics, ready=_ready))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        port = await _listen(runner, settings)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        task = tasks.create_task(_poll(service, meter))
        stack.callback(task.cancel)
        gc.freeze()
        yield settings.page_url(port)


def _router(settings: Settings) -> Router:
    """The planes, each on the next free port of the range."""
    ports = ports_between(settings.rtc_min_port, settings.rtc_max_port)
    planes = [Plane(index, host=settings.media_host(), ports=ports) for index in range(settings.plane_threads)]
    return Router(planes, driver=settings.plane_driver, socket=settings.plane_socket)


async def _listen(runner: ApiRunner, settings: Settings) -> int:
    """Serve HTTP; the port that was bound."""
    try:
        site = web.TCPSite(runner, settings.host, settings.port, reuse_address=True)
        await site.start()
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(
            f"PORT is {settings.port}, and {settings.host} cannot be listened on there: {reason}; choose another"
        ) from None
    bound: socket.socket = site._server.sockets[0]  # type: ignore[union-attr]
    return int(bound.getsockname()[1])


def _ready() -> Iterable[tuple[str, bool, str]]:
    """What this node needs before it takes work: the plane, which runs before the first request is answered."""
    yield "plane", True, "compiled and running"


async def _poll(service: Service, meter: Meter) -> None:
    """The slow heartbeat: figures, speakers, quality; and how late it comes, which is the loop's lag."""
    due = clock.monotonic() + POLL_INTERVAL
    while True:
        await asyncio.sleep(max(0.0, due - clock.monotonic()))
        now = clock.monotonic()
        meter.observe(now - due)
        service.poll(now, meter.cpu_load(now))
        due = max(due + POLL_INTERVAL, now)
