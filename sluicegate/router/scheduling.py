"""What a plane's thread asks of Linux's scheduler: a name, and to run as soon as it wakes.

A plane works for some 100 µs at a time and then sleeps. With the usual time slice (milliseconds) whoever has the core
when a packet arrives finishes its own slice first; since Linux 6.12 a thread that asks for a shorter one comes before
it. It gets no larger share of the core, and needs no privilege.
"""

import contextlib
import ctypes
import os
import platform
import struct
import sys

SLICE_NS = 100_000
"""The shortest that the kernel grants."""
PR_SET_NAME = 15
SCHED_ATTR = struct.Struct("=IIQiIQQQ")
"""struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period (the last three in ns)."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""System call numbers: the C library has had a function only since glibc 2.41."""


def name_this_thread(name: str) -> None:
    """Show a thread as `name` in `top -H`, which Python does not before 3.14."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def shorten_this_slice() -> None:
    """Ask for `SLICE_NS`, where the thread is scheduled like any other; kernels before 6.12 take no notice."""
    number = _SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return
    with contextlib.suppress(OSError):  # a sandbox may forbid to ask
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            return
        nice = os.getpriority(os.PRIO_PROCESS, 0)  # of this thread
        attributes = SCHED_ATTR.pack(SCHED_ATTR.size, os.SCHED_OTHER, 0, nice, 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, attributes, 0)
