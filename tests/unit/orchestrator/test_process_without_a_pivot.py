"""A process that no pivot decides: what was started is compensated, last first, and known after a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.contract import Contract, Process
from orchestrator.saga import Saga
from orchestrator.workflow import Workflow, Workflows
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.payments.v1.payments_pb2 import AuthorizePaymentRequest
from shop.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from shop.shipping.v1.shipping_pb2 import BookShipmentRequest
from shop.shipping.v1.shipping_pb2_grpc import ShippingServiceStub
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    COMPENSATED,
    COMPLETED,
    PROCESS,
    STALLED,
    EngineBench,
    FakeParticipants,
    Shop,
)
from tests.unit.participant.participant_bench import ship_to

Makes = Callable[..., EngineBench]


async def hold_all(saga: Saga, placed: OrderPlaced) -> None:
    order = placed.order
    await InventoryServiceStub(saga).ReserveStock(ReserveStockRequest(order=order))
    await PaymentsServiceStub(saga).AuthorizePayment(AuthorizePaymentRequest(order=order))
    await ShippingServiceStub(saga).BookShipment(BookShipmentRequest(order=order))


@pytest.fixture
def options() -> dict[str, Any]:
    contract = Contract.of_packages("shop")
    contract.processes[PROCESS] = Process(PROCESS, contract.processes[PROCESS].start, ())
    return {"contract": contract, "workflows": Workflows([Workflow(PROCESS, hold_all, OrderPlaced)])}


async def test_a_refusal_reverses_what_was_started_last_first_and_nothing_else(
    an_engine: Makes, options: dict[str, Any], participants: FakeParticipants, shop: Shop
) -> None:
    journal = await an_engine(**options).run(an_order(ship_to=ship_to("AQ")))
    assert (journal.status, journal.to_proto().refusal.reason) == (COMPENSATED, "NO_CARRIER")
    assert participants.asked[3:] == ["VoidPayment", "ReleaseStock"]
    assert "CancelOrder" not in await shop.ledgers()


async def test_it_completes_where_nobody_refuses(an_engine: Makes, options: dict[str, Any]) -> None:
    assert (await an_engine(**options).run(an_order())).status == COMPLETED


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
async def test_a_step_that_was_in_doubt_at_a_crash_is_compensated_too(
    an_engine: Makes, options: dict[str, Any], participants: FakeParticipants, shop: Shop, answered: bool
) -> None:
    participants.hold("AuthorizePayment", answered=answered)
    first, order = an_engine(**options), an_order()
    await first.start(order)
    await participants.reaches("AuthorizePayment")
    await first.crash()
    participants.release()
    second = an_engine(**options)
    await second.recover()
    await second.engine.cancel(order.order_id)
    journal = await second.comes_to(order.order_id, COMPENSATED, COMPLETED)
    if journal.status == COMPENSATED:
        ledgers = await shop.ledgers()
        assert {"VoidPayment", "ReleaseStock"} <= set(ledgers)
        assert (await shop.call("GetStock", sku="sku-1")).stock.reserved == 0


async def test_an_intent_is_durable_before_its_call(
    an_engine: Makes, options: dict[str, Any], participants: FakeParticipants
) -> None:
    participants.hold("ReserveStock")
    bench, order = an_engine(**options), an_order()
    await bench.start(order)
    await participants.reaches("ReserveStock")
    stored = await bench.stored(order.order_id)
    assert stored is not None
    (step,) = stored.steps.values()
    assert ReserveStockRequest.FromString(step.request).order == order
    participants.release()
    await bench.comes_to(order.order_id, COMPLETED)


async def test_a_compensation_that_fails_for_good_stalls_the_saga_and_is_asked_again(
    an_engine: Makes, options: dict[str, Any], participants: FakeParticipants
) -> None:
    participants.break_("VoidPayment")
    bench, order = an_engine(**options), an_order(ship_to=ship_to("AQ"))
    journal = await bench.run(order)
    assert journal.status == STALLED
    assert f"ensemble saga retry {order.order_id}" in journal.stalled_help
    assert "ReleaseStock" not in participants.asked, "the order of the way back is kept"
    participants.indefinite.clear()
    await bench.engine.retry(order.order_id)
    await bench.comes_to(order.order_id, COMPENSATED)
    assert participants.asked[-2:] == ["VoidPayment", "ReleaseStock"]
