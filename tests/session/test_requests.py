"""The bodies of the calls: what decodes, what does not, and that answers hold every field of the contract."""

from typing import Any

import msgspec
import pytest

from sluicegate.session import requests, views
from sluicegate.session.events import (
    Event,
    QualityDegradedEvent,
    SessionClosedEvent,
    SessionCreatedEvent,
    Snapshot,
    SpeakerChangedEvent,
    SubscriptionLayersEvent,
    TrackAddedEvent,
    TrackPausedEvent,
    TrackRemovedEvent,
)

SESSION = {"type": "audio", "channel_id": "lounge", "user_id": "ann"}
RTP = {"codecs": [{"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000}]}
PUBLISH = {"kind": "audio", "rtp_parameters": RTP}
SUBSCRIBE = {"track_id": "t", "rtp_capabilities": {}}


def decode(kind: type[msgspec.Struct], value: dict[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (requests.CreateSession, SESSION | {"preset": "high", "region": "eu-1", "metadata": {"a": [1, None]}}),
        (requests.CreateSession, SESSION | {"audio_processing": {"agc": True, "vad": True}}),
        (requests.CreateSession, SESSION | {"something_new": 1}),
        (requests.Publish, PUBLISH | {"source": "screen_audio", "preset": "low", "paused": True}),
        (requests.Subscribe, SUBSCRIBE | {"mode": "forward", "priority": 255, "preset": "ultra", "paused": True}),
        (requests.SubscriptionPatch, {}),
        (requests.SubscriptionPatch, {"preferred_layers": {"spatial": 2}, "volume": 2, "priority": 1}),
        (requests.SubscriptionPatch, {"preferred_layers": None, "preset": None}),
        (requests.TrackPatch, {"paused": True, "preset": None}),
        (requests.SessionPatch, {"metadata": None, "audio_processing": {"noise_suppression": True}}),
        (requests.Routes, {"default": 0.5, "gains": [{"listener": "*", "speaker": "a", "gain": 2}]}),
        (requests.Routes, {}),
    ],
)
def test_good_bodies(kind: type[msgspec.Struct], value: dict[str, Any]) -> None:
    assert isinstance(decode(kind, value), kind)


@pytest.mark.parametrize(
    ("kind", "value", "where"),
    [
        (requests.CreateSession, SESSION | {"type": "text"}, "$.type"),
        (requests.CreateSession, SESSION | {"channel_id": "a\n"}, "$.channel_id"),
        (requests.CreateSession, SESSION | {"user_id": "x" * 129}, "$.user_id"),
        (requests.CreateSession, SESSION | {"preset": "best"}, "$.preset"),
        (requests.CreateSession, SESSION | {"metadata": []}, "$.metadata"),
        (requests.CreateSession, {"type": "audio", "user_id": "ann"}, "channel_id"),
        (requests.Publish, PUBLISH | {"kind": "data"}, "$.kind"),
        (requests.Publish, PUBLISH | {"source": "window"}, "$.source"),
        (requests.Subscribe, SUBSCRIBE | {"priority": 0}, "$.priority"),
        (requests.Subscribe, SUBSCRIBE | {"priority": 256}, "$.priority"),
        (requests.Subscribe, SUBSCRIBE | {"track_id": ""}, "$.track_id"),
        (requests.Subscribe, SUBSCRIBE | {"mode": "loud"}, "$.mode"),
        (requests.SubscriptionPatch, {"volume": 2.01}, "$.volume"),
        (requests.SubscriptionPatch, {"preferred_layers": {"spatial": -1}}, "$.preferred_layers.spatial"),
        (requests.SubscriptionPatch, {"preferred_layers": {"temporal": 1}}, "$.preferred_layers"),
        (requests.TrackPatch, {"paused": None}, "$.paused"),
        (requests.Connect, {"dtls_parameters": {"fingerprints": []}}, "$.dtls_parameters.fingerprints"),
        (requests.Routes, {"default": 3}, "$.default"),
        (requests.Routes, {"gains": [{"listener": "a b", "speaker": "*", "gain": 1}]}, "$.gains[0].listener"),
        (requests.Routes, {"gains": [{"listener": "a", "speaker": "*", "gain": -1}]}, "$.gains[0].gain"),
        (
            requests.Routes,
            {"gains": [{"listener": "a", "speaker": "b", "gain": 1}] * (requests.MAX_GAINS + 1)},
            "$.gains",
        ),
    ],
)
def test_bad_bodies_name_the_field(kind: type[msgspec.Struct], value: dict[str, Any], where: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        decode(kind, value)
    assert where in str(caught.value)


# The contract's answers, field by field.
ANSWERS: dict[type[msgspec.Struct], str] = {
    views.SessionCreated: "session_id type channel_id user_id node_id ice_servers ice_parameters ice_candidates "
    "dtls_parameters rtp_capabilities expires_at",
    views.IceRestarted: "ice_parameters ice_candidates",
    views.TrackPublished: "track_id kind encodings",
    views.SubscriptionCreated: "subscription_id track_id kind type rtp_parameters",
    views.StatsView: "session_id duration state rtt available_bitrate quality tracks",
    views.AvailableBitrate: "incoming outgoing",
    views.Quality: "score mos limitation",
    views.TrackStats: "track_id kind direction codec bitrate packets_sent packets_received packets_lost fraction_lost "
    "jitter rtt nacks plis retransmissions layers frames_per_second score",
    views.ChannelView: "members tracks active_speaker recording node_id",
    views.TimelineEntry: "at estimate cause layers probes",
    views.RoutesView: "default gains",
}


@pytest.mark.parametrize("view", ANSWERS)
def test_answers_have_every_field_of_the_contract(view: type[msgspec.Struct]) -> None:
    assert set(ANSWERS[view].split()) <= set(view.__struct_encode_fields__)


def test_events_have_the_names_of_the_contract() -> None:
    made: list[type[Event]] = [
        SessionCreatedEvent,
        SessionClosedEvent,
        TrackAddedEvent,
        TrackRemovedEvent,
        TrackPausedEvent,
        SpeakerChangedEvent,
        QualityDegradedEvent,
        SubscriptionLayersEvent,
        Snapshot,
    ]
    names = [kind.__dataclass_fields__["type"].default for kind in made]
    assert names == [
        "session.created",
        "session.closed",
        "track.added",
        "track.removed",
        "track.paused",
        "speaker.changed",
        "quality.degraded",
        "subscription.layers",
        "snapshot",
    ]


def test_everything_has_a_schema() -> None:
    kinds = [kind for module in (requests, views) for kind in vars(module).values() if isinstance(kind, type)]
    structs = [kind for kind in kinds if issubclass(kind, msgspec.Struct)]
    _, components = msgspec.json.schema_components(structs)
    assert {"CreateSession", "SessionCreated", "StatsView"} <= components.keys()
    assert all(schema.get("description") for name, schema in components.items() if name in vars(requests))
