"""The driver with a plane that records: what is commanded, in which order, and who is told."""

import asyncio
import json
import random

import msgspec
import pytest

from sluicegate.dtls.certificate import Certificate
from sluicegate.dtls.context import DtlsRole
from sluicegate.dtls.endpoint import ClosedByPeer, DtlsFailure
from sluicegate.errors import Conflict, Invalid, Unavailable
from sluicegate.ice.credentials import Credentials
from sluicegate.ice.lite_agent import CONSENT_TIMEOUT, StunDrop
from sluicegate.ids import SessionId
from sluicegate.ortc.parameters import DtlsFingerprint, DtlsParameters, IceParameters
from sluicegate.router.commands import (
    AddTransport,
    AnswerChecks,
    BindAddress,
    InstallKeys,
    RemoveTransport,
    SetDestination,
    UnbindAddress,
)
from sluicegate.transport.driver import Transports
from sluicegate.transport.lane import OWNERSHIP_HELD
from sluicegate.transport.peer import CONNECT_TIMEOUT
from sluicegate.transport.state import CloseReason, DtlsState, TransportDrop
from sluicegate.transport.table import FAILURE_BURST
from tests.transport.fakes import PRIORITY, Client, Clock, FakePlane, InlineExecutor

CERTIFICATE = Certificate.generate()
SESSION = SessionId("00000000-0000-4000-8000-000000000000")
EVIL = ("203.0.113.66", 6666)


class House:
    """Transports over a fake plane and a fake clock, and clients that talk to it."""

    def __init__(self, planes: int = 1) -> None:
        self.clock = Clock()
        self.planes = [FakePlane(index, 50000 + index) for index in range(planes)]
        self.plane = self.planes[0]
        self.executor = InlineExecutor()
        self.handshakes: list[float] = []
        self.transports = Transports(
            self.planes,
            certificate=CERTIFICATE,
            addresses=("192.0.2.200", "2001:db8::200"),
            executor=self.executor,
            clock=self.clock,
            on_handshake=self.handshakes.append,
        )
        self.news: list[tuple] = []

    def open(self, plane: int = 0):
        return self.transports.open(
            SESSION, self.planes[plane], lambda state, reason: self.news.append((state.ice, state.dtls, reason))
        )

    async def settle(self, client: Client | None = None) -> None:
        """Carry datagrams to `client` and back until nothing moves."""
        for _ in range(40):
            await asyncio.sleep(0)
            moved = False
            for plane in self.planes:
                for data, address in plane.take_sent():
                    if client is not None and address == client.address:
                        for answer in client.receive(data, self.clock.now):
                            plane.on_datagram(answer, client.address, None)
                            moved = True
            if not moved and not self.transports._running:
                return

    def check(self, transport, client: Client, credentials: Credentials | None = None, **options) -> None:
        credentials = credentials or transport.peer.credentials
        transport.plane.on_datagram(client.check(credentials, **options), client.address, None)

    async def join(self, client: Client, transport=None):
        transport = transport or self.open()
        transport.connect(dtls_parameters(client))
        self.check(transport, client)
        for data in client.begin(CERTIFICATE.fingerprint, self.clock.now):
            transport.plane.on_datagram(data, client.address, transport.handle)
        await self.settle(client)
        return transport

    def advance(self, seconds: float, step: float = 0.5) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now = min(until, self.clock.now + step)
            self.transports.handle_timers(self.clock.now)

    def assert_empty(self) -> None:
        assert len(self.transports) == 0
        for lane in self.transports._lanes.values():
            assert lane.table.sizes == (0, 0)
        assert len(self.transports._timers) == 0


def dtls_parameters(client: Client, role: str = "client", fingerprint=None) -> DtlsParameters:
    own = fingerprint or client.fingerprint
    return DtlsParameters(fingerprints=(DtlsFingerprint(own.algorithm, own.text),), role=role)


# ---------------------------------------------------------------------------------------------------------------
# opening


