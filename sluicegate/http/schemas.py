"""From the bytes of a body to a request Struct, with exact errors.

`BodyDecoder.decode` gives the Struct, or raises `Malformed` (400: not JSON, not an object, nested too deep) or
`Invalid` (422: JSON, but not what the call takes, with a JSON pointer to the field). It raises nothing else, whatever
the bytes are.
"""

import re
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec

from sluicegate.errors import FieldError, Invalid, Malformed
from sluicegate.ids import NAME_PATTERN

T = TypeVar("T", bound=msgspec.Struct)

# The deepest call (publish: rtp_parameters → codecs → rtcp_feedback → entry) nests 5; metadata is the caller's own.
# Higher: the answer would depend on how deep this interpreter's stack may grow.
MAX_DEPTH = 32

# The largest call (4096 gains) has 16,385. Higher: 256 KiB of `[],[],…` hold the loop for 50 ms where they now cost 5.
MAX_VALUES = 20_000

# The integers that a 64-bit machine holds; larger ones are nobody's honest SSRC, rate or id, and become floats.
MAX_INTEGER = 2**63 - 1

# Up to here a float holds every integer (RFC 8259 §6).
_EXACT = 2**53

_AT = re.compile(r" - at `(?:key` in `)?(\$[^`]*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_FIELD = re.compile(r"^Object (?:missing required|contains unknown) field `(.*)`$", re.DOTALL)


class BodyDecoder(Generic[T]):
    """Decodes bodies of one type."""

    def __init__(self, type_: type[T]) -> None:
        self._type = type_

    def decode(self, body: bytes) -> T:
        """The checked value of `body`."""
        # In two steps: a typed decoder stops at the first wrong field, and would call `{"kind": 1,,}` invalid where it
        # is not JSON at all.
        value = parse_object(body)
        try:
            return msgspec.convert(value, self._type)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from None


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object (RFC 8259) that `body` is; `Malformed` if it is none, or holds too much, or is nested too deep.

    A number without a fraction is an integer however it is written, as JSON Schema has it: `1.0` and `1e0` are 1. One
    that 64 bits do not hold is a float.
    """
    if body.count(b",") > MAX_VALUES:
        raise Malformed(f"The body holds more than {MAX_VALUES} values.")
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None  # a number that not even a float holds
    except (msgspec.MsgspecError, ValueError) as error:
        raise Malformed(f"The body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Malformed("The body is JSON, but not an object.")
    level: list[dict[str, Any] | list[Any]] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for container in level for child in _settle(container)]
        if not level:
            return value
    raise _too_deep()


def _settle(container: dict[str, Any] | list[Any]) -> list[dict[str, Any] | list[Any]]:
    """Makes numbers integers or floats, in place; what is nested in the container."""
    nested = []
    entries: Iterable[tuple[Any, Any]] = container.items() if isinstance(container, dict) else enumerate(container)
    for key, value in entries:
        kind = type(value)
        if kind is dict or kind is list:
            nested.append(value)
        elif kind is float:
            if -_EXACT <= value <= _EXACT and value.is_integer():
                container[key] = int(value)
        elif kind is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
            container[key] = _as_float(value)
    return nested


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Invalid("A number in the body is out of range.", pointer="") from None


def _too_deep() -> Malformed:
    return Malformed(f"The body is nested deeper than {MAX_DEPTH} levels.")


def pointer_from_path(path: str) -> str:
    """A JSON pointer (RFC 6901) for a path as msgspec writes it: `$.a.b[0]` → `/a/b/0`.

    Inside a map with free keys msgspec says `[...]` and not which key; the pointer then ends at the map.
    """
    known = path.partition("[...]")[0]
    return "".join("/" + escape_pointer(name or index) for name, index in _STEP.findall(known[1:]))


def escape_pointer(token: str) -> str:
    """One reference token with `~` and `/` escaped (RFC 6901 §3)."""
    return token.replace("~", "~0").replace("/", "~1")


def _invalid(message: str) -> Invalid:
    where = _AT.search(message)
    pointer = pointer_from_path(where.group(1)) if where else ""
    detail = message[: where.start()] if where else message
    if NAME_PATTERN in detail:
        detail = "Expected 1 to 128 of A–Z a–z 0–9 . _ : -"
    field = _FIELD.match(detail)
    if field and not (where and "[...]" in where.group(1)):
        pointer += "/" + escape_pointer(field.group(1))
    place = f" at {pointer}" if pointer else ""
    return Invalid(f"{detail}{place}.", errors=(FieldError(pointer, detail),))
