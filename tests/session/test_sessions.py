"""A session's life: opened with all that a client needs, bounded in number, closed for a reason, and remembered."""

import msgspec
import pytest

from sluicegate.errors import Conflict, Forbidden, Invalid, NotFound, TooManyRequests, Unavailable
from sluicegate.ids import ChannelId, SessionId
from sluicegate.ortc.capabilities import ROUTER_CAPABILITIES
from sluicegate.session.access import MAX_SESSIONS_OF_USER
from sluicegate.session.events import SessionClosedEvent
from sluicegate.session.lifecycle import CLOSED_KEPT
from sluicegate.session.names import PresetName, SessionState, SessionType
from sluicegate.session.requests import AudioProcessing, Connect, CreateSession, SessionPatch
from tests.session.fakes import ADMIN, ANN, BEN, CHANNEL, FINGERPRINTS, NODE, FakeRouter, FakeSettings, Node, member


async def test_a_new_session_has_all_that_a_client_needs() -> None:
    node = Node(FakeSettings(turn_url="turn:turn.example.org", turn_username="u", turn_password="p"))
    created = await node.join(ANN, SessionType.AUDIO)
    transport = node.transports.by_session[created.session_id]
    assert (created.type, created.channel_id, created.user_id, created.node_id) == ("audio", CHANNEL, "ann", NODE)
    assert created.ice_parameters == transport.ice_parameters
    assert created.ice_candidates == transport.ice_candidates
    assert created.dtls_parameters == transport.dtls_parameters
    assert created.rtp_capabilities == ROUTER_CAPABILITIES
    assert created.ice_servers[0].credential == "p"
    assert created.expires_at == "2023-11-14T22:30:30.000Z"  # thirty seconds from now
    assert node.told() == ["session.created"]
    place = await node.registry.session_place(SessionId(created.session_id))
    assert place is not None and place.user_id == "ann"


async def test_ids_are_random_and_long() -> None:
    node = Node()
    ids = {(await node.join(ADMIN)).session_id for _ in range(500)}
    assert len(ids) == 500
    assert all(len(session_id) == 36 and session_id[14] == "4" for session_id in ids)


async def test_the_state_is_ice_and_dtls_in_one_word() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    transport = node.transports.by_session[session_id]
    seen = []
    for ice, dtls in [
        ("new", "new"),
        ("connected", "connecting"),
        ("completed", "connected"),
        ("disconnected", "connected"),
    ]:
        transport.change(ice, dtls)
        view = await node.service.get_session(ANN, session_id)
        seen.append((view.ice_state, view.dtls_state, view.state))
    assert [state for _, _, state in seen] == ["new", "connecting", "connected", "disconnected"]


async def test_connect_reaches_the_transport_once() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    await node.service.connect(ANN, session_id, Connect(dtls_parameters=FINGERPRINTS))
    assert node.transports.by_session[session_id].connected == FINGERPRINTS
    with pytest.raises(Conflict):
        await node.service.connect(ANN, session_id, Connect(dtls_parameters=FINGERPRINTS))


async def test_restart_ice_gives_new_credentials() -> None:
    node = Node()
    created = await node.join(ANN)
    restarted = await node.service.restart_ice(ANN, created.session_id)
    assert restarted.ice_parameters != created.ice_parameters
    assert restarted.ice_candidates == created.ice_candidates


async def test_delete_closes_and_may_be_repeated() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    for _ in range(3):
        await node.service.delete_session(ANN, session_id)
    assert node.transports.by_session[session_id].close_reason == "deleted"
    with pytest.raises(NotFound) as caught:
        await node.service.get_session(ANN, session_id)
    assert caught.value.detail == "This session was closed: deleted."
    with pytest.raises(NotFound):
        await node.service.delete_session(BEN, session_id)
    with pytest.raises(NotFound):
        await node.service.delete_session(ANN, "9b3a4b1e-0000-4000-8000-000000000000")


