"""The tracker writes what choreographed sagas do; events may come in any order, and twice."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo

from eventbus.consumer import Delivery
from eventbus.envelope import CHOREOGRAPHED, ORCHESTRATED
from mesh.changes import Changes
from mesh.sqlite import SqliteDatabase
from orchestrator import store
from orchestrator.journal import Journal, SagaStatus, StepStatus, Style
from orchestrator.tracker import Tracker
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import CONTRACT, PROCESS, EngineBench, FakeParticipants
from tests.unit.participant.participant_bench import an_event

FORWARD = [
    "orders.OrderPlaced",
    "inventory.StockReserved",
    "payments.PaymentAuthorized",
    "shipping.ShipmentBooked",
    "orders.OrderConfirmed",
    "payments.PaymentCaptured",
    "shipping.ShipmentDispatched",
    "orders.OrderCompleted",
]
BACK = [
    "orders.OrderPlaced",
    "inventory.StockReserved",
    "payments.PaymentDeclined",
    "orders.OrderCancelled",
    "inventory.StockReleased",
    "payments.PaymentVoided",
    "shipping.BookingCancelled",
    "orders.OrderCompensated",
]


class Tracking:
    """A tracker on tables of its own."""

    def __init__(self, folder: Path) -> None:
        self.database = SqliteDatabase(folder / "tracker.db", store.METADATA)
        self.tracker = Tracker(CONTRACT, self.database, Changes())

    async def see(self, event: Message, style: str = CHOREOGRAPHED) -> None:
        delivery = Delivery(event.DESCRIPTOR.full_name, event.SerializeToString(), style, "", 1, 1)
        await self.tracker.handle(delivery)

    async def see_all(self, order: Order, names: list[str]) -> None:
        for name in names:
            await self.see(an_event(name, order))

    async def saga(self, order: Order) -> Journal | None:
        return await self.database.run(lambda tx: store.load(tx, order.order_id))

    async def rows(self, order: Order) -> dict[str, Any]:
        """All that is written but for the id and the times."""
        saga = await self.saga(order)
        assert saga is not None
        steps = {key[0].rpartition(".")[2]: (s.status, s.attempts, s.last_error) for key, s in saga.steps.items()}
        said = (saga.process, saga.style, saga.status, saga.cancelling, bool(saga.input), bool(saga.ended_us))
        return {"saga": said, "refusal": ErrorInfo.FromString(saga.refusal).reason, "steps": steps}


@pytest.fixture
async def tracking(tmp_path: Path) -> AsyncIterator[Tracking]:
    tracking = Tracking(tmp_path)
    yield tracking
    await tracking.database.close()


@pytest.mark.parametrize("names", [FORWARD, BACK], ids=["forward", "back"])
async def test_events_in_any_order_and_twice_give_the_same_rows(tracking: Tracking, names: list[str]) -> None:
    in_order = an_order()
    await tracking.see_all(in_order, names)
    expected = await tracking.rows(in_order)
    shuffle = random.Random(7)
    for _ in range(12):
        order = an_order()
        await tracking.see_all(order, shuffle.sample(names * 2, len(names) * 2))
        assert await tracking.rows(order) == expected


async def test_two_refusals_in_either_order_give_the_same_rows(tracking: Tracking) -> None:
    seen = []
    for reasons in itertools.permutations([("inventory.StockRefused", "OUT"), ("payments.PaymentDeclined", "CARD")]):
        order = an_order()
        for name, reason in reasons:
            await tracking.see(an_event(name, order, refusal=ErrorInfo(reason=reason)))
        seen.append(await tracking.rows(order))
    assert seen[0] == seen[1]


async def test_a_choreography_can_be_seen_to_its_end(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, FORWARD)
    rows = await tracking.rows(order)
    done = (PROCESS, Style.STYLE_CHOREOGRAPHED, SagaStatus.SAGA_STATUS_COMPLETED, False, True, True)
    assert rows["saga"] == done
    assert set(rows["steps"]) == {
        "ReserveStock",
        "AuthorizePayment",
        "BookShipment",
        "ConfirmOrder",
        "CapturePayment",
        "DispatchShipment",
        "CompleteOrder",
    }


async def test_the_way_back_and_its_refusal_can_be_seen(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, BACK[:4])
    rows = await tracking.rows(order)
    assert rows["saga"][2] == SagaStatus.SAGA_STATUS_COMPENSATING
    assert rows["refusal"] == "SOME_REASON"
    assert rows["steps"]["AuthorizePayment"] == (StepStatus.STEP_STATUS_REFUSED, 1, "SOME_REASON")
    await tracking.see_all(order, BACK[4:])
    assert (await tracking.rows(order))["saga"][2] == SagaStatus.SAGA_STATUS_COMPENSATED


async def test_a_refused_cancellation_does_not_turn_the_saga_back(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, [*FORWARD[:5], "orders.CancellationRefused"])
    rows = await tracking.rows(order)
    assert (rows["saga"][2], rows["refusal"]) == (SagaStatus.SAGA_STATUS_RUNNING, "")


async def test_a_saga_whose_start_was_missed_is_seen_from_where_it_is(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, FORWARD[1:3])
    saga = await tracking.saga(order)
    assert saga is not None
    assert (saga.process, saga.input) == (PROCESS, b"")


async def test_the_first_sight_of_a_step_is_kept(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, FORWARD[:2])
    before = await tracking.saga(order)
    await tracking.see_all(order, FORWARD[:2])
    after = await tracking.saga(order)
    assert before is not None
    assert after is not None
    assert before.steps == after.steps
    assert before.started_us == after.started_us


async def test_orchestrated_events_and_foreign_ones_say_nothing(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see(an_event("orders.OrderCancelled", order), ORCHESTRATED)
    await tracking.tracker.handle(Delivery("some.v1.Event", b"", CHOREOGRAPHED, "", 1, 1))
    await tracking.tracker.handle(Delivery("shop.orders.v1.OrderPlaced", b"\xff", CHOREOGRAPHED, "", 1, 1))
    await tracking.see(an_event("orders.OrderPlaced", an_order(order_id="")))
    assert await tracking.saga(order) is None


async def test_a_saga_that_the_engine_drives_is_its_own_to_write_about(
    engine: EngineBench, participants: FakeParticipants
) -> None:
    participants.hold("RecordOrder")
    order = an_order()
    await engine.start(order)
    await participants.reaches("RecordOrder")
    await engine.engine.flushed()
    before = await engine.stored(order.order_id)
    tracker = Tracker(CONTRACT, engine.database, engine.changes)
    for name in FORWARD:
        event = an_event(name, order)
        await tracker.handle(Delivery(event.DESCRIPTOR.full_name, event.SerializeToString(), CHOREOGRAPHED, "", 1, 1))
    assert await engine.stored(order.order_id) == before
