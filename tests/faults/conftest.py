"""Every fault is made for real, and every row's number is printed at the end, kept or not."""

from collections.abc import Iterator

import pytest

from tests.faults.figures import Figures
from tests.support.relay import Relay
from tests.support.server import ServerProcess

_figures = Figures()


@pytest.fixture
def figures() -> Figures:
    """Where a test puts what it measured."""
    return _figures


@pytest.fixture
def network(server: ServerProcess) -> Iterator[Relay]:
    """A bad network, always bad in the same way."""
    with Relay(server.media_address, seed=2) as relay:
        yield relay


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures.by_row:
        terminalreporter.section("faults")
        for (row, name), figure in sorted(_figures.by_row.items(), key=lambda item: (int(item[0][0][1:]), item[0][1])):
            terminalreporter.line(f"{row:>4}  {name}: {figure}{'' if figure.holds else '  ✗'}")
