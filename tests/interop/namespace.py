"""A network of its own for browsers that want an address which is not 127.0.0.1, without touching the machine's.

A network namespace belongs to a thread: between `enter` and `leave` whatever the thread opens or starts is inside.
"""

import asyncio
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESS = "10.77.0.1"
CLONE_NEWNET = 0x40000000
AGAIN = "SLUICEGATE_TEST_IN_NAMESPACE"
REMEDY = "Firefox pairs no candidate on 127.0.0.1, and a network of its own takes root: sudo make test"
# Browsers offer the addresses of interfaces that are not loopback, and prefer the one of the default route: a pair of
# virtual ones, of which one end has the address. Packets to an address of one's own never leave through it.
COMMANDS = (
    "link set lo up",
    "link add wire type veth peer name end",
    f"address add {ADDRESS}/24 dev wire",
    "link set wire up",
    "link set end up",
    "route add default dev wire",
)
OURS = Path("/proc/thread-self/ns/net")

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_network() -> Iterator[str]:
    """Inside, this thread and its children have loopback and the address that it gives, and no way out. Needs root.

    Raises PermissionError for everybody else.
    """
    before = os.open(OURS, os.O_RDONLY)
    try:
        _checked(_libc.unshare(CLONE_NEWNET))
        try:
            for command in COMMANDS:
                subprocess.run(["ip", *command.split()], check=True)
            yield ADDRESS
        finally:
            if AGAIN not in os.environ:  # root of a user namespace may not go back; that process ends here
                _checked(_libc.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)


async def run_as_root_of_a_namespace(test: str) -> None:
    """Run one test again, as root of a user namespace, which everybody may make on most systems; it must pass there."""
    if AGAIN in os.environ:
        raise PermissionError(f"not even root of a user namespace may make a network: {REMEDY}")
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--user", "--map-root-user", sys.executable, "-m", "pytest", "--quiet", test),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, AGAIN: "1"},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{REMEDY}\n{output.decode()}"


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
