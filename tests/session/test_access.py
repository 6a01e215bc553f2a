"""Who may do what: every method against every kind of token."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from sluicegate.errors import ApiError, Forbidden, NotFound
from sluicegate.ortc.capabilities import ROUTER_CAPABILITIES
from sluicegate.session.caller import Caller, Grant
from sluicegate.session.names import Kind, SessionType
from sluicegate.session.requests import (
    Connect,
    CreateSession,
    Publish,
    Routes,
    SessionPatch,
    Subscribe,
    SubscriptionPatch,
    TrackPatch,
)
from sluicegate.session.service import Service
from tests.ortc.clients import opus, parameters
from tests.session.fakes import ADMIN, ANN, CHANNEL, FINGERPRINTS, Node, member

JOIN, PUBLISH, SUBSCRIBE, RECORD = Grant.JOIN, Grant.PUBLISH, Grant.SUBSCRIBE, Grant.RECORD


@dataclass(frozen=True)
class Things:
    """What Ann has in the channel."""

    service: Service
    session: str
    track: str
    subscription: str


Call = Callable[[Things, Caller], Awaitable[object]]

# Each method with the grant that it needs, and whether it names something of Ann's.
CALLS: dict[str, tuple[Grant, bool, Call]] = {
    "create_session": (
        JOIN,
        False,
        lambda t, c: t.service.create_session(
            c, CreateSession(type=SessionType.AUDIO, channel_id=CHANNEL, user_id=c.user_id)
        ),
    ),
    "connect": (JOIN, True, lambda t, c: t.service.connect(c, t.session, Connect(dtls_parameters=FINGERPRINTS))),
    "restart_ice": (JOIN, True, lambda t, c: t.service.restart_ice(c, t.session)),
    "update_session": (JOIN, True, lambda t, c: t.service.update_session(c, t.session, SessionPatch())),
    "get_session": (JOIN, True, lambda t, c: t.service.get_session(c, t.session)),
    "why": (JOIN, True, lambda t, c: t.service.why(c, t.session)),
    "stats": (JOIN, True, lambda t, c: t.service.stats(c, t.session)),
    "delete_session": (JOIN, True, lambda t, c: t.service.delete_session(c, t.session)),
    "publish": (
        PUBLISH,
        True,
        lambda t, c: t.service.publish(
            c, t.session, Publish(kind=Kind.AUDIO, rtp_parameters=parameters(opus(encodings=[{"ssrc": 99}])))
        ),
    ),
    "update_track": (PUBLISH, True, lambda t, c: t.service.update_track(c, t.session, t.track, TrackPatch())),
    "unpublish": (PUBLISH, True, lambda t, c: t.service.unpublish(c, t.session, t.track)),
    "subscribe": (
        SUBSCRIBE,
        True,
        lambda t, c: t.service.subscribe(
            c, t.session, Subscribe(track_id=t.track, rtp_capabilities=ROUTER_CAPABILITIES)
        ),
    ),
    "update_subscription": (
        SUBSCRIBE,
        True,
        lambda t, c: t.service.update_subscription(c, t.session, t.subscription, SubscriptionPatch()),
    ),
    "unsubscribe": (SUBSCRIBE, True, lambda t, c: t.service.unsubscribe(c, t.session, t.subscription)),
    "list_sessions": (Grant.ADMIN, False, lambda t, c: t.service.list_sessions(c)),
    "list_channels": (JOIN, False, lambda t, c: t.service.list_channels(c)),
    "get_channel": (JOIN, False, lambda t, c: t.service.get_channel(c, CHANNEL)),
    "set_routes": (Grant.ADMIN, False, lambda t, c: t.service.set_routes(c, CHANNEL, Routes())),
    "channel_snapshot": (JOIN, False, lambda t, c: t.service.channel_snapshot(c, CHANNEL)),
    "watch_channel": (JOIN, False, lambda t, c: t.service.watch_channel(c, CHANNEL)),
}
NOT_CALLS = {"handle_plane_event", "handle_message", "poll", "close_all", "counts"}

GRANTS = (JOIN, PUBLISH, SUBSCRIBE, RECORD)


async def things() -> Things:
    node = Node()
    session = (await node.join(ANN)).session_id
    track = (await node.speak(ANN, session)).track_id
    subscription = (await node.watch(ANN, session, track)).subscription_id
    return Things(node.service, session, track, subscription)


async def outcome(call: Call, having: Things, caller: Caller) -> str:
    try:
        await call(having, caller)
    except ApiError as error:
        return f"{error.status} {error.detail}"
    return "done"


def test_the_table_is_complete() -> None:
    methods = {name for name in vars(Service) if not name.startswith("_")}
    assert methods == CALLS.keys() | NOT_CALLS


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("grant", GRANTS)
async def test_a_call_needs_its_grant(name: str, grant: Grant) -> None:
    needed, _, call = CALLS[name]
    result = await outcome(call, await things(), member("ann", CHANNEL, grant))
    assert result == ("done" if grant is needed else f"403 The token does not grant {needed}.")


@pytest.mark.parametrize("name", CALLS)
async def test_all_other_grants_together_are_not_enough(name: str) -> None:
    needed, _, call = CALLS[name]
    others = [grant for grant in GRANTS if grant is not needed]
    assert (await outcome(call, await things(), member("ann", CHANNEL, *others))).startswith("403")


@pytest.mark.parametrize("name", CALLS)
async def test_nobody_may_do_anything(name: str) -> None:
    assert (await outcome(CALLS[name][2], await things(), Caller.nobody())).startswith("403")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("caller", [ADMIN, Caller.open()], ids=["admin", "open"])
async def test_an_admin_may_do_everything(name: str, caller: Caller) -> None:
    assert await outcome(CALLS[name][2], await things(), caller) == "done"


@pytest.mark.parametrize("name", [name for name, (_, named, _) in CALLS.items() if named])
@pytest.mark.parametrize(
    "caller",
    [member("ben"), member("ben", "*"), member("ann", "attic"), member("ben", "attic")],
    ids=["another user", "another user anywhere", "same user, another channel", "stranger"],
)
async def test_what_is_another_s_does_not_exist(name: str, caller: Caller) -> None:
    call, having = CALLS[name][2], await things()
    never_was = Things(having.service, "9b3a4b1e-0000-4000-8000-000000000000", having.track, having.subscription)
    foreign, unknown = await outcome(call, having, caller), await outcome(call, never_was, caller)
    assert foreign == unknown == "404 There is no such session."
    await having.service.delete_session(ANN, having.session)
    assert await outcome(call, having, caller) == unknown


@pytest.mark.parametrize("name", ["get_channel", "channel_snapshot", "watch_channel"])
async def test_another_channel_does_not_exist(name: str) -> None:
    assert await outcome(CALLS[name][2], await things(), member("ann", "attic")) == "404 There is no such channel."


async def test_a_token_for_every_channel_reaches_the_user_s_own_sessions() -> None:
    having = await things()
    await having.service.get_session(member("ann", "*"), having.session)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda t, c: t.service.update_track(c, t.session, t.subscription, TrackPatch()), NotFound),
        (lambda t, c: t.service.unsubscribe(c, t.session, t.track), NotFound),
        (
            lambda t, c: t.service.create_session(
                c, CreateSession(type=SessionType.AUDIO, channel_id=CHANNEL, user_id="ben")
            ),
            Forbidden,
        ),
    ],
)
async def test_ids_of_the_wrong_kind(call: Call, expected: type[ApiError]) -> None:
    with pytest.raises(expected):
        await call(await things(), ANN)
