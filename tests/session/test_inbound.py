"""Messages of other services: only exact ids close sessions, and nothing raises."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.session.inbound import MAX_MESSAGE, parse_end
from sluicegate.session.names import SessionType
from tests.session.fakes import ANN, BEN, CHANNEL, Node

VOICE, STREAM = "voice.session.ended", "stream.stopped"


async def full() -> tuple[Node, dict[str, str]]:
    node = Node()
    return node, {
        f"{caller.user_id} {kind}": (await node.join(caller, kind)).session_id
        for caller in (ANN, BEN)
        for kind in SessionType
    }


async def left(node: Node, ids: dict[str, str]) -> list[str]:
    return [name for name, session_id in ids.items() if session_id in node.service._core.sessions]


async def test_a_session_is_closed_by_its_id_if_it_is_of_that_type() -> None:
    node, ids = await full()
    said = json.dumps({"session_id": ids["ann audio"]}).encode()
    assert node.service.handle_message(STREAM, said) == 0
    assert node.service.handle_message(VOICE, said) == 1
    assert node.service.handle_message(VOICE, said) == 0
    assert await left(node, ids) == ["ann video", "ben audio", "ben video"]


async def test_sessions_are_closed_by_channel_and_user() -> None:
    node, ids = await full()
    assert node.service.handle_message(STREAM, json.dumps({"channel_id": CHANNEL, "user_id": "ann"}).encode()) == 1
    assert await left(node, ids) == ["ann audio", "ben audio", "ben video"]
    assert node.service.handle_message(VOICE, json.dumps({"channel_id": CHANNEL}).encode()) == 2
    assert await left(node, ids) == ["ben video"]


async def test_a_session_id_does_not_help_against_a_wrong_channel() -> None:
    node, ids = await full()
    said = json.dumps({"session_id": ids["ann audio"], "channel_id": "attic"}).encode()
    assert node.service.handle_message(VOICE, said) == 0


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"session_id": null}',
        b'{"session_id": "*"}',
        b'{"channel_id": "*"}',
        b'{"channel_id": ">"}',
        b'{"channel_id": ""}',
        b'{"user_id": "ann"}',
        b'{"session_id": 7}',
        b'{"channel_id": ["lounge"]}',
        b'{"channel_id": "lounge", "user_id": "*"}',
        b'{"channel_id": "lounge\\n"}',
        b"[" * 100_000,
        b'{"channel_id": "lounge", "x": "' + b"y" * 1_000_000 + b'"}',
    ],
)
async def test_rubbish_closes_nothing(payload: bytes) -> None:
    node, _ = await full()
    for subject in (VOICE, STREAM, "voice.session.*", ">", ""):
        assert node.service.handle_message(subject, payload) == 0
    assert node.service.counts().sessions == 4


@given(st.sampled_from([VOICE, STREAM, "voice.session.ended.x"]), st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_target_or_nothing(subject: str, payload: bytes) -> None:
    parse_end(subject, payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["session_id", "channel_id", "user_id", "x"]), json_values))
def test_any_json_is_a_target_with_plain_names_or_nothing(value: dict[str, object]) -> None:
    try:
        payload = msgspec.json.encode(value)
    except (OverflowError, UnicodeEncodeError):
        return
    target = parse_end(VOICE, payload)
    assert target is None or (target.session_id or target.channel_id)
    assert len(payload) <= MAX_MESSAGE or target is None
