"""Statements 27 to 32 of section D: ICE (RFC 8445, 8489, 7675)."""

import asyncio

import pytest
from aioice import stun

from sluicegate.ice.credentials import Credentials
from sluicegate.ice.lite_agent import CONSENT_TIMEOUT, ConsentLost, IceState, LiteAgent
from sluicegate.ice.stun import IntegrityKey, parse_message, serialize_request
from tests.attacks.strangers import session_state
from tests.conformance.support import call, quiet
from tests.support import ice
from tests.support.api import ApiFailure
from tests.support.rtc_client import ScriptedClient
from tests.support.server import ServerProcess


async def checked(server: ServerProcess, channel: str) -> ScriptedClient:
    """A client that may send checks; the caller closes it."""
    client = ScriptedClient(server.url, channel, "client")
    await client.create()
    await client.signal_connect()
    await client.open()
    return client


async def test_27_a_check_is_answered_with_integrity_and_fingerprint(server: ServerProcess, channel: str) -> None:
    """The answer is signed with the server's password, says the client's own address, and has the same transaction."""
    async with await checked(server, channel) as client:
        answer = await client.check()
        assert answer.message_class == stun.Class.RESPONSE
        assert answer.attributes["XOR-MAPPED-ADDRESS"] == client.address
        raw, source = client.stun_log[-1]
        assert source == client.media_address
        signed = parse_message(raw.data)
        assert signed.verify_integrity(IntegrityKey(client.credentials.remote_password))
        assert signed.fingerprint


@pytest.mark.parametrize(
    "bent",
    [
        {"password": "wrong-password-of-a-stranger"},
        {"integrity": False},
        {"fingerprint": False},
        {"username": "nobody12:client"},
        {"username": ":"},
    ],
)
async def test_27_other_checks_are_dropped_in_silence(
    server: ServerProcess, channel: str, bent: dict[str, object]
) -> None:
    async with await checked(server, channel) as client:
        with pytest.raises(TimeoutError):
            await client.check(timeout=0.25, **bent)
        assert client.stun_log == []
        assert (await client.check()).message_class == stun.Class.RESPONSE


async def test_27_a_username_has_the_servers_fragment_first(server: ServerProcess, channel: str) -> None:
    """RFC 8445 §7.2.2: of the server, then of the client; the other way round is nobody's."""
    async with await checked(server, channel) as client:
        swapped = f"{client.credentials.local_ufrag}:{client.credentials.remote_ufrag}"
        with pytest.raises(TimeoutError):
            await client.check(timeout=0.25, username=swapped)
        assert await client.check()


def with_attribute(client: ScriptedClient, kind: int, value: bytes = b"abcd") -> bytes:
    """A signed check with an attribute that aioice does not know."""
    request = ice.binding_request(client.credentials, integrity=False, fingerprint=False)
    body = bytes(request)[20:] + kind.to_bytes(2) + len(value).to_bytes(2) + value + bytes(-len(value) % 4)
    key = IntegrityKey(client.credentials.remote_password)
    head = b"\x00\x01" + (len(body) + 24).to_bytes(2) + b"\x21\x12\xa4\x42" + request.transaction_id
    message = head + body + b"\x00\x08\x00\x14" + key.digest(head + body)
    message = message[:2] + (len(message) - 20 + 8).to_bytes(2) + message[4:]
    import zlib

    return message + b"\x80\x28\x00\x04" + (zlib.crc32(message) ^ 0x5354554E).to_bytes(4)


async def test_28_an_unknown_attribute_that_must_be_understood_is_420(server: ServerProcess, channel: str) -> None:
    """RFC 8489 §6.3.1, with the attribute named."""
    async with await checked(server, channel) as client:
        client.send_raw(with_attribute(client, 0x7FFE))
        await client.until(lambda: client.stun_log)
        answer = ice.parse(client.stun_log[0][0].data)
        assert answer is not None
        assert answer.message_class == stun.Class.ERROR
        assert answer.attributes["ERROR-CODE"][0] == 420
        assert b"\x00\x0a\x00\x02\x7f\xfe" in client.stun_log[0][0].data


async def test_28_one_that_may_be_passed_over_is_passed_over(server: ServerProcess, channel: str) -> None:
    async with await checked(server, channel) as client:
        client.send_raw(with_attribute(client, 0xFFFE))
        await client.until(lambda: client.stun_log)
        answer = ice.parse(client.stun_log[0][0].data)
        assert answer is not None
        assert answer.message_class == stun.Class.RESPONSE


async def test_29_a_role_conflict_is_487(server: ServerProcess, channel: str) -> None:
    """The server is lite and so always controlled (RFC 8445 §6.1.1): a client that says that it is too is told."""
    async with await checked(server, channel) as client:
        answer = await client.check(controlling=False)
        assert answer.attributes["ERROR-CODE"][0] == 487
        assert client.session["ice_parameters"]["iceLite"] is True
        assert (await session_state(client))["state"] == "new"


async def test_29_a_lite_agent_sends_no_checks(server: ServerProcess, channel: str) -> None:
    async with call(server, channel) as c:
        await c.delivered()
        await quiet(0.4)
        for client in (c.publisher, c.subscriber):
            classes = {
                message.message_class for received, _ in client.stun_log if (message := ice.parse(received.data))
            }
            assert classes == {stun.Class.RESPONSE}


