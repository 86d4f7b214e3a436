"""The tables of the contracts' document, written down once as data.

Events and methods are named as the document names them: short, and unique in the shop. `Part` has the columns of the
table; what a method does not say is empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PACKAGES = ("orders", "inventory", "payments", "shipping", "notifications")


@dataclass(frozen=True)
class Part:
    """What a method says of its part in the process."""

    on: tuple[str, ...] = ()
    emits: str = ""
    refuses: str = ""
    compensates: str = ""
    join_all: bool = False
    pivot: bool = False
    aborts: str = ""
    observes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """What an event says of itself."""

    service: str
    fields: tuple[str, ...] = field(default=("order",))
    starts: str = ""
    outcome: str = "OUTCOME_UNSPECIFIED"
    public: bool = False


PLAIN = None  # no part in a process

METHODS: dict[str, dict[str, Part | None]] = {
    "orders": {
        "PlaceOrder": PLAIN,
        "RecordOrder": Part(on=("OrderPlaced",)),
        "ConfirmOrder": Part(
            on=("StockReserved", "PaymentAuthorized", "ShipmentBooked"),
            join_all=True,
            emits="OrderConfirmed",
            refuses="ConfirmationRefused",
            pivot=True,
        ),
        "CancelOrder": Part(
            on=("StockRefused", "PaymentDeclined", "BookingRefused", "ConfirmationRefused"),
            emits="OrderCancelled",
            refuses="CancellationRefused",
            aborts="ConfirmOrder",
        ),
        "CompleteOrder": Part(on=("ShipmentDispatched",), emits="OrderCompleted"),
        "CloseOrder": Part(
            on=("StockReleased", "PaymentVoided", "BookingCancelled"), join_all=True, emits="OrderCompensated"
        ),
        "GetOrder": PLAIN,
        "ListOrders": PLAIN,
        "WatchOrder": PLAIN,
    },
    "inventory": {
        "ReserveStock": Part(on=("OrderPlaced",), emits="StockReserved", refuses="StockRefused"),
        "ReleaseStock": Part(on=("OrderCancelled",), emits="StockReleased", compensates="ReserveStock"),
        "GetStock": PLAIN,
        "SetStock": PLAIN,
    },
    "payments": {
        "AuthorizePayment": Part(on=("OrderPlaced",), emits="PaymentAuthorized", refuses="PaymentDeclined"),
        "VoidPayment": Part(on=("OrderCancelled",), emits="PaymentVoided", compensates="AuthorizePayment"),
        "CapturePayment": Part(on=("OrderConfirmed",), emits="PaymentCaptured"),
        "GetAccount": PLAIN,
    },
    "shipping": {
        "BookShipment": Part(on=("OrderPlaced",), emits="ShipmentBooked", refuses="BookingRefused"),
        "CancelBooking": Part(on=("OrderCancelled",), emits="BookingCancelled", compensates="BookShipment"),
        "DispatchShipment": Part(on=("PaymentCaptured",), emits="ShipmentDispatched"),
    },
    "notifications": {
        "NotifyCustomer": Part(observes=("OrderCompleted", "OrderCancelled")),
        "ListNotifications": PLAIN,
    },
}

_REFUSAL = ("order", "refusal")

EVENTS: dict[str, Event] = {
    "OrderPlaced": Event("orders", starts="fulfil-order"),
    "DeliveryPromised": Event("orders", ("order", "within"), starts="promise-delivery"),  # added to the document's
    "OrderConfirmed": Event("orders"),
    "ConfirmationRefused": Event("orders", _REFUSAL),
    "OrderCancelled": Event("orders", public=True),
    "CancellationRefused": Event("orders", _REFUSAL),
    "OrderCompleted": Event("orders", outcome="OUTCOME_COMPLETED", public=True),
    "OrderCompensated": Event("orders", outcome="OUTCOME_COMPENSATED", public=True),
    "StockReserved": Event("inventory"),
    "StockRefused": Event("inventory", _REFUSAL),
    "StockReleased": Event("inventory"),
    "PaymentAuthorized": Event("payments"),
    "PaymentDeclined": Event("payments", _REFUSAL),
    "PaymentVoided": Event("payments"),
    "PaymentCaptured": Event("payments"),
    "ShipmentBooked": Event("shipping"),
    "BookingRefused": Event("shipping", _REFUSAL),
    "BookingCancelled": Event("shipping"),
    "ShipmentDispatched": Event("shipping"),
}

MESSAGES: dict[str, dict[str, str]] = {
    "shop.orders.v1.Order": {
        "order_id": "string",
        "customer_id": "string",
        "lines": "repeated shop.orders.v1.OrderLine",
        "total": "google.type.Money",
        "payment_token": "string",
        "ship_to": "shop.orders.v1.Address",
    },
    "shop.orders.v1.OrderLine": {"sku": "string", "quantity": "int32", "unit_price": "google.type.Money"},
    "shop.orders.v1.Address": {"country_code": "string"},
    "shop.orders.v1.PlaceOrderRequest": {
        "order": "shop.orders.v1.Order",
        "coordination": "shop.orders.v1.Coordination",
    },
    "shop.orders.v1.PlaceOrderResponse": {"order_id": "string", "coordination": "shop.orders.v1.Coordination"},
    "ensemble.orchestrator.v1.StartSagaRequest": {"process": "string", "input": "google.protobuf.Any"},
    "ensemble.orchestrator.v1.RunSagaRequest": {"process": "string", "input": "google.protobuf.Any"},
    "ensemble.orchestrator.v1.RunSagaResponse": {
        "saga": "ensemble.orchestrator.v1.Saga",
        "result": "google.protobuf.Any",
        "refusal": "google.rpc.ErrorInfo",
    },
    "ensemble.orchestrator.v1.ListSagasRequest": {
        "status": "ensemble.orchestrator.v1.SagaStatus",
        "process": "string",
        "style": "ensemble.orchestrator.v1.Style",
        "page_size": "int32",
        "page_token": "string",
    },
    "ensemble.orchestrator.v1.ListSagasResponse": {
        "sagas": "repeated ensemble.orchestrator.v1.Saga",
        "next_page_token": "string",
    },
    "ensemble.orchestrator.v1.Step": {
        "method": "string",
        "step_key": "string",
        "status": "ensemble.orchestrator.v1.StepStatus",
        "attempts": "int32",
        "started": "google.protobuf.Timestamp",
        "ended": "google.protobuf.Timestamp",
        "last_error": "string",
    },
}

# Value names without the prefix of their enum; buf wants the prefix and the unspecified zero.
ENUMS: dict[str, set[str]] = {
    "shop.orders.v1.OrderStatus": {"PENDING", "CONFIRMED", "COMPLETED", "CANCELLED", "COMPENSATED"},
    "shop.orders.v1.Coordination": {"ORCHESTRATED", "CHOREOGRAPHED", "HYBRID"},
    "ensemble.orchestrator.v1.SagaStatus": {"RUNNING", "COMPENSATING", "COMPLETED", "COMPENSATED", "STALLED"},
    "ensemble.coordination.v1.Outcome": {"COMPLETED", "COMPENSATED"},
    "ensemble.coordination.v1.Join": {"ALL"},
}

ORCHESTRATOR_METHODS = (
    "StartSaga RunSaga GetSaga ListSagas WatchSaga CancelSaga RetrySaga HandOver Adopt PruneSagas".split()  # noqa: SIM905
)
STREAMING = {"WatchOrder", "WatchSaga"}


def event(name: str) -> str:
    """Full name of an event, from its short one."""
    return f"shop.{EVENTS[name].service}.v1.{name}" if name else ""


def service(name: str) -> str:
    """Full name of a service, from its name in the mesh."""
    return f"shop.{name}.v1.{name.title()}Service"
