"""A server process is started, asked, measured and ended; here with a program that only passes for the server."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.support import server as servers
from tests.support.server import SECRET, VARIABLES, ServerProcess, _text, free_tcp_port, free_udp_ports

PROGRAM = """
import json, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def answer(self, status, value):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def do_GET(self):
        names = ("HOST", "PORT", "MAX_SESSIONS", "TURN_URL", "ENABLE_RECORDING")
        self.answer(200, {name: os.environ.get(name) for name in names})

    def do_POST(self):
        allowed = self.headers["Authorization"].startswith("Bearer ey")
        candidate = {"ip": "127.0.0.1", "port": int(os.environ["RTC_MIN_PORT"])}
        self.answer(201 if allowed else 401, {"session_id": "s", "ice_candidates": [candidate]})

    def do_DELETE(self):
        self.answer(204, None)

print("ready", sys.argv[1:], flush=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "sluicegate"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PROGRAM)
    monkeypatch.setattr(servers, "ROOT", tmp_path)
    monkeypatch.setenv("TURN_URL", "turn:inherited")


def running_process(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie that waits for whoever reaps orphans here."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.usefixtures("program")
def test_a_server_is_started_asked_and_ended() -> None:
    with ServerProcess(MAX_SESSIONS=3, API_SECRET=SECRET, ENABLE_RECORDING=True) as server:
        assert server in servers.running
        status, body = server.get("/readyz")
        assert status == 200
        assert json.loads(body) == {
            "HOST": "127.0.0.1",
            "PORT": server.environment["PORT"],
            "MAX_SESSIONS": "3",
            "TURN_URL": None,
            "ENABLE_RECORDING": "true",
        }
        assert server.media_address == ("127.0.0.1", int(server.environment["RTC_MIN_PORT"]))
        assert server.cpu_seconds() > 0
        assert server.rss_bytes() > 1 << 20
        assert server.open_files() > 2
        assert server.threads() == 1
        assert "ready ['serve']" in server.log()
        child = int(server.log().split("child ")[1].split()[0])
        os.kill(child, 0)
    assert server.process.returncode == -signal.SIGTERM
    assert server not in servers.running
    deadline = time.monotonic() + 10
    while running_process(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("program")
def test_a_crash_is_seen() -> None:
    with ServerProcess() as server:
        server.kill()
        assert not server.alive
        with pytest.raises(OSError, match="refused"):
            server.get("/readyz")
    assert server.token() is None


def test_a_server_that_ends_says_why() -> None:
    assert "MAX_SESSIONS" in VARIABLES
    with pytest.raises(RuntimeError, match="MAX_SESSIONS"):
        ServerProcess(MAX_SESSIONS="many")


def test_free_ports_can_be_bound() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_tcp_port()))
    first = free_udp_ports(3)
    for port in range(first, first + 3):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            opened.bind(("127.0.0.1", port))


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (3, "3"), (("a", "b"), "a,b")])
def test_values_as_the_environment_has_them(value: object, text: str) -> None:
    assert _text(value) == text
