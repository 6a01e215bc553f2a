"""Every attack is made while two innocent people talk, and must not touch them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.attacks.innocent import InnocentCall
from tests.attacks.strangers import Drops, Stranger, flood
from tests.support.server import ServerProcess

# Issue 3, Robustness.
MOST_LOST = 0.005
# Seconds without sound, where the machine that makes the attack also plays the call.
LONGEST_GAP = 1.0
# More than the slots into which a plane receives, one after the other: their memory is touched only as it is used.
ARENA_SLOTS = 20_000


@pytest.fixture(scope="session")
def innocent_call(server: ServerProcess) -> Iterator[InnocentCall]:
    """One call on the shared server, for all tests of the folder."""
    with InnocentCall(server.url) as call:
        yield call


@pytest.fixture
def innocent(innocent_call: InnocentCall, server: ServerProcess, record_property: Any) -> Iterator[InnocentCall]:
    """The call, which must come out of the test unharmed, and with it the server."""
    innocent_call.mark()
    yield innocent_call
    assert server.alive
    harm = innocent_call.mark()
    record_property("innocent", f"{harm.lost}/{harm.sent}, gap {harm.longest_gap * 1000:.0f} ms")
    assert harm.fraction < MOST_LOST, harm
    assert harm.longest_gap < LONGEST_GAP, harm
    assert "Traceback" not in server.log()


@pytest.fixture
async def warm(server: ServerProcess, innocent: InnocentCall) -> int:
    """Resident memory of the shared server, once every slot that datagrams are received into has been used."""
    if not getattr(server, "is_warm", False):
        server.is_warm = True  # type: ignore[attr-defined]
        with Stranger(server.media_address) as stranger:
            junk = [b"\xff" * 1472] * 40
            await flood(lambda _: stranger.send_equal(junk), ARENA_SLOTS, 40_000, step=len(junk))
        await asyncio.sleep(0.3)
    return server.rss_bytes()


@pytest.fixture
async def drops(server: ServerProcess) -> AsyncIterator[Drops]:
    """What the shared server drops during the test."""
    yield Drops(server)
