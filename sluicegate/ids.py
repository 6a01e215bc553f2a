"""Identifiers: ours are UUID4 text, the caller's are short plain strings."""

import re
import uuid
from typing import NewType

SessionId = NewType("SessionId", str)
TrackId = NewType("TrackId", str)
SubscriptionId = NewType("SubscriptionId", str)
ChannelId = NewType("ChannelId", str)
UserId = NewType("UserId", str)
NodeId = NewType("NodeId", str)

NAME_PATTERN = r"^[A-Za-z0-9._:-]{1,128}$"
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def new_id() -> str:
    """A fresh random identifier: UUID4 text, 122 bits from the system's generator."""
    return str(uuid.uuid4())


def valid_name(text: str) -> bool:
    """Whether `text` may serve as a `channel_id` or `user_id`."""
    return _NAME.fullmatch(text) is not None
