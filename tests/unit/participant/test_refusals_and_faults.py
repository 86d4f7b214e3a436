"""What a refusal leaves behind, what a technical fault does, and that neither leaves half of a step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mesh.contract_faults import ContractError
from mesh.errors import Invalid, MeshError
from mesh.settings import MESSAGE_BYTES_MAX
from services.inventory.service import InventoryService
from services.inventory.tables import reserve
from services.participant import Refused, Step
from services.participant.endpoint import handlers_of
from shop.inventory.v1.inventory_pb2 import ReleaseStockResponse, ReserveStockResponse
from shop.orders.v1.order_pb2 import Order, OrderStatus
from tests.builders import an_order
from tests.unit.participant.participant_bench import Bench, an_event, came, lines, reason

CANCELLED = OrderStatus.ORDER_STATUS_CANCELLED


class Faulty(InventoryService):
    """Inventory that can be told to fail in the middle of a step."""

    fault: Exception | None = None
    release: Any = ReleaseStockResponse()

    def __init__(self) -> None:
        self.called_back: list[str] = []

    def ReserveStock(self, request: Any, step: Step) -> ReserveStockResponse:
        step.after_commit(lambda: self.called_back.append(step.saga_id))
        response = super().ReserveStock(request, step)
        if self.fault is not None:
            raise self.fault
        return response

    def ReleaseStock(self, request: Any, step: Step) -> ReleaseStockResponse:
        super().ReleaseStock(request, step)
        if self.fault is not None:
            raise self.fault
        return self.release


@pytest.fixture
async def faulty(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(Faulty(), tmp_path)
    await bench.call("SetStock", sku="sku-1", on_hand=10)
    yield bench
    await bench.close()


async def stock(bench: Bench, sku: str = "sku-1") -> tuple[int, int]:
    found = (await bench.call("GetStock", sku=sku)).stock
    return found.on_hand, found.reserved


async def test_a_refusal_undoes_what_its_handler_did_before(inventory: Bench) -> None:
    order = an_order(lines=lines(("sku-1", 3), ("sku-out", 1)))
    assert reason(await inventory.call("ReserveStock", order=order)) == "OUT_OF_STOCK"
    assert await stock(inventory) == (10, 0)
    assert len(await inventory.rows()) == 1


async def test_the_refusal_tells_what_it_refused(inventory: Bench) -> None:
    order = an_order(lines=lines(("sku-out", 4)))
    await inventory.event(an_event("orders.OrderPlaced", order))
    refused = (await inventory.published())[0]
    event = inventory.contract.events[refused.event].message_class.FromString(refused.body)
    assert event.order == order
    assert event.refusal.domain == "shop.inventory.v1"
    assert dict(event.refusal.metadata) == {"sku": "sku-out", "quantity": "4"}


async def test_the_compensation_of_a_refused_step_takes_back_nothing(inventory: Bench) -> None:
    order = an_order(lines=lines(("sku-1", 3), ("sku-out", 1)))
    await inventory.call("ReserveStock", order=order)
    await inventory.call("ReleaseStock", order=order)
    assert await stock(inventory) == (10, 0)


@pytest.mark.parametrize("by_event", [False, True])
async def test_a_refusal_of_a_method_that_may_not_refuse_is_a_technical_error(faulty: Bench, by_event: bool) -> None:
    order = an_order()
    await faulty.call("ReserveStock", order=order)
    faulty.servicer.fault = Refused("NOT_NOW")
    with pytest.raises(MeshError, match="its contract has no `refuses`") as caught:
        await came(faulty, "ReleaseStock", an_event("orders.OrderCancelled", order, status=CANCELLED), by_event)
    assert caught.value.code.name == "INTERNAL"
    assert await faulty.row("ReleaseStock", order) is None
    assert await stock(faulty) == (9, 1)
    faulty.servicer.fault = None
    await faulty.call("ReleaseStock", order=order)
    assert await stock(faulty) == (10, 0)


@pytest.mark.parametrize("by_event", [False, True])
async def test_a_handler_that_raises_leaves_no_row_and_no_change(faulty: Bench, by_event: bool) -> None:
    order = an_order()
    faulty.servicer.fault = RuntimeError("out of luck")
    with pytest.raises(RuntimeError):
        await came(faulty, "ReserveStock", an_event("orders.OrderPlaced", order), by_event)
    assert await faulty.rows() == []
    assert await stock(faulty) == (10, 0)
    assert await faulty.names() == []
    faulty.servicer.fault = None
    await faulty.event(an_event("orders.OrderPlaced", order))
    assert await faulty.names() == ["StockReserved"]
    assert await stock(faulty) == (9, 1)


async def test_a_compensation_that_raises_writes_no_tombstone(faulty: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    order = an_order()
    await faulty.call("ReserveStock", order=order)
    faulty.servicer.fault = RuntimeError("out of luck")
    with pytest.raises(RuntimeError):
        await faulty.call("ReleaseStock", order=order)
    assert [row.state for row in await faulty.rows()] == ["DONE"]


async def test_a_handler_that_answers_with_another_message_fails_and_leaves_no_row(faulty: Bench) -> None:
    order = an_order()
    await faulty.call("ReserveStock", order=order)
    faulty.servicer.release = ReserveStockResponse()
    with pytest.raises(TypeError, match=r"not a .*ReleaseStockResponse"):
        await faulty.call("ReleaseStock", order=order)
    assert await stock(faulty) == (9, 1)


async def test_callbacks_come_after_a_success_and_neither_after_a_refusal_nor_from_the_ledger(faulty: Bench) -> None:
    done, refused = an_order(), an_order()
    await faulty.call("ReserveStock", order=done)
    await faulty.call("ReserveStock", order=done)
    faulty.servicer.fault = Refused("NOT_TODAY")
    await faulty.call("ReserveStock", order=refused)
    assert faulty.servicer.called_back == [done.order_id]


async def test_a_compensation_is_given_what_its_step_answered(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Curious(InventoryService):
        def ReleaseStock(self, request: Any, step: Step) -> ReleaseStockResponse:
            seen.append(step.undoes)
            return super().ReleaseStock(request, step)

    bench = Bench(Curious(), tmp_path)
    await bench.call("SetStock", sku="sku-1", on_hand=1)
    order = an_order()
    reserved = await bench.call("ReserveStock", order=order)
    await bench.call("ReleaseStock", order=order)
    await bench.call("ReleaseStock", order=an_order())
    await bench.close()
    assert seen == [reserved]


def test_a_participating_method_that_is_a_coroutine_is_refused_when_the_participant_is_made(inventory: Bench) -> None:
    class Hasty(InventoryService):
        async def ReserveStock(self, request: Any, step: Step) -> ReserveStockResponse:  # type: ignore[override]
            step.tx.execute(reserve("sku-1", 1))
            return ReserveStockResponse()

    with pytest.raises(ContractError, match="plain function"):
        handlers_of(Hasty(), inventory.contract)


async def test_an_event_that_makes_a_larger_request_than_a_call_may_have_is_invalid(inventory: Bench) -> None:
    field_1000_of_half_a_mebibyte = b"\xc2\x3e\x80\x80\x20" + bytes(2**19)
    unknown = Order.FromString(an_order().SerializeToString() + field_1000_of_half_a_mebibyte)
    with pytest.raises(Invalid, match=f"a message of the mesh has {MESSAGE_BYTES_MAX} at most"):
        await inventory.event(an_event("orders.OrderPlaced", unknown))
