"""Two engines on one database, as replicas are: the one that does not run a saga is asked about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from ensemble.orchestrator.v1.orchestrator_pb2 import CancelVerdict
from mesh.clock import LoopClock
from mesh.errors import Unavailable
from mesh.inline_database import InlineDatabase
from orchestrator import store
from orchestrator.recovery import HEARTBEAT_S, LEASE_S
from orchestrator.watching import LOOK_EVERY_S, Watching
from shop.inventory.v1.inventory_pb2 import SetStockRequest
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import COMPENSATED, COMPLETED, RUNNING, EngineBench
from tests.unit.orchestrator.far_shop import FarShop
from tests.unit.orchestrator.virtual_time import in_virtual_time

T = TypeVar("T")

SAGAS = 100
WATCHERS = 500


class Shared(InlineDatabase):
    """The database of both, which counts transactions, and may be away."""

    runs = 0
    away = False

    async def run(self, work: Callable[[Connection], T]) -> T:
        self.runs += 1
        if self.away:
            raise Unavailable("nothing was changed")
        return await super().run(work)


class Replicas:
    """Two engines; `asked` watches for what `runs` does."""

    def __init__(self, folder: Path) -> None:
        self.shop = FarShop(1)
        self.database = Shared(store.METADATA)
        self.runs, self.asked = (
            EngineBench(
                folder, self.shop, database=lambda *_: self.database, sagas_max=SAGAS, alone=False, clock=LoopClock()
            )
            for _ in range(2)
        )
        self.watching = Watching(self.asked.engine, self.database, self.asked.changes)
        self._looking = asyncio.create_task(self.watching.look_for_ever())
        self._beating: dict[EngineBench, asyncio.Task[None]] = {}

    async def beat(self) -> None:
        """Lets both renew their leases."""
        for bench in (self.runs, self.asked):
            await bench.engine.join()
            self._beating[bench] = asyncio.create_task(bench.engine.beat_for_ever())

    def silence(self, bench: EngineBench) -> None:
        """Lets an engine renew its lease no more."""
        self._beating[bench].cancel()

    async def close(self) -> None:
        for task in (self._looking, *self._beating.values()):
            task.cancel()
        for engine in (self.runs, self.asked):
            await engine.crash()
        await self.shop.close()


@asynccontextmanager
async def replicas(folder: Path) -> AsyncIterator[Replicas]:
    made = Replicas(folder)
    await made.shop.call("inventory", "SetStock", SetStockRequest(sku="sku-1", on_hand=SAGAS))
    yield made
    await made.close()


async def last_state(watching: Watching, order: Order) -> tuple[int, float]:
    """The last state that a watcher is told of, and when."""
    status = 0
    async for journal in watching.states(order.order_id):
        status = journal.status
    return status, asyncio.get_running_loop().time()


@in_virtual_time
async def test_however_many_watch_what_another_engine_runs_the_database_is_asked_a_few_times_a_second(
    tmp_path: Path,
) -> None:
    async with replicas(tmp_path) as both:
        both.shop.open.clear()
        placed = [an_order() for _ in range(SAGAS)]
        await asyncio.gather(*(both.runs.start(order) for order in placed))
        watchers = [asyncio.create_task(last_state(both.watching, placed[n % SAGAS])) for n in range(WATCHERS)]
        await asyncio.sleep(2)
        before = both.database.runs
        await asyncio.sleep(10)
        # One look for all that is watched, and one by each engine for what is due.
        assert both.database.runs - before <= 10 * 3 / LOOK_EVERY_S + 3
        both.shop.open.set()
        await asyncio.gather(*(both.runs.comes_to(order.order_id, COMPLETED) for order in placed))
        ended_s, before = asyncio.get_running_loop().time(), both.database.runs
        told = await asyncio.gather(*watchers)
        assert {status for status, _ in told} == {COMPLETED}
        assert max(told_s for _, told_s in told) <= ended_s + LOOK_EVERY_S + 0.1
        assert both.database.runs - before <= SAGAS + 10


@in_virtual_time
async def test_who_reads_slowly_what_its_own_engine_runs_is_told_the_last_state(tmp_path: Path) -> None:
    async with replicas(tmp_path) as both:
        order, seen = an_order(), []
        await both.runs.start(order)
        async for journal in Watching(both.runs.engine, both.database, both.runs.changes).states(order.order_id):
            seen.append(journal.status)
            await asyncio.sleep(2)  # in which the saga ends
        assert seen == [RUNNING, COMPLETED]


@in_virtual_time
async def test_a_cancellation_is_not_lost_where_another_engine_has_taken_the_saga_unnoticed(tmp_path: Path) -> None:
    async with replicas(tmp_path) as both:
        both.shop.open.clear()
        order = an_order()
        await both.runs.start(order)
        await both.runs.engine.flushed()
        await both.asked.engine.adopt(order.order_id)  # which takes it
        assert both.runs.engine.runs(order.order_id)
        cancelled = await both.runs.engine.cancel(order.order_id)
        stored = await both.runs.stored(order.order_id)
        assert stored is not None
        assert (stored.cancelling, stored.owner) == (True, both.runs.engine.owner)
        assert both.runs.engine.verdict(cancelled) == CancelVerdict.CANCEL_VERDICT_UNSPECIFIED
        both.shop.open.set()
        assert (await last_state(both.watching, order))[0] == COMPENSATED
        assert not both.asked.engine.runs(order.order_id)


@in_virtual_time
async def test_nobody_takes_sagas_of_others_because_the_database_was_away_from_all(tmp_path: Path) -> None:
    async with replicas(tmp_path) as both:
        await both.beat()
        both.shop.open.clear()
        placed = {bench: an_order() for bench in (both.runs, both.asked)}
        for bench, order in placed.items():
            await bench.start(order)
        both.database.away = True
        await asyncio.sleep(3 * LEASE_S)
        both.database.away = False
        await asyncio.sleep(2 * LEASE_S)
        for bench, order in placed.items():
            stored = await bench.stored(order.order_id)
            assert stored is not None
            assert stored.owner == bench.engine.owner
            assert bench.engine.runs(order.order_id)


@in_virtual_time
async def test_the_sagas_of_a_silent_engine_are_run_by_another_within_five_seconds(tmp_path: Path) -> None:
    async with replicas(tmp_path) as both:
        await both.beat()
        both.shop.open.clear()
        order = an_order()
        await both.runs.start(order)
        await asyncio.sleep(HEARTBEAT_S * 4 + 0.001)  # it has renewed its lease, as late as can be
        both.silence(both.runs)
        await asyncio.sleep(5)
        assert both.asked.engine.runs(order.order_id)
