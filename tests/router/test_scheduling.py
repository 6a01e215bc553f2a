"""What a plane's thread asks of the scheduler."""

import asyncio
import ctypes
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from sluicegate.router.drivers import ThreadDriver
from sluicegate.router.plane import Plane
from sluicegate.router.scheduling import SCHED_ATTR, SLICE_NS, shorten_this_slice

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
FIRST_WITH_SLICES = (6, 12)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in SCHED_GETATTR, reason="of Linux on x86-64 and ARM"
)


def attributes(thread: int = 0) -> tuple[int, int, int]:
    """Policy, niceness and slice in ns of a thread, by default this one."""
    buffer = ctypes.create_string_buffer(SCHED_ATTR.size)
    assert ctypes.CDLL(None).syscall(SCHED_GETATTR[platform.machine()], thread, buffer, SCHED_ATTR.size, 0) == 0
    _, policy, _, nice, _, slice_ns, _, _ = SCHED_ATTR.unpack(buffer.raw)
    return policy, nice, slice_ns


def after_asking(policy: int, nice: int) -> tuple[int, int, int]:
    """The attributes of a thread that had these before."""

    def ask() -> tuple[int, int, int]:
        os.sched_setscheduler(0, policy, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        shorten_this_slice()
        return attributes()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result()


def nicer() -> int:
    return min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)


def grants_slices() -> bool:
    return tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2]) >= FIRST_WITH_SLICES


def test_a_slice_is_shorter_and_nothing_else_is_changed():
    policy, nice, slice_ns = after_asking(os.SCHED_OTHER, nicer())
    assert (policy, nice) == (os.SCHED_OTHER, nicer())
    assert (slice_ns == SLICE_NS) == grants_slices()


def test_who_was_given_another_policy_keeps_it():
    policy, nice, slice_ns = after_asking(os.SCHED_BATCH, nicer())
    assert (policy, nice) == (os.SCHED_BATCH, nicer())
    assert slice_ns != SLICE_NS


def test_a_sandbox_that_forbids_to_ask_is_no_harm(monkeypatch):
    def refuse(_: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "sched_getscheduler", refuse)
    shorten_this_slice()


async def test_a_plane_has_it():
    expected = SLICE_NS if grants_slices() else 0
    plane = Plane()
    driver = ThreadDriver(plane)
    driver.compile(plane)
    driver.start()
    try:
        assert driver.thread_id is not None
        plane_slice = 0
        for _ in range(500):  # until the thread has come so far
            plane_slice = attributes(driver.thread_id)[2]
            if plane_slice == expected:
                break
            await asyncio.sleep(0.01)
        assert plane_slice == expected
    finally:
        await driver.stop()
        plane.close()
