"""A server process on a core of its own, from start to stop."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Self

from benchmarks.machine import pin

ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT = 300.0
"""A first compilation takes a minute of CPU, and the core may be shared."""
STOP_TIMEOUT = 10.0
RTC_PORTS = 16


class PinnedProcess:
    """Any program, pinned to one core, its output in a file; it ends with the block."""

    def __init__(
        self, arguments: list[str], core: int, environment: dict[str, str] | None = None, *, cores: int = 1
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bench-")
        self.log_path = Path(self._directory.name) / "log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: pin(core, cores),  # noqa: PLW1509 (one system call)
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to its group when that does not help."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT)
        self._directory.cleanup()

    def check(self) -> None:
        """RuntimeError with its last words when it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended with {self.process.returncode}:\n{self.log_path.read_text()[-4000:]}")

    def wait_http(self, url: str, timeout: float = READY_TIMEOUT) -> None:
        """Until `url` answers 200; RuntimeError with its last words when it ends before, TimeoutError when never."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"{url} did not answer in {timeout:g} s")


class SluicegateProcess(PinnedProcess):
    """A server as `sluicegate serve` runs it, on free ports of loopback; ready when the constructor returns."""

    def __init__(self, core: int, *, cores: int = 1, **environment: str) -> None:
        port, rtc = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
        self.url = f"http://127.0.0.1:{port}"
        settings = {
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "RTC_MIN_PORT": str(rtc),
            "RTC_MAX_PORT": str(rtc + RTC_PORTS - 1),
            "MAX_SESSIONS": "10000",
            "LOAD_SHEDDING": "false",
            "LOG_LEVEL": "warning",
        }
        super().__init__([sys.executable, "-m", "sluicegate", "serve"], core, {**settings, **environment}, cores=cores)
        try:
            self.wait_http(f"{self.url}/readyz")
        except BaseException:
            self.stop()
            raise


def free_port(kind: socket.SocketKind) -> int:
    """A port that nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
