"""The calls below `/channels` except the event stream (`events.py`)."""

from sluicegate.http import examples
from sluicegate.http.routing import Call, Operation
from sluicegate.session.caller import Grant
from sluicegate.session.requests import Routes
from sluicegate.session.views import ChannelList, ChannelView, RoutesView

TAG = "Channels"
CHANNEL = "/channels/{channel_id}"
ADMIN = frozenset({Grant.ADMIN})
JOIN = frozenset({Grant.JOIN})


async def list_channels(call: Call) -> ChannelList:
    return await call.service.list_channels(call.caller)


async def get_channel(call: Call) -> ChannelView:
    return await call.service.get_channel(call.caller, call.path["channel_id"])


async def set_routes(call: Call) -> RoutesView:
    return await call.service.set_routes(call.caller, call.path["channel_id"], call.body)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/channels",
        operation_id="listChannels",
        summary="The channels that the token reaches",
        handler=list_channels,
        tag=TAG,
        grants=JOIN,
        response=ChannelList,
        quiet=True,
    ),
    Operation(
        method="GET",
        path=CHANNEL,
        operation_id="getChannel",
        summary="Members, tracks, active speaker, recording and node of a channel",
        handler=get_channel,
        tag=TAG,
        grants=JOIN,
        response=ChannelView,
        refusals=(404, 422),
        quiet=True,
    ),
    Operation(
        method="PUT",
        path=CHANNEL + "/routes",
        operation_id="setRoutes",
        summary="Who hears whom, and how loud",
        description="`*` stands for everybody. An exact pair beats a listener's `*`, that a speaker's `*`, and that "
        "the default.",
        handler=set_routes,
        tag=TAG,
        grants=ADMIN,
        request=Routes,
        response=RoutesView,
        refusals=(404,),
        example=examples.ROUTES,
    ),
)
