"""The calls below `/sessions`: each is a row of the table, and a line that passes it on to the service."""

from typing import Annotated

import msgspec
from msgspec import Meta

from sluicegate.http import examples
from sluicegate.http.routing import Call, Operation
from sluicegate.session.caller import Grant
from sluicegate.session.requests import (
    Connect,
    CreateSession,
    Name,
    Publish,
    SessionPatch,
    Subscribe,
    SubscriptionPatch,
    TrackPatch,
)
from sluicegate.session.views import (
    IceRestarted,
    SessionCreated,
    SessionPage,
    SessionView,
    StatsView,
    SubscriptionCreated,
    SubscriptionView,
    TrackPublished,
    TrackUpdated,
    WhyView,
)

TAG = "Sessions"
SESSION = "/sessions/{session_id}"
TRACK = SESSION + "/tracks/{track_id}"
SUBSCRIPTION = SESSION + "/subscriptions/{subscription_id}"

JOIN = frozenset({Grant.JOIN})
PUBLISH = frozenset({Grant.PUBLISH})
SUBSCRIBE = frozenset({Grant.SUBSCRIBE})
ADMIN = frozenset({Grant.ADMIN})

# Higher: one answer holds the loop for longer (100 µs for each hundred sessions).
MAX_PAGE = 500


class SessionsQuery(msgspec.Struct, frozen=True):
    """Which sessions, and how many at once."""

    channel_id: Annotated[Name | None, Meta(description="Only those of this channel.")] = None
    user_id: Annotated[Name | None, Meta(description="Only those of this user.")] = None
    cursor: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None, Meta(description="`next_cursor` of the page before.")
    ] = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = 100


async def create_session(call: Call) -> SessionCreated:
    return await call.service.create_session(call.caller, call.body)


async def connect(call: Call) -> None:
    await call.service.connect(call.caller, call.path["session_id"], call.body)


async def restart_ice(call: Call) -> IceRestarted:
    return await call.service.restart_ice(call.caller, call.path["session_id"])


async def publish(call: Call) -> TrackPublished:
    return await call.service.publish(call.caller, call.path["session_id"], call.body)


async def update_track(call: Call) -> TrackUpdated:
    return await call.service.update_track(call.caller, call.path["session_id"], call.path["track_id"], call.body)


async def unpublish(call: Call) -> None:
    await call.service.unpublish(call.caller, call.path["session_id"], call.path["track_id"])


async def subscribe(call: Call) -> SubscriptionCreated:
    return await call.service.subscribe(call.caller, call.path["session_id"], call.body)


async def update_subscription(call: Call) -> SubscriptionView:
    session_id, subscription_id = call.path["session_id"], call.path["subscription_id"]
    return await call.service.update_subscription(call.caller, session_id, subscription_id, call.body)


async def unsubscribe(call: Call) -> None:
    await call.service.unsubscribe(call.caller, call.path["session_id"], call.path["subscription_id"])


async def update_session(call: Call) -> SessionView:
    return await call.service.update_session(call.caller, call.path["session_id"], call.body)


async def get_session(call: Call) -> SessionView:
    return await call.service.get_session(call.caller, call.path["session_id"])


async def why(call: Call) -> WhyView:
    return await call.service.why(call.caller, call.path["session_id"])


async def stats(call: Call) -> StatsView:
    return await call.service.stats(call.caller, call.path["session_id"])


async def delete_session(call: Call) -> None:
    await call.service.delete_session(call.caller, call.path["session_id"])


async def list_sessions(call: Call) -> SessionPage:
    query: SessionsQuery = call.query
    return await call.service.list_sessions(
        call.caller, channel_id=query.channel_id, user_id=query.user_id, cursor=query.cursor, limit=query.limit
    )


