"""What a full processor costs, whom, and that they have it back as they had asked for it."""

import pytest

from sluicegate.errors import Unavailable
from sluicegate.router.commands import TOP_SPATIAL, TOP_TEMPORAL, PauseSubscription, SelectLayers, SendHandle
from sluicegate.session.events import QualityDegradedEvent
from sluicegate.session.requests import PreferredLayers, SubscriptionPatch
from sluicegate.session.views import Layers
from tests.session.fakes import ANN, BEN, CAT, Node, simulcast

TOP = (TOP_SPATIAL, TOP_TEMPORAL)


class Scene:
    """Ann films and speaks, Ben watches and listens."""

    node: Node
    ann: str
    ben: str
    picture: str
    seen: str
    heard: str

    @classmethod
    async def set(cls) -> "Scene":
        scene = cls()
        node = scene.node = Node()
        scene.ann, scene.ben = [(await node.join(caller)).session_id for caller in (ANN, BEN)]
        scene.picture = (await node.film(ANN, scene.ann, simulcast())).track_id
        sound = (await node.speak(ANN, scene.ann)).track_id
        scene.seen = (await node.watch(BEN, scene.ben, scene.picture)).subscription_id
        scene.heard = (await node.watch(BEN, scene.ben, sound)).subscription_id
        node.news()
        return scene

    def burn(self, seconds: float, load: float = 1.0) -> None:
        self.node.load = load
        self.node.pass_time(seconds, step=1.0)

    def plane_says(self) -> list[tuple[tuple[int, int], bool]]:
        """Layers and pause of every subscription, in the order in which they were made."""
        plane = self.node.plane
        return [(plane.layers[send], plane.paused_sends[send]) for send in sorted(plane.sends)]

    async def change(self, **patch: object) -> Layers | None:
        view = await self.node.service.update_subscription(BEN, self.ben, self.seen, SubscriptionPatch(**patch))  # type: ignore[arg-type]
        return view.target_layers


async def test_top_layers_go_first_then_video_and_sound_never() -> None:
    scene = await Scene.set()
    assert scene.plane_says() == [(TOP, False), (TOP, False)]
    scene.burn(10)
    assert scene.plane_says() == [((1, TOP_TEMPORAL), False), (TOP, False)]
    scene.burn(20)
    assert scene.plane_says() == [((1, TOP_TEMPORAL), True), (TOP, False)]
    scene.burn(150, load=0.1)
    assert scene.plane_says() == [(TOP, False), (TOP, False)]
    causes = [entry.cause for entry in (await scene.node.service.why(BEN, scene.ben)).entries]
    assert causes == [
        "session_created",
        *("layers_selected", "quality_degraded", "shed", "restored", "layers_selected", "quality_recovered"),
    ]


async def test_a_layer_goes_before_the_key_frame_of_the_next_is_there() -> None:
    """Which stands behind what a full plane has not read; what stops at once makes room."""
    scene = await Scene.set()
    before = len(scene.node.plane.commands)
    scene.burn(10)
    send = min(scene.node.plane.sends)
    assert scene.node.plane.commands[before:] == [
        PauseSubscription(SendHandle(send), True),
        SelectLayers(SendHandle(send), 1, TOP_TEMPORAL),
        PauseSubscription(SendHandle(send), False),
    ]


async def test_new_sessions_are_told_to_come_later() -> None:
    scene = await Scene.set()
    scene.burn(10)
    with pytest.raises(Unavailable) as refused:
        await scene.node.join(CAT)
    assert refused.value.retry_after == 30
    scene.burn(70, load=0.1)
    await scene.node.join(CAT)


async def test_who_loses_something_is_told_and_told_when_it_is_over() -> None:
    scene = await Scene.set()
    scene.burn(30)
    scene.burn(150, load=0.1)
    told = [event for event in scene.node.news() if isinstance(event, QualityDegradedEvent)]
    assert [(event.degraded, event.session_id, event.cause, event.metric) for event in told] == [
        (True, scene.ben, "server_cpu", "cpu"),
        (False, scene.ben, "server_cpu", "cpu"),
    ]
    assert (told[0].track_id, told[0].subscription_id) == (scene.picture, scene.seen)
    assert told[0].value > told[0].threshold == 0.9


async def test_who_loses_nothing_is_not_told() -> None:
    scene = await Scene.set()
    await scene.change(preferred_layers=PreferredLayers(spatial=0))
    scene.burn(10)
    assert scene.plane_says()[0] == ((0, TOP_TEMPORAL), False)
    assert [event for event in scene.node.news() if isinstance(event, QualityDegradedEvent)] == []


async def test_what_is_asked_for_meanwhile_is_given_afterwards() -> None:
    scene = await Scene.set()
    scene.burn(10)
    await scene.change(preferred_layers=PreferredLayers(spatial=2, temporal=1))
    assert scene.plane_says()[0] == ((1, 1), False)
    await scene.change(preferred_layers=PreferredLayers(spatial=0, temporal=1))
    assert scene.plane_says()[0] == ((0, 1), False)
    await scene.change(preferred_layers=PreferredLayers(spatial=2, temporal=1))
    scene.burn(80, load=0.1)
    assert scene.plane_says()[0] == ((2, 1), False)


async def test_what_is_paused_meanwhile_stays_paused() -> None:
    scene = await Scene.set()
    scene.burn(30)
    await scene.change(paused=True)
    scene.burn(150, load=0.1)
    assert scene.plane_says()[0] == (TOP, True)
    await scene.change(paused=False)
    assert scene.plane_says()[0] == (TOP, False)


async def test_what_is_resumed_meanwhile_waits() -> None:
    scene = await Scene.set()
    await scene.change(paused=True)
    scene.burn(30)
    await scene.change(paused=False)
    assert scene.plane_says()[0][1]
    scene.burn(150, load=0.1)
    assert scene.plane_says()[0] == (TOP, False)


async def test_whoever_subscribes_meanwhile_gets_no_more_than_others() -> None:
    scene = await Scene.set()
    scene.burn(10)
    await scene.node.watch(BEN, scene.ben, scene.picture)
    assert scene.plane_says()[-1] == ((1, TOP_TEMPORAL), False)
    scene.burn(20)
    await scene.node.watch(BEN, scene.ben, scene.picture)
    assert scene.plane_says()[-1] == ((1, TOP_TEMPORAL), True)
    view = await scene.node.service.get_session(BEN, scene.ben)
    assert not any(subscription.paused for subscription in view.subscriptions), "by nobody who asked for it"
    scene.burn(150, load=0.1)
    assert set(scene.plane_says()) == {(TOP, False)}


async def test_readiness_says_it_in_words() -> None:
    scene = await Scene.set()
    assert scene.node.service.overload.describe() == "everything is served (load 0.00)"
    scene.burn(30)
    assert scene.node.service.overload.describe() == "overloaded: no new sessions, no video (load 1.00)"
