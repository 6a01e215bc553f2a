"""The UDP socket of a plane: made once, with buffers for bursts, on IPv4, or on IPv6 that speaks IPv4 as well."""

import errno
import ipaddress
import random
import socket
from collections.abc import Iterable

from sluicegate.errors import ConfigurationError
from sluicegate.router.records import SOL_UDP, UDP_SEGMENT

SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
BUFFER_BYTES = 8 << 20
"""Half a second of 100 Mbps: what may arrive while the machine does something else."""


def open_socket(host: str, ports: Iterable[int]) -> socket.socket:
    """A non-blocking UDP socket on the first free port of `ports` (0: any); `ConfigurationError` if none is free."""
    address = ipaddress.ip_address(host)
    unspecified = address.is_unspecified
    family = (
        socket.AF_INET6 if address.version == 6 or (unspecified and socket.has_dualstack_ipv6()) else socket.AF_INET
    )
    if family == socket.AF_INET6 and address.version == 4:
        host = "::"
    problem: OSError | None = None
    for port in ports:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if unspecified else 1)
            sock.bind((host, port))
        except OSError as error:
            sock.close()
            problem = error
            if error.errno != errno.EADDRINUSE:
                break
            continue
        _widen(sock)
        return sock
    reason = (problem.strerror or problem) if problem else "none was given"
    raise ConfigurationError(f"no UDP port of these can be had for media on {host} ({reason})")


def ports_between(lowest: int, highest: int) -> list[int]:
    """The ports of a range in random order, so that a restarted server is not mistaken for the one before it."""
    ports = list(range(lowest, highest + 1))
    random.shuffle(ports)
    return ports


def _widen(sock: socket.socket) -> None:
    """Ask for large buffers: beyond the system's limit where privileges allow, else up to it."""
    for forced, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)


def offers_gso(sock: socket.socket) -> bool:
    """Whether the kernel knows UDP_SEGMENT."""
    try:
        sock.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True
