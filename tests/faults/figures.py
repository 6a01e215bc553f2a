"""The numbers of the rows of `docs/faults.md`, as this run measured them."""

import functools
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec

P = ParamSpec("P")
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its limits."""

    value: float
    at_most: float | None
    at_least: float | None

    @property
    def holds(self) -> bool:
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    def __str__(self) -> str:
        limits = [f"≤ {self.at_most:g}"] if self.at_most is not None else []
        limits += [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        return f"{self.value:.4g}" + (f" ({' '.join(limits)})" if limits else "")


class Figures:
    """By row and name; a figure that is measured again replaces the one before."""

    def __init__(self) -> None:
        self.by_row: dict[tuple[str, str], Figure] = {}

    def note(self, row: str, name: str, value: float) -> None:
        """Keep a figure that has no limits."""
        self.by_row[row, name] = Figure(value, None, None)

    def check(
        self, row: str, name: str, value: float, *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """Keep a figure, and hold it to its limits."""
        figure = self.by_row[row, name] = Figure(value, at_most, at_least)
        assert figure.holds, f"{row}: {name}: {figure}"


def steady(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Measure again, a few times, where a figure fails: sender and receiver are Python on the same cores as the server.

    A machine that was busy is quieter the next time; a server that is at fault is at fault every time.
    """

    @functools.wraps(test)
    async def measured(*args: P.args, **kwargs: P.kwargs) -> None:
        for left in reversed(range(ATTEMPTS)):
            try:
                await test(*args, **kwargs)
                return
            except* AssertionError as failed:
                if not left:
                    raise
                warnings.warn(f"measured again: {_messages(failed)}", stacklevel=1)

    return measured


def _messages(group: BaseExceptionGroup[BaseException]) -> str:
    """What the failures of a group say, one after the other."""
    said = [_messages(one) if isinstance(one, BaseExceptionGroup) else str(one) for one in group.exceptions]
    return "; ".join(line.partition("\n")[0] for line in said)
