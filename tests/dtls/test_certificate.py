"""The certificate and its fingerprints: what peers may send, and what they may not."""

import datetime
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.dtls.certificate import (
    FINGERPRINT_ALGORITHMS,
    MAX_FINGERPRINTS,
    Certificate,
    Fingerprint,
    any_matches,
    parse_fingerprints,
)
from sluicegate.errors import Invalid
from tests.support.dtls import fingerprint as independent_fingerprint

CERTIFICATE = Certificate.generate()
OTHER = Certificate.generate()


def test_the_certificate_is_p256_self_signed_and_valid_now():
    certificate = CERTIFICATE.certificate
    assert isinstance(certificate.public_key().curve, ec.SECP256R1)
    certificate.verify_directly_issued_by(certificate)
    now = datetime.datetime.now(datetime.UTC)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc


def test_each_certificate_is_new():
    assert CERTIFICATE.fingerprint != OTHER.fingerprint
    assert CERTIFICATE.certificate.serial_number != OTHER.certificate.serial_number


def test_the_private_key_does_not_show():
    assert "PRIVATE" not in repr(CERTIFICATE)


@pytest.mark.parametrize("algorithm", list(FINGERPRINT_ALGORITHMS))
def test_fingerprints_are_written_and_read_as_sdp_has_them(algorithm):
    text = Fingerprint.of(CERTIFICATE.der, algorithm).text
    assert text == independent_fingerprint(CERTIFICATE.certificate, algorithm)
    for written in (text, text.lower()):
        (read,) = parse_fingerprints([(algorithm.upper(), written)])
        assert read.matches(CERTIFICATE.der)
        assert not read.matches(OTHER.der)


def test_any_of_several_fingerprints_will_do():
    fingerprints = parse_fingerprints(
        [("sha-256", OTHER.fingerprint.text), ("sha-512", Fingerprint.of(CERTIFICATE.der, "sha-512").text)]
    )
    assert any_matches(fingerprints, CERTIFICATE.der)
    assert any_matches(fingerprints, OTHER.der)
    assert not any_matches(fingerprints, Certificate.generate().der)
    assert not any_matches((), CERTIFICATE.der)


def test_a_weak_fingerprint_is_passed_over_beside_a_strong_one():
    weak = ("sha-1", independent_fingerprint(CERTIFICATE.certificate, "sha-1"))
    (kept,) = parse_fingerprints([weak, ("sha-256", CERTIFICATE.fingerprint.text)])
    assert kept == CERTIFICATE.fingerprint


@pytest.mark.parametrize(
    ("pairs", "pointer"),
    [
        ([], "/fingerprints"),
        ([("sha-256", CERTIFICATE.fingerprint.text)] * (MAX_FINGERPRINTS + 1), "/fingerprints"),
        ([("sha-1", "00:" * 19 + "00")], "/fingerprints/0/algorithm"),
        ([("md5", "00:" * 15 + "00")], "/fingerprints/0/algorithm"),
        ([("", "")], "/fingerprints/0/algorithm"),
        ([("sha-256", "")], "/fingerprints/0/value"),
        ([("sha-256", CERTIFICATE.fingerprint.text[:-3])], "/fingerprints/0/value"),
        ([("sha-256", CERTIFICATE.fingerprint.text.replace(":", "-"))], "/fingerprints/0/value"),
        ([("sha-256", "٠٠:" * 31 + "٠٠")], "/fingerprints/0/value"),
        ([("sha-384", "00:" * 47 + "00"), ("sha-256", "zz:" * 31 + "zz")], "/fingerprints/1/value"),
    ],
)
def test_what_names_no_certificate_is_invalid_and_says_where(pairs, pointer):
    with pytest.raises(Invalid) as raised:
        parse_fingerprints(pairs)
    assert [error.pointer for error in raised.value.errors] == [pointer]


@given(st.lists(st.tuples(st.sampled_from(["sha-256", "SHA-512", "sha-1", "x"]) | st.text(), st.text()), max_size=4))
def test_any_texts_give_fingerprints_or_invalid(pairs):
    try:
        fingerprints = parse_fingerprints(pairs)
    except Invalid as error:
        json.dumps(error.detail)
    else:
        assert all(fingerprint.algorithm in FINGERPRINT_ALGORITHMS for fingerprint in fingerprints)
