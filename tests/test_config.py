"""Settings: what the environment may hold, what it may not, and that secrets are never shown."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.config import VARIABLES, LogFormat, PlaneDriver, Settings
from sluicegate.errors import ConfigurationError
from sluicegate.ids import valid_name
from sluicegate.variables import mask_url

SECRET = "0123456789abcdef0123456789abcdef"


def settings_of(**variables: str) -> Settings:
    return Settings.from_environment(variables)


def refusal(**variables: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings_of(**variables)
    return str(caught.value)


def test_every_setting_has_one_variable_and_nothing_else_is_read() -> None:
    assert [variable.name.lower() for variable in VARIABLES] == [one.name for one in dataclasses.fields(Settings)]


def test_empty_environment_gives_the_defaults() -> None:
    settings = settings_of(PORT="", REDIS_URL="  ")
    assert (settings.host, settings.port, settings.rtc_min_port, settings.rtc_max_port) == (
        "127.0.0.1",
        8089,
        50000,
        60000,
    )
    assert settings.max_sessions == 1000
    assert settings.redis_url is None
    assert not settings.enable_recording
    assert valid_name(settings.node_id)
    assert settings.node_id != settings_of().node_id


def test_values_are_read() -> None:
    settings = settings_of(
        HOST="0.0.0.0",
        PORT="0",
        ANNOUNCED_ADDRESSES="2001:DB8::1, 203.0.113.7,203.0.113.7",
        API_SECRET=SECRET,
        LOG_LEVEL="DEBUG",
        LOG_FORMAT="json",
        PLANE_DRIVER="loop",
        CORS_ORIGINS="https://Chat.Example:8443, http://localhost",
        ENABLE_RECORDING="yes",
        RECORDING_STORAGE="s3://calls/2026",
        TURN_URL="turn:turn.example:3478?transport=udp",
        TURN_SECRET="swordfish",
        NATS_URL="nats://bus:4222",
        REDIS_URL="rediss://user:pw@registry/0",
        NODE_ID="node-1",
        REGION="eu",
    )
    assert settings.announced_addresses == ("203.0.113.7", "2001:db8::1")
    assert settings.cors_origins == ("https://chat.example:8443", "http://localhost")
    assert settings.log_level == "debug"
    assert settings.log_format is LogFormat.JSON
    assert settings.plane_driver is PlaneDriver.LOOP
    assert settings.enable_recording
    assert settings.node_id == "node-1"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HOST", "example.org"),
        ("HOST", "224.0.0.1"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "8_089"),
        ("PORT", "٨٠"),
        ("RTC_MIN_PORT", "many"),
        ("ANNOUNCED_ADDRESSES", "203.0.113.7,"),
        ("ANNOUNCED_ADDRESSES", "0.0.0.0"),
        ("ANNOUNCED_ADDRESSES", "media.example"),
        ("MAX_SESSIONS", "0"),
        ("TURN_URL", "turn.example:3478"),
        ("TURN_URL", "turn://turn.example"),
        ("TURN_URL", "turn:turn.example:99999"),
        ("TURN_URL", "turn:turn.example?transport=sctp"),
        ("ALLOW_ANONYMOUS", "maybe"),
        ("REDIS_URL", "http://registry:6379"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://registry:port"),
        ("NATS_URL", "redis://bus"),
        ("NATS_URL", "nats://[bus"),
        ("RECORDING_STORAGE", "recordings"),
        ("RECORDING_STORAGE", "file:"),
        ("RECORDING_STORAGE", "s3://B"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("PLANE_THREADS", "0"),
        ("PLANE_DRIVER", "process"),
        ("PLANE_SOCKET", "tcp"),
        ("CORS_ORIGINS", "chat.example"),
        ("CORS_ORIGINS", "https://chat.example/path"),
        ("NODE_ID", "two words"),
        ("REGION", "x" * 129),
    ],
)
def test_a_bad_value_is_refused_by_name_with_what_it_holds_and_may_hold(name: str, text: str) -> None:
    message = refusal(**{name: text})
    assert message.startswith(f"{name} is {text!r}"[:90])
    assert "; it may hold " in message
    assert "\n" not in message


@given(st.sampled_from([variable.name for variable in VARIABLES]), st.text(max_size=300))
def test_any_text_is_a_value_or_one_line_that_names_a_variable(name: str, text: str) -> None:
    try:
        settings_of(**{name: text})
    except ConfigurationError as error:
        assert len(str(error).splitlines()) == 1
        assert any(variable.name in str(error) for variable in VARIABLES)


def test_without_a_secret_only_loopback_is_served() -> None:
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost", "LOCALHOST"):
        settings_of(HOST=host)
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        assert "API_SECRET" in refusal(HOST=host)
        settings_of(HOST=host, ALLOW_ANONYMOUS="true")
        settings_of(HOST=host, API_SECRET=SECRET)
    with pytest.raises(ConfigurationError):
        Settings(host="0.0.0.0")


def test_a_secret_that_could_be_guessed_is_refused_without_being_shown() -> None:
    message = refusal(API_SECRET="hunter2")
    assert "7 bytes" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"RTC_MIN_PORT": "50010", "RTC_MAX_PORT": "50009"}, "RTC_MAX_PORT"),
        ({"RTC_MIN_PORT": "0"}, "RTC_MIN_PORT"),
        ({"RTC_MIN_PORT": "50000", "RTC_MAX_PORT": "50001", "PLANE_THREADS": "3"}, "PLANE_THREADS"),
        ({"TURN_USERNAME": "alice"}, "TURN_PASSWORD"),
        ({"TURN_PASSWORD": "pw"}, "TURN_USERNAME"),
        ({"TURN_URL": "turn:turn.example"}, "TURN_SECRET"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(variables: dict[str, str], named: str) -> None:
    assert named in refusal(**variables)


def test_any_free_ports_may_be_asked_for() -> None:
    settings = settings_of(PORT="0", RTC_MIN_PORT="0", RTC_MAX_PORT="0", PLANE_THREADS="2")
    assert (settings.rtc_min_port, settings.rtc_max_port) == (0, 0)


def test_no_credential_is_shown() -> None:
    hidden = {"API_SECRET": "A" * 32, "TURN_SECRET": "B" * 9, "TURN_PASSWORD": "C" * 9}
    settings = settings_of(
        REDIS_URL="redis://DDDD:EEEE@h/0?password=FFFF", NATS_URL="nats://GGGG@h", TURN_USERNAME="alice", **hidden
    )
    shown = repr(settings) + " ".join(row.value for row in settings.describe())
    shown += refusal(REDIS_URL="http://DDDD:EEEE@h", **hidden) + refusal(NATS_URL="DDDD:EE EE@h")
    for letter in "ABCDEFG":
        assert letter * 4 not in shown
    assert "EE EE" not in shown
    assert mask_url("redis://u:p@ss@h:1/0") == "redis://***@h:1/0"


def test_description_says_what_was_set() -> None:
    rows = {row.variable: row for row in settings_of(PORT="9000", ALLOW_ANONYMOUS="true").describe()}
    assert (rows["PORT"].value, rows["PORT"].is_default) == ("9000", False)
    assert rows["ALLOW_ANONYMOUS"].value == "true"
    assert (rows["HOST"].value, rows["HOST"].is_default) == ("127.0.0.1", True)
    assert rows["API_SECRET"].value == "-"


def test_candidates_announce_what_was_given_else_the_host_else_the_machine() -> None:
    assert settings_of(ANNOUNCED_ADDRESSES="203.0.113.7").media_addresses() == ("203.0.113.7",)
    assert settings_of().media_addresses()[0] == "127.0.0.1"
    assert settings_of(HOST="localhost").media_addresses()[0] == "127.0.0.1"
    assert settings_of(HOST="::1").media_addresses()[0] == "::1"
    everywhere = settings_of(HOST="0.0.0.0", API_SECRET=SECRET).media_addresses()
    assert everywhere
    assert all(":" not in address and address != "0.0.0.0" for address in everywhere)


def test_page_url_is_what_a_browser_can_open() -> None:
    assert settings_of().page_url() == "http://localhost:8089/"
    assert settings_of(HOST="0.0.0.0", ALLOW_ANONYMOUS="true", PORT="0").page_url(5000) == "http://localhost:5000/"
    assert settings_of(HOST="2001:db8::1", API_SECRET=SECRET).page_url() == "http://[2001:db8::1]:8089/"


def test_every_variable_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()
    assert [variable.name for variable in VARIABLES if f"`{variable.name}`" not in page] == []


def test_media_is_bound_to_everything_only_where_a_loopback_host_announces_more() -> None:
    assert settings_of(ANNOUNCED_ADDRESSES="127.0.0.1").media_host() == "127.0.0.1"
    assert settings_of(ANNOUNCED_ADDRESSES="192.0.2.1").media_host() == "0.0.0.0"
    assert settings_of(HOST="192.0.2.1", API_SECRET=SECRET).media_host() == "192.0.2.1"
