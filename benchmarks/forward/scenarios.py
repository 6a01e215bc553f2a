"""The scenarios (a) to (e), and the delay at half load, each with the figures that its reader will compare it with."""

from dataclasses import dataclass

from sluicegate.loadtest.plan import AUDIO, BOTH, Media, Pacing, Scenario
from sluicegate.rtp.names import MediaKind
from sluicegate.rtp.srtp import SrtpProfile

PROFILES = {"gcm": SrtpProfile.AEAD_AES_128_GCM, "cm": SrtpProfile.AES128_CM_SHA1_80}
VIDEO = (MediaKind.VIDEO,)
PACED = Media(pacing=Pacing.PACED)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. `steps`: tracks of each stage, where one core is to be saturated; else all, once."""

    key: str
    title: str
    scenario: Scenario
    steps: tuple[int, ...] = ()


CASES: dict[str, Case] = {
    case.key: case
    for case in (
        Case("a50", "1 video to 50", Scenario("a50", publishers=1, subscribers=50, kinds=VIDEO)),
        Case("a200", "1 video to 200", Scenario("a200", publishers=1, subscribers=200, kinds=VIDEO)),
        Case(
            "a200-paced",
            "1 video to 200, packets spread",
            Scenario("a200-paced", publishers=1, subscribers=200, kinds=VIDEO, media=PACED),
        ),
        Case("b", "10 people, video and audio", Scenario("b", publishers=10, kinds=BOTH, mesh=True)),
        Case("c", "20 speakers", Scenario("c", publishers=20, kinds=AUDIO, mesh=True)),
        Case("d", "100 rooms of 5 speakers", Scenario("d", rooms=100, publishers=5, kinds=AUDIO, mesh=True)),
        Case(
            "e",
            "one core full: N videos to 50",
            Scenario("e", publishers=48, subscribers=50, kinds=VIDEO),
            steps=(8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48),
        ),
        Case(
            "half",
            "half a core: 16 videos to 50, packets spread",
            Scenario("half", publishers=16, subscribers=50, kinds=VIDEO, media=PACED),
        ),
    )
}
