"""A real server process: `python -m sluicegate serve` on loopback ports of its own.

    with ServerProcess(MAX_SESSIONS=3, API_SECRET=SECRET) as server:
        server.url, server.media_address, server.token("alice", "room")

Keyword arguments in capitals are the product's environment variables; nothing of the product's is inherited from the
environment of the tests. The process, and whatever it starts, ends with the block, or with the tests if these are
killed.
"""

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import jwt

from .rtc_client import candidate_address

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT = 120.0  # a first compilation takes up to a minute, more when the machine is busy
STOP_TIMEOUT = 15.0
RTC_PORTS = 8
# Below the ephemeral range, so that no client of the tests is given such a port between choice and use.
PORT_RANGE = range(20000, 32000)
LOG_TAIL_LINES = 200

# The product's variables: none is passed on unless it is an argument.
VARIABLES = frozenset(
    {
        *("HOST", "PORT", "RTC_MIN_PORT", "RTC_MAX_PORT", "ANNOUNCED_ADDRESSES", "MAX_SESSIONS", "REGION", "NODE_ID"),
        *("TURN_URL", "TURN_USERNAME", "TURN_PASSWORD", "TURN_SECRET", "API_SECRET", "ALLOW_ANONYMOUS", "CORS_ORIGINS"),
        *("REDIS_URL", "NATS_URL", "ENABLE_RECORDING", "RECORDING_STORAGE", "LOG_LEVEL", "LOG_FORMAT"),
        *("PLANE_THREADS", "PLANE_DRIVER", "PLANE_SOCKET", "LOAD_SHEDDING"),
    }
)
SECRET = "a-secret-of-the-tests-that-is-long-enough"
ANY_HOST = ("0.0.0.0", "::")
GRANTS = ("join", "publish", "subscribe")

_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1

#: those that run now: `fixtures` shows their logs when a test fails
running: "list[ServerProcess]" = []


def free_tcp_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on."""
    return _free_ports(socket.SOCK_STREAM, host, 1)


def free_udp_ports(count: int, host: str = "127.0.0.1") -> int:
    """The first of `count` UDP ports in a row that are free."""
    return _free_ports(socket.SOCK_DGRAM, host, count)


def _free_ports(kind: socket.SocketKind, host: str, count: int) -> int:
    chosen = random.SystemRandom()
    for _ in range(200):
        first = chosen.randrange(PORT_RANGE.start, PORT_RANGE.stop - count)
        with contextlib.ExitStack() as opened:
            try:
                for port in range(first, first + count):
                    opened.enter_context(socket.socket(socket.AF_INET, kind)).bind((host, port))
            except OSError:
                continue
            return first
    raise OSError("no free ports")


class ServerProcess:
    """One server. It starts on construction and is ready when the constructor returns, unless `wait` is false.

    `process` is its `subprocess.Popen`, `log_path` its output (both streams), `directory` its working directory.
    Raises RuntimeError with the end of its log when it ends before it is ready, TimeoutError when it never is.
    """

    def __init__(
        self, *, wait: bool = True, timeout: float = READY_TIMEOUT, arguments: tuple[str, ...] = (), **env: Any
    ):
        self._directory = tempfile.TemporaryDirectory(prefix="sluicegate-")
        self.directory = Path(self._directory.name)
        self.log_path = self.directory / "server.log"
        self.environment = {name: _text(value) for name, value in env.items() if value is not None}
        self._fill_environment()
        host = self.environment["HOST"]
        reached = "127.0.0.1" if host in ANY_HOST else f"[{host}]" if ":" in host else host
        self.url = f"http://{reached}:{self.environment['PORT']}"
        self._media_address: tuple[str, int] | None = None
        inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sluicegate", "serve", *arguments],
                cwd=self.directory,
                env={**inherited, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no lock
            )
        running.append(self)
        if wait:
            try:
                self.wait_ready(timeout)
            except BaseException:
                self.stop()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _fill_environment(self) -> None:
        first = free_udp_ports(RTC_PORTS)
        defaults = {
            "HOST": "127.0.0.1",
            "ANNOUNCED_ADDRESSES": "127.0.0.1",
            "PORT": str(free_tcp_port()),
            "RTC_MIN_PORT": str(first),
            "RTC_MAX_PORT": str(first + RTC_PORTS - 1),
            "RECORDING_STORAGE": f"file:{self.directory / 'recordings'}",
        }
        self.environment = {**defaults, **self.environment}

    # -- life

    def wait_ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Wait until `/readyz` says 200."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}\n{self.log_tail()}")
            with contextlib.suppress(OSError):
                if self.get("/readyz", timeout=2.0)[0] == 200:
                    return
            time.sleep(0.05)
        raise TimeoutError(f"the server was not ready in {timeout} s\n{self.log_tail()}")

    def stop(self) -> int:
        """SIGTERM, then SIGKILL to all of its processes; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT)
        self.kill()
        if self in running:
            running.remove(self)
        self._directory.cleanup()
        return self.process.returncode

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    # -- what it says

    def get(self, path: str, *, token: str | None = None, timeout: float = 10.0) -> tuple[int, bytes]:
        """A GET request: status and body, whatever the status is. Raises OSError when there is no answer."""
        return self._request("GET", path, None, token, timeout)

    def log(self) -> str:
        """All that it has written."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The end of it."""
        return "\n".join(self.log().splitlines()[-lines:])

    def token(self, user: str = "*", channel: str = "*", grants: tuple[str, ...] = GRANTS, **claims: Any) -> str | None:
        """A token by the server's API_SECRET; None when it has none and needs none."""
        secret = self.environment.get("API_SECRET")
        if secret is None:
            return None
        body = {"sub": user, "channel_id": channel, "exp": int(time.time()) + 3600, "grants": list(grants), **claims}
        return jwt.encode({name: value for name, value in body.items() if value is not None}, secret, algorithm="HS256")

    @property
    def media_address(self) -> tuple[str, int]:
        """Host and port of the first ICE candidate, asked for with a session that is deleted again."""
        if self._media_address is None:
            token = self.token("support", grants=("admin",))
            body = {"type": "audio", "channel_id": "support", "user_id": "support"}
            status, answer = self._request("POST", "/sessions", body, token, 10.0)
            if status != 201:
                raise RuntimeError(f"POST /sessions: {status} {answer.decode(errors='replace')}")
            session = json.loads(answer)
            self._request("DELETE", f"/sessions/{session['session_id']}", None, token, 10.0)
            self._media_address = candidate_address(session["ice_candidates"][0])
        return self._media_address

    def _request(self, method: str, path: str, body: Any, token: str | None, timeout: float) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    # -- what it costs

    def cpu_seconds(self) -> float:
        """Processor time of all its threads, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Resident memory."""
        resident = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return resident * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self) -> int:
        """Threads."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
