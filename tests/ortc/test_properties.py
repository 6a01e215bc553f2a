"""Whatever JSON a caller sends: a value, or the two errors that a caller is told of; never another exception."""

import copy

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.errors import Invalid
from sluicegate.ortc.capabilities import ROUTER_CAPABILITIES
from sluicegate.ortc.negotiate import can_consume, negotiate_publish, negotiate_subscribe
from sluicegate.ortc.parameters import RtpCapabilities, RtpParameters
from sluicegate.rtp.names import EXTENSION_URIS, MediaKind
from tests.ortc.clients import CAPTURES, capture, plain

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 300)
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["audio/opus", "video/VP8", "video/rtx", "audio/red", "L3T3", "96/96", "42e01f", "96", "r0", "nack"]
    )
    | st.sampled_from(list(EXTENSION_URIS.values()))
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(list(MediaKind))
PARAMETERS = [found["rtpParameters"] for name in CAPTURES for found in capture(name)["published"].values()]
CAPABILITIES = [capture(name)["device"] for name in CAPTURES] + [plain(ROUTER_CAPABILITIES)]


def places(value, here=()):
    """The paths to everything in a JSON value."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*here, key))


@st.composite
def damaged(draw, originals):
    """A real dictionary in which a few things are replaced, taken away or doubled."""
    value = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 4))):
        path = draw(st.sampled_from([path for path in places(value) if path]))
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        action = draw(st.sampled_from(["replace", "remove", "double", "swap"]))
        if action == "remove":
            del holder[path[-1]]
        elif action == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[path[-1]]))
        elif action == "swap" and isinstance(holder, list):
            holder.reverse()
        else:
            holder[path[-1]] = draw(JSON)
        if not value:
            break
    return value


def read(value, struct):
    try:
        return msgspec.convert(value, struct)
    except msgspec.ValidationError:
        return None


@given(JSON, KINDS)
def test_any_json_as_parameters_is_a_track_or_refused(value, kind):
    if (found := read(value, RtpParameters)) is not None:
        try:
            negotiate_publish(kind, found)
        except Invalid as error:
            assert error.errors


@given(JSON)
def test_any_json_as_capabilities_is_read_or_refused(value):
    if (found := read(value, RtpCapabilities)) is not None:
        assert msgspec.convert(msgspec.to_builtins(found), RtpCapabilities) == found


@given(damaged(PARAMETERS), damaged(CAPABILITIES), KINDS)
def test_damaged_dictionaries_give_a_sound_subscription_or_a_refusal(parameters, capabilities, kind):
    sent, takes = read(parameters, RtpParameters), read(capabilities, RtpCapabilities)
    if sent is None or takes is None:
        return
    try:
        track = negotiate_publish(kind, sent)
    except Invalid as error:
        assert error.errors[0].pointer.startswith("/")
        return
    try:
        media = negotiate_subscribe(track, takes, mid="0", ssrc=1, rtx_ssrc=2, cname="c")
    except Invalid as error:
        assert error.errors[0].pointer == "/codecs"
        assert not can_consume(track, takes)
        return
    assert can_consume(track, takes)
    assert len(media.payload_types) == len(track.payload_types)
    # What goes out is within the bounds of what comes in, has a payload type for each codec, and an id for each
    # extension.
    out = msgspec.json.decode(msgspec.json.encode(media.rtp_parameters), type=RtpParameters)
    assert out == media.rtp_parameters
    used = [codec.payload_type for codec in out.codecs]
    assert len(set(used)) == len(used)
    assert not any(64 <= payload_type <= 95 for payload_type in used)
    assert used == [n for n in (*media.payload_types, media.rtx_payload_type) if n is not None]
    ids = [extension.id for extension in out.header_extensions]
    assert sorted(ids) == sorted(set(media.extensions.values())) == sorted(set(ids))
    assert all(number <= 14 for number in ids)
    assert not (media.transport_cc and media.remb)
    for codec in out.codecs:
        assert all(type(value) in (str, int, float) for value in codec.parameters.values())