async def test_an_open_transport_says_how_to_reach_it():
    house = House()
    transport = house.open()
    assert house.plane.commands == [AddTransport(transport.handle)]
    assert json.loads(msgspec.json.encode(transport.ice_parameters)) == {
        "usernameFragment": transport.peer.credentials.username_fragment,
        "password": transport.peer.credentials.password,
        "iceLite": True,
    }
    assert [(one.address, one.ip, one.port) for one in transport.ice_candidates] == [
        ("192.0.2.200", "192.0.2.200", 50000),
        ("2001:db8::200", "2001:db8::200", 50000),
    ]
    assert {(one.protocol, one.type) for one in transport.ice_candidates} == {("udp", "host")}
    assert json.loads(msgspec.json.encode(transport.dtls_parameters)) == {
        "role": "auto",
        "fingerprints": [{"algorithm": "sha-256", "value": CERTIFICATE.fingerprint.text}],
    }
    assert (str(transport.state.ice), str(transport.state.dtls), transport.reason) == ("new", "new", None)


async def test_a_full_plane_refuses_and_nothing_is_left():
    house = House()

    def full():
        raise Unavailable("no transports left")

    house.plane.allocate_transport = full
    with pytest.raises(Unavailable):
        house.open()
    house.assert_empty()
    assert house.plane.commands == []


# ------------------------------------------------------------------------------------------------------------
# connecting


async def test_a_client_joins():
    house, client = House(), Client()
    transport = await house.join(client)
    (installed,) = house.plane.of(InstallKeys)
    assert installed.transport == transport.handle
    assert installed.keys.receive_key == client.keys.transmit_key
    assert installed.keys.transmit_key == client.keys.receive_key
    assert house.plane.of(BindAddress) == [BindAddress(transport.handle, client.address)]
    assert house.plane.of(SetDestination) == [SetDestination(transport.handle, client.address)]
    assert house.news == [
        ("completed", "new", None),
        ("completed", "connecting", None),
        ("completed", "connected", None),
    ]
    assert house.handshakes == [transport.handshake_duration]
    assert transport.remote_address == client.address
    assert house.transports.drops == {}


async def test_the_address_is_bound_before_the_check_is_answered():
    house, client = House(), Client()
    transport = house.open()
    house.check(transport, client)
    kinds = [type(entry) for entry in house.plane.log]
    assert kinds.index(BindAddress) < kinds.index(bytes)


async def test_as_dtls_client_the_server_begins():
    house, client = House(), Client()
    transport = house.open()
    client.begin(CERTIFICATE.fingerprint, house.clock.now, DtlsRole.SERVER)
    transport.connect(dtls_parameters(client, "server"))
    house.check(transport, client)
    await house.settle(client)
    assert transport.state.dtls is DtlsState.CONNECTED
    assert house.plane.of(InstallKeys)[0].keys.receive_key == client.keys.transmit_key


async def test_connect_checks_fingerprints_and_says_where_they_are_wrong():
    house, client = House(), Client()
    transport = house.open()
    for fingerprints, pointer in (
        ((), "/fingerprints"),
        ((DtlsFingerprint("sha-1", "AA:" * 19 + "AA"),), "/fingerprints/0/algorithm"),
        ((DtlsFingerprint("sha-256", "nonsense"),), "/fingerprints/0/value"),
    ):
        with pytest.raises(Invalid) as raised:
            transport.connect(DtlsParameters(fingerprints=fingerprints, role="client"))
        assert raised.value.errors[0].pointer == pointer
    await house.join(client, transport)
    assert transport.state.dtls is DtlsState.CONNECTED
    with pytest.raises(Conflict):
        transport.connect(dtls_parameters(client))


async def test_a_given_remote_fragment_is_held_to():
    house, client = House(), Client()
    transport = house.open()
    transport.connect(dtls_parameters(client), IceParameters(username_fragment="else", password="x" * 22))
    house.check(transport, client)
    assert house.transports.drops == {StunDrop.WRONG_REMOTE: 1}
    assert house.plane.of(BindAddress) == []


async def test_a_wrong_fingerprint_closes_and_no_keys_are_installed():
    house, client = House(), Client()
    transport = house.open()
    transport.connect(dtls_parameters(client, fingerprint=Certificate.generate().fingerprint))
    house.check(transport, client)
    for data in client.begin(CERTIFICATE.fingerprint, house.clock.now):
        house.plane.on_datagram(data, client.address, transport.handle)
    await house.settle(client)
    assert house.plane.of(InstallKeys) == []
    assert house.news[-1] == ("closed", "failed", str(DtlsFailure.FINGERPRINT))
    assert house.plane.commands[-1] == RemoveTransport(transport.handle)
    house.assert_empty()


# ---------------------------------------------------------------------------------------------------------------
# rubbish


