"""Retries are a bounded part of a participant's load; they wait for their turn, and none is given up."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.retry_budget import RetryBudget
from tests.unit.orchestrator.virtual_time import in_virtual_time, settle


async def an_empty_budget(**limits: float) -> RetryBudget:
    budget = RetryBudget(**{"ratio": 0.2, "reserve_per_s": 10.0, "tokens_max": 5.0} | limits)
    for _ in range(int(limits.get("tokens_max", 5))):
        await budget.withdraw(1)
    return budget


def now() -> float:
    return asyncio.get_running_loop().time()


async def order_of(budget: RetryBudget, *tries: int) -> list[int]:
    """In which order retries are let go that came in the order of `tries`."""
    gone: list[int] = []

    async def one(count: int) -> None:
        await budget.withdraw(count)
        gone.append(count)

    await asyncio.gather(*(one(count) for count in tries))
    return gone


@in_virtual_time
async def test_a_retry_goes_at_once_while_there_are_tokens() -> None:
    budget = RetryBudget()
    for _ in range(100):
        await budget.withdraw(1)
    assert now() == 0


@in_virtual_time
async def test_without_tokens_retries_go_at_the_pace_of_the_reserve() -> None:
    budget = await an_empty_budget()
    await asyncio.gather(*(budget.withdraw(1) for _ in range(20)))
    assert now() == pytest.approx(2.0, abs=0.01)


@in_virtual_time
async def test_five_first_tries_pay_for_a_retry_that_waits() -> None:
    budget = await an_empty_budget(reserve_per_s=0.001)
    retry = asyncio.create_task(budget.withdraw(1))
    await settle()
    for _ in range(4):
        budget.deposit()
    await settle()
    assert not retry.done()
    budget.deposit()
    await settle()
    assert retry.done()


@in_virtual_time
async def test_a_token_that_is_given_back_serves_the_next_at_once() -> None:
    budget = await an_empty_budget(reserve_per_s=0.001)
    retry = asyncio.create_task(budget.withdraw(1))
    await settle()
    budget.give_back()
    await settle()
    assert retry.done()


@in_virtual_time
async def test_what_failed_least_goes_first_and_then_who_came_first() -> None:
    budget = await an_empty_budget()
    assert await order_of(budget, 9, 1, 30, 2) == [1, 2, 9, 30]


@in_virtual_time
async def test_of_a_participant_that_fails_always_the_wasted_load_is_bounded() -> None:
    budget = await an_empty_budget()
    retries = 0

    async def a_saga() -> None:
        nonlocal retries
        budget.deposit()
        for tries in range(1, 1000):
            await budget.withdraw(tries)
            retries += 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as sagas:
        started = [sagas.create_task(a_saga()) for _ in range(1000)]
        await asyncio.sleep(10)
        for saga in started:
            saga.cancel()
    assert retries == pytest.approx(10 * 10 + 1000 * 0.2, abs=7)


@in_virtual_time
async def test_tokens_are_not_saved_up_for_ever() -> None:
    budget = await an_empty_budget()
    await asyncio.sleep(3600)
    began = now()
    await asyncio.gather(*(budget.withdraw(1) for _ in range(6)))
    assert now() - began == pytest.approx(0.1, abs=0.01)


@in_virtual_time
async def test_a_retry_cancelled_while_it_waits_takes_no_token() -> None:
    budget = await an_empty_budget()
    cancelled = [asyncio.create_task(budget.withdraw(1)) for _ in range(1000)]
    await settle()
    for task in cancelled:
        task.cancel()
    began = now()
    await budget.withdraw(7)
    assert now() - began <= 0.11
    assert budget._waiting == []


@in_virtual_time
async def test_a_retry_cancelled_as_it_is_served_gives_its_token_back() -> None:
    budget = await an_empty_budget(reserve_per_s=0.001)
    first, second = (asyncio.create_task(budget.withdraw(1)) for _ in range(2))
    await settle()
    budget.give_back()  # serves the first, which has not run yet
    first.cancel()
    await settle()
    assert first.cancelled()
    assert second.done()
