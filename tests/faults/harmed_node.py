"""A node that does harm to itself when told to, by JSON lines on the file descriptor of its first argument.

    {"op": "stall_loop", "seconds": 0.2}    the event loop does nothing, other threads run
    {"op": "stall_python", "seconds": 0.2}  nothing runs that needs the GIL
    {"op": "refuse_sends", "errno": 11, "seconds": 0.3}  every sendmmsg of the planes fails
    {"op": "shorten_consent", "seconds": 4}  who is silent for so long is gone
    {"op": "counts"}                         (no harm) how many tasks there are, and objects of the kinds of `KINDS`

Each is answered by a line of JSON when it is over. The second argument is JSON: limits of load shedding that are not
the usual ones.
"""

import asyncio
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop

from sluicegate import app, logs
from sluicegate.config import Settings
from sluicegate.ice import lite_agent
from sluicegate.router.router import Router
from sluicegate.session.shedding import ShedLimits

# Objects of which there is at least one for each session, or track or subscription of it.
KINDS = (
    *("Session", "Channel", "Member", "Track", "Subscription", "Transport", "Peer", "LiteAgent", "Handshake"),
    *("DtlsEndpoint", "Connection", "Policy"),
)
SENDMMSG = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * 5, use_errno=True)


class Harm:
    """What may be done to this process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, routers: list[Router]) -> None:
        self._loop = loop
        self._routers = routers

    def stall_loop(self, seconds: float) -> None:
        over = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (time.sleep(seconds), over.set()))
        over.wait()

    def stall_python(self, seconds: float) -> None:
        # A function of a PyDLL is called with the GIL held, and usleep(3) does not give it back.
        ctypes.PyDLL(None).usleep(round(seconds * 1e6))

    def refuse_sends(self, errno: int, seconds: float) -> None:
        def refuse(*_: int) -> int:
            ctypes.set_errno(errno)
            return -1

        refusing = SENDMMSG(refuse)
        address = ctypes.cast(refusing, ctypes.c_void_p).value
        native = [plane.tables.native[0] for router in self._routers for plane in router.planes]
        kept = [record.sendmmsg for record in native]
        for record in native:
            record.sendmmsg = address
        time.sleep(seconds)
        for record, before in zip(native, kept, strict=True):
            record.sendmmsg = before
        time.sleep(0.05)  # a call that has begun still needs the function

    def shorten_consent(self, seconds: float) -> None:
        lite_agent.CONSENT_TIMEOUT, lite_agent.DISCONNECTED_AFTER = seconds, seconds / 2

    def counts(self) -> dict[str, int]:
        async def count() -> dict[str, int]:
            gc.collect()
            kinds = Counter(type(one).__name__ for one in gc.get_objects())
            return {"tasks": len(asyncio.all_tasks()), **{kind: kinds[kind] for kind in KINDS}}

        return asyncio.run_coroutine_threadsafe(count(), self._loop).result()


def obey(channel: socket.socket, harm: Harm) -> None:
    """Do what is asked for, one after the other."""
    with channel.makefile("r") as orders:
        for line in orders:
            order = json.loads(line)
            answer = getattr(harm, order.pop("op"))(**order)
            channel.sendall(json.dumps(answer).encode() + b"\n")


def keep_made(make: Callable[[Settings], Router], kept: list[Router]) -> Callable[[Settings], Router]:
    """`make`, whose results are kept."""

    def making(*arguments: Any) -> Router:
        kept.append(make(*arguments))
        return kept[-1]

    return making


async def main(descriptor: int, shedding: dict[str, float]) -> None:
    """Run until SIGTERM."""
    routers: list[Router] = []
    app._router = keep_made(app._router, routers)
    app.ShedLimits = partial(ShedLimits, **shedding)  # type: ignore[misc, assignment]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with app.node(Settings.from_environment(os.environ)):
        harm = Harm(loop, routers)
        threading.Thread(target=obey, args=(socket.socket(fileno=descriptor), harm), daemon=True).start()
        await stop.wait()


if __name__ == "__main__":
    logs.configure(level="info", json=False)
    uvloop.run(main(int(sys.argv[1]), json.loads(sys.argv[2])))
