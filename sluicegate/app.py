"""The composition root: builds every part once, owns every task, stops in order.

Nothing else knows which implementation stands behind a Protocol.
"""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
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
from sluicegate.metering import Meter, connection_samples
from sluicegate.router.plane import Plane
from sluicegate.router.router import Router
from sluicegate.router.sockets import ports_between
from sluicegate.session.service import Service
from sluicegate.session.shedding import NO_SHEDDING, ShedLimits
from sluicegate.transport.driver import Transports

log = structlog.get_logger("sluicegate.app")

POLL_INTERVAL = 0.3
"""How often speakers and quality are looked at; a lower one costs CPU, a higher one shows late who speaks."""
HANDSHAKE_THREADS = 2
"""Threads for DTLS: OpenSSL works without the GIL, so a second one helps where there is a second core."""

Announce = Callable[[str], None]
say: Announce = partial(print, flush=True)


def serve(settings: Settings) -> int:
    """Run a node until it is told to stop; the process's exit status."""
    _raise_descriptor_limit()
    uvloop.run(_serve(settings))
    return 0


def _raise_descriptor_limit() -> None:
    """Take as many file descriptors as the system lets us have: each HTTP connection and event stream is one."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # macOS names a hard limit that it does not grant
        log.debug("descriptor limit kept", error=str(error))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    starting = True

    def ask_to_stop() -> None:
        # A compilation cannot be interrupted, and there is nothing yet that would miss an orderly end.
        if starting:
            os._exit(0)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask_to_stop)
    async with node(settings, announce=say) as address:
        starting = False
        # What lives from here on was made by calls; what was made before need never be looked through again.
        gc.freeze()
        say(f"Sluicegate is ready: open {address} in a browser")
        await stop.wait()
        log.info("stopping")


@asynccontextmanager
async def node(settings: Settings, *, announce: Announce = lambda line: None) -> AsyncIterator[str]:
    """A whole running node; gives the address of its page.

    Ports are taken first, so that what cannot be had is known at once. Then the packet plane is compiled; meanwhile
    `/healthz` answers, and `/readyz` says what is missing. `announce` is given lines for whoever waits.
    """
    _warn_of_what_is_not_served(settings)
    async with AsyncExitStack() as stack:
        router = _router(settings)
        stack.push_async_callback(router.stop)
        metrics = Metrics()
        executor = ThreadPoolExecutor(HANDSHAKE_THREADS, "dtls")
        stack.callback(executor.shutdown, cancel_futures=True)
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
            paths=metrics,
            limits=ShedLimits() if settings.load_shedding else NO_SHEDDING,
        )
        service.starting = True
        for plane in router.planes:
            plane.on_event = partial(service.handle_plane_event, plane)
        stack.callback(service.close_all, "server shut down")
        meter = Meter(service, router, transports, bus, metrics)
        metrics.add_source(meter.samples)

        ready = partial(_ready, service)
        runner = ApiRunner(build_app(service=service, settings=settings, metrics=metrics, ready=ready))
        metrics.add_source(partial(connection_samples, runner))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        port = await _listen(runner, settings)
        seconds = await asyncio.to_thread(router.compile, announce)
        log.info("packet plane ready", seconds=round(seconds, 1), ports=[plane.port for plane in router.planes])
        router.start()
        service.starting = False
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        task = tasks.create_task(_poll(service, meter))
        stack.callback(task.cancel)
        yield settings.page_url(port)


def _router(settings: Settings) -> Router:
    """The planes, each on the next free port of the range."""
    ports = ports_between(settings.rtc_min_port, settings.rtc_max_port)
    planes: list[Plane] = []
    try:
        for index in range(settings.plane_threads):
            planes.append(Plane(index, host=settings.media_host(), ports=ports))
    except ConfigurationError as error:
        for plane in planes:
            plane.close()
        bounds = f"RTC_MIN_PORT is {settings.rtc_min_port} and RTC_MAX_PORT is {settings.rtc_max_port}"
        raise ConfigurationError(f"{bounds}: {error}") from None
    return Router(planes, driver=settings.plane_driver, socket=settings.plane_socket)


async def _listen(runner: ApiRunner, settings: Settings) -> int:
    """Serve HTTP; the port that was bound."""
    try:
        site = web.TCPSite(runner, settings.host, settings.port, reuse_address=True)
        await site.start()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise ConfigurationError(
            f"PORT is {settings.port}, and {settings.host} cannot be listened on there: {reason}; choose another"
        ) from None
    bound: socket.socket = site._server.sockets[0]  # type: ignore[union-attr]
    return int(bound.getsockname()[1])


def _warn_of_what_is_not_served(settings: Settings) -> None:
    """Settings that are understood, but that no part of this version acts on yet."""
    kept = {
        "NATS_URL": (settings.nats_url, "events stay within this process"),
        "REDIS_URL": (settings.redis_url, "this node knows of no other"),
        "ENABLE_RECORDING": (settings.enable_recording, "nothing is recorded"),
    }
    for variable, (value, consequence) in kept.items():
        if value:
            log.warning(f"{variable} is set, but this version does not use it: {consequence}")


def _ready(service: Service) -> Iterator[tuple[str, bool, str]]:
    """What this node needs before it takes work."""
    yield "plane", not service.starting, "being compiled" if service.starting else "compiled and running"
    if not service.starting:
        # A busy node still serves those it has, so this is never what is missing.
        yield "load", True, service.overload.describe()


async def _poll(service: Service, meter: Meter) -> None:
    """The slow heartbeat: figures, speakers, quality; and how late it comes, which is the loop's lag."""
    due = clock.monotonic() + POLL_INTERVAL
    while True:
        await asyncio.sleep(max(0.0, due - clock.monotonic()))
        now = clock.monotonic()
        meter.observe(now - due)
        try:
            service.poll(now, meter.load(now))
        except Exception:  # figures are not worth the calls that run
            log.exception("poll failed")
        due = max(due + POLL_INTERVAL, now)