async def test_a_transport_that_closes_closes_its_session_and_says_why() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    node.clock.now += 7.5
    node.transports.by_session[session_id].change("closed", "failed", "fingerprint_mismatch")
    closed = node.news()[-1]
    assert isinstance(closed, SessionClosedEvent)
    assert (closed.reason, closed.duration, closed.user_id) == ("fingerprint_mismatch", 7.5, "ann")
    why = await node.service.why(ANN, session_id)
    assert (why.state, why.closed_reason) == (SessionState.CLOSED, "fingerprint_mismatch")
    assert why.entries[-1].cause == "session_closed"
    assert node.service.counts().sessions == 0


async def test_a_channel_lives_as_long_as_it_has_a_session() -> None:
    node = Node()
    first, second = (await node.join(ANN)).session_id, (await node.join(BEN)).session_id
    await node.service.delete_session(ANN, first)
    assert await node.registry.channel_owner(ChannelId(CHANNEL)) == NODE
    await node.service.delete_session(BEN, second)
    assert await node.registry.channel_owner(ChannelId(CHANNEL)) is None
    assert node.router.channels == {}
    with pytest.raises(NotFound):
        await node.service.get_channel(ANN, CHANNEL)


async def test_a_channel_lives_on_one_plane() -> None:
    node = Node(router=FakeRouter(planes=2))
    for channel_id in ("one", "two", "one", "two"):
        await node.join(ADMIN, channel_id=channel_id)
    assert [len(plane.transports) for plane in node.router.planes] == [2, 2]


async def test_max_sessions_is_a_503_that_says_when_to_come_back() -> None:
    node = Node(FakeSettings(max_sessions=3))
    ids = [(await node.join(ADMIN)).session_id for _ in range(3)]
    with pytest.raises(Unavailable) as caught:
        await node.join(ADMIN)
    assert caught.value.retry_after
    await node.service.delete_session(ADMIN, ids[0])
    await node.join(ADMIN)


async def test_one_user_has_only_so_many_sessions_but_an_admin_any() -> None:
    node = Node()
    everywhere = member("ann", "*")
    for number in range(MAX_SESSIONS_OF_USER):
        await node.join(everywhere, channel_id=f"c{number}")
    with pytest.raises(TooManyRequests):
        await node.join(everywhere, channel_id="one-more")
    await node.join(BEN)
    await node.service.create_session(ADMIN, CreateSession(type=SessionType.AUDIO, channel_id=CHANNEL, user_id="ann"))


async def test_a_full_plane_leaves_nothing_behind() -> None:
    node = Node()
    node.transports.full = True
    with pytest.raises(Unavailable):
        await node.join(ANN)
    assert node.router.channels == {}
    assert node.service.counts().channels == 0
    assert node.told() == []


async def test_another_user_or_channel_in_the_body_is_forbidden() -> None:
    node = Node()
    with pytest.raises(Forbidden) as caught:
        await node.service.create_session(ANN, CreateSession(type=SessionType.AUDIO, channel_id="attic", user_id="ben"))
    assert [error.pointer for error in caught.value.errors] == ["/channel_id", "/user_id"]


@pytest.mark.parametrize("name", ["", "a b", "a\n", "a/b", "x" * 129, "é", "../../x", "a\x00"])
async def test_names_are_plain(name: str) -> None:
    node = Node()
    with pytest.raises(Invalid) as caught:
        await node.service.create_session(
            ADMIN, CreateSession(type=SessionType.AUDIO, channel_id=CHANNEL, user_id=name)
        )
    assert caught.value.errors[0].pointer == "/user_id"
    body = msgspec.json.encode({"type": "audio", "channel_id": name, "user_id": "ann"})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=CreateSession)


async def test_presets_must_fit_the_type_and_the_token() -> None:
    node = Node()
    with pytest.raises(Invalid):
        await node.join(ANN, SessionType.AUDIO, preset=PresetName.ULTRA)
    with pytest.raises(Forbidden):
        await node.join(member("ann", max_preset=PresetName.LOW), preset=PresetName.HIGH)
    assert (await node.join(ANN, preset=PresetName.ULTRA)).session_id


