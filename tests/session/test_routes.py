"""Who hears whom."""

import pytest

from sluicegate.errors import Invalid
from sluicegate.ids import UserId
from sluicegate.session.requests import RouteGain, Routes
from sluicegate.session.routes import RouteTable

A, B, C = UserId("a"), UserId("b"), UserId("c")


def gain(listener: str, speaker: str, value: float) -> RouteGain:
    return RouteGain(listener=listener, speaker=speaker, gain=value)


def test_everybody_hears_everybody() -> None:
    assert RouteTable().gain(A, B) == 1.0


def test_the_more_exact_route_wins() -> None:
    table = RouteTable.of(
        Routes(default=0.1, gains=(gain("*", "*", 0.2), gain("*", "b", 0.3), gain("a", "*", 0.4), gain("a", "b", 0.5)))
    )
    assert table.gain(A, B) == 0.5
    assert table.gain(A, C) == 0.4
    assert table.gain(C, B) == 0.3
    assert table.gain(B, C) == 0.2
    assert RouteTable.of(Routes(default=0.1)).gain(A, B) == 0.1


def test_only_gain_zero_mutes_what_is_forwarded() -> None:
    table = RouteTable.of(Routes(gains=(gain("a", "b", 0), gain("a", "c", 0.01))))
    assert table.mutes(A, B)
    assert not table.mutes(A, C)


def test_one_pair_has_one_gain() -> None:
    with pytest.raises(Invalid) as caught:
        RouteTable.of(Routes(gains=(gain("a", "b", 0), gain("*", "b", 1), gain("a", "b", 2))))
    assert caught.value.errors[0].pointer == "/gains/2"
