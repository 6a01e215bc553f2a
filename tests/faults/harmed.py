"""A server process that harms itself on request (`harmed_node`)."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support import server as servers
from tests.support.server import READY_TIMEOUT, ROOT, VARIABLES, ServerProcess


class HarmedServer(ServerProcess):
    """As a `ServerProcess`, ready when constructed. `shedding` are fields of `ShedLimits` that are to be others."""

    def __init__(self, *, shedding: dict[str, float] | None = None, **env: Any) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="sluicegate-")
        self.directory = Path(self._directory.name)
        self.log_path = self.directory / "server.log"
        self.environment = {name: str(value) for name, value in env.items()}
        self._fill_environment()
        self.url = f"http://{self.environment['HOST']}:{self.environment['PORT']}"
        self._media_address = None
        inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._orders, theirs = socket.socketpair()
        with self.log_path.open("wb") as log, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.harmed_node", str(theirs.fileno()), json.dumps(shedding or {})],
                cwd=self.directory,
                env={**inherited, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        servers.running.append(self)
        try:
            self.wait_ready(READY_TIMEOUT)
        except BaseException:
            self.stop()
            raise

    def harm(self, op: str, **arguments: Any) -> Any:
        """Do harm, and return when it is over."""
        self._orders.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
        with self._orders.makefile("rb", buffering=0) as answers:
            return json.loads(answers.readline())

    def counts(self) -> dict[str, int]:
        """How many tasks and objects it has."""
        return dict(self.harm("counts"))

    def stop(self) -> int:
        self._orders.close()
        return super().stop()
