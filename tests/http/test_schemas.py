"""Bodies: any bytes give a value, a 400 or a 422, and a 422 says where."""

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from sluicegate.errors import ApiError, Invalid, Malformed
from sluicegate.http.schemas import MAX_DEPTH, BodyDecoder, pointer_from_path
from sluicegate.session.requests import MAX_GAINS, Connect, CreateSession, Publish, Routes, Subscribe


class Inner(Struct, rename="camel", forbid_unknown_fields=True):
    mime_type: str
    clock_rate: Annotated[int, Meta(ge=1)] = 48000
    parameters: dict[str, int] = {}


class Outer(Struct):
    kind: str
    rtp_parameters: Inner
    codecs: list[Inner] = []
    free: dict[str, Any] = {}


DECODER = BodyDecoder(Outer)


def refusal(body: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        DECODER.decode(body)
    return caught.value


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{}", "/kind"),
        (b'{"kind":"a"}', "/rtp_parameters"),
        (b'{"kind":1,"rtp_parameters":{}}', "/kind"),
        (b'{"kind":"a","rtp_parameters":{"mimeType":1}}', "/rtp_parameters/mimeType"),
        (b'{"kind":"a","rtp_parameters":{"mimeType":"x","clockRate":0}}', "/rtp_parameters/clockRate"),
        (b'{"kind":"a","rtp_parameters":{"mime_type":"x"}}', "/rtp_parameters/mime_type"),
        (b'{"kind":"a","rtp_parameters":{"mimeType":"x","a/b~c":1}}', "/rtp_parameters/a~1b~0c"),
        (b'{"kind":"a","rtp_parameters":{"mimeType":"x"},"codecs":[{"mimeType":"x"},[]]}', "/codecs/1"),
        (b'{"kind":"a","rtp_parameters":{"mimeType":"x"},"codecs":[{"mimeType":null}]}', "/codecs/0/mimeType"),
        # msgspec does not say which key of a free map is wrong: the pointer ends at the map.
        (b'{"kind":"a","rtp_parameters":{"mimeType":"x","parameters":{"a.b[0]":"x"}}}', "/rtp_parameters/parameters"),
    ],
)
def test_a_wrong_field_is_pointed_at(body: bytes, pointer: str) -> None:
    error = refusal(body)
    assert isinstance(error, Invalid)
    assert [field.pointer for field in error.errors] == [pointer]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{} x",
        b"{'kind': 1}",
        b'{"kind": 1,}',
        b'{"kind": NaN}',
        b'{"kind": Infinity}',
        b"\xef\xbb\xbf{}",
        b'{"kind": "\xff"}',
        b'{"free": {"unknown": "\xff"}}',
        b'{"kind": "\\udc00"}',
        b"[]",
        b"null",
        b'"text"',
        b"17",
        b"[" * 10_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"free":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"free":' * 40 + b"1" + b"}" * 40,
        b'{"free":[' + b"[]," * 80_000 + b"[]]}",
    ],
)
def test_what_is_no_json_object_is_malformed(body: bytes) -> None:
    assert isinstance(refusal(body), Malformed)


def test_numbers_that_nothing_holds_are_refused() -> None:
    for number in (b"1e999", b"-1e999", b"1" + b"0" * 5000, b"1" + b"0" * 400):
        body = b'{"kind":"a","rtp_parameters":{"mimeType":"x","clockRate":' + number + b"}}"
        assert isinstance(refusal(body), Invalid)


@pytest.mark.parametrize("number", [b"8000", b"8000.0", b"8e3", b"8.0E+03"])
def test_an_integer_is_one_however_it_is_written(number: bytes) -> None:
    body = b'{"kind":"a","rtp_parameters":{"mimeType":"x","clockRate":' + number + b'},"free":{"x":[1.0,1.5]}}'
    decoded = DECODER.decode(body)
    assert (decoded.rtp_parameters.clock_rate, decoded.free) == (8000, {"x": [1, 1.5]})


@pytest.mark.parametrize("number", [b"8000.5", b"1e300", b"9223372036854775808", b"9" * 30, b'"8000"', b"true"])
def test_anything_else_is_no_integer(number: bytes) -> None:
    body = b'{"kind":"a","rtp_parameters":{"mimeType":"x","clockRate":' + number + b"}}"
    assert refusal(body).errors[0].pointer == "/rtp_parameters/clockRate"


def test_the_largest_honest_body_is_taken() -> None:
    gains = [{"listener": f"l{n}", "speaker": "*", "gain": 1.0} for n in range(MAX_GAINS)]
    assert len(BodyDecoder(Routes).decode(msgspec.json.encode({"default": 1, "gains": gains})).gains) == MAX_GAINS


def test_nesting_up_to_the_limit_is_taken() -> None:
    inner = b'{"a":' * (MAX_DEPTH - 2) + b"1" + b"}" * (MAX_DEPTH - 2)
    body = b'{"kind":"a","rtp_parameters":{"mimeType":"x"},"free":' + inner + b"}"
    assert DECODER.decode(body).kind == "a"


@pytest.mark.parametrize(
    ("path", "pointer"),
    [("$", ""), ("$.a.b[0]", "/a/b/0"), ("$[3].x", "/3/x"), ("$.a[...].b", "/a"), ("$.a/b", "/a~1b")],
)
def test_paths_become_pointers(path: str, pointer: str) -> None:
    assert pointer_from_path(path) == pointer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary(max_size=300) | JSON.map(msgspec.json.encode))
def test_any_bytes_give_a_value_or_a_refusal(body: bytes) -> None:
    for struct in (CreateSession, Connect, Publish, Subscribe, Routes):
        try:
            BodyDecoder(struct).decode(body)
        except (Malformed, Invalid) as error:
            assert error.detail
            assert all(field.pointer == "" or field.pointer.startswith("/") for field in error.errors)
