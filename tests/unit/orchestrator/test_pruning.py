"""Sagas that ended long ago are forgotten by all ledgers and then by the orchestrator, and nothing else is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from ensemble.participant.v1.participant_pb2 import PruneLedgerRequest, PruneLedgerResponse
from mesh.database import Database
from mesh.databases import open_database
from mesh.errors import Invalid, NotFound, Unavailable
from mesh.settings import DAY_S, Settings
from orchestrator import pruning, store
from orchestrator.journal import Journal, SagaStatus, Style
from orchestrator.pruning import Pruned, Pruning
from orchestrator.tables import MAIL, SAGAS, STEPS
from services.participant.pruning import LedgerService
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    BACK,
    COMPENSATED,
    COMPLETED,
    CONTRACT,
    FORWARD,
    STALLED,
    EngineBench,
    Shop,
)
from tests.unit.participant.participant_bench import an_event, until

ENGINES = Callable[..., EngineBench]
CHOREOGRAPHED = Style.STYLE_CHOREOGRAPHED


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def now_us(self) -> int:
        return self.us

    def days_ago_us(self, days: float) -> int:
        return self.us - int(days * DAY_S * 1e6)


class FakeLedgers:
    """The shop's real ledgers without a network; a participant can be away, and every call can be counted."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.away: set[str] = set()
        self.told: list[str] = []  # who was told to forget, in order

    async def prune(self, participant: str, request: PruneLedgerRequest) -> PruneLedgerResponse:
        if participant in self.away and not request.dry_run:
            raise Unavailable(f"{participant} is away")
        if not request.dry_run:
            self.told.append(participant)
        return await LedgerService(self._shop.benches[participant].database).PruneLedger(request, None)


class Old:
    """An orchestrator's tables with sagas of any age, and its pruning."""

    def __init__(self, engine: EngineBench, shop: Shop, database: Database | None = None) -> None:
        self.clock = FakeClock()
        self._shop = shop
        self.ledgers = FakeLedgers(shop)
        self.database = database or engine.database
        self.pruning = Pruning(CONTRACT, self.ledgers, self.database, self.clock)
        self._engine = engine

    async def add(self, saga_id: str, days: float = 10, status: int = COMPLETED, **values: Any) -> None:
        """A saga that ended so many days ago."""
        ended_us = self.clock.days_ago_us(days) if status in (COMPLETED, COMPENSATED) else 0
        started_us = self.clock.days_ago_us(days) - 1
        fields = {"style": Style.STYLE_ORCHESTRATED, "input": b"", **values}
        journal = Journal(saga_id, "p", started_us=started_us, status=status, ended_us=ended_us, **fields)  # type: ignore[arg-type]
        await self.database.run(lambda tx: store.put_saga(tx, journal))

    async def run(self, order: Order, days: float = 10) -> Journal:
        """Runs an order's saga for real, then lets its end be so long ago that all its events are published."""
        journal = await self._engine.run(order)
        await asyncio.gather(*(bench.flush() for bench in self._shop.benches.values()))
        await self.age(order.order_id, days)
        return journal

    async def age(self, saga_id: str, days: float) -> None:
        """Lets a saga's end be so long ago."""

        def work(tx: sql.Connection) -> None:
            journal = store.load(tx, saga_id)
            assert journal is not None
            journal.ended_us = self.clock.days_ago_us(days)
            store.put_saga(tx, journal)

        await self.database.run(work)

    async def prune(self, days: float = 8, **limits: float) -> Pruned:
        return await self.pruning.prune(days * DAY_S, **limits)

    async def known(self) -> set[str]:
        """The sagas that any of the tables has rows of."""

        def work(tx: sql.Connection) -> set[str]:
            return {id_ for table in (SAGAS, STEPS, MAIL) for id_ in tx.execute(sql.select(table.c.saga_id)).scalars()}

        return await self.database.run(work)


@pytest.fixture
def old(engine: EngineBench, shop: Shop) -> Old:
    return Old(engine, shop)


async def in_ledgers(shop: Shop) -> Counter[str]:
    """How many rows each saga has in all ledgers together."""
    rows = [await bench.rows() for bench in shop.benches.values()]
    return Counter(row.saga_id for one in rows for row in one)


# What goes


@pytest.mark.parametrize(
    ("changes", "status", "steps"), [({}, COMPLETED, FORWARD), ({"payment_token": "tok_declined"}, COMPENSATED, BACK)]
)
async def test_an_old_saga_is_forgotten_by_all_ledgers_and_by_the_orchestrator(
    old: Old, shop: Shop, engine: EngineBench, changes: dict[str, Any], status: int, steps: list[str]
) -> None:
    order = an_order(**changes)
    assert (await old.run(order)).status == status
    rows = (await in_ledgers(shop))[order.order_id]
    assert rows >= len(steps)
    assert await old.prune() == Pruned(1, rows)
    assert await in_ledgers(shop) == Counter()
    assert await old.known() == set()
    with pytest.raises(NotFound):
        await engine.engine.get(order.order_id)


