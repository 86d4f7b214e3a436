"""HYBRID orders that stand still: who is asked, and who takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh.errors import MeshError, NotFound, Overloaded, Unavailable
from mesh.settings import Settings
from services.orders import still, tables
from services.orders.given import Given
from services.orders.takeover import STILL_MAX, Takeover
from shop.orders.v1.order_pb2 import Order
from shop.orders.v1.orders_pb2 import Coordination
from tests.builders import an_order
from tests.unit.participant.participant_bench import Bench, short

HYBRID, ORCHESTRATED = Coordination.COORDINATION_HYBRID, Coordination.COORDINATION_ORCHESTRATED
BY_EVENTS = Coordination.COORDINATION_CHOREOGRAPHED
LONG_AGO_S = 60


class FakeOrchestrator:
    """Answers for all sagas alike, or with an error; writes down what it is told to do."""

    def __init__(self) -> None:
        self.saga = a_saga()
        self.error: MeshError | None = None
        self.deaf: set[str] = set()  # orders of which it does not answer
        self.did: list[tuple[str, str]] = []

    async def get(self, order_id: str, timeout_s: float) -> api.Saga:
        if self.error is not None or order_id in self.deaf:
            raise self.error or Unavailable("too slow")
        return self.saga

    async def start(self, order: Order, timeout_s: float) -> api.Saga:
        return self._do("start", order.order_id)

    async def adopt(self, order_id: str, timeout_s: float) -> api.Saga:
        return self._do("adopt", order_id)

    async def hand_over(self, order_id: str, timeout_s: float) -> api.Saga:
        return self._do("hand over", order_id)

    def _do(self, what: str, order_id: str) -> api.Saga:
        if self.error is not None:
            raise self.error
        self.did.append((what, order_id))
        return self.saga


def a_saga(
    status: int = api.SAGA_STATUS_RUNNING,
    *,
    steps: Sequence[api.Step] = (api.Step(started={"seconds": 1}),),
    age_s: float = LONG_AGO_S,
    **fields: Any,
) -> api.Saga:
    saga = api.Saga(status=status, style=api.STYLE_ORCHESTRATED, steps=steps)  # type: ignore[arg-type]
    saga.updated.FromMicroseconds(tables.now_us() - int(age_s * 1e6))
    saga.MergeFrom(api.Saga(**fields))
    return saga


@pytest.fixture
def orchestrator() -> FakeOrchestrator:
    return FakeOrchestrator()


@pytest.fixture
def watcher(orders: Bench, orchestrator: FakeOrchestrator, tmp_path: Path) -> Takeover:
    settings = Settings(data=tmp_path, heals_max=2)
    surroundings: Any = SimpleNamespace(database=orders.database, bus=orders.publisher, settings=settings)
    return Takeover(surroundings, orchestrator)  # type: ignore[arg-type]


async def standing(
    orders: Bench, *, taken: int = ORCHESTRATED, asked: int = HYBRID, for_s: float = LONG_AGO_S
) -> Order:
    order = an_order()
    then_us = tables.now_us() - int(for_s * 1e6)
    age = tables.ORDERS.update().where(tables.ORDERS.c.order_id == order.order_id).values(updated_us=then_us)
    await orders.database.run(lambda tx: tables.add(tx, order, asked, taken))  # type: ignore[arg-type]
    await orders.database.run(lambda tx: tx.execute(age).rowcount)
    return order


async def taken(orders: Bench, order: Order) -> tuple[int, int]:
    (row,) = await orders.database.run(lambda tx: tables.find(tx, order.order_id))
    return (row.taken, row.heals)


async def started_again(orders: Bench) -> list[str]:
    envelopes = await orders.published()
    assert all(short(one.event) == "OrderPlaced" and one.replay for one in envelopes)
    return [one.saga_id for one in envelopes]


async def test_an_orchestrator_that_does_not_answer_loses_its_orders(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator
) -> None:
    orchestrator.error = Unavailable("gone")
    standing_still = [await standing(orders) for _ in range(still.AT_ONCE_MAX + 5)]
    await watcher.look()
    assert sorted(await started_again(orders)) == sorted(order.order_id for order in standing_still)
    assert await taken(orders, standing_still[0]) == (BY_EVENTS, 1)
    await watcher.look()
    assert len(await started_again(orders)) == len(standing_still), "started twice"


@pytest.mark.parametrize(
    ("asked", "taken_by", "for_s"),
    [(ORCHESTRATED, ORCHESTRATED, 60), (HYBRID, ORCHESTRATED, 0.5), (HYBRID, 0, 60), (HYBRID, BY_EVENTS, 60)],
    ids=["orchestrated by wish", "moved lately", "not started yet", "by events already"],
)
async def test_other_orders_stay_where_they_are(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator, asked: int, taken_by: int, for_s: float
) -> None:
    orchestrator.error = Unavailable("gone")
    order = await standing(orders, asked=asked, taken=taken_by, for_s=for_s)
    await watcher.look()
    assert await taken(orders, order) == (taken_by, 0)
    assert await started_again(orders) == []


async def test_an_orchestrator_that_is_only_slow_keeps_its_orders(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator
) -> None:
    slow, quick = await standing(orders), await standing(orders)
    orchestrator.saga, orchestrator.deaf = a_saga(age_s=0), {slow.order_id}
    await watcher.look()
    assert [await taken(orders, order) for order in (slow, quick)] == [(ORCHESTRATED, 0)] * 2


async def test_an_orchestrator_that_is_overloaded_keeps_its_orders(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator
) -> None:
    order = await standing(orders)
    orchestrator.error = Overloaded("busy", 1.0)
    await watcher.look()
    assert await taken(orders, order) == (ORCHESTRATED, 0)


@pytest.mark.parametrize(
    "saga",
    [
        a_saga(age_s=-3600),
        a_saga(steps=[api.Step()]),
        a_saga(wakes={"seconds": 2**33}),
        a_saga(steps=[api.Step(status=api.STEP_STATUS_RUNNING, started={"seconds": 1}, last_error="paused: away")]),
        a_saga(api.SAGA_STATUS_COMPLETED),
    ],
    ids=["moved lately", "waits for its turn", "only waits", "waits for a participant", "has ended"],
)
async def test_a_saga_that_is_looked_after_is_left_alone(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator, saga: api.Saga
) -> None:
    order, orchestrator.saga = await standing(orders), saga
    await watcher.look()
    assert (await taken(orders, order), orchestrator.did) == ((ORCHESTRATED, 0), [])


async def test_a_stalled_saga_is_handed_over(orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator) -> None:
    order, orchestrator.saga = await standing(orders), a_saga(api.SAGA_STATUS_STALLED)
    await watcher.look()
    assert (await taken(orders, order), orchestrator.did) == ((BY_EVENTS, 1), [("hand over", order.order_id)])


async def test_of_sagas_without_progress_only_a_few_are_handed_over_at_a_time(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator
) -> None:
    for _ in range(STILL_MAX + 3):
        await standing(orders)
    await watcher.look()
    assert len(orchestrator.did) == STILL_MAX
    await watcher.look()
    assert len(orchestrator.did) == STILL_MAX + 3


async def test_a_saga_that_the_orchestrator_has_lost_goes_on_by_choreography(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator
) -> None:
    order, orchestrator.error = await standing(orders), NotFound("no saga")
    await watcher.look()
    assert await started_again(orders) == [order.order_id]


async def test_an_order_that_somebody_had_handed_over_is_said_to_be_choreographed(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator
) -> None:
    order, orchestrator.saga = await standing(orders), a_saga()
    orchestrator.saga.style = api.STYLE_CHOREOGRAPHED
    await watcher.look()
    assert (await taken(orders, order), orchestrator.did) == ((BY_EVENTS, 0), [])


async def test_orders_that_wait_for_an_absent_broker_are_adopted(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator
) -> None:
    order = await standing(orders, taken=BY_EVENTS)
    orchestrator.saga.style = api.STYLE_CHOREOGRAPHED  # the tracker had seen it
    orders.publisher.fails = True
    await watcher.look()
    assert await taken(orders, order) == (ORCHESTRATED, 1)
    assert orchestrator.did == [("start", order.order_id), ("adopt", order.order_id)]


async def test_where_both_are_away_an_order_waits_and_nothing_is_counted(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator
) -> None:
    orchestrator.error, orders.publisher.fails = Unavailable("gone"), True
    both = [await standing(orders, taken=side) for side in (ORCHESTRATED, BY_EVENTS)]
    await watcher.look()
    assert [await taken(orders, order) for order in both] == [(ORCHESTRATED, 0), (BY_EVENTS, 0)]
    orders.publisher.fails = False
    await watcher.look()
    assert await started_again(orders) == [both[0].order_id]


async def test_several_watchers_take_an_order_over_once(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator
) -> None:
    orchestrator.error = Unavailable("gone")
    order = await standing(orders)
    await asyncio.gather(*(watcher.look() for _ in range(5)))
    assert await started_again(orders) == [order.order_id]


async def test_an_order_changes_sides_a_bounded_number_of_times(
    orders: Bench, watcher: Takeover, orchestrator: FakeOrchestrator
) -> None:
    order = await standing(orders)
    back = tables.ORDERS.update().values(taken=ORCHESTRATED, updated_us=1)
    orchestrator.error = Unavailable("gone")
    for _ in range(4):
        await watcher.look()
        await orders.database.run(lambda tx: tx.execute(back).rowcount)
    assert await started_again(orders) == [order.order_id] * 2


@pytest.mark.parametrize(
    ("style", "driver"), [(api.STYLE_CHOREOGRAPHED, BY_EVENTS), (api.STYLE_ORCHESTRATED, ORCHESTRATED)]
)
async def test_an_order_whose_hand_over_was_lost_on_its_way_here_is_healed_like_a_choreographed_one(
    orders: Bench, orchestrator: FakeOrchestrator, tmp_path: Path, style: int, driver: int
) -> None:
    """It was asked for by name, no event of it came here, and the orchestrator has let it go."""
    orchestrator.saga = api.Saga(style=style)  # type: ignore[arg-type]
    order = await standing(orders, asked=ORCHESTRATED)
    surroundings: Any = SimpleNamespace(database=orders.database, settings=Settings(data=tmp_path))
    await Given(surroundings, orchestrator).look()  # type: ignore[arg-type]
    assert await taken(orders, order) == (driver, 0)
    stalled = await orders.database.run(tables.stalled(tables.now_us(), 1.0, 2, 10))
    assert [row.order.order_id for row in stalled] == ([order.order_id] if driver == BY_EVENTS else [])


async def test_orders_whose_orchestrator_is_away_hide_no_order_that_was_handed_over(
    orders: Bench, orchestrator: FakeOrchestrator, tmp_path: Path
) -> None:
    waiting = [await standing(orders, asked=ORCHESTRATED, for_s=90) for _ in range(still.AT_ONCE_MAX)]
    given = await standing(orders, asked=ORCHESTRATED)
    orchestrator.saga, orchestrator.deaf = api.Saga(style=api.STYLE_CHOREOGRAPHED), {one.order_id for one in waiting}
    surroundings: Any = SimpleNamespace(database=orders.database, settings=Settings(data=tmp_path))
    looks = Given(surroundings, orchestrator)  # type: ignore[arg-type]
    await looks.look()
    assert await taken(orders, given) == (ORCHESTRATED, 0)
    await looks.look()
    assert await taken(orders, given) == (BY_EVENTS, 0)
    assert await taken(orders, waiting[0]) == (ORCHESTRATED, 0)
