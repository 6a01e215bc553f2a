"""The ICE-lite agent: what it accepts, where it sends, when it gives up. Times are arguments."""

import os

import pytest

from sluicegate.ice.credentials import Credentials
from sluicegate.ice.lite_agent import (
    CONSENT_TIMEOUT,
    DISCONNECTED_AFTER,
    MAX_PAIRS,
    SILENT_PATH_AFTER,
    ChecksSettled,
    ChecksUnsettled,
    ConsentLost,
    CredentialsRetired,
    IceState,
    LiteAgent,
    PairAdded,
    PairRemoved,
    PathChanged,
    StunDrop,
)
from sluicegate.ice.stun import ErrorCode, IntegrityKey, MessageType, parse_message, serialize_request

A = ("192.0.2.1", 1000)
B = ("192.0.2.2", 2000)
C = ("2001:db8::3", 3000)
HIGH = 0x7E7F1EFF
LOW = 0x6E7F00FF


def check(
    agent: LiteAgent,
    *,
    credentials: Credentials | None = None,
    remote: str = "remo",
    priority: int = HIGH,
    use_candidate: bool = False,
    **roles: int,
) -> bytes:
    credentials = credentials or agent.credentials
    username = f"{credentials.username_fragment}:{remote}"
    if not roles:
        roles = {"controlling": 7}
    key = IntegrityKey(credentials.password)
    return serialize_request(os.urandom(12), username, key, priority=priority, use_candidate=use_candidate, **roles)


def events(agent: LiteAgent, *kinds: type) -> list:
    """All, or those of some kinds; without what only says who answers checks."""
    found = []
    while (event := agent.next_event()) is not None:
        if isinstance(event, kinds) if kinds else not isinstance(event, ChecksSettled | ChecksUnsettled):
            found.append(event)
    return found


def connected(now: float = 0.0, address=A, priority: int = HIGH) -> LiteAgent:
    """An agent whose peer has nominated `address`."""
    agent = LiteAgent()
    assert agent.receive_datagram(check(agent, use_candidate=True, priority=priority), address, now) is None
    events(agent)
    agent.datagrams_to_send()
    return agent


# ------------------------------------------------------------------------------------------------------------- checks


def test_a_valid_check_is_answered_to_its_source_and_adds_a_pair():
    agent = LiteAgent()
    data = check(agent)
    assert agent.receive_datagram(data, A, 1.0) is None
    ((answer, destination),) = agent.datagrams_to_send()
    assert destination == A
    parsed = parse_message(answer)
    assert parsed.message_type == MessageType.BINDING_SUCCESS
    assert parsed.transaction_id == data[8:20]
    assert parsed.verify_integrity(IntegrityKey(agent.credentials.password))
    assert events(agent) == [PairAdded(A), PathChanged(A)]
    assert agent.knows(A)
    assert not agent.knows(B)
    assert agent.datagrams_to_send() == []


def test_states_follow_the_checks():
    agent = LiteAgent()
    assert (agent.state, agent.path, agent.get_timer()) == (IceState.NEW, None, None)
    agent.receive_datagram(check(agent), A, 0.0)
    assert (agent.state, agent.path) == (IceState.CONNECTED, A)
    agent.receive_datagram(check(agent, use_candidate=True), A, 0.1)
    assert agent.state is IceState.COMPLETED


def forged(agent: LiteAgent) -> bytes:
    wrong = Credentials(agent.credentials.username_fragment, "x" * 32)
    return check(agent, credentials=wrong, use_candidate=True)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (forged, StunDrop.BAD_INTEGRITY),
        (lambda agent: check(agent, credentials=Credentials("unknown1", "x" * 32)), StunDrop.UNKNOWN_USERNAME),
        (lambda agent: check(agent)[:-8], StunDrop.MALFORMED),
        (lambda agent: check(agent)[:-1] + b"\0\0", StunDrop.MALFORMED),
        (lambda agent: b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), StunDrop.NO_CREDENTIALS),
        (lambda agent: b"\x00\x11\x00\x00\x21\x12\xa4\x42" + bytes(12), StunDrop.NOT_A_REQUEST),
        (lambda agent: b"\x01\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), StunDrop.NOT_A_REQUEST),
        (lambda agent: b"", StunDrop.MALFORMED),
    ],
)
def test_what_does_not_authenticate_is_dropped_in_silence_and_changes_nothing(make, reason):
    agent = connected(0.0)
    timer = agent.get_timer()
    assert agent.receive_datagram(make(agent), B, 5.0) is reason
    assert agent.datagrams_to_send() == []
    assert events(agent) == []
    assert (agent.path, agent.state, agent.get_timer()) == (A, IceState.COMPLETED, timer)