async def test_forged_checks_are_dropped_in_silence_and_the_path_stays():
    house, client = House(), Client()
    transport = await house.join(client)
    before = list(house.plane.commands)
    forged = Credentials(transport.peer.credentials.username_fragment, "x" * 32)
    for _ in range(20):
        house.plane.on_datagram(client.check(forged), EVIL, None)
    assert house.plane.take_sent() == []
    assert house.plane.commands == before
    assert transport.remote_address == client.address
    assert house.transports.drops == {StunDrop.BAD_INTEGRITY: 20}


async def test_every_kind_of_rubbish_is_counted_and_nothing_is_sent():
    house, client = House(), Client()
    await house.join(client)
    before = list(house.plane.commands)
    generator = random.Random(7)
    for first in range(256):
        for length in (0, 1, 19, 20, 100, 1200):
            for address in (EVIL, client.address):
                data = (bytes([first]) + generator.randbytes(length))[:length]
                house.plane.on_datagram(data, address, None)
    await house.settle()
    assert house.plane.take_sent() == []
    assert house.plane.commands == before
    drops = house.transports.drops
    assert drops[TransportDrop.UNKNOWN_PROTOCOL] > 0
    assert drops[StunDrop.MALFORMED] > 0
    assert drops[TransportDrop.DTLS_UNKNOWN_ADDRESS] > 0
    assert house.news[-1] == ("completed", "connected", None)


async def test_fifty_clients_join_under_a_flood_of_client_hellos_from_elsewhere():
    house = House()
    for number in range(50):
        client = Client((f"192.0.2.{number}", 1000))
        transport = house.open()
        transport.connect(dtls_parameters(client))
        hello = Client(EVIL).begin(CERTIFICATE.fingerprint, house.clock.now)
        for _ in range(10):
            house.plane.on_datagram(hello[0], EVIL, transport.handle)
        house.check(transport, client)
        for data in client.begin(CERTIFICATE.fingerprint, house.clock.now):
            house.plane.on_datagram(hello[0], EVIL, transport.handle)
            house.plane.on_datagram(data, client.address, transport.handle)
        await house.settle(client)
        assert transport.state.dtls is DtlsState.CONNECTED
    assert house.transports.drops == {TransportDrop.DTLS_UNKNOWN_ADDRESS: 50 * 11}


async def test_a_stranger_who_guesses_is_soon_not_listened_to_and_others_are():
    house, client = House(), Client()
    transport = house.open()
    forged = Credentials("no-such-", "x" * 32)
    for _ in range(int(FAILURE_BURST) + 50):
        house.plane.on_datagram(client.check(forged), EVIL, None)
    assert house.transports.drops == {
        StunDrop.UNKNOWN_USERNAME: int(FAILURE_BURST),
        TransportDrop.STUN_RATE_LIMITED: 50,
    }
    house.check(transport, client)
    assert transport.remote_address == client.address


async def test_a_limited_address_that_has_proved_itself_is_heard():
    house, client = House(), Client(EVIL)
    transport = await house.join(client)
    forged = Credentials("no-such-", "x" * 32)
    for port in range(int(FAILURE_BURST) + 50):
        house.plane.on_datagram(client.check(forged), (EVIL[0], 10_000 + port), None)
    house.plane.take_sent()
    house.check(transport, client)
    assert len(house.plane.take_sent()) == 1


# ---------------------------------------------------------------------------------------------------- addresses of
# others


async def test_nobody_takes_an_address_whose_owner_is_alive():
    house, client, thief = House(), Client(), Client()
    transport = await house.join(client)
    other = house.open()
    house.clock.now += OWNERSHIP_HELD - 0.1
    house.check(other, thief)
    assert house.transports.drops == {TransportDrop.STUN_ADDRESS_TAKEN: 1}
    assert transport.remote_address == client.address
    assert other.remote_address is None


async def test_an_address_whose_owner_is_silent_goes_to_who_proves_it():
    house, client = House(), Client()
    transport = await house.join(client)
    other = house.open()
    house.clock.now += OWNERSHIP_HELD
    house.plane.commands.clear()
    house.check(other, client)
    assert [command for command in house.plane.commands if not isinstance(command, AnswerChecks)] == [
        UnbindAddress(transport.handle, client.address),
        SetDestination(transport.handle, None),
        BindAddress(other.handle, client.address),
        SetDestination(other.handle, client.address),
    ]
    transport.close("left")
    for data in client.begin(CERTIFICATE.fingerprint, house.clock.now):
        house.plane.on_datagram(data, client.address, other.handle)
    other.connect(dtls_parameters(client))
    await house.settle(client)
    assert other.state.dtls is DtlsState.CONNECTED