def _location(created: SessionCreated) -> str:
    return f"/sessions/{created.session_id}"


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/sessions",
        operation_id="createSession",
        summary="Open a session",
        description="A session is one WebRTC transport of one user in one channel. One that is not connected by "
        "`expires_at` is closed.",
        handler=create_session,
        tag=TAG,
        grants=JOIN,
        request=CreateSession,
        response=SessionCreated,
        status=201,
        creates=True,
        location=_location,
        refusals=(503,),
        example=examples.CREATE_SESSION,
    ),
    Operation(
        method="GET",
        path="/sessions",
        operation_id="listSessions",
        summary="List sessions, a page at a time",
        handler=list_sessions,
        tag=TAG,
        grants=ADMIN,
        query=SessionsQuery,
        response=SessionPage,
        refusals=(422,),
    ),
    Operation(
        method="GET",
        path=SESSION,
        operation_id="getSession",
        summary="The state of a session, its tracks and its subscriptions",
        handler=get_session,
        tag=TAG,
        grants=JOIN,
        response=SessionView,
        refusals=(404,),
        quiet=True,
    ),
    Operation(
        method="PATCH",
        path=SESSION,
        operation_id="updateSession",
        summary="Change audio processing or metadata",
        handler=update_session,
        tag=TAG,
        grants=JOIN,
        request=SessionPatch,
        response=SessionView,
        refusals=(404, 409),
        example={"audio_processing": {"noise_suppression": True}},
    ),
    Operation(
        method="DELETE",
        path=SESSION,
        operation_id="deleteSession",
        summary="End a session; ending it again is no error",
        handler=delete_session,
        tag=TAG,
        grants=JOIN,
        status=204,
        refusals=(404,),
    ),
    Operation(
        method="POST",
        path=SESSION + "/connect",
        operation_id="connectSession",
        summary="Tell the client's DTLS fingerprints",
        description="The certificate of the DTLS handshake must match one of the fingerprints, else the session is "
        "closed.",
        handler=connect,
        tag=TAG,
        grants=JOIN,
        request=Connect,
        status=204,
        refusals=(404, 409),
        example=examples.CONNECT,
    ),
    Operation(
        method="POST",
        path=SESSION + "/restart-ice",
        operation_id="restartIce",
        summary="New ICE credentials; media keeps flowing on the old path meanwhile",
        handler=restart_ice,
        tag=TAG,
        grants=JOIN,
        response=IceRestarted,
        refusals=(404, 409),
    ),
    Operation(
        method="POST",
        path=SESSION + "/publish",
        operation_id="publishTrack",
        summary="Publish a track",
        handler=publish,
        tag=TAG,
        grants=PUBLISH,
        request=Publish,
        response=TrackPublished,
        status=201,
        creates=True,
        refusals=(404, 409, 503),
        example=examples.PUBLISH,
    ),
    Operation(
        method="PATCH",
        path=TRACK,
        operation_id="updateTrack",
        summary="Pause, resume or cap a published track",
        handler=update_track,
        tag=TAG,
        grants=PUBLISH,
        request=TrackPatch,
        response=TrackUpdated,
        refusals=(404, 409),
        example={"paused": True},
    ),
    Operation(
        method="DELETE",
        path=TRACK,
        operation_id="unpublishTrack",
        summary="Stop publishing a track",
        handler=unpublish,
        tag=TAG,
        grants=PUBLISH,
        status=204,
        refusals=(404,),
    ),
    Operation(
        method="POST",
        path=SESSION + "/subscribe",
        operation_id="subscribeToTrack",
        summary="Subscribe to a track of the channel, or to its mixed audio",
        handler=subscribe,
        tag=TAG,
        grants=SUBSCRIBE,
        request=Subscribe,
        response=SubscriptionCreated,
        status=201,
        creates=True,
        refusals=(404, 409, 503),
        example=examples.SUBSCRIBE,
    ),
    Operation(
        method="PATCH",
        path=SUBSCRIPTION,
        operation_id="updateSubscription",
        summary="Pause, resume or prefer layers; answers with the layers now sent",
        handler=update_subscription,
        tag=TAG,
        grants=SUBSCRIBE,
        request=SubscriptionPatch,
        response=SubscriptionView,
        refusals=(404, 409),
        example={"paused": False, "preferred_layers": {"spatial": 1, "temporal": 2}},
    ),
    Operation(
        method="DELETE",
        path=SUBSCRIPTION,
        operation_id="unsubscribe",
        summary="End a subscription",
        handler=unsubscribe,
        tag=TAG,
        grants=SUBSCRIBE,
        status=204,
        refusals=(404,),
    ),
    Operation(
        method="GET",
        path=SESSION + "/why",
        operation_id="explainSession",
        summary="The timeline of decisions about a session",
        handler=why,
        tag=TAG,
        grants=JOIN,
        response=WhyView,
        refusals=(404,),
        quiet=True,
    ),
    Operation(
        method="GET",
        path=SESSION + "/stats",
        operation_id="sessionStats",
        summary="Figures of a session, over the latest second: rates, loss, delay, quality",
        handler=stats,
        tag=TAG,
        grants=JOIN,
        response=StatsView,
        refusals=(404,),
        quiet=True,
    ),
)
