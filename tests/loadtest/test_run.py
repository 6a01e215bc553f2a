"""The load generator against a real server: what it sends arrives, whole, at everybody it is for."""

import pytest

from sluicegate.loadtest.cpu import MetricsCpu, ProcessCpu
from sluicegate.loadtest.peer import JoinFailed
from sluicegate.loadtest.plan import BOTH, Feedback, Media, Pacing, Scenario
from sluicegate.loadtest.run import Options, run
from sluicegate.loadtest.server import ApiServer
from sluicegate.rtp.srtp import SrtpProfile
from tests.support.server import ServerProcess

SHORT = Options(seconds=1.0, warm_up=0.2)


@pytest.mark.parametrize("profile", [SrtpProfile.AEAD_AES_128_GCM, SrtpProfile.AES128_CM_SHA1_80])
async def test_everything_arrives_and_decrypts(server: ServerProcess, profile: SrtpProfile) -> None:
    scenario = Scenario("small", publishers=2, subscribers=1, kinds=BOTH, mesh=True, profile=profile)
    result = await run(ApiServer(server.url), scenario, SHORT, MetricsCpu(server.url, None))
    assert result.subscriptions == 8
    assert result.received == result.expected > 100
    assert result.verified == result.received
    assert result.failed_authentication == result.wrong_payload == 0
    assert result.server_cpu_seconds is not None


async def test_paced_video_with_transport_feedback(server: ServerProcess) -> None:
    media = Media(pacing=Pacing.PACED, feedback=Feedback.TRANSPORT_CC)
    scenario = Scenario("paced", publishers=1, subscribers=2, media=media)
    result = await run(ApiServer(server.url), scenario, SHORT, ProcessCpu(server.process.pid))
    assert result.received == result.expected > 100
    assert result.latency is not None
    assert "main" in result.server_threads_us_per_packet


def open_sessions(server: ServerProcess) -> float:
    lines = server.get("/metrics")[1].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("sluicegate_sessions{"))


async def test_it_leaves_nobody_behind(server: ServerProcess) -> None:
    before = open_sessions(server)
    await run(ApiServer(server.url), Scenario("short", publishers=1, subscribers=1), SHORT)
    assert open_sessions(server) <= before  # those of earlier tests may have ended meanwhile


async def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    with pytest.raises(JoinFailed, match="POST /sessions"):
        await run(ApiServer("http://127.0.0.1:9"), Scenario("none"), SHORT)
