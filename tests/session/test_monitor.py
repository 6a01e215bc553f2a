"""What the periodic look finds: speakers, statistics, quality, and publishers who send too much."""

from typing import Any

import pytest

from sluicegate.router.events import TransportStatistics
from sluicegate.session.events import QualityDegradedEvent, SpeakerChangedEvent
from sluicegate.session.names import DegradationCause, PresetName, QualityMetric, Source
from sluicegate.session.requests import TrackPatch
from sluicegate.session.views import ActiveSpeaker
from tests.session.fakes import ANN, BEN, CHANNEL, Node, member, simulcast


class Voice:
    """A microphone of which the plane counts levels, poll by poll."""

    def __init__(self, node: Node, handle: int) -> None:
        self.node, self.handle, self.total, self.count = node, handle, 0, 0

    def says(self, level: int, packets: int = 15) -> None:
        self.total += level * packets
        self.count += packets
        row = {"audio_level_sum": self.total, "audio_level_count": self.count, "last_packet": self.node.clock.now + 0.3}
        self.node.receives(self.handle, row)


def polls(node: Node, count: int, **said: tuple[Voice, int]) -> None:
    for _ in range(count):
        for voice, level in said.values():
            voice.says(level)
        node.pass_time(0.3)


async def conversation() -> tuple[Node, Voice, Voice, list[str], list[str]]:
    node = Node()
    sessions = [(await node.join(caller)).session_id for caller in (ANN, BEN)]
    tracks = [
        (await node.speak(caller, session)).track_id for caller, session in zip((ANN, BEN), sessions, strict=True)
    ]
    node.news()
    return node, Voice(node, 0), Voice(node, 1), sessions, tracks


async def test_the_speaker_is_told_when_it_changes() -> None:
    node, ann, ben, _, tracks = await conversation()
    polls(node, 5, ann=(ann, 30), ben=(ben, 127))
    polls(node, 5, ann=(ann, 127), ben=(ben, 30))
    events = [event for event in node.news() if isinstance(event, SpeakerChangedEvent)]
    assert [(event.user_id, event.track_id, event.previous_user_id) for event in events] == [
        ("ann", tracks[0], None),
        ("ben", tracks[1], "ann"),
    ]
    speaker = (await node.service.get_channel(ANN, CHANNEL)).active_speaker
    assert speaker == ActiveSpeaker(user_id="ben", track_id=tracks[1])


async def test_when_the_speaker_leaves_nobody_speaks() -> None:
    node, ann, ben, sessions, _ = await conversation()
    polls(node, 5, ann=(ann, 30), ben=(ben, 127))
    node.news()
    await node.service.delete_session(ANN, sessions[0])
    event = next(event for event in node.news() if isinstance(event, SpeakerChangedEvent))
    assert (event.user_id, event.track_id, event.previous_user_id) == (None, None, "ann")
    assert (await node.service.get_channel(BEN, CHANNEL)).active_speaker is None


async def test_a_paused_microphone_does_not_speak() -> None:
    node, ann, ben, sessions, tracks = await conversation()
    await node.service.update_track(ANN, sessions[0], tracks[0], TrackPatch(paused=True))
    node.news()
    polls(node, 10, ann=(ann, 20), ben=(ben, 127))
    assert node.news() == []


async def test_what_was_said_into_a_paused_microphone_is_not_heard_afterwards() -> None:
    node, ann, ben, sessions, tracks = await conversation()
    await node.service.update_track(ANN, sessions[0], tracks[0], TrackPatch(paused=True))
    polls(node, 10, ann=(ann, 20), ben=(ben, 127))
    await node.service.update_track(ANN, sessions[0], tracks[0], TrackPatch(paused=False))
    node.news()
    polls(node, 5, ann=(ann, 127), ben=(ben, 127))
    assert node.news() == []
    polls(node, 5, ann=(ann, 20), ben=(ben, 127))
    assert [event.user_id for event in node.news() if isinstance(event, SpeakerChangedEvent)] == ["ann"]


async def test_the_sound_of_a_screen_is_no_speaker() -> None:
    node = Node()
    session_id = (await node.join(ANN)).session_id
    await node.speak(ANN, session_id, source=Source.SCREEN_AUDIO)
    node.news()
    polls(node, 10, film=(Voice(node, 0), 20))
    assert node.news() == []


