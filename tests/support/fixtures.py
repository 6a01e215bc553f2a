"""What a conftest takes from here: `from tests.support.fixtures import pytest_runtest_makereport, relay, server`.

`server` is one open server for the whole session; tests share it and keep apart by channel names (`channel`). The hook
adds the end of each running server's log to the report of a test that failed.
"""

import uuid
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from . import server as servers
from .relay import Relay
from .server import ServerProcess


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A ready server without API_SECRET."""
    with ServerProcess() as started:
        yield started


@pytest.fixture(scope="module")
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts further servers, with other settings, which end with the test module."""
    started: list[ServerProcess] = []

    def start(**environment: Any) -> ServerProcess:
        started.append(ServerProcess(**environment))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def relay(server: ServerProcess) -> Iterator[Relay]:
    """A relay to the shared server."""
    with Relay(server.media_address) as opened:
        yield opened


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return f"channel-{uuid.uuid4().hex[:12]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the servers' logs beside the failure."""
    report = yield
    if report.failed:
        for process in servers.running:
            report.sections.append((f"Log of the server at {process.url}", process.log_tail()))
    return report
