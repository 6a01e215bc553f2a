"""What a plane's thread asks of the scheduler."""

import ctypes
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from sluicegate.router.scheduling import SCHED_ATTR, SLICE_NS, shorten_this_slice

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
FIRST_WITH_SLICES = (6, 12)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of Linux")


def attributes() -> tuple[int, int, int]:
    """Policy, niceness and slice in ns of this thread."""
    buffer = ctypes.create_string_buffer(SCHED_ATTR.size)
    assert ctypes.CDLL(None).syscall(SCHED_GETATTR[platform.machine()], 0, buffer, SCHED_ATTR.size, 0) == 0
    _, policy, _, nice, _, runtime, _, _ = SCHED_ATTR.unpack(buffer.raw)
    return policy, nice, runtime


def in_a_thread(policy: int, nice: int) -> tuple[int, int, int]:
    def ask() -> tuple[int, int, int]:
        os.sched_setscheduler(0, policy, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        shorten_this_slice()
        return attributes()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result()


def test_a_slice_is_shorter_and_nothing_else_is_changed():
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    policy, nice, slice_ns = in_a_thread(os.SCHED_OTHER, 3)
    assert (policy, nice) == (os.SCHED_OTHER, 3)
    assert (slice_ns == SLICE_NS) == (release >= FIRST_WITH_SLICES)


def test_who_was_given_another_policy_keeps_it():
    policy, nice, slice_ns = in_a_thread(os.SCHED_BATCH, 3)
    assert (policy, nice) == (os.SCHED_BATCH, 3)
    assert slice_ns != SLICE_NS
