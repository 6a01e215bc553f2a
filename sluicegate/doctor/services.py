"""Whether the services that the settings name answer: Redis, NATS, TURN and the storage of recordings."""

import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from sluicegate.config import Settings
from sluicegate.doctor.check import Check, Status

REACH_TIMEOUT = 2.0
# RFC 8489 §6: a Binding request without attributes, which every STUN and TURN server answers.
STUN_BINDING = struct.pack("!HHI", 0x0001, 0, 0x2112A442)


def check_services(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """One check for each service that is configured; none when the server stands alone."""
    if settings.redis_url:
        yield _reach_url("redis", settings.redis_url, default_port=6379)
    if settings.nats_url:
        yield _reach_url("nats", settings.nats_url, default_port=4222)
    if settings.turn_url:
        yield check_turn(settings.turn_url)
    if settings.enable_recording:
        yield check_storage(settings.recording_storage, environ)


def check_turn(url: str) -> Check:
    """Knock at a TURN server the way that `url` says clients will: by UDP, else by TCP."""
    scheme, _, rest = url.partition(":")
    place, _, query = rest.partition("?")
    parts = urlsplit(f"//{place}")
    host, port = parts.hostname or "", parts.port or (5349 if scheme == "turns" else 3478)
    if scheme == "turns" or query == "transport=tcp":
        return _reach("turn", host, port)
    return _reach_stun("turn", host, port)


def check_storage(storage: str, environ: Mapping[str, str]) -> Check:
    """Whether recordings can be written where `storage` says; for S3, whether its endpoint answers."""
    if storage.startswith("file:"):
        folder = Path(storage.removeprefix("file:"))
        nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if nearest.is_dir() and os.access(nearest, os.W_OK):
            return Check("storage", Status.OK, f"{folder} can be written")
        return Check("storage", Status.FAIL, f"{folder} cannot be written")
    endpoints = (environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    bucket = urlsplit(storage).hostname
    endpoint = next((one for one in endpoints if one), f"https://{bucket}.s3.amazonaws.com")
    return _reach_url("storage", endpoint, default_port=80 if endpoint.startswith("http:") else 443)


def _reach_url(name: str, url: str, default_port: int) -> Check:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or default_port
    except ValueError:
        host = None
    if not host:
        return Check(name, Status.FAIL, "its address is not a URL with a host")
    return _reach(name, host, port)


def _reach(name: str, host: str, port: int) -> Check:
    began = time.perf_counter()
    try:
        socket.create_connection((host, port), timeout=REACH_TIMEOUT).close()
    except OSError as error:
        return Check(name, Status.FAIL, f"{host} TCP port {port}: {_reason(error)}")
    return Check(name, Status.OK, f"{host} TCP port {port} answered in {(time.perf_counter() - began) * 1000:.1f} ms")


def _reach_stun(name: str, host: str, port: int) -> Check:
    transaction = os.urandom(12)
    began = time.perf_counter()
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.settimeout(REACH_TIMEOUT)
            probe.connect(address)
            probe.send(STUN_BINDING + transaction)
            answer = probe.recv(2048)
    except OSError as error:
        return Check(name, Status.FAIL, f"{host} UDP port {port}: {_reason(error)}")
    if answer[8:20] != transaction:
        return Check(name, Status.FAIL, f"{host} UDP port {port}: what answered does not speak STUN")
    return Check(name, Status.OK, f"{host} UDP port {port} answered in {(time.perf_counter() - began) * 1000:.1f} ms")


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {REACH_TIMEOUT:g} s (a firewall, or nothing there)"
    if isinstance(error, ConnectionRefusedError):
        return "refused (nothing listens there)"
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    return error.strerror or str(error)
