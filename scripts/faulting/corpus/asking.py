"""gRPC: requests that keep every rule and cannot be answered, and calls whose metadata or deadline is odd."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from eventbus.envelope import REPLAY
from mesh.errors import STATUS_DETAILS_KEY
from mesh.paging import Cursor
from mesh.settings import DAY_S
from mesh.telemetry import TRACEPARENT
from scripts.faulting.corpus.calls import INVALID, INVALID_MESSAGE, Call, Code
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order
from shop.orders.v1.orders_pb2 import (
    CancelOrderRequest,
    GetOrderRequest,
    ListOrdersRequest,
    PlaceOrderRequest,
    RecordOrderRequest,
)

ORCHESTRATOR = "/ensemble.orchestrator.v1.OrchestratorService"
ORDERS = "/shop.orders.v1.OrdersService"
RESERVE = "/shop.inventory.v1.InventoryService/ReserveStock"

NO_TOKENS = {
    "a token of garbage": "garbage",
    "a token that is no base64": "%%%",
    "a token of no UTF-8": "_w==",
    "a token of no time": "Onh4",
    "a token of a time beyond 64 bits": Cursor(2**63, "x").token(),
    "a token of a negative time": Cursor(-1, "x").token(),
    "a token of ten thousand digits": Cursor(10**4000, "x").token(),
}


def questions(order: Order) -> Iterator[Call]:
    """All of them. `order` is one that has completed."""
    yield from _of_sagas(order)
    yield from _of_pages()
    yield from _of_orders(order)
    yield from _oddities(order)


def _orchestrator(how: str, method: str, request: Message, code: Code, reason: str = "", at: str = "") -> Call:
    streams = method == "WatchSaga"
    body = request.SerializeToString()
    return Call(f"{method}: {how}", "orchestrator", f"{ORCHESTRATOR}/{method}", body, code, reason, at, streams=streams)


def _orders(how: str, method: str, request: Message, code: Code, reason: str = "", at: str = "") -> Call:
    body, streams = request.SerializeToString(), method == "WatchOrder"
    return Call(f"{method}: {how}", "orders", f"{ORDERS}/{method}", body, code, reason, at, streams=streams)


def _of_sagas(order: Order) -> Iterator[Call]:
    placed, other = _packed(OrderPlaced(order=order)), _packed(order)
    unknown = any_pb2.Any(type_url="type.googleapis.com/no.such.Message", value=b"x")
    garbled = any_pb2.Any(type_url=placed.type_url, value=b"\xff\xff")
    broken = _packed(OrderPlaced(order=Order(order_id=order.order_id)))
    nameless = _packed(OrderPlaced(order=_with(order, order_id="")))
    another = _packed(OrderPlaced(order=_with(order, customer_id="somebody-else")))
    inputs = {
        "an input of another type": other,
        "an input of no known type": unknown,
        "an input of no type": any_pb2.Any(value=b"x"),
        "an input whose type is no URL": any_pb2.Any(type_url="\0/?", value=b"x"),
        "an input that is garbled": garbled,
        "an input that breaks a rule": broken,
        "an input of no saga": nameless,
    }
    for method, request in {"StartSaga": api.StartSagaRequest, "RunSaga": api.RunSagaRequest}.items():
        for how, input_ in inputs.items():
            yield _orchestrator(how, method, request(process="fulfil-order", input=input_), INVALID)
        yield _orchestrator("no such process", method, request(process="nothing", input=placed), Code.NOT_FOUND)
        long = request(process="x" * 100_000, input=placed)
        yield _orchestrator("a process of a long name", method, long, Code.NOT_FOUND)
        same = request(process="fulfil-order", input=another)
        yield _orchestrator("another order under the id of one", method, same, Code.ALREADY_EXISTS)
    for method in ("GetSaga", "WatchSaga", "CancelSaga", "RetrySaga", "HandOver", "Adopt"):
        request_class = getattr(api, "HandOverRequest" if method == "HandOver" else f"{method}Request")
        yield _orchestrator("no such saga", method, request_class(saga_id="nobody-knows"), Code.NOT_FOUND)
    ages = {"an age of a day": Duration(seconds=DAY_S), "an age of minus a day": Duration(seconds=-DAY_S)}
    ages |= {"an age that is no duration": Duration(seconds=-(2**63), nanos=2**31 - 1)}
    for how, age in ages.items():
        yield _orchestrator(how, "PruneSagas", api.PruneSagasRequest(older_than=age), INVALID, INVALID_MESSAGE)


def _of_pages() -> Iterator[Call]:
    for how, token in NO_TOKENS.items():
        listed = api.ListSagasRequest(page_token=token)
        yield _orchestrator(how, "ListSagas", listed, INVALID, INVALID_MESSAGE, "page_token")
        yield _orders(how, "ListOrders", ListOrdersRequest(page_token=token), INVALID, INVALID_MESSAGE, "page_token")
    for how, listed in {
        "a process of nobody": api.ListSagasRequest(process="\0" * 1000),
        "a page of two thousand million": api.ListSagasRequest(page_size=2**31 - 1),
        "a page behind the end": api.ListSagasRequest(page_token=Cursor(0, "").token()),
        "stalled ones of nobody": api.ListSagasRequest(process="nothing", stalled=True),
    }.items():
        yield _orchestrator(how, "ListSagas", listed, Code.OK)


def _of_orders(order: Order) -> Iterator[Call]:
    another = _with(order, customer_id="somebody-else")
    placed, recorded = PlaceOrderRequest(order=another), RecordOrderRequest(order=another)
    reserved = ReserveStockRequest(order=another).SerializeToString()
    yield _orders("another order under the id of one", "PlaceOrder", placed, Code.ALREADY_EXISTS, "ORDER_EXISTS")
    yield _orders("another request for a step", "RecordOrder", recorded, Code.ALREADY_EXISTS, "STEP_MISMATCH")
    mismatch = (Code.ALREADY_EXISTS, "STEP_MISMATCH")
    yield Call("ReserveStock: another request for a step", "inventory", RESERVE, reserved, *mismatch)
    confirmed = (Code.FAILED_PRECONDITION, "ALREADY_CONFIRMED")
    yield _orders("an order that is confirmed", "CancelOrder", CancelOrderRequest(order=order), *confirmed)
    nobody = GetOrderRequest(order_id="nobody-knows")
    yield _orders("no such order", "GetOrder", nobody, Code.NOT_FOUND)
    yield _orders("no such order", "WatchOrder", nobody, Code.NOT_FOUND)


def _oddities(order: Order) -> Iterator[Call]:
    """A step that is done, called again in an odd way: answered as it was, or not at all."""
    body = ReserveStockRequest(order=order).SerializeToString()

    def call(how: str, code: Code, *metadata: tuple[str, str | bytes], timeout_s: float = 10.0) -> Call:
        return Call(f"ReserveStock: {how}", "inventory", RESERVE, body, code, metadata=metadata, timeout_s=timeout_s)

    yield call("a trace of garbage", Code.OK, (TRACEPARENT, "garbage"))
    yield call("a trace of zeros", Code.OK, (TRACEPARENT, f"00-{'0' * 32}-{'0' * 16}-00"))
    yield call("two traces", Code.OK, (TRACEPARENT, "a"), (TRACEPARENT, "b"))
    yield call("a replay of garbage", Code.OK, (REPLAY, "garbage"))
    yield call("a replay of wildcards", Code.OK, (REPLAY, "> * . :"))
    yield call("a replay of 4 KiB", Code.OK, (REPLAY, "x" * 4096))
    yield call("a replay of another version of UUID", Code.OK, (REPLAY, "00000000-0000-4000-8000-000000000000"))
    yield call("a replay from the end of time", Code.OK, (REPLAY, "ffffffff-ffff-7fff-bfff-ffffffffffff"))
    yield call("details of a status", Code.OK, (STATUS_DETAILS_KEY, b"\xff\xff"))
    yield call("a hundred headers", Code.OK, *((f"x-{number}", "x") for number in range(100)))
    yield call("headers of 64 KiB", Code.RESOURCE_EXHAUSTED, ("x-large", "x" * 65536))
    yield call("no time at all", Code.DEADLINE_EXCEEDED, timeout_s=0.0)
    yield call("less than no time", Code.DEADLINE_EXCEEDED, timeout_s=-1.0)
    yield call("all the time in the world", Code.OK, timeout_s=10.0**9)


def _with(order: Order, **changes: str) -> Order:
    changed = Order()
    changed.CopyFrom(order)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