def check(credentials: Credentials, number: int) -> bytes:
    key = IntegrityKey(credentials.password)
    username = f"{credentials.username_fragment}:peer"
    return serialize_request(number.to_bytes(12), username, key, priority=1, controlling=1, use_candidate=True)


def test_30_consent_lasts_thirty_seconds_from_the_last_check() -> None:
    """RFC 7675 §5.1, by the agent's own clock; against the server itself it is attack 8."""
    agent = LiteAgent()
    for second in range(0, 100, 6):  # five seconds and twenty per cent
        assert agent.receive_datagram(check(agent.credentials, second), ("127.0.0.1", 1), float(second)) is None
        agent.handle_timer(second + 5.9)
        assert agent.state is not IceState.CLOSED
    agent.handle_timer(96.0 + CONSENT_TIMEOUT - 0.1)
    assert agent.state is IceState.DISCONNECTED
    agent.handle_timer(96.0 + CONSENT_TIMEOUT)
    assert agent.state is IceState.CLOSED
    events = []
    while (event := agent.next_event()) is not None:
        events.append(event)
    assert isinstance(events[-1], ConsentLost)
    assert CONSENT_TIMEOUT == 30.0


def test_30_what_is_not_a_check_gives_no_consent() -> None:
    agent = LiteAgent()
    assert agent.receive_datagram(check(agent.credentials, 0), ("127.0.0.1", 1), 0.0) is None
    stranger = Credentials.generate()
    for second in range(1, 31):
        agent.receive_datagram(check(stranger, second), ("127.0.0.1", 1), float(second))
        agent.receive_datagram(b"\x80" * 40, ("127.0.0.1", 1), float(second))
    agent.handle_timer(30.0)
    assert agent.state is IceState.CLOSED
    assert agent.receive_datagram(check(agent.credentials, 99), ("127.0.0.1", 1), 31.0) is not None


async def test_31_a_restart_changes_both_credentials(server: ServerProcess, channel: str) -> None:
    """RFC 8445 §9: media keeps its old path until the new one is nominated, on another port here."""
    async with call(server, channel) as c:
        await c.delivered(2)
        before = c.subscriber.credentials
        await c.subscriber.restart_ice()
        after = c.subscriber.credentials
        assert before.remote_ufrag != after.remote_ufrag
        assert before.remote_password != after.remote_password
        await c.delivered(2)  # on the old path
        await c.subscriber.rebind()
        await c.subscriber.check()
        await c.delivered(2)  # on the new one


async def test_31_the_old_credentials_end_with_the_new_ones(server: ServerProcess, channel: str) -> None:
    async with await checked(server, channel) as client:
        await client.check()
        old = client.credentials
        await client.restart_ice()
        new = client.credentials
        client.credentials = old
        assert await client.check()  # still good: nothing has come with the new ones
        client.credentials = new
        assert await client.check()
        client.credentials = old
        with pytest.raises(TimeoutError):
            await client.check(timeout=0.25)


async def test_32_checks_connect_and_dtls_may_come_in_any_order(server: ServerProcess, channel: str) -> None:
    """Trickle without signalling: what counts is that a check arrives, before `connect` or after."""
    for order in ("check first", "connect first", "check before and after"):
        async with ScriptedClient(server.url, channel, "client") as client:
            await client.create()
            await client.open()
            if order != "connect first":
                await client.check()
            await client.signal_connect()
            if order != "check first":
                await client.check()
            await client.handshake()
            await asyncio.sleep(0)
            assert (await session_state(client))["state"] == "connected"


@pytest.mark.parametrize(
    "candidate",
    [
        {"address": "b8b3b2b6-1d5a.local", "protocol": "udp", "port": 5353, "type": "host"},
        {"address": "127.0.0.1", "protocol": "tcp", "port": 9, "type": "host", "tcpType": "active"},
        {"address": "fe80::1%eth0", "protocol": "udp", "port": 1, "type": "host"},
        {"address": "not an address", "protocol": "udp", "port": 70000, "type": "relay"},
        {"candidate": "", "sdpMid": "0"},
    ],
)
async def test_32_candidates_of_any_kind_do_no_harm(
    server: ServerProcess, channel: str, candidate: dict[str, object]
) -> None:
    """mDNS names, TCP, zone ids, end-of-candidates: a lite agent has no use for them, and says so by not minding."""
    async with ScriptedClient(server.url, channel, "client") as client:
        await client.create()
        ours = {"usernameFragment": client.credentials.local_ufrag, "password": client.credentials.local_password}
        body = {"dtls_parameters": client.dtls_parameters(), "ice_parameters": ours, "ice_candidates": [candidate]}
        await client.api.call("POST", f"/sessions/{client.session_id}/connect", body)
        await client.open()
        await client.check()
        await client.handshake()


async def test_32_ice_parameters_that_are_none_are_refused(server: ServerProcess, channel: str) -> None:
    async with ScriptedClient(server.url, channel, "client") as client:
        await client.create()
        for changed in ({"usernameFragment": "abc"}, {"password": "short"}, {"usernameFragment": "a b c d"}):
            ours = {"usernameFragment": "abcd", "password": "x" * 22, **changed}
            body = {"dtls_parameters": client.dtls_parameters(), "ice_parameters": ours}
            with pytest.raises(ApiFailure) as failure:
                await client.api.call("POST", f"/sessions/{client.session_id}/connect", body)
            assert failure.value.status == 422
            assert failure.value.pointers[0].startswith("/ice_parameters/")
