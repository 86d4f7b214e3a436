"""Many calls to one participant together, in virtual time: what they add up to, and what they leave when cancelled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from mesh.contract import Method
from orchestrator.asking import Answer, Asking
from orchestrator.circuit import Circuit
from orchestrator.retry_budget import RetryBudget
from tests.unit.orchestrator.engine_bench import CONTRACT
from tests.unit.orchestrator.virtual_time import in_virtual_time

METHOD = CONTRACT.methods["shop.inventory.v1.InventoryService.ReserveStock"]


class FakePeer:
    """A participant that answers after a millisecond, each call with what `fails` says."""

    def __init__(self, fails: Callable[[], grpc.StatusCode | None]) -> None:
        self.circuit = Circuit("inventory", rng=random.Random(1))
        self.budget = RetryBudget()
        self.calls = 0
        self.fails = fails

    def call(self, method: Method) -> Callable[..., Awaitable[bytes]]:
        return self._call

    async def _call(self, request: bytes, **_: Any) -> bytes:
        self.calls += 1
        await asyncio.sleep(0.001)
        if (code := self.fails()) is not None:
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "as told")
        return b"done"


def ask(peer: FakePeer) -> asyncio.Task[Answer]:
    nobody: Callable[[str], None] = lambda _: None  # noqa: E731
    asking = Asking(peer, METHOD, b"", 1.0, nobody, nobody, random.Random(1))  # type: ignore[arg-type]
    peer.budget.deposit()
    return asyncio.create_task(asking.answer())


async def end(tasks: list[asyncio.Task[Answer]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@in_virtual_time
async def test_of_a_participant_that_always_fails_retries_are_a_bounded_part_of_its_load() -> None:
    peer = FakePeer(lambda: grpc.StatusCode.INTERNAL)
    sagas = []
    for _ in range(3000):  # a hundred a second
        sagas.append(ask(peer))
        await asyncio.sleep(0.01)
    # Each once; a fifth of that, ten a second and the hundred saved up on top. Without the budget it were 12,000 more.
    assert 3000 + 800 < peer.calls <= 3000 + 600 + 300 + 100 + 1
    await end(sagas)


@in_virtual_time
async def test_where_one_call_in_three_fails_all_are_answered_within_seconds() -> None:
    chance = random.Random(1)
    peer = FakePeer(lambda: grpc.StatusCode.UNAVAILABLE if chance.random() < 0.33 else None)
    sagas = [ask(peer) for _ in range(1000)]
    async with asyncio.timeout(30):
        assert await asyncio.gather(*sagas) == [Answer(b"done")] * 1000
    assert peer.calls < 1000 * 1.6


@in_virtual_time
async def test_after_a_moment_of_errors_the_backlog_goes_as_fast_as_it_is_answered() -> None:
    down = True
    peer = FakePeer(lambda: grpc.StatusCode.INTERNAL if down else None)
    sagas = [ask(peer) for _ in range(1000)]
    await asyncio.sleep(1)
    down = False
    async with asyncio.timeout(3):  # at the pace of the reserve it were a minute and a half
        await asyncio.gather(*sagas)


@in_virtual_time
async def test_however_sagas_are_cancelled_they_keep_neither_a_token_nor_the_way() -> None:
    chance = random.Random(1)
    broken = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED]
    down = True
    peer = FakePeer(lambda: chance.choice(broken) if down else None)
    for _ in range(300):
        sagas = [ask(peer) for _ in range(20)]
        await asyncio.sleep(chance.uniform(0, 0.3))
        await end(sagas)
    down = False
    async with asyncio.timeout(3):
        await asyncio.gather(*(ask(peer) for _ in range(100)))
    assert peer.circuit.closed
    await asyncio.sleep(10)  # in which the reserve fills up what failing retries have spent
    async with asyncio.timeout(0.001):
        for _ in range(100):
            await peer.budget.withdraw(1)
