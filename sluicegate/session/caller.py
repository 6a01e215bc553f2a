"""Who makes a call, and what the token of that caller grants."""

from dataclasses import dataclass, field
from enum import StrEnum

from sluicegate.ids import ChannelId, UserId
from sluicegate.session.names import PresetName

ANY_CHANNEL = "*"


class Grant(StrEnum):
    """One thing that a token allows. `admin` alone allows everything."""

    JOIN = "join"
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    RECORD = "record"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """The verified claims of a token; without authentication every call is made by `Caller.open()`.

    `channel_id` is the one channel that the token is for, or `*`. The three caps bind every session of the user: the
    highest preset, the bitrate of one track (bits per second) and the number of tracks that the user publishes in the
    channel.
    """

    user_id: UserId
    channel_id: str
    grants: frozenset[Grant] = field(default_factory=frozenset)
    max_preset: PresetName | None = None
    max_bitrate_bps: int | None = None
    max_tracks: int | None = None

    @classmethod
    def open(cls) -> "Caller":
        """Whoever calls a server that runs without `API_SECRET`: everything is allowed."""
        return cls(UserId("anonymous"), ANY_CHANNEL, frozenset({Grant.ADMIN}))

    @classmethod
    def nobody(cls) -> "Caller":
        """Whoever makes a call that needs no token, such as a health check: nothing is allowed."""
        return cls(UserId("nobody"), "")

    @property
    def is_admin(self) -> bool:
        return Grant.ADMIN in self.grants

    def may(self, grant: Grant) -> bool:
        """Whether the token grants `grant`, itself or through `admin`."""
        return grant in self.grants or Grant.ADMIN in self.grants

    def reaches(self, channel_id: ChannelId | str) -> bool:
        """Whether the token is for this channel."""
        return self.is_admin or self.channel_id in (ANY_CHANNEL, channel_id)

    def owns(self, channel_id: ChannelId, user_id: UserId) -> bool:
        """Whether sessions of this user in this channel are the caller's to touch."""
        return self.is_admin or (self.user_id == user_id and self.reaches(channel_id))
