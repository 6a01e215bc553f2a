"""Host candidates: RFC 8445 priorities and foundations, and what another implementation reads in them."""

import aioice
import pytest

from sluicegate.ice.candidates import HostCandidate, candidate_priority, host_candidates


def test_one_candidate_for_each_address_the_first_preferred():
    candidates = host_candidates(("203.0.113.7", "2001:db8::7"), 50000)
    assert candidates == (
        HostCandidate("1", 2130706431, "203.0.113.7", 50000),
        HostCandidate("2", 2130706175, "2001:db8::7", 50000),
    )


def test_an_address_given_twice_is_announced_once():
    candidates = host_candidates(("2001:db8::7", "2001:0db8:0::7", "10.0.0.1"), 1)
    assert [candidate.address for candidate in candidates] == ["2001:db8::7", "10.0.0.1"]


def test_foundations_and_priorities_are_distinct_and_within_the_range_of_the_rfc():
    candidates = host_candidates((f"10.0.0.{index}" for index in range(1, 200)), 1)
    assert len({candidate.foundation for candidate in candidates}) == len(candidates)
    assert len({candidate.priority for candidate in candidates}) == len(candidates)
    assert all(1 <= candidate.priority <= 2**31 - 1 for candidate in candidates)
    assert all(1 <= len(candidate.foundation) <= 32 for candidate in candidates)


def test_the_priority_is_the_one_aioice_computes():
    assert candidate_priority(65535) == aioice.candidate.candidate_priority(1, "host")


@pytest.mark.parametrize("address", ["example.com", "fe80::1%eth0x/64", ""])
def test_what_is_not_a_numeric_address_is_refused(address):
    with pytest.raises(ValueError):
        host_candidates((address,), 1)
