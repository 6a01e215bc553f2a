"""What one look at the machine found."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """`FAIL`: the server cannot work as configured. `WARN`: it works, slower or without something."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it stands, and in words what was seen and what to do about it."""

    name: str
    status: Status
    detail: str
