"""Subscribing: one stream with numbers of its own, layers as wished and allowed, pauses, presets, refusals."""

from typing import Any

import pytest

from sluicegate.errors import Conflict, Forbidden, Invalid, NotFound
from sluicegate.ortc.parameters import RtpCapabilities
from sluicegate.router.commands import TOP_SPATIAL, TOP_TEMPORAL, AddSubscription
from sluicegate.router.events import LayersChanged
from sluicegate.session.events import SubscriptionLayersEvent
from sluicegate.session.names import AudioMode, PresetName, SessionType
from sluicegate.session.requests import PreferredLayers, Subscribe, SubscriptionPatch
from sluicegate.session.views import Layers
from tests.ortc.clients import video
from tests.session.fakes import ADMIN, ANN, BEN, CAT, Node, member, simulcast


class Pair:
    """Ann publishes, Ben subscribes."""

    def __init__(self, node: Node, ann: str, ben: str, track_id: str) -> None:
        self.node, self.ann, self.ben, self.track_id = node, ann, ben, track_id
        self.subscription_id = ""

    @property
    def command(self) -> AddSubscription:
        return list(self.node.plane.sends.values())[-1]

    @property
    def layers(self) -> tuple[int, int]:
        return self.node.plane.layers[self.command.send]

    async def watch(self, caller: Any = BEN, **more: Any) -> Any:
        created = await self.node.watch(caller, self.ben, self.track_id, **more)
        self.subscription_id = created.subscription_id
        return created

    async def patch(self, caller: Any = BEN, **changes: Any) -> Any:
        patch = SubscriptionPatch(**changes)
        return await self.node.service.update_subscription(caller, self.ben, self.subscription_id, patch)


async def camera(rtp: dict[str, Any] | None = None) -> Pair:
    node = Node()
    ann, ben = (await node.join(ANN)).session_id, (await node.join(BEN)).session_id
    return Pair(node, ann, ben, (await node.film(ANN, ann, rtp or simulcast())).track_id)


async def microphone() -> Pair:
    node = Node()
    ann, ben = (await node.join(ANN)).session_id, (await node.join(BEN)).session_id
    return Pair(node, ann, ben, (await node.speak(ANN, ann)).track_id)


async def test_the_client_and_the_plane_are_told_the_same() -> None:
    pair = await camera()
    created = await pair.watch()
    media, rtp = pair.command.media, created.rtp_parameters
    assert (created.kind, created.type, created.track_id) == ("video", "simulcast", pair.track_id)
    assert rtp.mid == media.mid == "0"
    assert (rtp.encodings[0].ssrc, rtp.encodings[0].rtx.ssrc) == (media.ssrc, media.rtx_ssrc)
    assert rtp.rtcp.cname == media.cname
    assert rtp.codecs[0].payload_type == media.payload_types[0]
    assert (media.spatial, media.temporal) == (TOP_SPATIAL, TOP_TEMPORAL)
    assert pair.command.sequence_number < 2**15


async def test_numbers_are_fresh_for_every_subscription() -> None:
    pair = await camera()
    mids, ssrcs = [], set()
    for _ in range(50):
        created = await pair.watch()
        mids.append(created.rtp_parameters.mid)
        ssrcs |= {created.rtp_parameters.encodings[0].ssrc, created.rtp_parameters.encodings[0].rtx.ssrc}
        await pair.node.service.unsubscribe(BEN, pair.ben, created.subscription_id)
    assert mids == [str(number) for number in range(50)]
    assert len(ssrcs) == 100


async def test_a_mid_of_the_session_s_own_tracks_is_not_used_again() -> None:
    pair = await camera()
    await pair.node.film(BEN, pair.ben, video(mid="0"))
    assert (await pair.watch()).rtp_parameters.mid == "1"


async def test_tracks_of_one_user_share_a_cname_and_those_of_two_do_not() -> None:
    pair = await camera()
    sound = await pair.node.speak(ANN, (await pair.node.join(ANN)).session_id)
    cat = await pair.node.film(CAT, (await pair.node.join(CAT)).session_id)
    first, second, other = [
        (await pair.node.watch(BEN, pair.ben, track_id)).rtp_parameters.rtcp.cname
        for track_id in (pair.track_id, sound.track_id, cat.track_id)
    ]
    assert first == second != other


async def test_a_track_of_another_channel_is_unknown() -> None:
    pair = await camera()
    everywhere = member("eve", "*")
    eve = (await pair.node.join(everywhere, channel_id="attic")).session_id
    errors = []
    for track_id in (pair.track_id, "9b3a4b1e-0000-4000-8000-000000000000"):
        with pytest.raises(NotFound) as caught:
            await pair.node.watch(everywhere, eve, track_id)
        errors.append(caught.value.detail)
    assert errors[0] == errors[1]


async def test_what_cannot_be_played_is_refused() -> None:
    pair = await camera()
    request = Subscribe(track_id=pair.track_id, rtp_capabilities=RtpCapabilities())
    with pytest.raises(Invalid) as caught:
        await pair.node.service.subscribe(BEN, pair.ben, request)
    assert caught.value.errors[0].pointer == "/rtp_capabilities/codecs"
    assert not pair.node.plane.sends


