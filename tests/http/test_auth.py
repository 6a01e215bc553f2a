"""Tokens: what is believed, and that nothing else is."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.errors import Unauthorized
from sluicegate.http.auth import LEEWAY, MAX_TOKEN, Authenticator, bearer_token, mint_token
from sluicegate.session.caller import Grant
from sluicegate.session.names import PresetName
from tests.http.fakes import SECRET, token

AUTHENTICATOR = Authenticator(SECRET)


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {"sub": "ada", "channel_id": "lobby", "exp": int(time.time()) + 60, "grants": ["join"], **changes}
    return jwt.encode({k: v for k, v in claims.items() if v is not ...}, secret, algorithm=algorithm)


def test_a_good_token_names_its_caller() -> None:
    minted = token(
        Grant.PUBLISH, Grant.JOIN, lifetime=60, max_preset=PresetName.HIGH, max_bitrate_bps=500_000, max_tracks=2
    )
    identity = AUTHENTICATOR.verify(minted)
    caller = identity.caller
    assert (caller.user_id, caller.channel_id) == ("ada", "lobby")
    assert caller.grants == {Grant.PUBLISH, Grant.JOIN}
    assert (caller.max_preset, caller.max_bitrate_bps, caller.max_tracks) == (PresetName.HIGH, 500_000, 2)
    assert identity.expires_at == pytest.approx(time.time() + 60, abs=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": ...},
        {"sub": ""},
        {"sub": "a b"},
        {"sub": "ada\n"},
        {"sub": "x" * 129},
        {"exp": ...},
        {"exp": int(time.time()) - LEEWAY - 5},
        {"exp": "soon"},
        {"exp": None},
        {"exp": []},
        {"exp": 1e400},
        {"nbf": int(time.time()) + 3600},
        {"channel_id": ...},
        {"channel_id": 7},
        {"channel_id": "a/b"},
        {"channel_id": "**"},
        {"grants": ...},
        {"grants": "admin"},
        {"grants": {"admin": True}},
        {"grants": ["fly"]},
        {"grants": [["admin"]]},
        {"grants": [None]},
        {"max_preset": "best"},
        {"max_preset": 3},
        {"max_bitrate_bps": -1},
        {"max_bitrate_bps": "500000"},
        {"max_bitrate_bps": 1.5},
        {"max_tracks": True},
        {"max_tracks": 2**60},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused_whole(changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        AUTHENTICATOR.verify(signed(**changes))


def test_only_hs256_by_our_secret_counts() -> None:
    for bad in (
        signed(secret="another secret of thirty-two bytes or more"),
        signed(secret=SECRET * 2, algorithm="HS512"),
        jwt.encode({"sub": "ada", "exp": int(time.time()) + 60}, "", algorithm="none"),
    ):
        with pytest.raises(Unauthorized):
            AUTHENTICATOR.verify(bad)


def test_a_forged_header_never_gets_through() -> None:
    _, payload, signature = signed().split(".")
    deep = "[" * 100_000
    for header in (
        '{"alg":"none"}',
        '{"alg":"HS256","crit":["x"]}',
        '{"alg":["HS256"]}',
        '{"alg":{}}',
        "[]",
        deep,
        "{}",
    ):
        forged = base64.urlsafe_b64encode(header.encode()).rstrip(b"=").decode()
        with pytest.raises(Unauthorized):
            AUTHENTICATOR.verify(f"{forged}.{payload}.{signature}")


def test_a_nested_header_within_the_length_limit_is_a_refusal_too() -> None:
    header = base64.urlsafe_b64encode(b"[" * 3000).rstrip(b"=").decode()
    assert len(header) < MAX_TOKEN + 1000
    with pytest.raises(Unauthorized):
        AUTHENTICATOR.verify(f"{header[: MAX_TOKEN - 20]}.e30.xx")


def test_admins_need_no_channel() -> None:
    caller = AUTHENTICATOR.verify(signed(channel_id=..., grants=["admin"])).caller
    assert caller.channel_id == "*"
    assert caller.is_admin


def test_a_token_that_just_expired_is_taken_within_the_leeway() -> None:
    assert AUTHENTICATOR.verify(signed(exp=int(time.time()) - 2)).caller.user_id == "ada"


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_refused_without_another_error(text: str) -> None:
    with pytest.raises(Unauthorized):
        AUTHENTICATOR.verify(text)


@given(st.lists(st.binary(max_size=60), min_size=3, max_size=3))
def test_any_three_parts_are_refused_without_another_error(parts: list[bytes]) -> None:
    with pytest.raises(Unauthorized):
        AUTHENTICATOR.verify(".".join(base64.urlsafe_b64encode(part).decode() for part in parts))


@given(
    st.dictionaries(
        st.sampled_from(["sub", "exp", "nbf", "iat", "grants", "channel_id", "max_preset", "max_tracks", "aud", "iss"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2),
    )
)
def test_any_claims_give_a_caller_or_a_refusal(claims: dict[str, Any]) -> None:
    payload = json.dumps(claims).encode()
    try:
        AUTHENTICATOR.verify(jwt.api_jws.encode(payload, SECRET, algorithm="HS256"))
    except Unauthorized:
        pass


def test_without_a_secret_everyone_may_do_everything() -> None:
    identity = Authenticator(None).verify("whatever")
    assert identity.caller.is_admin
    assert identity.expires_at is None


def test_identities_of_different_users_and_channels_differ() -> None:
    keys = {
        AUTHENTICATOR.verify(token(Grant.JOIN, user_id=user, channel_id=channel)).key
        for user, channel in (("a", "b"), ("b", "a"), ("a:b", "c"), ("a", "b:c"), ("a", "*"))
    }
    assert len(keys) == 5


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer", None),
        ("Basic abc", None),
        ("", None),
        (None, None),
        ("abc", None),
    ],
)
def test_the_token_of_a_header(header: str | None, found: str | None) -> None:
    assert bearer_token(header) == found


def test_minting_refuses_what_would_not_be_believed() -> None:
    with pytest.raises(ValueError):
        mint_token(SECRET, user_id="a b", channel_id="lobby")
    with pytest.raises(ValueError):
        mint_token(SECRET, user_id="ada", channel_id="a/b")
