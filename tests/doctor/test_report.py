"""The doctor: what it prints, when it fails, and that it speaks to services that do and do not answer."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.cli import main
from sluicegate.config import Settings
from sluicegate.doctor import machine, ports, services
from sluicegate.doctor.check import Status

QUIET = {"PORT": "0", "RTC_MIN_PORT": "0", "RTC_MAX_PORT": "0"}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_table_masks_secrets_and_marks_what_was_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"], {**QUIET, "API_SECRET": "s" * 40}) == 0
    printed = capsys.readouterr().out
    assert "* API_SECRET           ***" in printed
    assert "ssss" not in printed
    assert "GSO" in printed


def test_json_holds_settings_and_checks_and_the_exit_code_tells_of_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"], {**QUIET, "REDIS_URL": f"redis://u:pw@127.0.0.1:{closed_port()}"}) == 1
    report = json.loads(capsys.readouterr().out)
    redis = next(check for check in report["checks"] if check["name"] == "redis")
    assert redis["status"] == "fail"
    assert "nothing listens there" in redis["detail"]
    assert "pw" not in json.dumps(report["settings"])


def test_services_that_answer_are_ok(listener: socket.socket, tmp_path: Path) -> None:
    port = listener.getsockname()[1]
    settings = Settings(
        redis_url=f"redis://127.0.0.1:{port}",
        nats_url=f"nats://127.0.0.1:{port}",
        turn_url=f"turns:127.0.0.1:{port}",
        turn_secret="x",
        enable_recording=True,
        recording_storage=f"file:{tmp_path}/new/folder",
    )
    checks = list(services.check_services(settings, {}))
    assert [check.name for check in checks] == ["redis", "nats", "turn", "storage"]
    assert {check.status for check in checks} == {Status.OK}


def test_s3_endpoint_comes_from_the_environment(listener: socket.socket) -> None:
    endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert services.check_storage("s3://bucket", {"AWS_ENDPOINT_URL": endpoint}).status is Status.OK
    assert services.check_storage("s3://bucket", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}).status is Status.FAIL
    assert services.check_storage("s3://bucket", {"AWS_ENDPOINT_URL": "no url"}).status is Status.FAIL


def test_turn_over_udp_is_asked_in_stun() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)

        def answer() -> None:
            request, address = server.recvfrom(100)
            server.sendto(b"\x01\x01" + request[2:], address)

        thread = threading.Thread(target=answer)
        thread.start()
        check = services.check_turn(f"turn:127.0.0.1:{server.getsockname()[1]}?transport=udp")
        thread.join()
    assert check.status is Status.OK


def test_a_taken_http_port_fails(listener: socket.socket) -> None:
    assert ports.check_http_port(Settings(port=listener.getsockname()[1])).status is Status.FAIL


def test_taken_media_ports_fail_only_when_too_few_are_left() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert ports.check_media_ports(Settings(rtc_min_port=port, rtc_max_port=port)).status is Status.FAIL


def test_loopback_candidates_are_said_to_be_local() -> None:
    local = Settings(announced_addresses=("127.0.0.1",))
    assert "only clients on this machine" in ports.check_candidates(local).detail
    assert "only clients" not in ports.check_candidates(Settings(announced_addresses=("203.0.113.7",))).detail


def test_more_threads_than_processors_is_a_warning() -> None:
    checks = {check.name: check for check in machine.check_processors(Settings(plane_threads=128))}
    assert checks["processors"].status is Status.WARN


def test_a_compile_cache_that_cannot_be_written_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.PLANE, "folder", Path("/proc/none"))
    monkeypatch.setattr("os.access", lambda *_: False)
    assert machine.check_compile_cache().status is Status.WARN
