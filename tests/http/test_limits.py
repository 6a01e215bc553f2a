"""Buckets of tokens: rates, bursts, bounds, and who shares one."""

import asyncio
import time

import pytest

from sluicegate.errors import TooManyRequests
from sluicegate.http.limits import Metered, Rate, RateLimiter, RateLimits, TokenBuckets, network_of


def test_a_burst_is_allowed_then_the_rate() -> None:
    buckets = TokenBuckets(Rate(per_second=10, burst=5), capacity=10)
    assert [buckets.take("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert buckets.take("a", 0.0) == pytest.approx(0.1)
    assert buckets.take("a", 0.1) == 0.0
    assert buckets.take("a", 0.1) > 0


def test_one_key_does_not_use_up_another() -> None:
    buckets = TokenBuckets(Rate(1, 1), capacity=10)
    assert buckets.take("a", 0.0) == 0.0
    assert buckets.take("a", 0.0) > 0
    assert buckets.take("b", 0.0) == 0.0


def test_waiting_never_saves_up_more_than_the_burst() -> None:
    buckets = TokenBuckets(Rate(10, 2), capacity=10)
    assert [buckets.take("a", 1e6) == 0.0 for _ in range(3)] == [True, True, False]


def test_the_table_is_bounded_and_forgets_the_longest_unused() -> None:
    buckets = TokenBuckets(Rate(1, 1), capacity=3)
    for key in "abc":
        buckets.take(key, 0.0)
    buckets.take("a", 0.0)
    buckets.take("d", 0.0)
    assert len(buckets) == 3
    assert buckets.take("a", 0.0) > 0  # still known
    assert buckets.take("b", 0.0) == 0.0  # forgotten


def test_a_clock_that_steps_back_gives_nothing() -> None:
    buckets = TokenBuckets(Rate(1000, 1), capacity=3)
    buckets.take("a", 10.0)
    assert buckets.take("a", 5.0) > 0


def test_a_dear_call_is_paid_for_by_the_next_ones() -> None:
    limiter = RateLimiter(RateLimits(by_token=Rate(per_second=10, burst=5)))
    limiter.check_token("lobby/ada", 0.0).pay(0.0009)  # within its first millisecond
    limiter.check_token("lobby/ada", 0.0).pay(0.014)
    with pytest.raises(TooManyRequests) as caught:
        limiter.check_token("lobby/ada", 0.0)
    assert caught.value.retry_after == pytest.approx(1.1), "ten tokens are owed, and one is needed"
    limiter.check_token("lobby/bob", 0.0)
    addresses = RateLimiter(RateLimits(by_address=Rate(per_second=10, burst=5)))
    addresses.check_address("2001:db8::1", 0.0).pay(0.02)
    with pytest.raises(TooManyRequests):
        addresses.check_address("2001:db8::2", 0.0)  # of the same network


async def test_only_the_steps_of_a_call_are_metered() -> None:
    def work(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    async def call() -> str:
        work(0.01)
        await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        work(0.01)
        return "done"

    async def other() -> None:
        for _ in range(20):
            work(0.002)
            await asyncio.sleep(0)

    metered = Metered(call())
    assert (await asyncio.gather(metered, other()))[0] == "done"
    assert 0.02 <= metered.seconds < 0.035
    with pytest.raises(LookupError):
        await Metered(_fail())


async def _fail() -> None:
    await asyncio.sleep(0)
    raise LookupError


def test_the_limiter_says_when_to_come_back() -> None:
    limiter = RateLimiter(RateLimits(by_token=Rate(2, 1)))
    limiter.check_token("lobby/ada", 0.0)
    with pytest.raises(TooManyRequests) as caught:
        limiter.check_token("lobby/ada", 0.0)
    assert caught.value.retry_after == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("not an address", "not an address"),
    ],
)
def test_hosts_share_a_bucket_by_network(address: str, network: str) -> None:
    assert network_of(address) == network


def test_the_defaults_let_a_crowd_in_by_one_address() -> None:
    """A server that runs open takes 100 joins a second of 4 calls each from one load generator."""
    limiter = RateLimiter()
    for call in range(10_000):
        limiter.check_address("127.0.0.1", call / 1000)
