"""Whether the ports that the settings name can be had, and where clients are told to send."""

import socket

from sluicegate.config import Settings
from sluicegate.doctor.check import Check, Status
from sluicegate.variables import host_address


def check_http_port(settings: Settings) -> Check:
    where = f"TCP {settings.host} port {settings.port}"
    error = _bind_error(settings.host, settings.port, socket.SOCK_STREAM)
    if error is None:
        return Check("http port", Status.OK, f"{where} is free" if settings.port else "any free one")
    return Check("http port", Status.FAIL, f"{where}: {error} (is the server running already?)")


def check_media_ports(settings: Settings) -> Check:
    low, high = settings.rtc_min_port, settings.rtc_max_port
    if low == 0:
        return Check("media ports", Status.OK, "any free ones")
    free = sum(_bind_error(settings.media_host(), port, socket.SOCK_DGRAM) is None for port in range(low, high + 1))
    detail = f"UDP {low}-{high}: {free} of {high - low + 1} free, {settings.plane_threads} needed"
    return Check("media ports", Status.OK if free >= settings.plane_threads else Status.FAIL, detail)


def _bind_error(host: str, port: int, kind: socket.SocketKind) -> str | None:
    """Why `port` cannot be bound, or None when it can."""
    address = host_address(host)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, kind) as probe:
            if kind is socket.SOCK_STREAM:
                # As servers do: a connection that only lingers in TIME_WAIT does not count as taken.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((str(address), port))
    except OSError as error:
        return error.strerror or str(error)
    return None


def check_candidates(settings: Settings) -> Check:
    addresses = settings.media_addresses()
    if not addresses:
        return Check("candidates", Status.FAIL, "no address to announce; set ANNOUNCED_ADDRESSES")
    only_here = all(host_address(one).is_loopback for one in addresses)
    suffix = "; only clients on this machine reach it (HOST, ANNOUNCED_ADDRESSES)" if only_here else ""
    return Check("candidates", Status.OK, f"{', '.join(addresses)}{suffix}")
