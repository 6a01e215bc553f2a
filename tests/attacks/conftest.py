"""Every attack is made while two innocent people talk, and must not touch them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.attacks.innocent import InnocentCall
from tests.attacks.strangers import Drops
from tests.support.server import ServerProcess

# Issue 3, Robustness.
MOST_LOST = 0.005


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
    assert "Traceback" not in server.log()


@pytest.fixture
async def drops(server: ServerProcess) -> AsyncIterator[Drops]:
    """What the shared server drops during the test."""
    yield Drops(server)
