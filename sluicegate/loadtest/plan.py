"""What a load consists of: rooms of people, what each publishes and who receives it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum

from sluicegate.rtp.names import MediaKind
from sluicegate.rtp.srtp import SrtpProfile

MAX_CLIENTS = 4000
"""One file descriptor and about 0.5 MB each; far beyond what one core can load."""
MAX_SECONDS = 3600.0


class Pacing(IntEnum):
    """How the packets of one video frame leave: all at once, as by a pacer that is not the bottleneck; spread over the
    whole frame interval, as by one that is.
    """

    BURST = 0
    PACED = 1


class Feedback(Enum):
    """What receivers report: receiver reports alone, or transport-wide congestion feedback as well."""

    REPORTS = "reports"
    TRANSPORT_CC = "transport-cc"


@dataclass(frozen=True, slots=True)
class Media:
    """How media look. Browsers split a frame into packets of about equal size, and Opus at a variable rate never is."""

    video_bitrate_bps: int = 1_500_000
    frames_per_second: int = 30
    packet_bytes: int = 1200
    """The longest RTP packet, header and extensions included."""
    pacing: Pacing = Pacing.BURST
    audio_packets_per_second: int = 50
    audio_bytes: tuple[int, int] = (80, 100)
    """Opus payload: from, to."""
    feedback: Feedback = Feedback.REPORTS


@dataclass(frozen=True, slots=True)
class Scenario:
    """`rooms` rooms, each of `publishers` who send what `kinds` says, and of `subscribers` who only receive.

    `mesh`: publishers receive each other's tracks too.
    """

    name: str
    rooms: int = 1
    publishers: int = 1
    subscribers: int = 0
    kinds: tuple[MediaKind, ...] = (MediaKind.VIDEO,)
    mesh: bool = False
    media: Media = field(default_factory=Media)
    profile: SrtpProfile = SrtpProfile.AEAD_AES_128_GCM

    @property
    def clients(self) -> int:
        return self.rooms * (self.publishers + self.subscribers)

    @property
    def receivers_of_a_track(self) -> int:
        return self.subscribers + (self.publishers - 1 if self.mesh else 0)

    def members(self) -> Iterator["Member"]:
        for room in range(self.rooms):
            for index in range(self.publishers):
                yield Member(room, f"p{index}", self.kinds, receives=self.mesh)
            for index in range(self.subscribers):
                yield Member(room, f"s{index}", (), receives=True)

    def altered(self, **changes: object) -> "Scenario":
        """A copy with those changes that are not None."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Member:
    """One person: `publishes` names a track for each kind; who `receives` gets every other member's tracks."""

    room: int
    name: str
    publishes: tuple[MediaKind, ...]
    receives: bool


BOTH = (MediaKind.AUDIO, MediaKind.VIDEO)
AUDIO = (MediaKind.AUDIO,)
SCENARIOS: dict[str, Scenario] = {
    one.name: one
    for one in (
        Scenario("video-fanout", publishers=1, subscribers=200),
        Scenario("meeting", publishers=10, kinds=BOTH, mesh=True),
        Scenario("audio-mesh", publishers=20, kinds=AUDIO, mesh=True),
        Scenario("audio-rooms", rooms=100, publishers=5, kinds=AUDIO, mesh=True),
    )
}