async def test_a_fragment_is_known_on_its_own_plane_only():
    house, client = House(planes=2), Client()
    transport = house.open(plane=1)
    house.planes[0].on_datagram(client.check(transport.peer.credentials), client.address, None)
    assert house.transports.drops == {StunDrop.UNKNOWN_USERNAME: 1}
    house.planes[1].on_datagram(client.check(transport.peer.credentials), client.address, None)
    assert transport.remote_address == client.address
    assert house.planes[0].commands == []
    assert {one.port for one in transport.ice_candidates} == {50001}


# ------------------------------------------------------------------------------------------------- rebinding and
# restart


async def test_nat_rebinding_moves_the_destination_at_once():
    house, client = House(), Client()
    transport = await house.join(client)
    client.address = ("192.0.2.1", 2222)
    house.check(transport, client)
    assert house.plane.of(SetDestination)[-1] == SetDestination(transport.handle, client.address)
    assert house.plane.of(BindAddress)[-1] == BindAddress(transport.handle, client.address)
    assert house.plane.of(UnbindAddress) == []


async def test_an_ice_restart_keeps_the_path_until_the_new_one_is_nominated():
    house, client = House(), Client()
    transport = await house.join(client)
    old = transport.peer.credentials
    parameters = transport.restart_ice()
    assert parameters == transport.ice_parameters
    assert parameters.username_fragment != old.username_fragment
    assert parameters.password != old.password
    house.clock.now += 2.0
    house.check(transport, client, old, use_candidate=False)
    assert house.transports.drops == {}

    moved = Client(("198.51.100.7", 7))
    house.check(transport, moved, use_candidate=False, priority=PRIORITY - 1)
    assert transport.remote_address == client.address
    house.check(transport, moved, use_candidate=True, priority=PRIORITY - 1)
    assert transport.remote_address == moved.address
    assert house.plane.of(SetDestination)[-1] == SetDestination(transport.handle, moved.address)
    assert len(house.plane.of(InstallKeys)) == 1

    house.check(transport, client, old)
    assert house.transports.drops == {StunDrop.UNKNOWN_USERNAME: 1}


async def test_many_addresses_of_one_peer_are_bounded_in_every_table():
    house, client = House(), Client()
    transport = await house.join(client)
    for port in range(2000, 2200):
        client.address = ("192.0.2.1", port)
        house.check(transport, client, use_candidate=False, priority=1)
    assert len(transport.addresses) == 16
    assert house.transports._lanes[0].table.sizes[1] == 16
    assert len(house.plane.of(BindAddress)) - len(house.plane.of(UnbindAddress)) == 16


# ----------------------------------------------------------------------------------------------------------------
# endings


async def test_the_plane_is_asked_to_answer_checks_and_what_it_answered_is_consent():
    house, client = House(), Client()
    transport = await house.join(client)
    (command,) = house.plane.of(AnswerChecks)
    assert command.transport == transport.handle
    assert command.username.startswith(transport.peer.credentials.username_fragment.encode() + b":")
    assert command.password == transport.peer.credentials.password.encode()
    for _ in range(4):
        house.clock.now += 9.0
        house.plane.checks[transport.handle] = house.clock.now
        house.transports.handle_timers(house.clock.now)
        assert transport.state.ice == "completed"
        assert transport.last_check == house.clock.now
    house.clock.now += CONSENT_TIMEOUT / 2
    house.transports.handle_timers(house.clock.now)
    assert transport.state.ice == "disconnected"
    assert house.plane.of(AnswerChecks)[-1] == AnswerChecks(transport.handle)


async def test_consent_lost_stops_sending_and_frees_the_handle_after_the_owner_was_told():
    house, client = House(), Client()
    transport = await house.join(client)
    house.plane.commands.clear()
    told_after: list = []
    inner = transport.on_state
    transport.on_state = lambda state, reason: (inner(state, reason), told_after.extend(house.plane.commands))
    house.advance(CONSENT_TIMEOUT - 0.5)
    assert house.news[-1] == ("disconnected", "connected", None)
    house.advance(1.0)
    assert house.news[-1] == ("closed", "closed", "consent lost")
    assert told_after[-1] == SetDestination(transport.handle, None)
    assert house.plane.commands[-2:] == [
        UnbindAddress(transport.handle, client.address),
        RemoveTransport(transport.handle),
    ]
    assert transport.reason == CloseReason.CONSENT_LOST
    house.assert_empty()


