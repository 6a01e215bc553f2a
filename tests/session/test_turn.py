"""TURN credentials."""

import base64
import hashlib
import hmac

from sluicegate.ids import UserId
from sluicegate.session.turn import CREDENTIALS_SECONDS, ice_servers
from tests.session.fakes import FakeSettings

ANN = UserId("ann")
URL = "turn:turn.example.org:3478?transport=udp"


def test_without_a_server_there_is_none() -> None:
    assert ice_servers(FakeSettings(), ANN, 0.0) == ()


def test_a_static_pair_is_passed_on() -> None:
    (server,) = ice_servers(FakeSettings(turn_url=URL, turn_username="u", turn_password="p"), ANN, 0.0)
    assert (server.urls, server.username, server.credential) == ((URL,), "u", "p")


def test_a_secret_makes_credentials_that_end() -> None:
    settings = FakeSettings(turn_url=URL, turn_username="u", turn_password="p", turn_secret="s3cret")
    (server,) = ice_servers(settings, ANN, 1_700_000_000.9)
    assert server.username == f"{1_700_000_000 + CREDENTIALS_SECONDS}:ann"
    expected = hmac.new(b"s3cret", server.username.encode(), hashlib.sha1).digest()
    assert server.credential == base64.b64encode(expected).decode()
    assert "s3cret" not in repr(server)