class Call:
    """Ann films in three encodings, Ben watches."""

    def __init__(self, node: Node, ann: str, ben: str, track_id: str, subscription_id: str) -> None:
        self.node, self.ann, self.ben, self.track_id, self.subscription_id = node, ann, ben, track_id, subscription_id
        self.track = next(iter(node.plane.tracks))
        self.send = next(iter(node.plane.sends))
        self.seconds = 0

    def flow(self, seconds: int, uplink: dict[str, Any] | None = None, downlink: dict[str, Any] | None = None) -> None:
        """Ann sends 200, 500 and 1500 kbps at 30 frames a second; Ben gets the top, or what `downlink` says."""
        for _ in range(seconds):
            self.seconds += 1
            rates = (200_000, 500_000, 1_500_000)
            rows = [
                {
                    "ssrc": 10 * (index + 1),
                    "packets": self.seconds * 100,
                    "bytes": self.seconds * rate // 8,
                    "frames": self.seconds * 30,
                    **(uplink or {}),
                }
                for index, rate in enumerate(rates)
            ]
            self.node.receives(self.track, *rows)
            sent = {"packets": self.seconds * 100, "bytes": self.seconds * 1_500_000 // 8, "frames": self.seconds * 30}
            self.node.sends(self.send, **({"spatial": 2, "temporal": 2} | sent | (downlink or {})))
            self.node.pass_time(1.0, step=1.0)

    def quality_events(self) -> list[QualityDegradedEvent]:
        return [event for event in self.node.news() if isinstance(event, QualityDegradedEvent)]


async def call(**more: Any) -> Call:
    node = Node()
    ben_caller = more.pop("ben", BEN)
    ann, ben = (await node.join(ANN)).session_id, (await node.join(ben_caller)).session_id
    track = await node.film(more.pop("ann", ANN), ann, simulcast(), **more)
    subscription = await node.watch(ben_caller, ben, track.track_id)
    node.news()
    return Call(node, ann, ben, track.track_id, subscription.subscription_id)


async def test_statistics_of_the_publisher() -> None:
    made = await call()
    made.node.plane.transport[made.node.transports.by_session[made.ann].handle] = TransportStatistics(
        0, 0, 0, 0, 0.0, 0.04, 2_000_000, 0, 0
    )
    made.flow(3, uplink={"packets_lost": 2, "jitter": 0.004, "nacks": 1, "plis": 2, "retransmissions": 1})
    stats = await made.node.service.stats(ANN, made.ann)
    (track,) = stats.tracks
    assert (track.track_id, track.direction, track.codec, track.kind) == (made.track_id, "incoming", "VP8", "video")
    assert track.bitrate == 2_200_000
    assert track.frames_per_second == 30.0
    assert (track.packets_received, track.packets_sent, track.packets_lost) == (900, 0, 6)
    assert [(layer.spatial, layer.bitrate, layer.ssrc) for layer in track.layers] == [
        (0, 200_000, 10),
        (1, 500_000, 20),
        (2, 1_500_000, 30),
    ]
    assert (track.jitter, track.rtt, track.nacks, track.plis, track.retransmissions) == (0.004, 0.04, 3, 6, 3)
    assert stats.rtt == 0.04
    assert (stats.available_bitrate.incoming, stats.available_bitrate.outgoing) == (None, 2_000_000)
    assert stats.quality.score == 10 and stats.quality.limitation is None
    assert stats.duration == 3.0


async def test_statistics_of_the_subscriber() -> None:
    made = await call()
    made.flow(3, downlink={"rtt": 0.1, "jitter": 0.01, "packets_lost": 9, "fraction_lost": 0.1})
    stats = await made.node.service.stats(BEN, made.ben)
    (track,) = stats.tracks
    assert (track.direction, track.subscription_id) == ("outgoing", made.subscription_id)
    assert (track.bitrate, track.frames_per_second) == (1_500_000, 30.0)
    assert (track.packets_sent, track.packets_received, track.packets_lost) == (300, 0, 9)
    assert (track.rtt, track.jitter, track.fraction_lost) == (0.1, 0.01, 0.1)
    assert [(layer.spatial, layer.temporal) for layer in track.layers] == [(2, 2)]
    assert track.score == 7 == stats.quality.score


async def test_bitrates_are_of_the_last_second_not_of_the_whole_life() -> None:
    made = await call()
    made.flow(10)
    made.node.pass_time(1.0, step=1.0)  # nothing new
    stats = await made.node.service.stats(ANN, made.ann)
    assert stats.tracks[0].bitrate == 0
    assert stats.tracks[0].packets_received == 3000


async def test_statistics_before_the_first_poll() -> None:
    made = await call()
    stats = await made.node.service.stats(BEN, made.ben)
    assert stats.tracks[0].bitrate == 0 and stats.quality.score == 10


async def test_loss_on_the_way_up_is_told_on_entering_and_leaving() -> None:
    made = await call()
    made.flow(8, uplink={"fraction_lost": 0.2})
    made.flow(8)
    entered, left = made.quality_events()
    assert (entered.degraded, entered.cause, entered.metric) == (True, "publisher_uplink", QualityMetric.LOSS)
    assert (entered.value, entered.threshold) == (0.2, 0.05)
    assert (entered.session_id, entered.track_id) == (made.ann, made.track_id)
    assert entered.score == 4
    assert not left.degraded
    causes = [entry.cause for entry in (await made.node.service.why(ANN, made.ann)).entries]
    assert "quality_degraded" in causes and "quality_recovered" in causes


async def test_delay_on_the_way_down_is_the_subscriber_s() -> None:
    made = await call()
    made.flow(4, downlink={"rtt": 0.6})
    (event,) = made.quality_events()
    assert (event.cause, event.metric, event.session_id) == ("subscriber_downlink", "rtt", made.ben)
    assert event.subscription_id == made.subscription_id
    stats = await made.node.service.stats(BEN, made.ben)
    assert stats.quality.limitation is DegradationCause.SUBSCRIBER_DOWNLINK


async def test_a_layer_that_stays_away_is_told() -> None:
    made = await call()
    made.flow(3, downlink={"spatial": 1})
    assert made.quality_events() == []
    made.flow(5, downlink={"spatial": 1})
    (event,) = made.quality_events()
    assert (event.cause, event.metric, event.session_id) == ("layer_missing", "bandwidth", made.ben)


async def test_an_entitlement_is_told() -> None:
    made = await call(ben=member("ben", max_preset=PresetName.LOW))
    made.flow(4, downlink={"spatial": 0})
    (event,) = made.quality_events()
    assert (event.cause, event.degraded) == ("entitlement", True)
    assert event.value < event.threshold == 1_500_000


async def test_a_publisher_who_sends_too_much_is_held_until_it_sends_less() -> None:
    made = await call(ann=member("ann", max_bitrate_bps=1_000_000))
    made.flow(3)
    assert not made.node.plane.paused_tracks[made.track]
    made.flow(2)
    assert made.node.plane.paused_tracks[made.track]
    view = await made.node.service.get_session(ANN, made.ann)
    assert not view.tracks[0].paused  # the publisher did not pause it
    made.node.pass_time(2.0, step=1.0)
    assert not made.node.plane.paused_tracks[made.track]
    causes = [entry.cause for entry in (await made.node.service.why(ANN, made.ann)).entries]
    assert causes.count("track_held") == causes.count("track_released") == 1


async def test_polling_a_quiet_node_says_nothing() -> None:
    node = Node()
    node.pass_time(3.0)
    await node.join(ANN)
    node.news()
    node.pass_time(60.0)
    assert node.news() == []


async def test_who_is_merely_connected_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    ann = (await node.join(ANN)).session_id
    looked: list[int] = []
    statistics = node.plane.transport_statistics
    monkeypatch.setattr(node.plane, "transport_statistics", lambda handle: looked.append(handle) or statistics(handle))
    node.pass_time(10.0)
    assert looked == []
    await node.service.stats(ANN, ann)
    assert len(looked) == 1
    track = (await node.speak(ANN, ann)).track_id
    node.pass_time(3.0)
    assert len(looked) >= 3
    await node.service.unpublish(ANN, ann, track)
    node.pass_time(3.0)
    assert (await node.service.stats(ANN, ann)).tracks == ()
    looked.clear()
    node.pass_time(10.0)
    assert looked == []
