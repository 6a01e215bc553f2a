"""Publishing: what the plane is told, what the publisher is told, and what is refused."""

from typing import Any

import pytest

from sluicegate.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from sluicegate.router.commands import AddTrack, RemoveTrack, TrackEncoding
from sluicegate.rtp.names import Codec, MediaKind
from sluicegate.session.events import TrackAddedEvent, TrackPausedEvent, TrackRemovedEvent
from sluicegate.session.names import Kind, PresetName, SessionType, Source
from sluicegate.session.publishing import MAX_TRACKS_OF_SESSION
from sluicegate.session.requests import Publish, TrackPatch
from tests.ortc.clients import opus, parameters, video
from tests.session.fakes import ANN, BEN, FakePlane, FakeRouter, Node, member, simulcast


def added(node: Node) -> AddTrack:
    (command,) = node.plane.tracks.values()
    return command


async def test_the_plane_gets_the_track_and_the_channel_hears_of_it() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    node.news()
    track = await node.film(ANN, session_id, simulcast(), source=Source.CAMERA)
    command = added(node)
    assert command.transport == node.transports.by_session[session_id].handle
    assert command.media.kind is MediaKind.VIDEO and command.media.codec is Codec.VP8
    assert command.media.encodings == (TrackEncoding(10, 11), TrackEncoding(20, 21), TrackEncoding(30, 31))
    assert command.media.mid == "1" and not command.paused
    (event,) = node.news()
    assert isinstance(event, TrackAddedEvent)
    assert (event.track_id, event.kind, event.codec, event.source) == (track.track_id, "video", "VP8", "camera")
    assert (event.session_id, event.user_id) == (session_id, "ann")


async def test_encodings_come_back_in_the_order_of_the_request_and_go_to_the_plane_ascending() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    encodings = [{"ssrc": 30, "scaleResolutionDownBy": 1}, {"ssrc": 10, "scaleResolutionDownBy": 4}]
    track = await node.film(ANN, session_id, video(encodings=encodings), preset=PresetName.HIGH)
    assert [item.ssrc for item in track.encodings] == [30, 10]
    assert [item.max_height for item in track.encodings] == [720, 180]
    assert [encoding.ssrc for encoding in added(node).media.encodings] == [10, 30]


async def test_the_plane_takes_half_as_much_again_as_was_declared() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id

    async def limit(described: dict[str, Any] | None) -> int | None:
        track = await (node.film(ANN, session_id, described) if described else node.speak(ANN, session_id))
        result = added(node).media.limit_bps
        await node.service.unpublish(ANN, session_id, track.track_id)
        return result

    assert await limit(video(encodings=[{"ssrc": 10, "maxBitrate": 2_000_000}])) == 3_000_000
    both = [{"ssrc": 10, "maxBitrate": 1_000_000}, {"ssrc": 20, "maxBitrate": 3_000_000.5}]
    assert await limit(video(encodings=both)) == 6_000_000
    # What one of them will send is not known, or nothing is.
    assert await limit(video(encodings=[{"ssrc": 10, "maxBitrate": 1_000_000}, {"ssrc": 20}])) == 15_000_000
    assert await limit(None) == 765_000
    # Much is not believed, and never more than the token allows.
    assert await limit(video(encodings=[{"ssrc": 10, "maxBitrate": 10**12}])) == 60_000_000
    modest = member("ann", max_bitrate_bps=1_000_000)
    track = await node.film(modest, session_id)
    assert added(node).media.limit_bps == 2_000_000
    await node.service.unpublish(ANN, session_id, track.track_id)
    # Little is not taken at its word.
    assert await limit(video(encodings=[{"ssrc": 10, "maxBitrate": 1}])) == 1_200_000


async def test_an_audio_session_carries_audio_only() -> None:
    node = Node()
    session_id = (await node.join(ANN, SessionType.AUDIO)).session_id
    with pytest.raises(Invalid) as caught:
        await node.film(ANN, session_id)
    assert caught.value.errors[0].pointer == "/kind"
    await node.speak(ANN, session_id)


async def test_source_and_preset_must_fit_the_kind() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    with pytest.raises(Invalid) as caught:
        await node.speak(ANN, session_id, source=Source.CAMERA)
    assert caught.value.errors[0].pointer == "/source"
    with pytest.raises(Invalid) as caught:
        await node.speak(ANN, session_id, preset=PresetName.ULTRA)
    assert caught.value.errors[0].pointer == "/preset"


@pytest.mark.parametrize(
    ("second", "pointer"),
    [
        (opus(encodings=[{"ssrc": 10}]), "/rtp_parameters/encodings/0/ssrc"),
        (opus(encodings=[{"ssrc": 21}]), "/rtp_parameters/encodings/0/ssrc"),
        (opus(mid="1", encodings=[{"ssrc": 77}]), "/rtp_parameters/mid"),
    ],
)
async def test_streams_of_one_session_can_be_told_apart(second: dict[str, Any], pointer: str) -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    await node.film(ANN, session_id, simulcast())
    with pytest.raises(Invalid) as caught:
        await node.service.publish(ANN, session_id, Publish(kind=Kind.AUDIO, rtp_parameters=parameters(second)))
    assert caught.value.errors[0].pointer == pointer
    assert len(node.plane.tracks) == 1


async def test_two_sessions_may_have_the_same_ssrc() -> None:
    node = Node()
    for caller in (ANN, BEN):
        await node.film(caller, (await node.join(caller)).session_id, simulcast())
    assert len(node.plane.tracks) == 2


