"""Delays grow, are jittered, and have a bound."""

from __future__ import annotations

import itertools

import pytest

from mesh.backoff import Backoff


def test_the_bound_doubles_until_it_is_reached() -> None:
    backoff = Backoff(first_s=0.1, factor=2.0, max_s=1.0)
    assert [backoff.bound_s(tries) for tries in range(1, 7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("tries", [-1, 0])
def test_no_failed_try_counts_as_the_first(tries: int) -> None:
    assert Backoff(first_s=0.1).bound_s(tries) == 0.1


def test_after_a_million_tries_the_bound_still_holds() -> None:
    assert Backoff(max_s=5.0).bound_s(1_000_000) == 5.0


def test_delays_lie_between_nothing_and_the_bound_and_differ() -> None:
    backoff = Backoff(first_s=0.1, factor=2.0, max_s=1.0)
    drawn = [backoff.delay_s(3) for _ in range(200)]
    assert all(0 <= delay <= 0.4 for delay in drawn)
    assert len(set(drawn)) > 100


def test_delays_follow_the_bounds_without_end() -> None:
    backoff = Backoff(first_s=0.1, factor=2.0, max_s=1.0)
    delays = list(itertools.islice(backoff.delays(), 100))
    assert all(delay <= backoff.bound_s(number) for number, delay in enumerate(delays, start=1))
    assert len(delays) == 100
