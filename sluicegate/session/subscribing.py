"""Subscribing: from what a client can play to a send stream of the plane, with layers, pauses and routes."""

from dataclasses import replace

from msgspec import UNSET

from sluicegate.errors import ApiError, Conflict, Invalid, NotFound
from sluicegate.ids import SubscriptionId, TrackId, new_id
from sluicegate.ortc.negotiate import SubscribedMedia, negotiate_subscribe
from sluicegate.router.commands import AddSubscription
from sluicegate.session.access import check_preset
from sluicegate.session.caller import Caller
from sluicegate.session.core import Core
from sluicegate.session.names import AudioMode, Kind, SessionType
from sluicegate.session.requests import Subscribe, SubscriptionPatch
from sluicegate.session.session import Session
from sluicegate.session.subscription import (
    Subscription,
    SubscriptionTerms,
    first_numbers,
    fresh_ssrcs,
    send_media,
)
from sluicegate.session.track import Track

MIX = "mix"
NO_MIX = "This server does not mix yet: subscribe to the tracks of the channel one by one, in the mode forward."

# Everybody's camera, screen and microphone in a channel of 300.
MAX_SUBSCRIPTIONS_OF_SESSION = 1000
# One is played while the next is made. Whoever tests how much a server carries is its admin.
MAX_SUBSCRIPTIONS_TO_TRACK = 8


def subscribe(core: Core, caller: Caller, session: Session, request: Subscribe) -> tuple[Subscription, SubscribedMedia]:
    """Adds a subscription to the session, and says how the client will receive it."""
    if request.track_id == MIX:
        raise Invalid(NO_MIX, pointer="/track_id")
    channel = core.channels[session.channel_id]
    found = channel.tracks.get(TrackId(request.track_id))
    if found is None:
        raise NotFound("There is no such track in this channel.")
    publisher, track = found
    _check_request(caller, session, track, request)
    mid = session.take_mid()
    ssrc, rtx_ssrc = fresh_ssrcs(2, channel.outgoing_ssrcs, session.incoming_ssrcs())
    cname = channel.members[publisher.user_id].cname
    try:
        subscribed = negotiate_subscribe(
            track.published, request.rtp_capabilities, mid=mid, ssrc=ssrc, rtx_ssrc=rtx_ssrc, cname=cname
        )
    except ApiError as error:
        raise error.below("/rtp_capabilities") from None
    terms = SubscriptionTerms(
        preset=request.preset or session.preset,
        priority=request.priority,
        max_preset=caller.max_preset,
        max_bitrate_bps=caller.max_bitrate_bps,
    )
    choice = core.choose(terms, track)
    subscription = Subscription(
        SubscriptionId(new_id()),
        channel.plane.allocate_send(),
        track,
        send_media(subscribed, mid, cname, choice),
        terms,
        choice,
        request.paused,
        core.muted_by_route(session, track),
        core.sheds(track),
    )
    sequence_number, timestamp = first_numbers()
    channel.plane.submit(
        AddSubscription(
            subscription.handle,
            session.transport.handle,
            track.handle,
            subscription.media,
            subscription.stopped,
            sequence_number,
            timestamp,
        )
    )
    core.add_subscription(session, subscription)
    return subscription, subscribed


def update_subscription(
    core: Core, caller: Caller, session: Session, subscription: Subscription, patch: SubscriptionPatch
) -> None:
    """Changes what a subscription is sent. Nothing changes where any part of the patch is refused."""
    track = subscription.track
    _check_patch(caller, track, patch)
    terms = subscription.terms
    if patch.preset is not UNSET:
        terms = replace(terms, preset=patch.preset or session.preset)
    if patch.preferred_layers is not UNSET:
        terms = replace(terms, preferred_layers=patch.preferred_layers)
    if patch.priority is not UNSET:
        terms = replace(terms, priority=patch.priority)
    if not caller.is_admin:
        # A token that was issued since may allow more, or less; an admin who helps does not lift the user's limits.
        terms = replace(terms, max_preset=caller.max_preset, max_bitrate_bps=caller.max_bitrate_bps)
    if terms != subscription.terms:
        subscription.terms = terms
        core.choose_layers(session, subscription)
    if patch.paused is not UNSET:
        core.stop_subscription(session, subscription, paused=patch.paused)


def _check_request(caller: Caller, session: Session, track: Track, request: Subscribe) -> None:
    if session.identity.type is SessionType.AUDIO and track.kind is Kind.VIDEO:
        raise Invalid("An audio session carries audio only; open a session of type video.", pointer="/track_id")
    _check_mode(track, request.mode)
    check_preset(caller, request.preset, track.kind)
    if len(session.subscriptions) >= MAX_SUBSCRIPTIONS_OF_SESSION:
        raise Conflict(f"This session has {MAX_SUBSCRIPTIONS_OF_SESSION} subscriptions already.")
    copies = len(session.subscriptions.keys() & track.subscriptions)
    if copies >= MAX_SUBSCRIPTIONS_TO_TRACK and not caller.is_admin:
        raise Conflict(f"This session has {MAX_SUBSCRIPTIONS_TO_TRACK} subscriptions to this track already.")


def _check_patch(caller: Caller, track: Track, patch: SubscriptionPatch) -> None:
    _check_mode(track, None if patch.mode is UNSET else patch.mode)
    if patch.volume is not UNSET:
        raise Invalid("Only the mix has a volume; forwarded media is passed on as it is.", pointer="/volume")
    if patch.preset is not UNSET:
        check_preset(caller, patch.preset, track.kind)
    if patch.preferred_layers is not UNSET and patch.preferred_layers is not None and track.kind is Kind.AUDIO:
        raise Invalid("Audio has no layers.", pointer="/preferred_layers")


def _check_mode(track: Track, mode: AudioMode | None) -> None:
    if mode in (AudioMode.TOP, AudioMode.MIX):
        raise Invalid(NO_MIX if track.kind is Kind.AUDIO else "Only audio can be mixed.", pointer="/mode")
