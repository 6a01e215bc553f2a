"""A whole node in this process: each way of running the plane carries media, and nothing is left when it ends."""

import asyncio
import gc
import json
import os
import threading
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sluicegate import app
from sluicegate.config import PlaneDriver, PlaneSocket, Settings
from sluicegate.errors import ConfigurationError
from tests.support.aiortc_client import AiortcClient
from tests.support.api import Api, ApiFailure
from tests.support.rtc_client import candidate_address
from tests.support.server import RTC_PORTS, free_tcp_port, free_udp_ports

PATIENCE = 30.0
WAYS = [
    pytest.param(PlaneDriver.THREAD, PlaneSocket.BATCH, id="thread"),
    pytest.param(PlaneDriver.LOOP, PlaneSocket.BATCH, id="loop"),
    pytest.param(PlaneDriver.LOOP, PlaneSocket.PORTABLE, id="portable"),
]


def settings(**fields: Any) -> Settings:
    first = free_udp_ports(RTC_PORTS)
    fields = {"port": 0, "announced_addresses": ("127.0.0.1",), **fields}
    return Settings(rtc_min_port=first, rtc_max_port=first + RTC_PORTS - 1, **fields)


@asynccontextmanager
async def node(**fields: Any) -> AsyncIterator[str]:
    """The address of a node, without the slash behind it."""
    async with app.node(settings(**fields)) as address:
        yield address.rstrip("/")


async def talk(url: str, channel: str) -> int:
    """Two people, of whom one is seen and heard by the other; the media port that they were given."""
    async with (
        AiortcClient.joined(url, channel, "ann") as ann,
        AiortcClient.joined(url, channel, "ben") as ben,
    ):
        await ann.publish_audio(440.0)
        await ann.publish_video()
        meters = await ben.subscribe_all()
        assert len(meters) == 2
        for meter in meters.values():
            await meter.until(5, PATIENCE)
        return candidate_address(ann.session["ice_candidates"][0])[1]


def descriptors() -> set[str]:
    """What the open file descriptors lead to; the numbers change when a collector has run."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{entry} {os.readlink(f'/proc/self/fd/{entry}')}")
        except OSError:
            continue  # that of the listing itself
    return found


def own_threads() -> set[str]:
    return {one.name for one in threading.enumerate() if one.name.startswith(("plane-", "dtls"))}


@pytest.mark.parametrize(("driver", "socket"), WAYS)
async def test_media_flows_whatever_turns_the_plane(driver: PlaneDriver, socket: PlaneSocket) -> None:
    async with node(plane_driver=driver, plane_socket=socket) as url:
        await talk(url, "lobby")
        with_thread = any(name.startswith("plane-") for name in own_threads())
        assert with_thread == (driver is PlaneDriver.THREAD)


@pytest.mark.parametrize(("driver", "socket"), WAYS)
async def test_two_planes_have_a_port_and_a_channel_each(driver: PlaneDriver, socket: PlaneSocket) -> None:
    async with node(plane_threads=2, plane_driver=driver, plane_socket=socket) as url:
        # Both channels live while the second is made, so it goes to the other plane.
        ports = await asyncio.gather(talk(url, "east"), talk(url, "west"))
        assert len(set(ports)) == 2


async def test_nothing_is_left_when_a_node_ends() -> None:
    async with node() as url:  # what is made once in a process is made here
        await talk(url, "lobby")
    gc.collect()
    before, tasks = descriptors(), asyncio.all_tasks()
    async with node() as url:
        await talk(url, "lobby")
        assert own_threads() > set()
    gc.collect()
    assert own_threads() == set()
    assert asyncio.all_tasks() == tasks
    assert len(descriptors()) <= len(before), descriptors() - before


async def test_a_node_ends_while_its_sessions_run() -> None:
    async with node() as url, AiortcClient.joined(url, "lobby", "ann") as ann:
        await ann.publish_audio()
    assert own_threads() == set()


async def test_a_taken_http_port_is_said_and_frees_the_media_ports() -> None:
    async with node() as url:
        port = int(url.rpartition(":")[2])
        second = settings(port=port)
        before = len(descriptors())
        with pytest.raises(ConfigurationError, match=f"PORT is {port}.*already in use"):
            async with app.node(second):
                pass
        gc.collect()
        assert len(descriptors()) <= before


async def test_too_few_media_ports_are_said() -> None:
    only = free_udp_ports(1)
    async with app.node(Settings(port=0, rtc_min_port=only, rtc_max_port=only)):
        with pytest.raises(ConfigurationError, match=f"RTC_MIN_PORT is {only} .*already in use"):
            async with app.node(Settings(port=0, rtc_min_port=only, rtc_max_port=only)):
                pass


async def test_readiness_waits_for_the_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the plane is compiled the process is alive, not ready, and takes no sessions."""
    compiling, go_on = threading.Event(), threading.Event()

    def compile_slowly(self: object, announce: app.Announce) -> float:
        announce("compiling")
        compiling.set()
        assert go_on.wait(PATIENCE)
        return 0.0

    # Nothing but the wait: no packet comes, so the first turn may compile.
    monkeypatch.setattr("sluicegate.router.router.Router.compile", compile_slowly)
    port, lines = free_tcp_port(), []
    url = f"http://127.0.0.1:{port}"
    entering = app.node(settings(port=port), announce=lines.append)
    starting = asyncio.ensure_future(entering.__aenter__())
    try:
        assert await asyncio.to_thread(compiling.wait, PATIENCE)
        assert lines == ["compiling"]
        async with Api(url) as api:
            assert (await api.request("GET", "/healthz")).status == 200
            answer = await api.request("GET", "/readyz")
            assert answer.status == 503
            assert answer.json()["checks"] == [{"name": "plane", "ok": False, "detail": "being compiled"}]
            with pytest.raises(ApiFailure) as caught:
                await api.create_session("lobby", "ann")
            assert caught.value.status == 503
            assert int(caught.value.headers["Retry-After"]) >= 1
            go_on.set()
            await starting
            assert (await api.request("GET", "/readyz")).status == 200
            await api.create_session("lobby", "ann")
    finally:
        go_on.set()
        await starting
        await entering.__aexit__(None, None, None)