async def test_what_the_services_know_of_a_pruned_order_stays(old: Old, shop: Shop) -> None:
    order = an_order()
    await old.run(order)
    books = await shop.books(order)
    await old.prune()
    assert await shop.books(order) == books


async def test_steps_and_mail_go_with_their_saga(old: Old) -> None:
    await old.add("tracked", style=CHOREOGRAPHED)
    await old.database.run(lambda tx: store.deliver(tx, "tracked", "some.Event", b"", 1))
    assert await old.prune() == Pruned(1, 0)
    assert await old.known() == set()


async def test_a_choreographed_saga_goes_like_an_orchestrated_one(old: Old, shop: Shop) -> None:
    order = an_order()
    for service in ("inventory", "payments", "shipping", "orders"):
        await shop.benches[service].event(an_event("orders.OrderPlaced", order))
        await shop.benches[service].published()
    await old.add(order.order_id, style=CHOREOGRAPHED)
    assert await old.prune() == Pruned(1, 4)
    assert await in_ledgers(shop) == Counter()


async def test_more_sagas_than_a_batch_all_go_oldest_first(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH_SAGAS", 3)
    for n in range(8):
        await old.add(f"saga-{n}", days=20 - n)
    assert await old.prune(within_s=0) == Pruned(3, 0)
    assert await old.known() == {f"saga-{n}" for n in range(3, 8)}
    assert await old.prune() == Pruned(5, 0)


async def test_everybody_who_takes_part_is_told(old: Old) -> None:
    await old.add("one")
    await old.prune()
    assert old.ledgers.told == ["inventory", "notifications", "orders", "payments", "shipping"]


# What stays


async def test_a_saga_that_ended_recently_is_not_touched(old: Old, shop: Shop) -> None:
    order = an_order()
    await old.run(order, days=7.9)
    before = await in_ledgers(shop)
    assert await old.prune(days=8) == Pruned(0, 0)
    assert await in_ledgers(shop) == before
    assert await old.known() == {order.order_id}


@pytest.mark.parametrize("style", [Style.STYLE_ORCHESTRATED, CHOREOGRAPHED])
@pytest.mark.parametrize("status", [s for s in SagaStatus.values() if s not in (COMPLETED, COMPENSATED)])
async def test_a_saga_that_has_not_ended_is_never_touched(old: Old, status: int, style: int) -> None:
    await old.add("going", days=1000, status=status, style=style)
    assert await old.prune() == Pruned(0, 0)
    assert await old.known() == {"going"}


async def test_a_saga_that_stalled_after_an_end_was_written_is_never_touched(old: Old) -> None:
    journal = Journal("stalled", "p", CHOREOGRAPHED, b"", 1, status=STALLED, ended_us=old.clock.days_ago_us(99))
    await old.database.run(lambda tx: store.put_saga(tx, journal))
    assert await old.prune() == Pruned(0, 0)


async def test_a_damaged_saga_is_not_touched_and_holds_nobody_up(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH_SAGAS", 1)
    await old.add("damaged", days=20)
    await old.database.run(lambda tx: tx.execute(sql.update(SAGAS).values(process="another")))
    await old.add("sound", days=10)
    assert await old.prune() == Pruned(1, 0)
    assert await old.known() == {"damaged"}


async def test_a_child_stays_as_long_as_its_parent_and_then_goes_with_it(old: Old) -> None:
    await old.add("child", days=20, parent="parent")
    await old.add("parent", status=STALLED)
    assert await old.prune() == Pruned(0, 0)
    await old.add("parent", days=10)
    assert await old.prune() == Pruned(2, 0)
    assert await old.known() == set()


async def test_a_saga_whose_event_waits_somewhere_stays_in_every_ledger(old: Old, shop: Shop) -> None:
    waiting, settled = an_order(), an_order()
    for order in (waiting, settled):
        await old.run(order)
    shipping = shop.benches["shipping"]  # the last that is told
    shipping.publisher.fails = True
    await shipping.event(an_event("orders.OrderPlaced", waiting))
    before = await in_ledgers(shop)
    assert (await old.prune()).sagas == 1
    assert await in_ledgers(shop) == Counter({waiting.order_id: before[waiting.order_id]})
    assert await old.known() == {waiting.order_id}


@pytest.mark.parametrize("days", [0, 6.99, -10])
async def test_an_age_below_the_streams_retention_is_refused_with_the_reason(old: Old, days: float) -> None:
    await old.add("one", days=1000)
    with pytest.raises(Invalid, match="older_than: must be 7 days or more: so long the stream keeps"):
        await old.prune(days=days)
    assert await old.known() == {"one"}


# What may go wrong


async def test_an_absent_participant_stops_it_and_is_named_and_nothing_is_lost(old: Old, shop: Shop) -> None:
    order = an_order()
    await old.run(order)
    old.ledgers.away = {"orders"}
    with pytest.raises(Unavailable, match="orders is away; 0 sagas were pruned before"):
        await old.prune()
    assert await old.known() == {order.order_id}
    old.ledgers.away = set()
    assert (await old.prune()).sagas == 1
    assert await in_ledgers(shop) == Counter()


async def test_what_went_before_an_absence_is_told(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH_SAGAS", 1)
    await old.add("first", days=20)
    await old.add("second", days=19)
    prune = old.ledgers.prune

    async def once(participant: str, request: PruneLedgerRequest) -> PruneLedgerResponse:
        if "second" in request.saga_ids:
            raise Unavailable("gone meanwhile")
        return await prune(participant, request)

    monkeypatch.setattr(old.ledgers, "prune", once)
    with pytest.raises(Unavailable, match="1 sagas were pruned before"):
        await old.prune()
    assert await old.known() == {"second"}


@pytest.mark.parametrize("dies_at", ["inventory", "notifications", "orders", "payments", "shipping"])
async def test_a_pruning_that_dies_half_way_is_finished_by_the_next(
    old: Old, shop: Shop, dies_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = an_order()
    await old.run(order)
    prune, reached = old.ledgers.prune, asyncio.Event()

    async def hang(participant: str, request: PruneLedgerRequest) -> PruneLedgerResponse:
        if participant == dies_at and not request.dry_run:
            reached.set()
            await asyncio.Event().wait()
        return await prune(participant, request)

    with monkeypatch.context() as patched:
        patched.setattr(old.ledgers, "prune", hang)
        dying = asyncio.create_task(old.prune())
        await reached.wait()
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
    assert await old.known() == {order.order_id}
    assert (await old.prune()).sagas == 1
    assert await in_ledgers(shop) == Counter()


async def test_two_at_once_prune_each_saga_once(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH_SAGAS", 4)
    for n in range(20):
        await old.add(f"saga-{n}")
    found = await asyncio.gather(old.prune(), old.prune())
    assert sum(pruned.sagas for pruned in found) == 20
    assert await old.known() == set()


async def test_postgresql_forgets_the_same_sagas_also_twice_at_once(
    engine: EngineBench, shop: Shop, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH_SAGAS", 4)
    settings = Settings(data=tmp_path, database_url=postgres_url)
    database = open_database(settings, "orchestrator", store.METADATA)
    try:
        old = Old(engine, shop, database)
        for n in range(20):
            await old.add(f"saga-{n}")
        await old.add("child", days=20, parent="saga-7")
        await old.add("young", days=7)
        await old.add("going", status=SagaStatus.SAGA_STATUS_RUNNING)
        found = await asyncio.gather(old.prune(), old.prune())
        assert sum(pruned.sagas for pruned in found) == 21
        assert await old.known() == {"young", "going"}
    finally:
        await database.close()


async def test_a_saga_that_was_started_again_meanwhile_stays(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    await old.add("again")
    prune = old.ledgers.prune

    async def start_again(participant: str, request: PruneLedgerRequest) -> PruneLedgerResponse:
        await old.add("again", status=SagaStatus.SAGA_STATUS_RUNNING)
        return await prune(participant, request)

    monkeypatch.setattr(old.ledgers, "prune", start_again)
    assert (await old.prune()).sagas == 0
    assert await old.known() == {"again"}


async def test_the_side_task_prunes_by_itself_and_survives_an_absence(
    old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "EVERY_S", 0.01)
    await old.add("one")
    old.ledgers.away = {"payments"}
    task = asyncio.create_task(old.pruning.prune_for_ever(8 * DAY_S))
    await until(lambda: len(old.ledgers.told) >= 6, "a second try")  # three come before payments
    assert await old.known() == {"one"}
    old.ledgers.away = set()
    async with asyncio.timeout(5):
        while await old.known():
            pass
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_oldest_are_found_by_their_index(old: Old) -> None:
    def plan(tx: sql.Connection) -> str:
        query = pruning._oldest(old.clock.us, (5, "x")).compile(tx, compile_kwargs={"render_postcompile": True})
        assert query.positiontup is not None
        values = tuple(query.params[name] for name in query.positiontup)  # as bound: literals would tell too much
        rows = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)
        return "\n".join(str(row.detail) for row in rows)

    assert "USING INDEX sagas_ended" in await old.database.run(plan)