async def test_there_is_no_mix_and_it_says_so() -> None:
    pair = await microphone()
    for track_id, more, pointer in (
        ("mix", {}, "/track_id"),
        (pair.track_id, {"mode": AudioMode.MIX}, "/mode"),
        (pair.track_id, {"mode": AudioMode.TOP}, "/mode"),
    ):
        with pytest.raises(Invalid) as caught:
            await pair.node.watch(BEN, pair.ben, track_id, **more)
        assert caught.value.errors[0].pointer == pointer
        assert "does not mix" in caught.value.detail
    await pair.watch(mode=AudioMode.FORWARD)
    with pytest.raises(Invalid):
        await pair.patch(mode=AudioMode.MIX)
    with pytest.raises(Invalid) as caught:
        await pair.patch(volume=1.0)
    assert caught.value.errors[0].pointer == "/volume"


async def test_an_audio_session_receives_audio_only() -> None:
    pair = await camera()
    audio = (await pair.node.join(CAT, SessionType.AUDIO)).session_id
    with pytest.raises(Invalid):
        await pair.node.watch(CAT, audio, pair.track_id)


async def test_pause_and_resume() -> None:
    pair = await camera()
    created = await pair.watch(paused=True)
    assert created.paused and pair.command.paused
    for paused in (False, False, True):
        view = await pair.patch(paused=paused)
        assert view.paused is paused
        assert pair.node.plane.paused_sends[pair.command.send] is paused


async def test_preferred_layers_are_selected_and_null_frees_them() -> None:
    pair = await camera()
    await pair.watch()
    view = await pair.patch(preferred_layers=PreferredLayers(spatial=1, temporal=0))
    assert pair.layers == (1, 0)
    assert view.target_layers == Layers(spatial=1, temporal=0)
    assert (await pair.node.service.why(BEN, pair.ben)).entries[-1].cause == "layers_selected"
    await pair.patch(preferred_layers=None)
    assert pair.layers == (TOP_SPATIAL, TOP_TEMPORAL)


async def test_a_preset_caps_the_layer() -> None:
    pair = await camera()
    await pair.watch(preset=PresetName.MEDIUM)
    assert pair.layers[0] == 1
    await pair.patch(preset=PresetName.LOW)
    assert pair.layers[0] == 0
    await pair.patch(preset=None)
    assert pair.layers[0] == TOP_SPATIAL


async def test_the_token_caps_the_layer_and_an_admin_does_not_lift_that() -> None:
    pair = await camera()
    capped = member("ben", max_preset=PresetName.MEDIUM)
    await pair.watch(capped)
    assert pair.layers[0] == 1
    with pytest.raises(Forbidden):
        await pair.patch(capped, preset=PresetName.HIGH)
    await pair.patch(ADMIN, preset=PresetName.ULTRA)
    assert pair.layers[0] == 1
    await pair.patch(BEN, priority=9)
    assert pair.layers[0] == TOP_SPATIAL


async def test_a_refused_patch_changes_nothing() -> None:
    pair = await camera()
    await pair.watch()
    before = len(pair.node.plane.commands)
    with pytest.raises(Invalid):
        await pair.patch(paused=True, priority=200, volume=0.5)
    assert len(pair.node.plane.commands) == before
    view = await pair.patch(priority=200)
    assert (view.priority, view.paused) == (200, False)


async def test_the_answer_has_the_layers_that_are_sent_now() -> None:
    pair = await camera()
    await pair.watch()
    assert (await pair.patch(priority=2)).layers is None
    pair.node.sends(pair.command.send, packets=1, spatial=1, temporal=2)
    view = await pair.patch(priority=3)
    assert view.layers == Layers(spatial=1, temporal=2)
    assert view.target_layers == Layers(spatial=2, temporal=2)  # the temporal layers were not announced
    assert (await pair.patch(paused=True)).layers is None


async def test_audio_has_no_layers() -> None:
    pair = await microphone()
    created = await pair.watch()
    assert created.type == "simple"
    with pytest.raises(Invalid) as caught:
        await pair.patch(preferred_layers=PreferredLayers(spatial=0))
    assert caught.value.errors[0].pointer == "/preferred_layers"
    assert (await pair.patch(priority=7)).target_layers is None


async def test_layers_that_change_are_told() -> None:
    pair = await camera()
    created = await pair.watch()
    pair.node.news()
    plane, send = pair.node.plane, pair.command.send
    pair.node.service.handle_plane_event(plane, LayersChanged(send, 2, 1))
    pair.node.service.handle_plane_event(plane, LayersChanged(send, -1, -1))
    events = pair.node.news()
    assert all(isinstance(event, SubscriptionLayersEvent) for event in events)
    assert [event.layers for event in events] == [Layers(spatial=2, temporal=1), None]
    assert events[0].subscription_id == created.subscription_id
    await pair.node.service.unsubscribe(BEN, pair.ben, created.subscription_id)
    pair.node.service.handle_plane_event(plane, LayersChanged(send, 2, 1))
    assert pair.node.news() == []


async def test_a_session_may_watch_itself() -> None:
    pair = await camera()
    await pair.node.watch(ANN, pair.ann, pair.track_id)
    await pair.node.service.delete_session(ANN, pair.ann)
    assert not pair.node.plane.sends and not pair.node.plane.tracks


async def test_a_session_has_eight_subscriptions_to_a_track_at_most() -> None:
    node = Node()
    track = await node.film(ANN, (await node.join(ANN)).session_id)
    session_id = (await node.join(BEN)).session_id
    made = [await node.watch(BEN, session_id, track.track_id) for _ in range(8)]
    with pytest.raises(Conflict, match="8 subscriptions to this track"):
        await node.watch(BEN, session_id, track.track_id)
    await node.watch(BEN, (await node.join(BEN)).session_id, track.track_id)
    await node.service.unsubscribe(BEN, session_id, made[0].subscription_id)
    await node.watch(BEN, session_id, track.track_id)
