"""What is asked of the orchestrator while its process dies, and what must hold afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from mesh.contract import Contract, Process
from orchestrator.saga import Saga
from orchestrator.workflow import Workflow
from orchestrator.workflows.fulfil_order import fulfil_order
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order
from shop.orders.v1.orders_pb2 import CompleteOrderRequest, ConfirmOrderRequest
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub
from shop.payments.v1.events_pb2 import PaymentCaptured
from shop.payments.v1.payments_pb2 import AuthorizePaymentRequest
from shop.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from shop.shipping.v1.shipping_pb2 import BookShipmentRequest
from shop.shipping.v1.shipping_pb2_grpc import ShippingServiceStub
from tests.builders import an_order
from tests.unit.orchestrator.crash_trial import STARTED, Scenario
from tests.unit.participant.participant_bench import lines, ship_to

# Processes that no pivot decides: the shop has none, so they are put beside its own, over the same methods.
HOLD_GOODS, FULFIL_TWO = "hold-goods", "fulfil-two"
CONTRACT = Contract.of_packages("shop")
for _name in (HOLD_GOODS, FULFIL_TWO):
    CONTRACT.processes[_name] = Process(_name, replace(CONTRACT.processes["fulfil-order"].start, deadline_s=None), ())

# The shop's, with less time than BookShipment takes there.
IN_A_HURRY = Contract.of_packages("shop")
_PROCESS = IN_A_HURRY.processes["fulfil-order"]
IN_A_HURRY.processes["fulfil-order"] = replace(_PROCESS, start=replace(_PROCESS.start, deadline_s=0.1))

DATED = ("ConfirmOrder", "CompleteOrder")

FULFIL_ORDER = Workflow("fulfil-order", fulfil_order, OrderPlaced)


async def patiently(saga: Saga, placed: OrderPlaced) -> None:
    """Fulfils an order some time after something else has happened: it leaves memory twice."""
    await saga.event(PaymentCaptured)
    await saga.sleep(1.5)
    await fulfil_order(saga, placed)


async def date(saga: Saga, placed: OrderPlaced) -> None:
    """Sends what it was told to a participant."""
    orders, order = OrdersServiceStub(saga), placed.order
    await orders.ConfirmOrder(ConfirmOrderRequest(order=order))
    await orders.CompleteOrder(CompleteOrderRequest(order=order, tracking_number=saga.now().isoformat()))


async def hold_goods(saga: Saga, placed: OrderPlaced) -> None:
    """What an order needs, one after the other. Nobody decides."""
    order = placed.order
    await InventoryServiceStub(saga).ReserveStock(ReserveStockRequest(order=order))
    await PaymentsServiceStub(saga).AuthorizePayment(AuthorizePaymentRequest(order=order))
    await ShippingServiceStub(saga).BookShipment(BookShipmentRequest(order=order))


async def fulfil_two(saga: Saga, placed: OrderPlaced) -> None:
    """Holds the goods of one order, and fulfils another one before they are sent."""
    order = placed.order
    await InventoryServiceStub(saga).ReserveStock(ReserveStockRequest(order=order))
    await saga.child("fulfil-order", OrderPlaced(order=child_of(order, saga.now())))
    await ShippingServiceStub(saga).BookShipment(BookShipmentRequest(order=order))


def child_of(order: Order, date: datetime) -> Order:
    """The order of the child, which has a carrier, and a customer of that moment."""
    child = Order()
    child.CopyFrom(order)
    child.order_id += "-child"
    child.ship_to.country_code = "DE"
    child.customer_id += f"-{date.timestamp()}"
    return child


def order(**changes: object) -> Order:
    """The order of every trial."""
    return an_order(order_id="order-1", **changes)


def _fulfil(**changes: object) -> Scenario:
    return replace(Scenario((FULFIL_ORDER,), CONTRACT, order()), **changes)  # type: ignore[arg-type]


_PATIENT = _fulfil(
    workflows=(Workflow("fulfil-order", patiently, OrderPlaced),), published=PaymentCaptured(order=order())
)
_HOLD = _fulfil(workflows=(Workflow(HOLD_GOODS, hold_goods, OrderPlaced),), decides="BookShipment")
_TWO = _fulfil(
    workflows=(Workflow(FULFIL_TWO, fulfil_two, OrderPlaced), FULFIL_ORDER),
    decides="BookShipment",
    leg_s=0.015,  # so that the parent leaves memory while its child runs
)

COMPLETING = _fulfil()
DECLINED = _fulfil(order=order(payment_token="tok_declined"), refusal="CARD_DECLINED", slow_s={"BookShipment": 0.03})

SCENARIOS: dict[str, Scenario] = {
    "completing": COMPLETING,
    "completing, nothing written before the end": _fulfil(leg_s=0.0),
    "completing, every step written": _fulfil(leg_s=0.02),
    "out of stock": _fulfil(
        order=order(lines=lines(("sku-1", 11))), refusal="OUT_OF_STOCK", slow_s={"VoidPayment": 0.03}
    ),
    "declined": DECLINED,
    "insufficient funds": _fulfil(order=order(payment_token="tok_insufficient_funds"), refusal="INSUFFICIENT_FUNDS"),
    "no carrier": _fulfil(order=order(ship_to=ship_to("AQ")), refusal="NO_CARRIER", slow_s={"ReserveStock": 0.03}),
    "cancelled before the first step": _fulfil(cancelled_at=STARTED),
    "cancelled between steps": _fulfil(cancelled_at="reply RecordOrder"),
    "cancelled in the fan-out": _fulfil(cancelled_at="done AuthorizePayment", slow_s={"BookShipment": 0.03}),
    "cancelled in the fan-out, by one who insists": _fulfil(cancelled_at="call BookShipment", insists=True),
    "cancelled at the pivot": _fulfil(cancelled_at="call ConfirmOrder"),
    "cancelled behind the pivot": _fulfil(cancelled_at="reply ConfirmOrder"),
    "cancelled while it is sent": _fulfil(cancelled_at="call DispatchShipment"),
    "cancelled before the last step": _fulfil(cancelled_at="call CompleteOrder"),
    "waiting": replace(_PATIENT, published_after_s=0.3),
    "waiting for what came before": _PATIENT,
    "told the time": _fulfil(workflows=(Workflow("fulfil-order", date, OrderPlaced),), steps=DATED),
    "cancelled while it waits": replace(_PATIENT, published=None, cancelled_after_s=0.3, insists=True),
    "past its deadline": _fulfil(
        contract=IN_A_HURRY, slow_s={"BookShipment": 0.3}, refusal="DEADLINE_EXCEEDED", varies=True
    ),
    "without a pivot": _HOLD,
    "without a pivot, declined": replace(_HOLD, order=order(payment_token="tok_declined"), refusal="CARD_DECLINED"),
    "without a pivot, no carrier": replace(_HOLD, order=order(ship_to=ship_to("AQ")), refusal="NO_CARRIER"),
    "without a pivot, cancelled": replace(_HOLD, cancelled_at="reply AuthorizePayment"),
    "without a pivot, cancelled by one who insists": replace(
        _HOLD, cancelled_at="done AuthorizePayment", insists=True, leg_s=0.0
    ),
    "a child": _TWO,
    "a child that is declined": replace(_TWO, order=order(payment_token="tok_declined"), refusal="CARD_DECLINED"),
    "a child, the parent without a carrier": replace(_TWO, order=order(ship_to=ship_to("AQ")), refusal="NO_CARRIER"),
    "a child, the parent cancelled": replace(_TWO, cancelled_at="reply ReserveStock"),
    "a child, the parent cancelled while it runs": replace(_TWO, cancelled_at="call RecordOrder", insists=True),
}