async def test_an_ssrc_that_is_sent_to_the_session_is_taken() -> None:
    node = Node()
    ann, ben = (await node.join(ANN)).session_id, (await node.join(BEN)).session_id
    track = await node.film(ANN, ann)
    subscription = await node.watch(BEN, ben, track.track_id)
    with pytest.raises(Invalid):
        await node.speak(BEN, ben, ssrc=subscription.rtp_parameters.encodings[0].ssrc or 0)


async def test_what_ortc_refuses_has_a_pointer_into_the_body() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    with pytest.raises(Invalid) as caught:
        await node.film(ANN, session_id, video("video/H261"))
    assert caught.value.errors[0].pointer.startswith("/rtp_parameters/codecs")


async def test_the_session_s_preset_is_the_default_and_the_token_caps() -> None:
    node = Node()
    session_id = (await node.join(ANN, preset=PresetName.HIGH)).session_id
    assert (await node.film(ANN, session_id)).encodings[0].max_height == 720
    capped = member("ann", max_preset=PresetName.MEDIUM)
    track = await node.film(capped, session_id, video(mid="2", encodings=[{"ssrc": 99}]))
    assert track.encodings[0].max_height == 360
    with pytest.raises(Forbidden) as caught:
        await node.film(capped, session_id, simulcast("3"), preset=PresetName.ULTRA)
    assert caught.value.errors[0].pointer == "/preset"
    sound = await node.speak(capped, session_id, ssrc=1234)
    assert (sound.encodings[0].max_bitrate_bps, sound.encodings[0].channels) == (32_000, 1)


async def test_a_bitrate_cap_bounds_what_is_asked_for() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    track = await node.film(member("ann", max_bitrate_bps=300_000), session_id, simulcast())
    assert sum(item.max_bitrate_bps or 0 for item in track.encodings) <= 300_000


async def test_max_tracks_counts_all_sessions_of_the_user() -> None:
    node = Node()
    capped = member("ann", max_tracks=2)
    first, second = (await node.join(capped)).session_id, (await node.join(capped)).session_id
    one = await node.speak(capped, first)
    await node.speak(capped, second)
    with pytest.raises(Forbidden):
        await node.film(capped, second, simulcast())
    await node.service.unpublish(capped, first, one.track_id)
    await node.film(capped, second, simulcast())


async def test_a_session_publishes_a_bounded_number_of_tracks() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    for number in range(MAX_TRACKS_OF_SESSION):
        await node.speak(ANN, session_id, ssrc=1000 + number)
    with pytest.raises(Conflict):
        await node.speak(ANN, session_id, ssrc=9)


async def test_a_full_plane_is_a_503() -> None:
    node = Node(router=FakeRouter())
    node.router.planes = [FakePlane(tracks=0)]
    session_id = (await node.join(ANN)).session_id
    with pytest.raises(Unavailable):
        await node.speak(ANN, session_id)
    assert node.service.counts().tracks == 0


async def test_pause_and_resume() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    track = await node.film(ANN, session_id, paused=True)
    handle = added(node).track
    assert node.plane.paused_tracks[handle]
    node.news()
    for paused in (False, False, True):
        view = await node.service.update_track(ANN, session_id, track.track_id, TrackPatch(paused=paused))
        assert view.paused is paused and node.plane.paused_tracks[handle] is paused
    assert [event.paused for event in node.news() if isinstance(event, TrackPausedEvent)] == [False, True]


async def test_a_new_preset_is_new_advice_and_new_layers_for_subscribers() -> None:
    node = Node()
    ann, ben = (await node.join(ANN)).session_id, (await node.join(BEN)).session_id
    track = await node.film(ANN, ann, simulcast(), preset=PresetName.HIGH)
    await node.watch(BEN, ben, track.track_id, preset=PresetName.LOW)
    (send,) = node.plane.sends
    assert node.plane.layers[send][0] == 0
    view = await node.service.update_track(ANN, ann, track.track_id, TrackPatch(preset=PresetName.LOW))
    assert view.preset == "low" and [item.max_height for item in view.encodings] == [45, 90, 180]
    assert node.plane.layers[send][0] == 3
    view = await node.service.update_track(ANN, ann, track.track_id, TrackPatch(preset=None))
    assert view.preset is None and view.encodings[2].max_height is None


async def test_unpublish_ends_the_track_and_its_subscriptions() -> None:
    node = Node()
    ann, ben = (await node.join(ANN)).session_id, (await node.join(BEN)).session_id
    track = await node.film(ANN, ann)
    await node.watch(BEN, ben, track.track_id)
    node.news()
    await node.service.unpublish(ANN, ann, track.track_id)
    assert not node.plane.tracks and not node.plane.sends
    assert isinstance(node.plane.commands[-1], RemoveTrack)
    (event,) = node.news()
    assert isinstance(event, TrackRemovedEvent)
    assert (event.track_id, event.reason) == (track.track_id, "unpublished")
    assert (await node.service.get_session(BEN, ben)).subscriptions == ()
    assert (await node.service.why(BEN, ben)).entries[-1].detail == "the track was removed"
    with pytest.raises(NotFound):
        await node.service.unpublish(ANN, ann, track.track_id)


async def test_a_closed_session_takes_its_tracks_along() -> None:
    node = Node()
    ann, ben = (await node.join(ANN)).session_id, (await node.join(BEN)).session_id
    await node.watch(BEN, ben, (await node.film(ANN, ann)).track_id)
    node.news()
    node.transports.by_session[ann].change("closed", "closed", "consent_lost")
    assert node.told() == ["track.removed", "session.closed"]
    assert node.service.counts().subscriptions == 0
