"""The STUN codec against RFC 5769's vectors, against aioice, and against any bytes at all."""

import contextlib
import hmac
import os

import pytest
from aioice import stun as aioice_stun
from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate.errors import ParseError
from sluicegate.ice.stun import (
    ErrorCode,
    IntegrityKey,
    Message,
    MessageType,
    parse_message,
    serialize_error,
    serialize_request,
    serialize_success,
    xor_mapped_address,
)

RFC5769_PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
RFC5769_TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")

# RFC 5769 §2.1: a request of "evtj:h6vY" in the controlled role, with SOFTWARE first and blanks for padding.
RFC5769_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"  # header
    "802200105354554e207465737420636c69656e74"  # SOFTWARE "STUN test client"
    "002400046e0001ff"  # PRIORITY
    "80290008932ff9b151263b36"  # ICE-CONTROLLED
    "000600096576746a3a68367659202020"  # USERNAME "evtj:h6vY"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"  # MESSAGE-INTEGRITY
    "80280004e57a3bcf"  # FINGERPRINT
)

# RFC 5769 §2.2: the response for 192.0.2.1 port 32853.
RFC5769_IPV4_RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"  # SOFTWARE "test vector"
    "002000080001a147e112a643"  # XOR-MAPPED-ADDRESS
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)

# RFC 5769 §2.3: the response for 2001:db8:1234:5678:11:2233:4455:6677 port 32853.
RFC5769_IPV6_RESPONSE = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)

PASSWORD = "p" * 32
KEY = IntegrityKey(PASSWORD)
TRANSACTION = bytes(range(12))


def request(**changes) -> bytes:
    arguments = {"priority": 0x6E7F1EFF, "use_candidate": True, "controlling": 0x0102030405060708, **changes}
    return serialize_request(TRANSACTION, "server:client", KEY, **arguments)


def attribute(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) & 3)


def message(body: bytes, message_type: int = 1, cookie: int = 0x2112A442, length: int | None = None) -> bytes:
    header = message_type.to_bytes(2, "big") + (len(body) if length is None else length).to_bytes(2, "big")
    return header + cookie.to_bytes(4, "big") + TRANSACTION + body


# ------------------------------------------------------------------------------------------------------------ RFC 5769


def test_rfc_5769_sample_request():
    parsed = parse_message(RFC5769_REQUEST)
    assert parsed.message_type == MessageType.BINDING_REQUEST
    assert parsed.transaction_id == RFC5769_TRANSACTION
    assert parsed.username == "evtj:h6vY"
    assert parsed.priority == 0x6E0001FF
    assert (parsed.controlled, parsed.use_candidate, parsed.fingerprint, parsed.unknown) == (True, False, True, ())
    assert parsed.verify_integrity(IntegrityKey(RFC5769_PASSWORD))
    assert not parsed.verify_integrity(IntegrityKey(RFC5769_PASSWORD + "x"))


@pytest.mark.parametrize("vector", [RFC5769_IPV4_RESPONSE, RFC5769_IPV6_RESPONSE])
def test_rfc_5769_responses_parse_and_verify(vector):
    parsed = parse_message(vector)
    assert parsed.message_type == MessageType.BINDING_SUCCESS
    assert parsed.verify_integrity(IntegrityKey(RFC5769_PASSWORD))


def test_rfc_5769_mapped_addresses_are_written_as_the_rfc_writes_them():
    ipv4 = xor_mapped_address(("192.0.2.1", 32853), RFC5769_TRANSACTION)
    ipv6 = xor_mapped_address(("2001:db8:1234:5678:11:2233:4455:6677", 32853), RFC5769_TRANSACTION)
    assert ipv4 == RFC5769_IPV4_RESPONSE[36:48]
    assert ipv6 == RFC5769_IPV6_RESPONSE[36:60]