async def test_every_declared_figure_is_filled() -> None:
    """What `/metrics` declares has a source; labels and names are those that were declared."""
    from sluicegate.http.metrics import FAMILIES

    async with node() as url:
        await talk(url, "lobby")
        async with Api(url) as api, AiortcClient.joined(url, "lobby", "ann") as ann:
            await ann.publish_audio()
            await ann.publish_video()
            async with AiortcClient.joined(url, "lobby", "ben") as ben:
                for meter in (await ben.subscribe_all()).values():
                    await meter.until(5, PATIENCE)
                text = (await api.request("GET", "/metrics")).body.decode()
                async with asyncio.timeout(PATIENCE):  # sessions are sampled once a second
                    while "fraction_lost_count" not in text or "round_trip_seconds_count 0.0" in text:
                        await asyncio.sleep(0.1)
                        text = (await api.request("GET", "/metrics")).body.decode()
    assert "sluicegate_metrics_rejected_total 0.0" in text
    names = {line.split(" ")[0].partition("{")[0] for line in text.splitlines() if not line.startswith("#")}
    for name, family in FAMILIES.items():
        suffix = {"counter": "_total", "histogram": "_count"}.get(family.kind, "")
        assert f"sluicegate_{name}{suffix}" in names


async def test_the_page_is_where_the_node_says() -> None:
    async with node() as url:

        def fetch() -> tuple[int, bytes]:
            with urllib.request.urlopen(url + "/", timeout=PATIENCE) as response:
                return response.status, response.read()

        status, body = await asyncio.to_thread(fetch)
        assert status == 200
        assert b"<!doctype html>" in body.lower()
        document = await asyncio.to_thread(lambda: json.loads(urllib.request.urlopen(url + "/openapi.json").read()))
        assert document["openapi"].startswith("3.1")


def test_the_descriptor_limit_is_raised_to_the_hard_one() -> None:
    """In a child, since this process's limit is also pytest's."""
    import resource
    import subprocess
    import sys

    code = (
        "import resource; from sluicegate import app\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "app._raise_descriptor_limit()\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    root = Path(__file__).resolve().parents[1]
    printed = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    soft, hard = map(int, printed.split())
    assert soft == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