async def test_metadata_is_kept_shown_and_bounded() -> None:
    node = Node()
    session_id = (await node.join(ANN, metadata={"name": "Ann"})).session_id
    assert (await node.service.get_channel(ANN, CHANNEL)).members[0].metadata == {"name": "Ann"}
    patch = SessionPatch(metadata={"name": "x" * 5000})
    with pytest.raises(Invalid) as caught:
        await node.service.update_session(ANN, session_id, patch)
    assert caught.value.errors[0].pointer == "/metadata"
    with pytest.raises(Invalid):
        await node.join(BEN, metadata={"n": 10**40, "x": "y" * 4096})


async def test_a_patch_changes_what_it_says_and_null_resets() -> None:
    node = Node()
    session_id = (await node.join(ANN, metadata={"a": 1})).session_id
    view = await node.service.update_session(ANN, session_id, SessionPatch(audio_processing=AudioProcessing(agc=True)))
    assert view.audio_processing == AudioProcessing(agc=True)
    assert view.metadata == {"a": 1}
    view = await node.service.update_session(
        ANN, session_id, msgspec.json.decode(b'{"metadata":null}', type=SessionPatch)
    )
    assert view.metadata is None
    assert view.audio_processing is not None


async def test_a_draining_node_takes_no_new_sessions() -> None:
    node = Node()
    await node.join(ANN)
    node.service.draining = True
    with pytest.raises(Unavailable) as caught:
        await node.join(BEN)
    assert caught.value.retry_after
    assert node.service.counts().sessions == 1


async def test_close_all_closes_everything_with_the_reason() -> None:
    node = Node()
    ids = [(await node.join(caller)).session_id for caller in (ANN, BEN)]
    track = await node.film(ANN, ids[0])
    await node.watch(BEN, ids[1], track.track_id)
    node.news()
    node.service.close_all("shutdown")
    counts = node.service.counts()
    assert (counts.sessions, counts.channels, counts.tracks, counts.subscriptions) == (0, 0, 0, 0)
    closed = [event for event in node.news() if isinstance(event, SessionClosedEvent)]
    assert [(event.session_id, event.reason) for event in closed] == [(ids[0], "shutdown"), (ids[1], "shutdown")]
    assert not node.plane.tracks and not node.plane.sends and not node.plane.transports


async def test_pages_of_sessions() -> None:
    node = Node()
    ids = [(await node.join(ADMIN, channel_id=f"c{number % 2}")).session_id for number in range(7)]
    seen, cursor = [], None
    while True:
        page = await node.service.list_sessions(ADMIN, cursor=cursor, limit=3)
        assert len(page.sessions) <= 3
        seen += [session.session_id for session in page.sessions]
        cursor = page.next_cursor
        if cursor is None:
            break
        await node.service.delete_session(ADMIN, seen[0])
    assert seen == ids
    odd = await node.service.list_sessions(ADMIN, channel_id="c1")
    assert [session.session_id for session in odd.sessions] == ids[1::2]
    assert (await node.service.list_sessions(ADMIN, user_id="nobody")).sessions == ()


@pytest.mark.parametrize("cursor", ["", "-1", "x", "1.5", "٣", "9" * 30])
async def test_a_cursor_that_nobody_gave_is_invalid(cursor: str) -> None:
    with pytest.raises(Invalid):
        await Node().service.list_sessions(ADMIN, cursor=cursor)


async def test_the_memory_of_closed_sessions_is_bounded() -> None:
    node = Node()
    first = (await node.join(ADMIN)).session_id
    await node.service.delete_session(ADMIN, first)
    for _ in range(CLOSED_KEPT):
        await node.service.delete_session(ADMIN, (await node.join(ADMIN)).session_id)
    with pytest.raises(NotFound):
        await node.service.delete_session(ADMIN, first)
