"""Logs: one event a line, bounded, without credentials, whatever a peer puts into it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from sluicegate import logs

HOSTILE = "alice\r\n2026 [error] root logged in\x1b[31m\u2028" + "x" * 10_000


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(json_lines: bool, level: str = "info") -> tuple[io.StringIO, structlog.stdlib.BoundLogger]:
    stream = io.StringIO()
    logs.configure(level=level, json=json_lines, stream=stream)
    return stream, structlog.get_logger("test")


@pytest.mark.parametrize("as_json", [False, True])
def test_hostile_values_stay_on_one_bounded_line(as_json: bool) -> None:
    stream, log = lines(as_json)
    log.info("session created", user_id=HOSTILE, list=[HOSTILE, {"deep": HOSTILE}])
    logging.getLogger("aiohttp.server").warning("bad request %s", HOSTILE)
    written = stream.getvalue()
    assert len(written.splitlines()) == 2
    assert "\x1b" not in written
    assert len(written) < 4000


@pytest.mark.parametrize("as_json", [False, True])
def test_credentials_never_appear(as_json: bool) -> None:
    stream, log = lines(as_json)
    log.info("call", token="eyJ1", password=b"eyJ2", nested={"secret": "eyJ3"}, url="/e?access_token=eyJ4&x=1")
    logging.getLogger("aiohttp.access").info("Authorization: Bearer %s", "eyJ5.a-b_c")
    try:
        raise ValueError("GET /events?access_token=eyJ6")
    except ValueError:
        log.exception("failed")
    assert "eyJ" not in stream.getvalue()
    assert "x=1" in stream.getvalue()


def test_json_is_one_object_a_line_with_values_kept() -> None:
    stream, log = lines(True)
    log.warning("full", sessions=1000, load=0.5, draining=False, region=None, nodes=("a", "b"))
    event = json.loads(stream.getvalue())
    assert event.pop("at").endswith("Z")
    assert event == {
        "event": "full",
        "level": "warning",
        "logger": "test",
        "sessions": 1000,
        "load": 0.5,
        "draining": False,
        "region": None,
        "nodes": ["a", "b"],
    }


def test_level_holds_for_ours_and_for_libraries() -> None:
    stream, log = lines(False, level="warning")
    log.info("quiet")
    logging.getLogger("library").info("quiet")
    log.warning("loud")
    assert len(stream.getvalue().splitlines()) == 1
