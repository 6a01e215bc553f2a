"""A subscription: one track as one session receives it, and how the plane is told of it."""

import secrets
from collections.abc import Container
from dataclasses import dataclass

from sluicegate.ids import SubscriptionId
from sluicegate.ortc.negotiate import SubscribedMedia
from sluicegate.router.commands import SendHandle, SendMedia
from sluicegate.session.layers import LayerChoice, LayerWish
from sluicegate.session.names import AudioMode, Kind, PresetName
from sluicegate.session.requests import PreferredLayers
from sluicegate.session.track import Track
from sluicegate.session.views import Layers


@dataclass(frozen=True, slots=True)
class SubscriptionTerms:
    """What the subscriber asked for, and what its token allows."""

    preset: PresetName | None = None
    preferred_layers: PreferredLayers | None = None
    priority: int = 1
    max_preset: PresetName | None = None
    max_bitrate_bps: int | None = None

    def wish(self, *, without_top: bool = False) -> LayerWish:
        """The terms as a layer policy reads them."""
        preferred = self.preferred_layers
        return LayerWish(
            preferred_spatial=None if preferred is None else preferred.spatial,
            preferred_temporal=None if preferred is None else preferred.temporal,
            preset=self.preset,
            max_preset=self.max_preset,
            max_bitrate_bps=self.max_bitrate_bps,
            priority=self.priority,
            without_top=without_top,
        )


@dataclass(slots=True, eq=False)
class Subscription:
    """One track as one session receives it.

    `muted_by_route`: the channel's routes keep it silent; `shed`: the node is too busy for it.
    """

    subscription_id: SubscriptionId
    handle: SendHandle
    track: Track
    media: SendMedia
    terms: SubscriptionTerms
    choice: LayerChoice
    paused: bool
    muted_by_route: bool = False
    shed: bool = False
    missing_since: float | None = None

    @property
    def stopped(self) -> bool:
        """Whether the plane is told not to send it."""
        return self.paused or self.muted_by_route or self.shed

    @property
    def mode(self) -> AudioMode | None:
        return AudioMode.FORWARD if self.track.kind is Kind.AUDIO else None

    def ssrcs(self) -> set[int]:
        """The SSRCs by which the session receives it."""
        return {ssrc for ssrc in (self.media.ssrc, self.media.rtx_ssrc) if ssrc is not None}

    def target(self) -> Layers | None:
        """The layers that the server aims at, as far as the track's are known; None for audio."""
        if self.track.kind is Kind.AUDIO:
            return None
        offer = self.track.offer()
        return Layers(
            spatial=min(self.choice.spatial, len(offer.spatial) - 1),
            temporal=min(self.choice.temporal, offer.temporal_layers - 1),
        )


def fresh_ssrcs(count: int, *taken: Container[int]) -> list[int]:
    """`count` random SSRCs (RFC 3550 §8.1) that are in none of `taken`, nor among each other; never 0."""
    fresh: list[int] = []
    while len(fresh) < count:
        ssrc = secrets.randbits(32)
        if ssrc and ssrc not in fresh and not any(ssrc in others for others in taken):
            fresh.append(ssrc)
    return fresh


def first_numbers() -> tuple[int, int]:
    """A random first sequence number and timestamp (RFC 3550 §5.1).

    The sequence number begins in the lower half, so that a receiver which misses the first packets still guesses the
    right rollover counter (RFC 3711 §3.3.1).
    """
    return secrets.randbits(15), secrets.randbits(32)


def send_media(subscribed: SubscribedMedia, mid: str, cname: str, choice: LayerChoice) -> SendMedia:
    """The plane's view of what was negotiated."""
    return SendMedia(
        ssrc=subscribed.ssrc,
        payload_types=subscribed.payload_types,
        mid=mid,
        cname=cname,
        rtx_ssrc=subscribed.rtx_ssrc,
        rtx_payload_type=subscribed.rtx_payload_type,
        extensions=dict(subscribed.extensions),
        nack=subscribed.nack,
        transport_cc=subscribed.transport_cc,
        remb=subscribed.remb,
        spatial=choice.spatial,
        temporal=choice.temporal,
    )
