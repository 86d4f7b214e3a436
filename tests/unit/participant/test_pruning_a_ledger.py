"""A participant forgets sagas when it is told to: their rows in the ledger and the arrivals, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sql

from ensemble.participant.v1.participant_pb2 import PruneLedgerRequest, PruneLedgerResponse
from eventbus.envelope import CHOREOGRAPHED
from mesh import validation
from mesh.errors import Invalid
from services.participant.participant import ARRIVALS, LEDGER
from services.participant.pruning import LedgerService
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.unit.participant.participant_bench import BOTH, Bench, an_event

DATABASES = BOTH


async def prune(bench: Bench, *orders: Order, dry_run: bool = False) -> PruneLedgerResponse:
    request = PruneLedgerRequest(saga_ids=[order.order_id for order in orders], dry_run=dry_run)
    return await LedgerService(bench.database).PruneLedger(request, None)


async def known(bench: Bench, table: sql.Table = LEDGER) -> set[str]:
    """The sagas that a table has rows of."""
    return {row.saga_id for row in await bench.query(sql.select(table.c.saga_id))}


async def reserved(bench: Bench) -> int:
    return int((await bench.call("GetStock", sku="sku-1")).stock.reserved)


async def test_a_ledger_forgets_what_it_is_told_to_and_nothing_else(inventory: Bench) -> None:
    old, young = an_order(), an_order()
    for order in (old, young):
        await inventory.call("ReserveStock", order=order)
        await inventory.call("ReleaseStock", order=order)
    answer = await prune(inventory, old)
    assert (answer.rows, list(answer.kept_saga_ids)) == (2, [])
    assert await known(inventory) == {young.order_id}


async def test_what_the_service_itself_knows_stays(inventory: Bench) -> None:
    order = an_order()
    await inventory.call("ReserveStock", order=order)
    await prune(inventory, order)
    assert await reserved(inventory) == 1


async def test_arrivals_are_forgotten_with_the_ledger(orders: Bench) -> None:
    joined, waits = an_order(), an_order()
    for name in ("inventory.StockReserved", "payments.PaymentAuthorized", "shipping.ShipmentBooked"):
        await orders.event(an_event(name, joined))
    await orders.event(an_event("inventory.StockReserved", waits))
    await orders.published()
    assert (await prune(orders, joined)).rows == 4
    assert await known(orders) == set()
    assert await known(orders, ARRIVALS) == {waits.order_id}


async def test_a_saga_whose_event_waits_for_the_broker_is_kept_whole_and_named(inventory: Bench) -> None:
    waiting, settled = an_order(), an_order()
    await inventory.event(an_event("orders.OrderPlaced", settled))
    await inventory.event(an_event("orders.OrderPlaced", waiting))
    await inventory.published()
    inventory.publisher.fails = True
    await inventory.event(an_event("orders.OrderCancelled", waiting))
    answer = await prune(inventory, waiting, settled)
    assert (answer.rows, list(answer.kept_saga_ids)) == (1, [waiting.order_id])
    assert len([row for row in await inventory.rows() if row.saga_id == waiting.order_id]) == 2


async def test_once_the_event_is_published_the_saga_goes(inventory: Bench) -> None:
    order = an_order()
    inventory.publisher.fails = True
    await inventory.event(an_event("orders.OrderPlaced", order))
    assert list((await prune(inventory, order)).kept_saga_ids) == [order.order_id]
    inventory.publisher.fails = False
    await inventory.event(an_event("orders.OrderPlaced", order))
    assert [envelope.style for envelope in await inventory.published()] == [CHOREOGRAPHED]
    assert (await prune(inventory, order)).rows == 1
    assert await known(inventory) == set()


async def test_a_dry_run_says_what_would_be_kept_and_forgets_nothing(inventory: Bench) -> None:
    waiting, settled = an_order(), an_order()
    await inventory.event(an_event("orders.OrderPlaced", settled))
    await inventory.published()
    inventory.publisher.fails = True
    await inventory.event(an_event("orders.OrderPlaced", waiting))
    answer = await prune(inventory, waiting, settled, dry_run=True)
    assert (answer.rows, list(answer.kept_saga_ids)) == (0, [waiting.order_id])
    assert await known(inventory) == {waiting.order_id, settled.order_id}


async def test_forgetting_twice_forgets_nothing_more(inventory: Bench) -> None:
    order = an_order()
    await inventory.call("ReserveStock", order=order)
    assert (await prune(inventory, order)).rows == 1
    assert (await prune(inventory, order, an_order(), order)).rows == 0


@pytest.mark.parametrize("saga_ids", [[], ["no id!"], [""], [f"saga-{n}" for n in range(1001)]])
def test_a_request_for_nothing_for_nonsense_or_for_too_much_is_invalid(saga_ids: list[Any]) -> None:
    with pytest.raises(Invalid):
        validation.validate(PruneLedgerRequest(saga_ids=saga_ids))


async def test_as_many_sagas_as_a_request_takes_are_forgotten_at_once(inventory: Bench) -> None:
    order = an_order()
    await inventory.call("ReserveStock", order=order)
    assert (await prune(inventory, order, *(an_order() for _ in range(999)))).rows == 1
