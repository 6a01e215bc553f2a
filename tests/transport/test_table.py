"""Who owns a fragment and an address, and how often strangers may fail."""

from sluicegate.transport.table import FAILURE_BURST, FAILURES_PER_SECOND, MAX_SOURCES, FailureLimiter, PeerTable

A = ("192.0.2.1", 1000)


def test_peers_are_found_by_fragment_and_by_address():
    table: PeerTable[str] = PeerTable()
    table.add_fragment("frag", "peer")
    table.bind(A, "peer")
    assert table.find("frag") == "peer"
    assert table.owner(A) == "peer"
    assert table.find("other") is None
    assert table.owner(("192.0.2.1", 1001)) is None


def test_an_address_is_released_only_by_its_owner():
    table: PeerTable[str] = PeerTable()
    table.bind(A, "first")
    table.bind(A, "second")
    table.release(A, "first")
    assert table.owner(A) == "second"
    table.release(A, "second")
    table.release(A, "second")
    table.remove_fragment("never")
    assert table.sizes == (0, 0)


def test_failures_are_limited_for_each_host_and_forgiven_with_time():
    limiter = FailureLimiter()
    for _ in range(int(FAILURE_BURST)):
        assert limiter.admits("192.0.2.1", 10.0)
        limiter.count_failure("192.0.2.1", 10.0)
    assert not limiter.admits("192.0.2.1", 10.0)
    assert limiter.admits("192.0.2.2", 10.0)
    assert limiter.admits("192.0.2.1", 10.0 + 1.0 / FAILURES_PER_SECOND)
    limiter.count_failure("192.0.2.1", 10.0 + 1.0 / FAILURES_PER_SECOND)
    assert not limiter.admits("192.0.2.1", 10.0 + 1.0 / FAILURES_PER_SECOND)


def test_the_sources_remembered_are_bounded_and_the_oldest_is_forgiven():
    limiter = FailureLimiter()
    for _ in range(int(FAILURE_BURST)):
        limiter.count_failure("198.51.100.1", 0.0)
    assert not limiter.admits("198.51.100.1", 0.0)
    for number in range(3 * MAX_SOURCES):
        limiter.count_failure(f"host-{number}", 0.0)
    assert len(limiter) == MAX_SOURCES
    assert limiter.admits("198.51.100.1", 0.0)
