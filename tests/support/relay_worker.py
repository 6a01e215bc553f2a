"""The process behind `relay.Relay`: sockets, an epoll loop, and commands as JSON lines on its standard input.

It is a process of its own, so that a busy test does not add its own delays to the network. It ends when its input ends.
"""

import json
import os
import select
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from .link import Channel, Link

SOCKET_BUFFER_BYTES = 4 << 20
# Packets read from one socket before the others get their turn.
READ_BURST = 64
# Lower: a browser with a few candidates meets the bound. Higher: a flood of sources eats file descriptors.
MAX_FLOWS = 64

Address = tuple[str, int]


def udp_socket(host: str, port: int = 0) -> socket.socket:
    """A bound, non-blocking UDP socket with large buffers."""
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        opened.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
    opened.bind((host, port))
    opened.setblocking(False)
    return opened


@dataclass(slots=True, eq=False)
class Flow:
    """One source behind a port, and the socket by which the server knows it: a NAT binding."""

    client: Address
    upstream: socket.socket


@dataclass(slots=True)
class Port:
    """One relay port: where clients send to, and the channel of each direction."""

    front: socket.socket
    server: Address
    up: Channel
    down: Channel
    flows: dict[Address, Flow] = field(default_factory=dict)


class Worker:
    """All ports of one relay."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._ports: list[Port] = []
        self._by_fd: dict[int, tuple[Port, Flow | None]] = {}
        self._epoll = select.epoll()
        self._input = os.dup(sys.stdin.fileno())
        self._pending = b""
        self._epoll.register(self._input, select.EPOLLIN)
        self._open = True

    def run(self) -> None:
        """Serve until the standard input ends."""
        while self._open:
            for fd, _ in self._epoll.poll(self._timeout()):
                if fd == self._input:
                    self._read_commands()
                else:
                    self._read_packets(fd)
            now = monotonic()
            for port in self._ports:
                self._deliver(port, now)

    def _timeout(self) -> float | None:
        times = [due for port in self._ports for due in (port.up.next_due(), port.down.next_due()) if due is not None]
        return max(0.0, min(times) - monotonic()) if times else None

    def _read_packets(self, fd: int) -> None:
        entry = self._by_fd.get(fd)
        if entry is None:  # closed by a rebinding earlier in this round
            return
        port, flow = entry
        for _ in range(READ_BURST):
            try:
                if flow is None:
                    data, source = port.front.recvfrom(65535)
                    sender = port.flows.get(source) or self._new_flow(port, source)
                    if sender is not None:
                        port.up.submit(data, sender, monotonic())
                else:
                    port.down.submit(flow.upstream.recv(65535), flow, monotonic())
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of an earlier packet
                continue

    def _new_flow(self, port: Port, source: Address) -> Flow | None:
        if len(port.flows) >= MAX_FLOWS:
            return None
        flow = port.flows[source] = Flow(source, self._bind(port))
        self._by_fd[flow.upstream.fileno()] = (port, flow)
        return flow

    def _bind(self, port: Port) -> socket.socket:
        upstream = udp_socket("::1" if ":" in port.server[0] else "127.0.0.1")
        upstream.connect(port.server)
        self._epoll.register(upstream.fileno(), select.EPOLLIN)
        return upstream

    def _unbind(self, flow: Flow) -> None:
        self._by_fd.pop(flow.upstream.fileno(), None)
        self._epoll.unregister(flow.upstream.fileno())
        flow.upstream.close()

    def _deliver(self, port: Port, now: float) -> None:
        for data, flow in port.up.due(now):
            with suppress(OSError):  # as a network would: nobody is told
                flow.upstream.send(data)
        for data, flow in port.down.due(now):
            with suppress(OSError):
                port.front.sendto(data, flow.client)

    def _read_commands(self) -> None:
        chunk = os.read(self._input, 65536)
        if not chunk:
            self._open = False
            return
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            try:
                answer = {"result": self._command(**json.loads(line))}
            except Exception as error:
                answer = {"error": repr(error)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()

    def _command(self, op: str, port: int = -1, **arguments: Any) -> Any:
        if op == "open":
            return self._open_port(**arguments)
        chosen = self._ports[port]
        if op == "set":
            for name, link in arguments.items():
                getattr(chosen, name).set(_link(link))
            return None
        if op == "rebind":
            for flow in chosen.flows.values():
                old = Flow(flow.client, flow.upstream)
                flow.upstream = self._bind(chosen)  # before the old one is closed: the port must differ
                self._by_fd[flow.upstream.fileno()] = (chosen, flow)
                self._unbind(old)
            return self._command("flows", port)
        if op == "flows":
            return [[flow.client[:2], flow.upstream.getsockname()[:2]] for flow in chosen.flows.values()]
        if op == "counts":
            return {"up": asdict(chosen.up.counts), "down": asdict(chosen.down.counts)}
        raise ValueError(op)

    def _open_port(self, server: list[Any], up: dict[str, Any], down: dict[str, Any]) -> Any:
        host = "::1" if ":" in server[0] else "127.0.0.1"
        seed = f"{self._seed}/{len(self._ports)}"
        port = Port(
            udp_socket(host),
            (server[0], server[1]),
            Channel(_link(up), seed + "/up"),
            Channel(_link(down), seed + "/down"),
        )
        self._ports.append(port)
        self._by_fd[port.front.fileno()] = (port, None)
        self._epoll.register(port.front.fileno(), select.EPOLLIN)
        return [len(self._ports) - 1, port.front.getsockname()[:2]]


def _link(values: dict[str, Any]) -> Link:
    return Link(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


if __name__ == "__main__":
    Worker(sys.argv[1]).run()
