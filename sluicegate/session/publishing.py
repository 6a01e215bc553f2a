"""Publishing: from what a client says it sends to a track of the plane, and what the client is asked to send."""

from msgspec import UNSET

from sluicegate.errors import ApiError, Conflict, Forbidden, Invalid
from sluicegate.ids import TrackId, new_id
from sluicegate.ortc.negotiate import PublishedMedia, negotiate_publish
from sluicegate.router.commands import AddTrack
from sluicegate.rtp.names import MediaKind
from sluicegate.session.access import check_preset
from sluicegate.session.caller import Caller
from sluicegate.session.core import Core
from sluicegate.session.names import SOURCE_KINDS, Kind, PresetName, SessionType
from sluicegate.session.presets import fits, lowest
from sluicegate.session.requests import Publish, TrackPatch
from sluicegate.session.session import Session
from sluicegate.session.track import Track, TrackTerms, ascending_order, check_streams, track_media

# Camera, screen and their sound are four; the rest is for bots. With four encodings and RTX each this is 512 SSRCs a
# session.
MAX_TRACKS_OF_SESSION = 64


def publish(core: Core, caller: Caller, session: Session, request: Publish) -> Track:
    """Adds a track; `Invalid`, `Forbidden`, `Conflict` or (tables full) `Unavailable` if it may not be."""
    _check_kind(session, request)
    check_preset(caller, request.preset, request.kind)
    _check_room(core, caller, session)
    try:
        published = negotiate_publish(MediaKind[request.kind.name], request.rtp_parameters)
        check_streams(published, *_taken(session))
    except ApiError as error:
        raise error.below("/rtp_parameters") from None
    plane = core.channels[session.channel_id].plane
    order = ascending_order(published.parameters.encodings)
    terms = TrackTerms(
        _effective_preset(caller, session, request.preset, request.kind), caller.max_bitrate_bps, request.source
    )
    track = Track(
        TrackId(new_id()),
        plane.allocate_track(),
        published,
        track_media(published, order, caller.max_bitrate_bps),
        order,
        terms,
        request.paused,
    )
    plane.submit(AddTrack(track.handle, session.transport.handle, track.media, track.paused))
    core.add_track(session, track)
    return track


def update_track(core: Core, caller: Caller, session: Session, track: Track, patch: TrackPatch) -> None:
    """Pauses or resumes a track, or changes what its publisher is asked to send."""
    if patch.preset is not UNSET:
        check_preset(caller, patch.preset, track.kind)
        preset = _effective_preset(caller, session, patch.preset, track.kind)
        track.change_preset(preset)
        session.timeline.add("preset", f"publisher: {preset or 'none'}", track_id=track.track_id)
        for subscriber, subscription in core.subscriptions_to(session, track):
            core.choose_layers(subscriber, subscription)
    if patch.paused is not UNSET:
        core.stop_track(session, track, paused=patch.paused)


def _check_kind(session: Session, request: Publish) -> None:
    if session.identity.type is SessionType.AUDIO and request.kind is Kind.VIDEO:
        raise Invalid("An audio session carries audio only; open a session of type video.", pointer="/kind")
    if request.source is not None and SOURCE_KINDS[request.source] is not request.kind:
        raise Invalid(f"The source {request.source} is not of kind {request.kind}.", pointer="/source")


def _check_room(core: Core, caller: Caller, session: Session) -> None:
    member = core.channels[session.channel_id].members[session.user_id]
    if caller.max_tracks is not None and member.track_count() >= caller.max_tracks:
        raise Forbidden(f"The token allows {caller.max_tracks} published tracks in this channel.")
    if len(session.tracks) >= MAX_TRACKS_OF_SESSION:
        raise Conflict(f"This session publishes {MAX_TRACKS_OF_SESSION} tracks already.")


def _taken(session: Session) -> tuple[set[int], set[str], set[str]]:
    """The SSRCs, MIDs and lone RIDs that a new track of the session must not have."""
    media: list[PublishedMedia] = [track.published for track in session.tracks.values()]
    mids = {one.mid for one in media if one.mid is not None}
    rids = {encoding.rid for one in media if one.mid is None for encoding in one.encodings if encoding.rid is not None}
    return session.incoming_ssrcs() | session.outgoing_ssrcs(), mids, rids


def _effective_preset(caller: Caller, session: Session, wanted: PresetName | None, kind: Kind) -> PresetName | None:
    """The preset that was asked for, else the session's, and never above the token's."""
    preset = lowest(wanted or session.preset, caller.max_preset)
    return preset if preset is None or fits(preset, kind) else PresetName.HIGH
