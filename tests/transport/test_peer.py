"""One peer's state machine with explicit time: the order of ICE and DTLS, deadlines, verification, bounds."""

import pytest

from sluicegate.dtls.certificate import Certificate
from sluicegate.dtls.context import DtlsContext, DtlsRole
from sluicegate.dtls.endpoint import DtlsFailure, KeysReady
from sluicegate.errors import Conflict
from sluicegate.ice.lite_agent import IceState, PairAdded, PathChanged, StunDrop
from sluicegate.ice.stun import parse_message
from sluicegate.transport.handshake import INBOX_BYTES
from sluicegate.transport.peer import (
    AUTO_ROLE_WAIT,
    CONNECT_TIMEOUT,
    HANDSHAKE_TIMEOUT,
    HandshakeMeasured,
    Peer,
    StateChanged,
)
from sluicegate.transport.state import CloseReason, DtlsState, TransportDrop, TransportState
from tests.transport.fakes import Client

CONTEXT = DtlsContext(Certificate.generate())
OTHER = Certificate.generate()
SERVER_FINGERPRINT = CONTEXT.certificate.fingerprint
ELSEWHERE = ("203.0.113.9", 9)


class Session:
    """A peer, its client, and time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.peer = Peer(CONTEXT, self.now)
        self.client = Client()
        self.events: list[object] = []

    def check(self, **options) -> StunDrop | None:
        message = parse_message(self.client.check(self.peer.credentials, **options))
        drop = self.peer.receive_stun(message, self.client.address, self.now)
        self.pump([])
        return drop

    def connect(self, role: DtlsRole | None = DtlsRole.CLIENT, fingerprint=None) -> None:
        self.peer.connect((fingerprint or self.client.fingerprint,), role, None, self.now)
        self.pump([])

    def begin(self) -> None:
        """The client's first flight, and everything that follows from it."""
        self.pump(self.client.begin(SERVER_FINGERPRINT, self.now))

    def pump(self, to_peer: list[bytes]) -> None:
        """Carry datagrams between the two, do the work, keep the events."""
        for _ in range(50):
            for data in to_peer:
                self.peer.receive_dtls(data, self.client.address, self.now)
            while (work := self.peer.take_work(self.now)) is not None:
                self.peer.finish_work(work, work.run(), self.now)
            while (event := self.peer.next_event()) is not None:
                self.events.append(event)
            to_client = self.peer.datagrams_to_send()
            assert all(address == self.client.address for _, address in to_client)
            if not to_client:
                return
            to_peer = [answer for data, _ in to_client for answer in self.client.receive(data, self.now)]
        raise AssertionError("never still")

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        until = self.now + seconds
        while (timer := self.peer.get_timer()) is not None and timer <= until:
            self.now = max(self.now, timer)
            self.peer.handle_timer(self.now)
            self.pump([])
        self.now = until

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def server_keys(self):
        (ready,) = self.of(KeysReady)
        return ready.keys

    def assert_connected(self) -> None:
        assert self.server_keys.receive_key == self.client.keys.transmit_key
        assert self.peer.state.dtls is DtlsState.CONNECTED


# ---------------------------------------------------------------------------------------------------------- connecting


def test_check_connect_handshake_in_the_usual_order():
    session = Session()
    session.connect()
    session.check()
    session.begin()
    session.assert_connected()
    assert session.peer.state == TransportState(IceState.COMPLETED, DtlsState.CONNECTED)
    assert [event.state for event in session.of(StateChanged)] == [
        TransportState(IceState.COMPLETED, DtlsState.NEW),
        TransportState(IceState.COMPLETED, DtlsState.CONNECTING),
        TransportState(IceState.COMPLETED, DtlsState.CONNECTED),
    ]
    assert session.of(PairAdded) == [PairAdded(session.client.address)]
    assert session.of(PathChanged) == [PathChanged(session.client.address)]
    assert len(session.of(HandshakeMeasured)) == 1


