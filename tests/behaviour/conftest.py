"""Sessions that must die of themselves take half a minute for it: they begin with the folder, and are asked for
last."""

from collections.abc import Iterator

import pytest

from tests.behaviour.deaths import Deaths
from tests.support.server import ServerProcess


@pytest.fixture(scope="session")
def deaths(server: ServerProcess) -> Iterator[Deaths]:
    """Sessions of the shared server that nobody keeps alive."""
    with Deaths(server.url) as dying:
        yield dying


@pytest.fixture(autouse=True, scope="package")
def begin_to_die(request: pytest.FixtureRequest) -> None:
    """Start them early, if this run will ask for them."""
    if any("deaths" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("deaths")
