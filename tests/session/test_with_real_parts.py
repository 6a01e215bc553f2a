"""The service over the real plane, router and transports: no packets move, but handles, commands and closings fit."""

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from sluicegate.cluster.bus import ProcessBus
from sluicegate.cluster.registry import ProcessRegistry
from sluicegate.config import Settings
from sluicegate.dtls.certificate import Certificate
from sluicegate.errors import Conflict, Invalid, NotFound
from sluicegate.ortc.capabilities import ROUTER_CAPABILITIES
from sluicegate.ortc.parameters import DtlsFingerprint, DtlsParameters
from sluicegate.router.plane import Plane
from sluicegate.router.router import Router
from sluicegate.session.caller import Caller
from sluicegate.session.names import Kind, SessionType
from sluicegate.session.requests import Connect, CreateSession, Publish, Subscribe
from sluicegate.session.service import Service
from sluicegate.transport.driver import Transports
from tests.ortc.clients import parameters
from tests.session.fakes import FINGERPRINTS, Clock, simulcast

OPEN = Caller.open()


@dataclass
class RealNode:
    service: Service
    plane: Plane
    transports: Transports
    clock: Clock

    async def join(self, user_id: str) -> str:
        request = CreateSession(type=SessionType.VIDEO, channel_id="lounge", user_id=user_id)
        return (await self.service.create_session(OPEN, request)).session_id

    async def call(self) -> tuple[str, str, str]:
        """Ann films, Ben watches: both session ids and the track's."""
        ann, ben = await self.join("ann"), await self.join("ben")
        publish = Publish(kind=Kind.VIDEO, rtp_parameters=parameters(simulcast()))
        track = await self.service.publish(OPEN, ann, publish)
        subscribe = Subscribe(track_id=track.track_id, rtp_capabilities=ROUTER_CAPABILITIES)
        await self.service.subscribe(OPEN, ben, subscribe)
        return ann, ben, track.track_id

    def used(self) -> list[int]:
        return [used for used, _ in self.plane.usage().values()]


@pytest.fixture
async def node() -> AsyncIterator[RealNode]:
    settings, clock = Settings(), Clock()
    plane = Plane()
    with ThreadPoolExecutor(1) as executor:
        transports = Transports(
            [plane],
            certificate=Certificate.generate(),
            addresses=["192.0.2.1"],
            executor=executor,
            clock=clock.monotonic,
        )
        service = Service(
            settings,
            Router([plane]),
            transports,
            ProcessBus(settings.node_id),
            ProcessRegistry(settings.node_id),
            clock=clock.monotonic,
            wall=time.time,
        )
        yield RealNode(service, plane, transports, clock)
        service.close_all("test over")
        await transports.close()
    plane.close()


async def test_what_is_opened_is_freed(node: RealNode) -> None:
    ann, ben, _ = await node.call()
    assert node.used() == [2, 1, 1]
    assert (await node.service.stats(OPEN, ben)).tracks[0].bitrate == 0
    node.clock.now += 1.5
    node.service.poll(node.clock.now)
    await node.service.delete_session(OPEN, ann)
    assert node.used() == [1, 0, 0]
    await node.service.delete_session(OPEN, ben)
    assert node.used() == [0, 0, 0]
    assert len(node.transports) == 0


async def test_a_session_that_does_not_connect_is_closed_with_all_it_has(node: RealNode) -> None:
    ann, _, _ = await node.call()
    node.clock.now += 29.0
    node.transports.handle_timers(node.clock.now)
    assert node.service.counts().sessions == 2
    node.clock.now += 2.0
    node.transports.handle_timers(node.clock.now)
    assert node.service.counts().sessions == 0
    assert node.used() == [0, 0, 0]
    assert (await node.service.why(OPEN, ann)).closed_reason == "not connected in time"
    with pytest.raises(NotFound):
        await node.service.get_session(OPEN, ann)


async def test_connect_is_checked_and_made_once(node: RealNode) -> None:
    ann = await node.join("ann")
    bad = DtlsParameters((DtlsFingerprint("sha-256", "AB:CD"),))
    with pytest.raises(Invalid) as caught:
        await node.service.connect(OPEN, ann, Connect(dtls_parameters=bad))
    assert caught.value.errors[0].pointer == "/dtls_parameters/fingerprints/0/value"
    await node.service.connect(OPEN, ann, Connect(dtls_parameters=FINGERPRINTS))
    with pytest.raises(Conflict):
        await node.service.connect(OPEN, ann, Connect(dtls_parameters=FINGERPRINTS))