def test_a_client_hello_right_after_a_check_is_answered_before_any_nomination():
    session = Session()
    session.connect()
    session.check(use_candidate=False)
    session.begin()
    session.assert_connected()
    assert session.peer.state.ice is IceState.CONNECTED


def test_keys_wait_for_connect_when_the_handshake_was_faster():
    session = Session()
    session.check()
    session.begin()
    assert session.client.keys is not None
    assert session.of(KeysReady) == []
    assert session.peer.state.dtls is DtlsState.CONNECTING
    session.advance(HANDSHAKE_TIMEOUT + 1.0)
    session.check()
    assert not session.peer.closed
    session.connect()
    session.assert_connected()


def test_connect_in_the_middle_of_the_handshake():
    session = Session()
    session.check()
    for data in session.client.begin(SERVER_FINGERPRINT, session.now):
        session.peer.receive_dtls(data, session.client.address, session.now)
    work = session.peer.take_work(session.now)
    result = work.run()
    session.peer.connect((session.client.fingerprint,), DtlsRole.CLIENT, None, session.now)
    assert session.peer.take_work(session.now) is None
    session.peer.finish_work(work, result, session.now)
    session.pump([])
    session.assert_connected()


def test_as_client_we_begin_once_there_is_a_path():
    session = Session()
    session.client.begin(SERVER_FINGERPRINT, session.now, DtlsRole.SERVER)
    session.connect(DtlsRole.SERVER)
    assert session.peer.state.dtls is DtlsState.NEW
    session.check()
    session.assert_connected()


def test_a_peer_that_leaves_the_role_to_us_and_begins_finds_a_server():
    session = Session()
    session.connect(None)
    session.check()
    session.advance(AUTO_ROLE_WAIT / 2)
    session.begin()
    session.assert_connected()


def test_a_peer_that_leaves_the_role_to_us_and_waits_finds_a_client():
    session = Session()
    session.client.begin(SERVER_FINGERPRINT, session.now, DtlsRole.SERVER)
    session.connect(None)
    session.check()
    session.advance(AUTO_ROLE_WAIT + 0.1)
    session.assert_connected()


def test_the_handshake_is_measured_from_its_first_flight():
    session = Session()
    session.connect()
    session.check()
    hello = session.client.begin(SERVER_FINGERPRINT, session.now)
    for data in hello:
        session.peer.receive_dtls(data, session.client.address, session.now)
    session.now += 0.25
    session.pump([])
    assert session.of(HandshakeMeasured) == [HandshakeMeasured(0.25)]


# ------------------------------------------------------------------------------------------------------------ conflicts


def test_connecting_twice_is_a_conflict():
    session = Session()
    session.connect()
    with pytest.raises(Conflict, match="connected already"):
        session.connect()


def test_a_closed_peer_takes_neither_connect_nor_restart():
    session = Session()
    session.peer.close("left")
    with pytest.raises(Conflict, match="left"):
        session.connect()
    with pytest.raises(Conflict, match="left"):
        session.peer.restart_ice()


def test_a_peer_that_began_as_client_cannot_be_declared_server():
    session = Session()
    session.check()
    session.begin()
    with pytest.raises(Conflict):
        session.connect(DtlsRole.SERVER)
    session.connect(DtlsRole.CLIENT)
    session.assert_connected()


# --------------------------------------------------------------------------------------------------------- verification


def test_a_wrong_fingerprint_closes_at_once_and_gives_no_keys():
    session = Session()
    session.connect(fingerprint=OTHER.fingerprint)
    session.check()
    session.begin()
    assert session.peer.reason == DtlsFailure.FINGERPRINT
    assert session.peer.state == TransportState(IceState.CLOSED, DtlsState.FAILED)
    assert session.of(KeysReady) == []
    assert session.client.keys is None
    assert session.events[-1] == StateChanged(session.peer.state, str(DtlsFailure.FINGERPRINT))