def test_a_check_without_fingerprint_is_dropped():
    agent = LiteAgent()
    data = bytearray(check(agent)[:-8])
    data[2:4] = (len(data) - 20).to_bytes(2, "big")
    assert parse_message(bytes(data)).verify_integrity(IntegrityKey(agent.credentials.password))
    assert agent.receive_datagram(bytes(data), A, 0.0) is StunDrop.NO_CREDENTIALS


def test_a_peer_in_the_controlled_role_is_told_of_the_conflict_and_gets_no_pair():
    agent = LiteAgent()
    assert agent.receive_datagram(check(agent, controlled=2**64 - 1), A, 0.0) is None
    ((answer, _),) = agent.datagrams_to_send()
    assert answer[:2] == b"\x01\x11"
    assert bytes((ErrorCode.ROLE_CONFLICT // 100, ErrorCode.ROLE_CONFLICT % 100)) == answer[26:28]
    assert not agent.knows(A)
    assert events(agent) == []


def test_an_unknown_comprehension_required_attribute_is_refused_with_420():
    agent = LiteAgent()
    key = IntegrityKey(agent.credentials.password)
    username = f"{agent.credentials.username_fragment}:r".encode()
    body = b"\x00\x06" + len(username).to_bytes(2, "big") + username + bytes(-len(username) & 3) + b"\x7f\x01\x00\x00"
    from sluicegate.ice.stun import _seal

    assert agent.receive_datagram(_seal(MessageType.BINDING_REQUEST, bytes(12), body, key), A, 0.0) is None
    ((answer, _),) = agent.datagrams_to_send()
    assert answer[26:28] == bytes((4, 20))
    assert b"\x00\x0a\x00\x02\x7f\x01" in answer
    assert events(agent) == []


def test_a_known_remote_fragment_must_match():
    agent = LiteAgent()
    agent.set_remote_fragment("remo")
    assert agent.receive_datagram(check(agent, remote="evil"), A, 0.0) is StunDrop.WRONG_REMOTE
    assert agent.receive_datagram(check(agent, remote="remo"), A, 0.0) is None


def test_any_remote_fragment_will_do_while_none_is_known():
    agent = LiteAgent()
    assert agent.receive_datagram(check(agent, remote=""), A, 0.0) is None


# --------------------------------------------------------------------------------------------------- path and nominatio


def test_before_nomination_the_best_pair_serves():
    agent = LiteAgent()
    agent.receive_datagram(check(agent, priority=LOW), A, 0.0)
    assert agent.path == A
    agent.receive_datagram(check(agent, priority=HIGH), B, 0.01)
    assert agent.path == B
    agent.receive_datagram(check(agent, priority=LOW), C, 0.02)
    agent.receive_datagram(check(agent, priority=HIGH), A, 0.03)
    assert agent.path == B


def test_use_candidate_takes_the_path():
    agent = LiteAgent()
    agent.receive_datagram(check(agent, priority=HIGH), A, 0.0)
    agent.receive_datagram(check(agent, priority=LOW, use_candidate=True), B, 0.1)
    assert agent.path == B


def test_a_browser_that_nominates_every_pair_ends_on_the_best():
    agent = LiteAgent()
    agent.receive_datagram(check(agent, priority=HIGH, use_candidate=True), A, 0.0)
    agent.receive_datagram(check(agent, priority=LOW, use_candidate=True), B, 0.05)
    assert agent.path == A
    agent.receive_datagram(check(agent, priority=HIGH + 1, use_candidate=True), C, 0.1)
    assert agent.path == C


def test_a_later_nomination_moves_the_path_wherever_the_peer_says():
    agent = connected(0.0)
    agent.receive_datagram(check(agent, priority=LOW, use_candidate=True), B, 5.0)
    assert agent.path == B
    assert events(agent) == [PairAdded(B), PathChanged(B)]


def test_rebinding_with_use_candidate_moves_the_path_at_once():
    agent = connected(0.0)
    agent.receive_datagram(check(agent, use_candidate=True), (A[0], 4321), 0.5)
    assert agent.path == (A[0], 4321)


def test_rebinding_without_use_candidate_moves_the_path_when_the_candidate_is_the_same():
    """Consent checks of aioice carry no USE-CANDIDATE: the priority says that it is the same local candidate."""
    agent = connected(0.0)
    agent.receive_datagram(check(agent), A, 5.0)
    agent.receive_datagram(check(agent), (A[0], 4321), 6.0)
    assert agent.path == (A[0], 4321)


def test_a_check_of_a_backup_pair_does_not_move_the_path():
    agent = connected(0.0)
    for second in range(1, 60):
        agent.receive_datagram(check(agent, use_candidate=True), A, float(second))
        agent.receive_datagram(check(agent, priority=LOW), B, second + 0.5)
    assert agent.path == A


def test_a_silent_path_gives_way_to_a_pair_that_is_checked():
    agent = connected(0.0)
    agent.receive_datagram(check(agent, priority=LOW), B, 1.0)
    agent.receive_datagram(check(agent, priority=LOW), B, SILENT_PATH_AFTER - 0.1)
    assert agent.path == A
    agent.receive_datagram(check(agent, priority=LOW), B, SILENT_PATH_AFTER)
    assert agent.path == B


def test_pairs_are_bounded_and_the_path_is_never_the_one_forgotten():
    agent = connected(0.0)
    for port in range(1, MAX_PAIRS * 3):
        agent.receive_datagram(check(agent, priority=LOW), ("198.51.100.1", port), port * 0.01)
    known = [port for port in range(1, MAX_PAIRS * 3) if agent.knows(("198.51.100.1", port))]
    assert len(known) == MAX_PAIRS - 1
    assert known == list(range(MAX_PAIRS * 3 - len(known), MAX_PAIRS * 3))
    assert agent.knows(A)
    assert agent.path == A
    removed = [event.address[1] for event in events(agent) if isinstance(event, PairRemoved)]
    assert removed == list(range(1, MAX_PAIRS * 2 + 1))


def test_an_address_that_went_to_another_peer_is_forgotten():
    agent = connected(0.0)
    agent.receive_datagram(check(agent, priority=LOW), B, 1.0)
    events(agent)
    agent.forget(A)
    agent.forget(A)
    assert events(agent) == [PairRemoved(A), PathChanged(B)]
    agent.forget(B)
    assert events(agent) == [PairRemoved(B), PathChanged(None)]
    agent.receive_datagram(check(agent), A, 2.0)
    assert agent.path == A


# -------------------------------------------------------------------------------------------------------------- consent


def test_consent_lasts_thirty_seconds_from_the_last_authenticated_check():
    agent = connected(100.0)
    agent.receive_datagram(check(agent), A, 105.0)
    agent.receive_datagram(forged(agent), A, 110.0)
    assert agent.get_timer() == 105.0 + DISCONNECTED_AFTER
    agent.handle_timer(105.0 + DISCONNECTED_AFTER)
    assert agent.state is IceState.DISCONNECTED
    assert agent.get_timer() == 105.0 + CONSENT_TIMEOUT
    agent.handle_timer(105.0 + CONSENT_TIMEOUT - 0.001)
    assert events(agent) == []
    agent.handle_timer(105.0 + CONSENT_TIMEOUT)
    assert events(agent) == [ConsentLost()]
    assert (agent.state, agent.get_timer()) == (IceState.CLOSED, None)
    assert agent.receive_datagram(check(agent), A, 140.0) is StunDrop.CLOSED


def test_an_outage_shorter_than_consent_heals_with_the_next_check():
    agent = connected(0.0)
    agent.handle_timer(20.0)
    assert agent.state is IceState.DISCONNECTED
    agent.receive_datagram(check(agent), A, 20.5)
    assert agent.state is IceState.COMPLETED
    assert agent.path == A
    assert agent.get_timer() == 20.5 + DISCONNECTED_AFTER


# -------------------------------------------------------------------------------------------------------------- restart


def test_restart_changes_both_credentials_and_keeps_the_old_path_until_the_new_nominates():
    agent = connected(0.0)
    old = agent.credentials
    new = agent.restart()
    assert new == agent.credentials
    assert new.username_fragment != old.username_fragment
    assert new.password != old.password

    assert agent.receive_datagram(check(agent, credentials=old), A, 1.0) is None
    assert events(agent) == []

    assert agent.receive_datagram(check(agent, credentials=new, priority=HIGH), B, 2.0) is None
    assert events(agent) == [CredentialsRetired(old.username_fragment), PairAdded(B)]
    assert agent.path == A
    stale = check(agent, credentials=old, use_candidate=True)
    assert agent.receive_datagram(stale, A, 2.1) is StunDrop.UNKNOWN_USERNAME

    assert agent.receive_datagram(check(agent, credentials=new, priority=LOW, use_candidate=True), B, 2.2) is None
    assert events(agent) == [PathChanged(B)]


def test_a_restart_that_the_peer_never_takes_up_changes_nothing():
    agent = connected(0.0)
    old = agent.credentials
    agent.restart()
    for second in range(1, 90, 3):
        assert agent.receive_datagram(check(agent, credentials=old), A, float(second)) is None
        agent.handle_timer(float(second))
    assert (agent.path, agent.state) == (A, IceState.COMPLETED)


def test_a_second_restart_replaces_the_first_that_was_not_taken_up():
    agent = connected(0.0)
    old, first, second = agent.credentials, agent.restart(), agent.restart()
    assert events(agent) == [CredentialsRetired(first.username_fragment)]
    assert agent.receive_datagram(check(agent, credentials=first), A, 1.0) is StunDrop.UNKNOWN_USERNAME
    assert agent.receive_datagram(check(agent, credentials=old), A, 1.0) is None
    assert agent.receive_datagram(check(agent, credentials=second), A, 1.0) is None


def test_after_a_restart_the_peer_may_have_a_new_fragment_too():
    agent = connected(0.0)
    agent.set_remote_fragment("remo")
    new = agent.restart()
    assert agent.receive_datagram(check(agent, credentials=new, remote="newr"), A, 1.0) is None


def test_a_restarted_peer_on_its_old_address_keeps_its_path():
    agent = connected(0.0)
    agent.restart()
    agent.receive_datagram(check(agent, use_candidate=True), A, 1.0)
    assert agent.path == A
    assert agent.state is IceState.COMPLETED
    assert [type(event) for event in events(agent)] == [CredentialsRetired]


def test_a_closed_agent_is_silent():
    agent = connected(0.0)
    agent.receive_datagram(check(agent), A, 1.0)
    agent.close()
    assert agent.datagrams_to_send() == []
    assert agent.receive_datagram(check(agent), A, 2.0) is StunDrop.CLOSED
    assert agent.get_timer() is None


# ------------------------------------------------------------------------------- checks that somebody else may answer


def settled(agent: LiteAgent) -> list:
    return events(agent, ChecksSettled, ChecksUnsettled)


def test_checks_are_settled_once_the_path_has_been_nominated():
    agent = LiteAgent()
    agent.receive_datagram(check(agent), A, 0.0)
    assert settled(agent) == []
    agent.receive_datagram(check(agent, use_candidate=True), A, 0.1)
    fragment, password = agent.credentials.username_fragment, agent.credentials.password
    assert settled(agent) == [ChecksSettled(f"{fragment}:remo", password)]
    agent.receive_datagram(check(agent), A, 0.2)
    agent.receive_datagram(check(agent), B, 0.3)
    assert settled(agent) == [], "said once, and another pair is nothing new for the path"


@pytest.mark.parametrize("how", ["another path", "restart", "silence", "a fragment", "forgotten"])
def test_whatever_may_change_what_a_check_means_unsettles_them(how):
    agent = LiteAgent()
    agent.receive_datagram(check(agent, use_candidate=True), A, 0.0)
    assert [type(event) for event in settled(agent)] == [ChecksSettled]
    if how == "another path":
        agent.receive_datagram(check(agent, use_candidate=True), B, 5.0)
        assert [type(event) for event in settled(agent)] == [ChecksUnsettled, ChecksSettled]
        return
    {
        "restart": agent.restart,
        "silence": lambda: agent.handle_timer(DISCONNECTED_AFTER),
        "a fragment": lambda: agent.set_remote_fragment("remo"),
        "forgotten": lambda: agent.forget(A),
    }[how]()
    assert settled(agent) == [ChecksUnsettled()]
    agent.receive_datagram(check(agent, use_candidate=True), A, 11.0)
    assert [type(event) for event in settled(agent)] == [ChecksSettled]


def test_a_restart_is_settled_by_its_own_nomination_only():
    agent = connected()
    old = agent.credentials
    new = agent.restart()
    settled(agent)
    agent.receive_datagram(check(agent, credentials=old), A, 1.0)
    assert settled(agent) == []
    agent.receive_datagram(check(agent, credentials=new), A, 1.5)
    assert settled(agent) == [], "the one that nominates must reach the agent"
    agent.receive_datagram(check(agent, credentials=new, use_candidate=True), A, 2.0)
    assert settled(agent) == [ChecksSettled(f"{new.username_fragment}:remo", new.password)]


def test_a_check_that_somebody_else_answered_keeps_consent_and_the_path_alive():
    agent = connected(0.0)
    agent.note_check(25.0)
    agent.note_check(20.0)
    assert agent.last_check == 25.0
    agent.handle_timer(CONSENT_TIMEOUT + 1)
    assert agent.state is IceState.COMPLETED
    agent.receive_datagram(check(agent, priority=LOW), B, 25.0 + SILENT_PATH_AFTER - 1)
    assert agent.path == A
    assert agent.get_timer() == pytest.approx(25.0 + SILENT_PATH_AFTER - 1 + DISCONNECTED_AFTER)
