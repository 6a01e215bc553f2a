"""What a session's memory consists of, part by part, each made many times; `python -m benchmarks.sessions.parts`.

In a process of its own: one that has freed memory before would show nothing.
"""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluicegate.dtls.certificate import Certificate
from sluicegate.dtls.context import DtlsContext, DtlsRole
from sluicegate.dtls.endpoint import DtlsEndpoint, KeysReady
from sluicegate.router import tables
from sluicegate.rtp.srtp import SrtpKeys, SrtpProfile, open_sessions

COUNT = 300
TALKING = "and of a track with a subscription: rows, above all the lists that repairs need"


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of one session's share."""

    name: str
    size_bytes: float


def measure_parts() -> list[Part]:
    """Started where this process runs."""
    found = subprocess.run([sys.executable, "-m", __name__], check=True, capture_output=True, text=True).stdout
    return [Part(name, size) for name, size in json.loads(found)]


def split(session_bytes: float) -> list[Part]:
    """What `session_bytes`, measured of a connected session, consist of; what no part explains is Python's."""
    parts = measure_parts()
    rest = session_bytes - sum(part.size_bytes for part in parts)
    return [*parts, Part("the rest: Python's objects above all", rest), Part(TALKING, talking_bytes())]


def talking_bytes() -> int:
    """Rows of one track with one encoding, and of one subscription."""
    own = tables.TRACK, tables.RECEIVE_STREAM, tables.SEND_STREAM
    rings = tables.HISTORY * tables.HISTORY_ENTRY.itemsize + tables.SENT * tables.SENT_ENTRY.itemsize
    return rings + sum(row.itemsize for row in own)


def _parts() -> list[Part]:
    """OpenSSL and libsrtp by the growth of resident memory, the rows of the tables by their layout."""
    context = DtlsContext(Certificate.generate())
    keys = SrtpKeys(SrtpProfile.AEAD_AES_128_GCM, bytes(28), bytes(28))
    return [
        Part("a finished DTLS association (OpenSSL and its object)", _grown(lambda: _association(context))),
        Part("two SRTP sessions (libsrtp and their objects)", _grown(lambda: open_sessions(keys))),
        Part("the transport's row", tables.TRANSPORT.itemsize),
    ]


def _association(context: DtlsContext) -> DtlsEndpoint:
    """A server's end, after its handshake with a client that is gone."""
    own = context.certificate.fingerprint
    server = DtlsEndpoint(context, DtlsRole.SERVER, (own,))
    client = DtlsEndpoint(context, DtlsRole.CLIENT, (own,))
    now = time.monotonic()
    client.start(now)
    ready = False
    while not ready:
        for datagram in client.datagrams_to_send():
            server.receive_datagram(datagram, now)
        for datagram in server.datagrams_to_send():
            client.receive_datagram(datagram, now)
        while (event := server.next_event()) is not None:
            ready = ready or isinstance(event, KeysReady)
    client.close(now)
    return server


def _grown(make: Callable[[], Any]) -> float:
    """Resident bytes of one, of many that are kept at once."""
    warm = [make() for _ in range(20)]
    gc.collect()
    before = _rss()
    kept = [make() for _ in range(COUNT)]
    gc.collect()
    grown = (_rss() - before) / COUNT
    del kept, warm
    return grown


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps([[part.name, part.size_bytes] for part in _parts()]))
