"""Logging: structlog in front of the standard library, one event a line, as text or as JSON, on standard error.

Log with `structlog.get_logger()`; what libraries log through `logging` comes out alike. Whatever a peer or a caller put
into an event is bounded and cannot start a new line, move the cursor or leak a credential: values are cut at
`LONGEST_VALUE` characters, control characters are escaped, and the values of keys such as `token` never appear.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from itertools import islice
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

LONGEST_VALUE = 500
LONGEST_LIST = 50
MASK = "***"

# Compared with the whole key, so that `tokens_issued` or `key_frames` stay readable.
SECRET_KEYS = frozenset(
    {"access_token", "api_secret", "authorization", "credential", "master_key", "password", "secret", "token"}
    | {"turn_password", "turn_secret", "ice_password"}
)
_TOKEN_IN_URL = re.compile(r"(access_token=)[^&\s\"']+", re.IGNORECASE)
_BEARER = re.compile(r"(Bearer )[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(*, level: str = "info", json: bool = False, stream: TextIO | None = None) -> None:
    """Send everything of `level` and above to `stream` (standard error); may be called again to change it."""
    output = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        tame,
    ]
    renderer: Processor
    if json:
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=output.isatty(), timestamp_key="at", pad_event_to=30)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=threshold, force=True)
    # asyncio says at debug which selector it took, once for every loop.
    logging.getLogger("asyncio").setLevel(max(threshold, logging.INFO))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def tame(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: `event` with bounded values, on one line, without credentials."""
    for key, value in event.items():
        if key == "exception":
            event[key] = _without_credentials(str(value))  # our own stack: long, and of several lines
        elif not key.startswith("_"):  # those are structlog's own
            event[key] = _tame_value(key, value)
    return event


def _tame_value(key: str, value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if key in SECRET_KEYS:
        return MASK
    if isinstance(value, list | tuple | set | frozenset):
        return [_tame_value("", one) for one in islice(value, LONGEST_LIST)]
    if isinstance(value, dict):
        return {_one_line(str(name)): _tame_value(str(name), one) for name, one in islice(value.items(), LONGEST_LIST)}
    return _one_line(str(value))


def _without_credentials(text: str) -> str:
    return _BEARER.sub(rf"\1{MASK}", _TOKEN_IN_URL.sub(rf"\1{MASK}", text))


def _one_line(text: str) -> str:
    if len(text) > LONGEST_VALUE:
        text = f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), _without_credentials(text))
