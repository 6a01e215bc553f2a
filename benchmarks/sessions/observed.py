"""What can be seen of a server from outside: memory, descriptors, threads, and what `/metrics` counts."""

import os
import re
import socket
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

SERIES = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
GAUGES = (
    "sluicegate_sessions",
    "sluicegate_channels",
    "sluicegate_tracks",
    "sluicegate_subscriptions",
    "sluicegate_plane_transports",
    "sluicegate_plane_tracks",
    "sluicegate_plane_sends",
    "sluicegate_http_connections",
    "sluicegate_event_streams",
)
JUNK_DATAGRAMS = 20_000
"""More than the slots that a plane receives into in turn; after so many all of them are resident."""


@dataclass(frozen=True, slots=True)
class Standing:
    """`rss_bytes` moves a little by itself; everything in `exact` is either as it was or has grown."""

    rss_bytes: int
    exact: dict[str, int]


def standing(pid: int, url: str) -> Standing:
    """Now. Scrapes `/metrics` by a connection of its own."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        found = SERIES.findall(response.read().decode())
    exact = dict.fromkeys(GAUGES, 0)
    for name, value in found:
        if name in exact:
            exact[name] += int(float(value))
    exact["series"] = len(found)
    # The scrape's own connection is one of them, and may be closed already where descriptors are counted.
    exact["sluicegate_http_connections"] -= 1
    time.sleep(0.2)
    exact["descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
    exact["threads"] = len(os.listdir(f"/proc/{pid}/task"))
    return Standing(rss_bytes(pid), exact)


def rss_bytes(pid: int) -> int:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def touch_arena(address: tuple[str, int]) -> None:
    """Have the plane receive into every slot that it has, so that memory grows by sessions alone afterwards."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for burst in range(JUNK_DATAGRAMS // 50):
            for _ in range(50):
                stranger.sendto(b"\xff" * 1472, address)
            if burst % 4 == 0:
                time.sleep(0.002)