@pytest.mark.parametrize("bit", range(0, len(RFC5769_REQUEST) * 8, 5))
def test_no_flipped_bit_of_a_request_passes_both_checks(bit):
    broken = bytearray(RFC5769_REQUEST)
    broken[bit // 8] ^= 1 << (bit % 8)
    try:
        parsed = parse_message(bytes(broken))
    except ParseError:
        return
    assert not (parsed.fingerprint and parsed.verify_integrity(IntegrityKey(RFC5769_PASSWORD)))


# -------------------------------------------------------------------------------------------------- aioice as witness


def test_a_request_reads_the_same_in_aioice():
    read = aioice_stun.parse_message(request())
    assert read.check_message_integrity(PASSWORD.encode())
    assert read.attributes["USERNAME"] == "server:client"
    assert read.attributes["PRIORITY"] == 0x6E7F1EFF
    assert read.attributes["ICE-CONTROLLING"] == 0x0102030405060708
    assert "USE-CANDIDATE" in read.attributes


@pytest.mark.parametrize("address", [("192.168.1.20", 54321), ("2001:db8::1", 1), ("0.0.0.0", 65535)])
def test_a_response_is_byte_for_byte_what_aioice_writes(address):
    expected = aioice_stun.Message(
        aioice_stun.Method.BINDING, aioice_stun.Class.RESPONSE, TRANSACTION, {"XOR-MAPPED-ADDRESS": address}
    )
    expected.add_message_integrity(PASSWORD.encode())
    assert serialize_success(TRANSACTION, address, KEY) == bytes(expected)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_an_error_response_is_signed_and_reads_in_aioice(code):
    read = aioice_stun.parse_message(serialize_error(TRANSACTION, code, KEY))
    assert read.message_class == aioice_stun.Class.ERROR
    assert read.error_code == code
    assert read.check_message_integrity(PASSWORD.encode())


def test_unknown_attributes_are_listed_in_the_error_response():
    answer = serialize_error(TRANSACTION, ErrorCode.UNKNOWN_ATTRIBUTE, KEY, (0x7001, 0x7002, 0x7003))
    assert attribute(0x000A, bytes.fromhex("700170027003")) in answer
    assert parse_message(answer).verify_integrity(KEY)


def test_an_ipv4_mapped_address_is_told_as_ipv4_and_a_zone_is_dropped():
    assert xor_mapped_address(("::ffff:192.0.2.1", 5), TRANSACTION) == xor_mapped_address(("192.0.2.1", 5), TRANSACTION)
    assert xor_mapped_address(("fe80::1%eth0", 5), TRANSACTION) == xor_mapped_address(("fe80::1", 5), TRANSACTION)


@given(st.binary(min_size=1, max_size=100).map(lambda raw: raw.decode("latin-1")), st.binary(max_size=200))
def test_integrity_is_hmac_sha1_for_passwords_of_any_length(password, data):
    assert IntegrityKey(password).digest(data) == hmac.digest(password.encode(), data, "sha1")


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(19),
        message(b"", cookie=0x2112A443),
        message(b"", message_type=0x4001),
        message(b"", length=4),
        message(bytes(3)),
        message(bytes(2000)),
        message(b"\x00\x06\x00\x05abcd"),  # USERNAME longer than the message
        message(b"\x00\x06\xff\xffabcd"),
        message(attribute(0x0006, b"\xff\xfe")),  # not UTF-8
        message(attribute(0x0006, b"a" * 514)),
        message(attribute(0x0024, b"\x01")),  # PRIORITY of one byte
        message(attribute(0x0008, bytes(19))),  # MESSAGE-INTEGRITY of 19
        message(attribute(0x8028, bytes(4))),  # FINGERPRINT that is wrong
        message(attribute(0x8028, bytes(3))),
        message(attribute(0x8028, bytes(4)) + attribute(0x0025, b"")),  # FINGERPRINT that is not last
    ],
)
def test_what_is_no_binding_message_is_a_parse_error(data):
    with pytest.raises(ParseError):
        parse_message(data)


def test_attributes_behind_message_integrity_are_not_read():
    signed = request(use_candidate=False)[:-8]
    body = signed[20:] + attribute(0x0025, b"") + attribute(0x0006, b"evil:evil") + attribute(0x7777, b"")
    parsed = parse_message(message(body))
    assert parsed.verify_integrity(KEY)
    assert (parsed.use_candidate, parsed.username, parsed.unknown) == (False, "server:client", ())


def test_only_the_first_username_counts():
    parsed = parse_message(message(attribute(6, b"first:x") + attribute(6, b"second:x")))
    assert parsed.username == "first:x"


def test_unknown_attributes_are_reported_only_where_comprehension_is_required():
    body = attribute(0x001C, bytes(32)) + attribute(0xC057, bytes(4)) + attribute(0x802F, b"")
    assert parse_message(message(body)).unknown == (0x001C,)


def test_a_message_without_integrity_verifies_against_no_key():
    assert not parse_message(message(attribute(6, b"a:b"))).verify_integrity(IntegrityKey(""))


# ----------------------------------------------------------------------------------------------------------- any bytes


@given(st.binary(max_size=200))
@example(RFC5769_REQUEST)
def test_any_bytes_give_a_value_or_a_parse_error(data):
    with contextlib.suppress(ParseError):
        assert isinstance(parse_message(data), Message)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=12), st.integers(0, 0x3FFF))
def test_any_attributes_give_a_value_or_a_parse_error(attributes, message_type):
    data = message(b"".join(attribute(kind, value) for kind, value in attributes), message_type)
    try:
        parsed = parse_message(data)
    except ParseError:
        return
    assert not parsed.verify_integrity(KEY)


@given(st.integers(0, 115), st.binary(min_size=1, max_size=8))
def test_a_damaged_request_never_verifies(position, damage):
    data = bytearray(request())
    data[position : position + len(damage)] = damage
    if bytes(data) == request():
        return
    try:
        parsed = parse_message(bytes(data))
    except ParseError:
        return
    assert not (parsed.fingerprint and parsed.verify_integrity(KEY))


def test_answers_are_no_longer_than_half_as_much_again_as_the_question():
    question = serialize_request(os.urandom(12), "abcdefgh:abcd", KEY, priority=1)
    assert len(serialize_success(TRANSACTION, ("192.0.2.1", 1), KEY)) <= len(question)
    assert len(serialize_success(TRANSACTION, ("2001:db8::1", 1), KEY)) <= 1.5 * len(question)
    eight = tuple(range(0x7000, 0x7008))
    assert len(serialize_error(TRANSACTION, ErrorCode.UNKNOWN_ATTRIBUTE, KEY, eight)) <= 1.5 * (len(question) + 4 * 8)