def test_a_wrong_fingerprint_that_comes_after_the_handshake_closes_too():
    session = Session()
    session.check()
    session.begin()
    session.connect(fingerprint=OTHER.fingerprint)
    assert session.peer.reason == DtlsFailure.FINGERPRINT
    assert session.of(KeysReady) == []


# ------------------------------------------------------------------------------------------------- who reaches DTLS


def test_dtls_from_an_address_without_a_check_never_reaches_the_endpoint():
    session = Session()
    session.connect()
    hello = session.client.begin(SERVER_FINGERPRINT, session.now)
    for _ in range(100):
        for data in hello:
            drop = session.peer.receive_dtls(data, session.client.address, session.now)
            assert drop is TransportDrop.DTLS_UNKNOWN_ADDRESS
    assert session.peer.take_work(session.now) is None
    session.check()
    for data in hello:
        assert session.peer.receive_dtls(data, ELSEWHERE, session.now) is TransportDrop.DTLS_UNKNOWN_ADDRESS
    assert session.peer.take_work(session.now) is None
    session.begin()
    session.assert_connected()


def test_what_is_no_client_hello_does_not_begin_a_handshake():
    session = Session()
    session.check()
    for data in (b"\x16\xfe\xfd" + bytes(30), b"\x17" * 100, b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28"):
        drop = session.peer.receive_dtls(data, session.client.address, session.now)
        assert drop is TransportDrop.DTLS_UNEXPECTED
    assert session.peer.state.dtls is DtlsState.NEW


def test_what_waits_for_a_thread_is_bounded():
    session = Session()
    session.connect()
    session.check()
    hello = session.client.begin(SERVER_FINGERPRINT, session.now)[0]
    taken = 0
    for _ in range(10_000):
        drop = session.peer.receive_dtls(hello, session.client.address, session.now)
        assert drop in (None, TransportDrop.DTLS_OVERFLOW)
        taken += len(hello) if drop is None else 0
    assert INBOX_BYTES - len(hello) < taken <= INBOX_BYTES
    session.pump([])
    session.assert_connected()


def test_there_is_one_piece_of_work_at_a_time():
    session = Session()
    session.connect()
    session.check()
    for data in session.client.begin(SERVER_FINGERPRINT, session.now):
        session.peer.receive_dtls(data, session.client.address, session.now)
    work = session.peer.take_work(session.now)
    session.peer.receive_dtls(b"\x16" + bytes(20), session.client.address, session.now)
    assert session.peer.take_work(session.now) is None
    session.peer.finish_work(work, work.run(), session.now)
    assert session.peer.take_work(session.now) is not None


# -------------------------------------------------------------------------------------------------------------
# deadlines


def test_a_peer_that_never_comes_is_closed_after_thirty_seconds():
    session = Session()
    session.advance(CONNECT_TIMEOUT - 0.1)
    assert not session.peer.closed
    session.advance(0.2)
    assert session.peer.reason == CloseReason.NOT_CONNECTED
    assert session.peer.get_timer() is None


def test_a_peer_that_only_checks_is_closed_after_thirty_seconds():
    session = Session()
    session.connect()
    for _ in range(12):
        session.check()
        session.advance(2.5)
    session.advance(0.1)
    assert session.peer.reason == CloseReason.NOT_CONNECTED


def test_an_unfinished_handshake_is_closed_after_ten_seconds():
    session = Session()
    session.connect()
    session.check()
    for data in session.client.begin(SERVER_FINGERPRINT, session.now):
        session.peer.receive_dtls(data, session.client.address, session.now)
    work = session.peer.take_work(session.now)
    session.peer.finish_work(work, work.run(), session.now)
    began = session.now
    repeated = 0
    while not session.peer.closed:
        session.now = session.peer.get_timer()
        session.peer.handle_timer(session.now)
        while (work := session.peer.take_work(session.now)) is not None:
            session.peer.finish_work(work, work.run(), session.now)
        repeated += sum(1 for data, _ in session.peer.datagrams_to_send() if data[0] >= 20)
        if session.now - began < 9:
            session.peer.receive_stun(
                parse_message(session.client.check(session.peer.credentials)), session.client.address, session.now
            )
    assert session.now - began == pytest.approx(HANDSHAKE_TIMEOUT)
    assert session.peer.reason == CloseReason.HANDSHAKE_TIMEOUT
    assert session.peer.state.dtls is DtlsState.FAILED
    assert repeated >= 4


def test_a_connected_peer_outlives_the_deadlines_of_connecting():
    session = Session()
    session.connect()
    session.check()
    session.begin()
    for _ in range(60):
        session.advance(2.5)
        session.check()
    assert not session.peer.closed
    session.assert_connected()


def test_consent_lost_closes_after_thirty_seconds_by_way_of_disconnected():
    session = Session()
    session.connect()
    session.check()
    session.begin()
    session.advance(29.9)
    assert session.peer.state == TransportState(IceState.DISCONNECTED, DtlsState.CONNECTED)
    session.advance(0.2)
    assert session.peer.state == TransportState(IceState.CLOSED, DtlsState.CLOSED)
    assert session.peer.reason == CloseReason.CONSENT_LOST
    assert session.events[-1] == StateChanged(session.peer.state, "consent lost")


# -----------------------------------------------------------------------------------------------------------------
# close


def test_closing_says_goodbye_and_is_heard():
    session = Session()
    session.connect()
    session.check()
    session.begin()
    session.peer.close("left")
    session.pump([])
    assert [type(event).__name__ for event in session.client.events][-1] == "ClosedByPeer"
    assert session.events[-1] == StateChanged(TransportState(IceState.CLOSED, DtlsState.CLOSED), "left")
    assert session.peer.take_work(session.now) is None


def test_a_goodbye_of_the_client_closes():
    session = Session()
    session.connect()
    session.check()
    session.begin()
    session.client.endpoint.close(session.now)
    session.pump(session.client.collect())
    assert session.peer.reason == CloseReason.CLOSED_BY_PEER


def test_late_packets_after_close_change_nothing():
    session = Session()
    session.connect()
    session.check()
    session.begin()
    session.peer.close("left")
    session.pump([])
    seen = len(session.events)
    assert session.check() is StunDrop.CLOSED
    assert session.peer.receive_dtls(b"\x16" * 50, session.client.address, session.now) is StunDrop.CLOSED
    session.peer.close("again")
    session.peer.handle_timer(session.now + 100.0)
    assert len(session.events) == seen
    assert session.peer.reason == "left"
    assert session.peer.datagrams_to_send() == []


def test_closing_while_work_is_under_way_still_says_goodbye_after_it():
    session = Session()
    session.connect()
    session.check()
    session.begin()
    session.peer.receive_dtls(b"\x17" * 50, session.client.address, session.now)
    work = session.peer.take_work(session.now)
    session.peer.close("left")
    assert session.peer.take_work(session.now) is None
    session.peer.finish_work(work, work.run(), session.now)
    session.pump([])
    assert [type(event).__name__ for event in session.client.events][-1] == "ClosedByPeer"


def test_closing_a_peer_that_never_shook_hands_makes_no_work():
    session = Session()
    session.check()
    session.peer.close("left")
    assert session.peer.take_work(session.now) is None


def test_work_that_raised_closes_the_peer_alone():
    session = Session()
    session.connect()
    session.check()
    for data in session.client.begin(SERVER_FINGERPRINT, session.now):
        session.peer.receive_dtls(data, session.client.address, session.now)
    assert session.peer.take_work(session.now) is not None
    session.peer.abandon_work()
    assert session.peer.reason == CloseReason.INTERNAL_ERROR
    assert session.peer.take_work(session.now) is None