async def test_the_owner_closes_without_being_called_and_the_client_hears_goodbye():
    house, client = House(), Client()
    transport = await house.join(client)
    news = len(house.news)
    transport.close("kicked")
    await house.settle(client)
    assert len(house.news) == news
    assert client.events[-1] == ClosedByPeer()
    assert house.plane.commands[-1] == RemoveTransport(transport.handle)
    assert (transport.reason, str(transport.state.ice)) == ("kicked", "closed")
    house.assert_empty()
    transport.close("again")
    assert len(house.plane.of(RemoveTransport)) == 1


async def test_an_owner_may_close_from_within_its_callback():
    house, client = House(), Client()
    holder: list = []

    def on_state(state, reason):
        house.news.append((state.ice, state.dtls, reason))
        if state.dtls is DtlsState.CONNECTED or reason:
            holder[0].close("enough")

    holder.append(house.transports.open(SESSION, house.plane, on_state))
    await house.join(client, holder[0])
    assert holder[0].reason == "enough"
    assert len(house.plane.of(RemoveTransport)) == 1
    house.assert_empty()


async def test_a_callback_that_raises_still_frees_the_handle():
    house = House()

    def on_state(state, reason):
        raise RuntimeError("owner's fault")

    transport = house.transports.open(SESSION, house.plane, on_state)
    house.clock.now += CONNECT_TIMEOUT + 1
    with pytest.raises(RuntimeError):
        house.transports.handle_timers(house.clock.now)
    assert house.plane.commands[-1] == RemoveTransport(transport.handle)
    house.assert_empty()


async def test_late_packets_of_a_closed_transport_are_ignored():
    house, client = House(), Client()
    transport = await house.join(client)
    credentials = transport.peer.credentials
    transport.close("left")
    await house.settle(client)
    before = list(house.plane.commands)
    house.transports.drops.clear()  # the client's own goodbye came too late
    house.plane.on_datagram(client.check(credentials), client.address, transport.handle)
    house.plane.on_datagram(b"\x17\xfe\xfd" + bytes(50), client.address, transport.handle)
    await house.settle()
    assert house.plane.commands == before
    assert house.plane.take_sent() == []
    assert house.transports.drops == {StunDrop.UNKNOWN_USERNAME: 1, TransportDrop.DTLS_UNKNOWN_ADDRESS: 1}


async def test_a_thousand_sessions_that_never_come_are_gone_after_thirty_seconds():
    house = House()
    for _ in range(1000):
        house.open()
    assert len(house.transports) == 1000
    house.advance(CONNECT_TIMEOUT - 1.0)
    assert len(house.transports) == 1000
    house.advance(1.5)
    house.assert_empty()
    assert len(house.news) == 1000
    assert set(house.news) == {("closed", "closed", "not connected in time")}
    assert len(house.plane.of(RemoveTransport)) == 1000


async def test_work_that_raises_closes_only_its_own_transport():
    house, first, second = House(), Client(("192.0.2.1", 1)), Client(("192.0.2.2", 2))
    connected = await house.join(first)
    house.executor.failure = RuntimeError("broken")
    broken = await house.join(second)
    house.executor.failure = None
    assert broken.reason == CloseReason.INTERNAL_ERROR
    assert connected.state.dtls is DtlsState.CONNECTED


async def test_shutting_down_tells_every_client():
    house = House()
    clients = [Client((f"192.0.2.{number}", 1000)) for number in range(5)]
    for client in clients:
        await house.join(client)
    house.plane.take_sent()
    await house.transports.close()
    for data, address in house.plane.take_sent():
        next(client for client in clients if client.address == address).receive(data, house.clock.now)
    assert all(client.events[-1] == ClosedByPeer() for client in clients)
    house.assert_empty()


async def test_a_lost_server_flight_is_repeated_by_the_timer():
    house, client = House(), Client()
    transport = house.open()
    transport.connect(dtls_parameters(client))
    house.check(transport, client)
    for data in client.begin(CERTIFICATE.fingerprint, house.clock.now):
        house.plane.on_datagram(data, client.address, transport.handle)
    for _ in range(4):
        await asyncio.sleep(0)
    house.plane.take_sent()
    house.advance(0.3, step=0.05)
    await house.settle(client)
    assert transport.state.dtls is DtlsState.CONNECTED
