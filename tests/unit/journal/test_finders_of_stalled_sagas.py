"""Several orchestrators look for stalled sagas at once, while the tracker writes: one mark, and none that outlives
progress."""

from __future__ import annotations

import asyncio

from eventbus.consumer import Delivery
from eventbus.envelope import CHOREOGRAPHED
from mesh.changes import Changes
from mesh.contract import Contract
from orchestrator import stalled
from orchestrator.journal import RUNNING, STALLED
from orchestrator.stalled import Stalled
from orchestrator.tracker import Tracker
from tests.builders import an_order
from tests.unit.journal.journal_bench import NOW_US, JournalBench, waits_for_a_lock
from tests.unit.orchestrator.tracker_bench import up_to_date
from tests.unit.participant.participant_bench import an_event

CONTRACT = Contract.of_packages("shop")
QUIET = (NOW_US + 1,)
LIMIT_S = 5.0


def a_finder(bench: JournalBench) -> Stalled:
    return Stalled(CONTRACT, bench.database, Changes(), list, up_to_date, stalled_after_s=1.0)


async def see(bench: JournalBench, name: str, order_id: str) -> None:
    event = an_event(name, an_order(order_id=order_id))
    tracker = Tracker(CONTRACT, bench.database, Changes())
    await tracker.handle(
        Delivery(event.DESCRIPTOR.full_name, event.SerializeToString(), CHOREOGRAPHED, "", 1, 1, NOW_US)
    )


async def test_what_one_finder_marks_the_others_pass_by_without_waiting(concurrent: JournalBench) -> None:
    await see(concurrent, "orders.OrderPlaced", "one")
    async with concurrent.before_its_commit(lambda tx: a_finder(concurrent)._mark(tx, stalled.QUIET, QUIET)):
        await see(concurrent, "orders.OrderPlaced", "two")
        async with asyncio.timeout(LIMIT_S):
            assert await a_finder(concurrent).mark() == 1
    assert await a_finder(concurrent).mark() == 0
    assert [(await concurrent.load(name)).status for name in ("one", "two")] == [STALLED, STALLED]


async def test_progress_that_comes_while_a_saga_is_marked_takes_the_mark_away(
    concurrent: JournalBench, postgres_url: str
) -> None:
    await see(concurrent, "orders.OrderPlaced", "one")
    async with concurrent.before_its_commit(lambda tx: a_finder(concurrent)._mark(tx, stalled.QUIET, QUIET)):
        progress = asyncio.create_task(see(concurrent, "inventory.StockReserved", "one"))
        await waits_for_a_lock(postgres_url)
    await progress
    assert (await concurrent.load("one")).status == RUNNING
