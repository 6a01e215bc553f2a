"""The command line: exit codes, one-line refusals, tokens that the server will take."""

import argparse
import sys
import types
from collections.abc import Sequence

import jwt
import pytest

from sluicegate import __version__, cli
from sluicegate.config import Settings

SECRET = "0123456789abcdef0123456789abcdef"
TOKEN = ("token", "--channel", "lobby", "--user", "alice")


def claims_of(printed: str) -> dict[str, object]:
    return jwt.decode(printed.strip(), SECRET, algorithms=["HS256"])


def run(words: Sequence[str], **environ: str) -> int:
    return cli.main(list(words), environ)


def test_token_carries_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*TOKEN, "--grant", "publish", "--grant", "subscribe", "--grant", "publish", "--ttl", "15m")
    assert (
        run((*words, "--max-preset", "high", "--max-tracks", "2", "--max-bitrate-bps", "500000"), API_SECRET=SECRET)
        == 0
    )
    claims = claims_of(capsys.readouterr().out)
    assert claims["sub"] == "alice"
    assert claims["channel_id"] == "lobby"
    assert claims["grants"] == ["publish", "subscribe"]
    assert claims["exp"] - claims["iat"] == 900
    assert (claims["max_preset"], claims["max_tracks"], claims["max_bitrate_bps"]) == ("high", 2, 500000)


def test_token_has_no_cap_that_was_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("token", "--channel", "*", "--user", "ops", "--grant", "admin"), API_SECRET=SECRET) == 0
    assert claims_of(capsys.readouterr().out).keys() == {"sub", "channel_id", "grants", "iat", "exp"}


def test_token_without_a_secret_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run((*TOKEN, "--grant", "join")) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sluicegate: API_SECRET is not set")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "extra",
    [
        (),
        ("--grant", "fly"),
        ("--grant", "join", "--ttl", "0"),
        ("--grant", "join", "--ttl", "soon"),
        ("--grant", "join", "--ttl", "999d"),
        ("--grant", "join", "--max-tracks", "0"),
        ("--grant", "join", "--user", "two words"),
        ("--grant", "join", "--channel", "a/b"),
    ],
)
def test_wrong_arguments_exit_with_2(extra: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run((*TOKEN, *extra), API_SECRET=SECRET)
    assert caught.value.code == 2
    assert capsys.readouterr().out == ""


def test_version_and_help_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--version"], ["--help"], ["serve", "--help"], ["doctor", "--help"]):
        with pytest.raises(SystemExit) as caught:
            run(words)
        assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert __version__ in printed
    assert "ANNOUNCED_ADDRESSES" in printed


def test_serve_runs_the_app_with_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    app = types.ModuleType("sluicegate.app")
    app.serve = lambda settings: seen.append(settings) or 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sluicegate.app", app)
    monkeypatch.setattr("sluicegate.logs.configure", lambda **_: None)
    assert run(["serve"], PORT="9000") == 7
    assert seen[0].port == 9000


def test_serve_with_a_bad_setting_says_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve"], PORT="http") == 2
    assert capsys.readouterr().err == "sluicegate: PORT is 'http'; it may hold a port from 0 (any free one) to 65535\n"


def test_loadtest_is_given_its_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    command = types.ModuleType("sluicegate.loadtest.command")
    command.add_arguments = lambda parser: parser.add_argument("--subscribers", type=int)  # type: ignore[attr-defined]
    command.run = lambda options: options.subscribers  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sluicegate.loadtest", types.ModuleType("sluicegate.loadtest"))
    monkeypatch.setitem(sys.modules, "sluicegate.loadtest.command", command)
    assert run(["loadtest", "--subscribers", "50"]) == 50


def test_parser_needs_no_optional_part() -> None:
    assert isinstance(cli.build_parser(), argparse.ArgumentParser)
