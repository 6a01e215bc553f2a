"""`sluicegate serve` as whoever runs it meets it: how it ends, and what it says when it cannot begin."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.server import ServerProcess, free_tcp_port, free_udp_ports

PATIENCE = 30.0
STARTING = 120.0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def end_of(server: ServerProcess) -> tuple[int, list[str]]:
    """How a server that ends by itself ended, and what it said."""
    status = server.process.wait(STARTING)
    lines = server.log().splitlines()
    server.stop()
    return status, lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_when_told_and_leaves_no_trace(number: signal.Signals) -> None:
    server = ServerProcess()
    assert f"Sluicegate is ready: open http://localhost:{server.environment['PORT']}/ in a browser" in server.log()
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE) == 0
    assert "Traceback" not in server.log()
    server.stop()


def test_it_stops_while_the_plane_is_being_compiled(tmp_path: Path) -> None:
    """The first start on a machine: nothing is cached, and whoever waits may change his mind."""
    server = ServerProcess(wait=False, NUMBA_CACHE_DIR=tmp_path)
    while "compiling the packet plane" not in server.log():
        assert server.alive, server.log()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE) == 0
    assert "Traceback" not in server.log()
    server.stop()


def test_a_taken_port_is_one_line(stack: ExitStack) -> None:
    port = free_tcp_port()
    stack.enter_context(socket.create_server(("127.0.0.1", port)))
    status, lines = end_of(ServerProcess(wait=False, PORT=port))
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith(
        f"sluicegate: PORT is {port}, and 127.0.0.1 cannot be listened on there: Address already"
    )


def test_taken_media_ports_are_one_line(stack: ExitStack) -> None:
    port = free_udp_ports(1)
    stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", port))
    status, lines = end_of(ServerProcess(wait=False, RTC_MIN_PORT=port, RTC_MAX_PORT=port))
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"sluicegate: RTC_MIN_PORT is {port} and RTC_MAX_PORT is {port}: no UDP port")
