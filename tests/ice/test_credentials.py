"""ICE credentials: enough random bits, only characters that ICE allows, nothing in their text."""

import re

from sluicegate.ice.credentials import Credentials

ICE_CHARS = re.compile(r"[A-Za-z0-9+/]+")


def test_credentials_have_the_length_and_the_characters_of_the_rfc():
    credentials = Credentials.generate()
    assert len(credentials.username_fragment) == 8  # 48 bits; RFC 8445 §5.3 asks for 24
    assert len(credentials.password) == 32  # 192 bits; it asks for 128
    assert ICE_CHARS.fullmatch(credentials.username_fragment + credentials.password)


def test_ten_thousand_are_all_different():
    made = [Credentials.generate() for _ in range(10_000)]
    assert len({credentials.username_fragment for credentials in made}) == len(made)
    assert len({credentials.password for credentials in made}) == len(made)


def test_the_password_does_not_show():
    credentials = Credentials.generate()
    assert credentials.password not in repr(credentials)
