"""The outbox: events are published after the commit, and again where that failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from eventbus.envelope import CHOREOGRAPHED, ORCHESTRATED, Envelope
from mesh.sqlite import open_read_only
from services.inventory.service import InventoryService
from services.participant import outbox
from services.participant.ledger import Row, StepId
from services.participant.participant import LEDGER
from tests.builders import an_order
from tests.unit.participant.participant_bench import Bench, an_event, until


@pytest.fixture
async def sweeping(inventory: Bench) -> AsyncIterator[Bench]:
    """Inventory with its sweep under way."""
    task = asyncio.create_task(inventory.participant.outbox.sweep_for_ever())
    yield inventory
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def due(bench: Bench) -> list[tuple[str, str]]:
    return [(row.due, row.replay) for row in await bench.rows() if row.due]


class Gate:
    """Holds the publications of one replay until it is opened."""

    def __init__(self, bench: Bench, replay: str) -> None:
        self.replay = replay
        self.opened = asyncio.Event()
        bench.publisher.before = self

    async def __call__(self, envelope: Envelope) -> None:
        if envelope.replay == self.replay:
            await self.opened.wait()


async def test_an_event_is_published_after_the_commit_never_before(inventory: Bench) -> None:
    reader = open_read_only(inventory.database.path)
    seen: list[str] = []

    async def look(envelope: Envelope) -> None:
        with reader.connect() as connection:
            seen.extend(connection.execute(sql.select(LEDGER.c.event)).scalars())

    inventory.publisher.before = look
    await inventory.event(an_event("orders.OrderPlaced", an_order()))
    reader.dispose()
    assert seen == ["shop.inventory.v1.StockReserved"]


async def test_a_published_event_is_not_due_any_more(inventory: Bench) -> None:
    await inventory.event(an_event("orders.OrderPlaced", an_order()))
    await inventory.published()
    assert await due(inventory) == []


async def test_an_event_whose_publication_failed_stays_due_and_is_swept(sweeping: Bench) -> None:
    sweeping.publisher.fails = True
    await sweeping.event(an_event("orders.OrderPlaced", an_order()))
    tried = sweeping.publisher.tried
    await until(lambda: sweeping.publisher.tried > tried + 1, "a sweep")
    assert await due(sweeping) == [(CHOREOGRAPHED, "")]
    sweeping.publisher.fails = False
    await until(lambda: sweeping.publisher.envelopes, "the publication")
    await sweeping.participant.outbox.flush()
    assert await due(sweeping) == []


async def test_a_swept_event_is_what_was_to_be_published(sweeping: Bench) -> None:
    sweeping.publisher.fails = True
    order = an_order()
    await sweeping.event(an_event("orders.OrderPlaced", order), replay="01")
    sweeping.publisher.fails = False
    await until(lambda: sweeping.publisher.envelopes, "the publication")
    swept = sweeping.publisher.envelopes[0]
    await sweeping.event(an_event("orders.OrderPlaced", order), replay="01")
    assert (await sweeping.published())[-1] == swept


async def test_what_a_crash_left_unpublished_is_published_after_the_start(inventory: Bench, tmp_path: Path) -> None:
    inventory.publisher.fails = True
    await inventory.event(an_event("orders.OrderPlaced", an_order()))
    await inventory.database.close()
    again = Bench(InventoryService(), tmp_path)
    task = asyncio.create_task(again.participant.outbox.sweep_for_ever())
    await until(lambda: again.publisher.envelopes, "the publication")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await again.names() == ["StockReserved"]
    await again.close()


async def test_a_mark_does_not_clear_an_event_that_another_replay_made_due_since(inventory: Bench) -> None:
    order = an_order()
    gate = Gate(inventory, "")
    first = asyncio.create_task(inventory.event(an_event("orders.OrderPlaced", order)))
    await until(lambda: inventory.publisher.tried, "the first publication")
    inventory.publisher.fails = True
    await inventory.event(an_event("orders.OrderPlaced", order), replay="01")
    inventory.publisher.fails = False
    gate.opened.set()
    await first
    await inventory.participant.outbox.flush()
    assert [envelope.replay for envelope in inventory.publisher.envelopes] == [""]
    assert await due(inventory) == [(CHOREOGRAPHED, "01")]


async def test_a_mark_does_not_clear_an_event_that_became_due_in_another_style_since(orders: Bench) -> None:
    order = an_order()
    gate = Gate(orders, "")
    await orders.call("CancelOrder", order=order)
    await until(lambda: orders.publisher.tried, "the first publication")
    triggered = asyncio.create_task(orders.event(an_event("payments.PaymentDeclined", order)))
    await until(lambda: orders.publisher.tried == 2, "the second publication")
    assert await due(orders) == [(CHOREOGRAPHED, "")]
    gate.opened.set()
    await triggered
    assert {envelope.style for envelope in await orders.published()} == {ORCHESTRATED, CHOREOGRAPHED}
    assert await due(orders) == []


async def test_a_replay_that_waits_for_the_broker_is_not_forgotten_for_a_redelivery_without_it(
    inventory: Bench,
) -> None:
    """Under the id of the first publication the broker would swallow it as a duplicate, and the replay were lost."""
    order = an_order()
    await inventory.event(an_event("orders.OrderPlaced", order))
    inventory.publisher.fails = True
    await inventory.event(an_event("orders.OrderPlaced", order), replay="01")
    await inventory.event(an_event("orders.OrderPlaced", order))
    assert await due(inventory) == [(CHOREOGRAPHED, "01")]


async def test_what_finds_no_room_is_left_to_the_sweep(inventory: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "IN_FLIGHT_MAX", 1)
    gate = Gate(inventory, "")
    first = asyncio.create_task(inventory.event(an_event("orders.OrderPlaced", an_order())))
    await until(lambda: inventory.publisher.tried, "the first publication")
    await inventory.event(an_event("orders.OrderPlaced", an_order()))
    assert inventory.publisher.tried == 1
    gate.opened.set()
    await first
    sweep = asyncio.create_task(inventory.participant.outbox.sweep_for_ever())
    await until(lambda: len(inventory.publisher.envelopes) == 2, "the publication of the second")
    sweep.cancel()
    await asyncio.gather(sweep, return_exceptions=True)


async def test_a_call_does_not_wait_for_the_broker_and_an_event_does(orders: Bench) -> None:
    gate = Gate(orders, "")
    await orders.call("CancelOrder", order=an_order())  # answers though its event is held
    triggered = asyncio.create_task(orders.event(an_event("payments.PaymentDeclined", an_order())))
    await until(lambda: orders.publisher.tried == 2, "both publications")
    assert not triggered.done()
    gate.opened.set()
    await triggered


async def test_marks_wait_for_each_other_and_are_written_by_themselves(
    inventory: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    ledger = inventory.participant.ledger
    published = ledger.published

    def count(tx: sql.Connection, emissions: list[tuple[StepId, str, str]]) -> None:
        published(tx, emissions)
        written.append(len(emissions))

    monkeypatch.setattr(ledger, "published", count)
    await inventory.event(an_event("orders.OrderPlaced", an_order()))
    await until(lambda: written == [1], "the first mark")
    monkeypatch.setattr(outbox, "MARKS_WAIT_S", 60)
    for _ in range(3):
        await inventory.event(an_event("orders.OrderPlaced", an_order()))
    await inventory.participant.outbox.flush()
    assert written == [1, 3]
    assert await due(inventory) == []


async def test_what_is_published_and_waits_for_its_mark_is_not_swept(
    inventory: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MARKS_WAIT_S", 60)
    monkeypatch.setattr(outbox, "SWEEP_EVERY_S", 0.001)
    ledger, seen = inventory.participant.ledger, []
    due_rows = ledger.due

    def look(tx: sql.Connection, limit: int) -> list[Row]:
        seen.append(due_rows(tx, limit))
        return seen[-1]

    monkeypatch.setattr(ledger, "due", look)
    await inventory.event(an_event("orders.OrderPlaced", an_order()))
    sweep = asyncio.create_task(inventory.participant.outbox.sweep_for_ever())
    await until(lambda: len(seen) > 2, "some sweeps")
    sweep.cancel()
    await asyncio.gather(sweep, return_exceptions=True)
    assert all(len(rows) == 1 for rows in seen)
    assert inventory.publisher.tried == 1
