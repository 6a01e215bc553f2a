"""A seeded UDP relay between clients and the server's media port.

    with Relay(server.media_address, seed=7) as relay:
        port = relay.open(up=Link(loss=0.05), down=Link(delay=0.025))
        ...                                # a client that sends to port.address
        port.set(down=Link(outage=True))   # from now on
        port.rebind()                      # the server sees new source ports
        port.counts().down.lost

The packets pass through a process of their own (`relay_worker`). Each source that sends to a port gets a NAT binding of
its own.
"""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .link import Counts, Link

__all__ = ["Counts", "Link", "PortCounts", "Relay", "RelayPort"]

Address = tuple[str, int]
PACKAGE = __name__.rpartition(".")[0]
PACKAGE_ROOT = Path(__file__).resolve().parents[len(PACKAGE.split("."))]


@dataclass(frozen=True, slots=True)
class PortCounts:
    """What a port did to the packets of clients (`up`) and of the server (`down`)."""

    up: Counts
    down: Counts


class RelayPort:
    """One port of a relay: stands for one client's access network."""

    def __init__(self, relay: "Relay", index: int, address: Address) -> None:
        self._relay = relay
        self._index = index
        #: where the client sends, in place of the server's address
        self.address = address

    def set(self, *, up: Link | None = None, down: Link | None = None) -> None:
        """Change what one or both directions do to packets that arrive from now on."""
        links = {name: asdict(link) for name, link in (("up", up), ("down", down)) if link is not None}
        self._relay.command("set", port=self._index, **links)

    def rebind(self) -> list[Address]:
        """Give each client behind this port a new source port; the old ones lead nowhere. Returns the new addresses."""
        return [(upstream[0], upstream[1]) for _, upstream in self._relay.command("rebind", port=self._index)]

    def sources(self) -> list[Address]:
        """The addresses that the server sees."""
        return [(upstream[0], upstream[1]) for _, upstream in self._relay.command("flows", port=self._index)]

    def counts(self) -> PortCounts:
        """What has happened so far."""
        counted = self._relay.command("counts", port=self._index)
        return PortCounts(Counts(**counted["up"]), Counts(**counted["down"]))


class Relay:
    """The relay process. Calls return when they are in effect (some 0.1 ms), so they may be made from a coroutine."""

    def __init__(self, server: Address | None = None, *, seed: int = 1) -> None:
        self._server = server
        self._lock = threading.Lock()
        path = os.pathsep.join(filter(None, (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{PACKAGE}.relay_worker", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, server: Address | None = None, *, up: Link | None = None, down: Link | None = None) -> RelayPort:
        """A new port that leads to `server` (default: the relay's). Its seed is the relay's and the order."""
        target = server or self._server
        if target is None:
            raise ValueError("no server address")
        opened = self.command("open", server=target, up=asdict(up or Link()), down=asdict(down or Link()))
        index, (host, port) = opened
        return RelayPort(self, index, (host, port))

    def cpu_seconds(self) -> float:
        """Processor time that the relay has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def command(self, op: str, **arguments: Any) -> Any:
        """Ask the worker; raises RuntimeError with what it says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the relay has ended: {self._process.wait(5)}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
