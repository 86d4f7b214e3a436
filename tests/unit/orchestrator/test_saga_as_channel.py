"""A saga is a gRPC channel: plain stubs work on it, and what cannot be durable is refused clearly."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1.health_pb2_grpc import HealthStub

from mesh.clock import WallClock
from mesh.contract import Method
from mesh.errors import Refused
from orchestrator.asking import Tell
from orchestrator.journal import Journal, StepEntry, StepStatus, Style
from orchestrator.participants import Answer
from orchestrator.saga import Saga, StepRefused
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest, ReserveStockResponse
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.notifications.v1.notifications_pb2 import NotifyCustomerRequest
from shop.notifications.v1.notifications_pb2_grpc import NotificationsServiceStub
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import GetOrderRequest, WatchOrderRequest
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import CONTRACT, PROCESS

ORDER = an_order()
RESERVE = ReserveStockRequest(order=ORDER)


class Scripted:
    """Participants that answer every call alike."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float | None]] = []
        self.pause = ""
        self.answer = Answer(response=ReserveStockResponse(reservation_id="r-1").SerializeToString())

    async def ask(
        self, method: Method, request: bytes, timeout_s: float | None, on_failure: Tell, on_pause: Tell
    ) -> Answer:
        self.asked.append((method.name, timeout_s))
        await asyncio.sleep(0)
        if self.pause:
            on_pause(self.pause)
        return self.answer


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


class Port:
    """An engine without a database: what is noted is gathered, and durable at once."""

    contract = CONTRACT
    clock = WallClock()

    def __init__(self, participants: Scripted) -> None:
        self.participants = participants
        self.noted: list[tuple[StepStatus.ValueType, str]] = []

    def note(self, journal: Journal, step: StepEntry | None = None) -> None:
        if step is not None:
            self.noted.append((step.status, step.last_error))

    async def flushed(self) -> None:
        """At once."""


@pytest.fixture
def port(scripted: Scripted) -> Port:
    return Port(scripted)


@pytest.fixture
async def left() -> asyncio.Future[Any]:
    """Why the workflow was to be left, where it was."""
    return asyncio.get_running_loop().create_future()


@pytest.fixture
def journal() -> Journal:
    return Journal(ORDER.order_id, PROCESS, Style.STYLE_ORCHESTRATED, b"", 0)


@pytest.fixture
async def saga(journal: Journal, port: Any, left: asyncio.Future[Any]) -> Saga:
    return Saga(journal, port, leave=left.set_result)


async def test_a_plain_stub_gives_a_typed_answer(saga: Saga) -> None:
    assert await InventoryServiceStub(saga).ReserveStock(RESERVE) == ReserveStockResponse(reservation_id="r-1")


async def test_gather_takes_the_calls_of_a_saga_and_asks_for_one_step_once(saga: Saga, scripted: Scripted) -> None:
    stub = InventoryServiceStub(saga)
    first, second = await asyncio.gather(stub.ReserveStock(RESERVE), stub.ReserveStock(RESERVE))
    assert first == second
    assert scripted.asked == [("ReserveStock", None)]


async def test_a_task_group_takes_the_calls_of_a_saga(saga: Saga) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(InventoryServiceStub(saga).ReserveStock(RESERVE))
    assert task.result().reservation_id == "r-1"


async def test_a_timeout_bounds_one_try(saga: Saga, scripted: Scripted) -> None:
    await InventoryServiceStub(saga).ReserveStock(RESERVE, timeout=0.25)
    assert scripted.asked == [("ReserveStock", 0.25)]


async def test_to_wait_for_a_participant_that_is_away_is_seen_and_is_no_attempt(
    saga: Saga, scripted: Scripted, port: Port, journal: Journal
) -> None:
    scripted.pause = "paused: inventory does not answer"
    await InventoryServiceStub(saga).ReserveStock(RESERVE)
    assert (StepStatus.STEP_STATUS_RUNNING, scripted.pause) in port.noted
    assert [step.attempts for step in journal.steps.values()] == [1]


async def test_a_caller_that_gives_up_does_not_take_the_answer_from_the_others(saga: Saga) -> None:
    stub = InventoryServiceStub(saga)
    impatient = asyncio.ensure_future(stub.ReserveStock(RESERVE))
    patient = asyncio.ensure_future(stub.ReserveStock(RESERVE))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).reservation_id == "r-1"


async def test_a_refusal_is_raised_like_any_failed_call_and_again_from_the_journal(
    saga: Saga, scripted: Scripted
) -> None:
    scripted.answer = Answer(refusal=Refused("OUT_OF_STOCK", "none left", sku="sku-1").status("shop.inventory.v1"))
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await InventoryServiceStub(saga).ReserveStock(RESERVE)
        refusal = caught.value
        assert isinstance(refusal, StepRefused)
        assert (refusal.code(), refusal.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "none left")
        assert (refusal.info.reason, refusal.info.domain) == ("OUT_OF_STOCK", "shop.inventory.v1")
    assert len(scripted.asked) == 1


async def test_a_step_key_tells_two_calls_of_one_method_apart(
    saga: Saga, scripted: Scripted, left: asyncio.Future[Any]
) -> None:
    scripted.answer = Answer()
    stub = NotificationsServiceStub(saga)
    for status in (OrderStatus.ORDER_STATUS_COMPLETED, OrderStatus.ORDER_STATUS_CANCELLED):
        await stub.NotifyCustomer(NotifyCustomerRequest(order=ORDER, status=status))
    assert len(scripted.asked) == 2
    assert not left.done()


async def test_two_requests_without_a_step_key_stall_and_never_return(saga: Saga, left: asyncio.Future[Any]) -> None:
    stub = InventoryServiceStub(saga)
    await stub.ReserveStock(RESERVE)
    other = ReserveStockRequest(order=an_order(order_id=ORDER.order_id, customer_id="somebody-else"))
    call = asyncio.ensure_future(stub.ReserveStock(other))
    stall = await asyncio.wait_for(asyncio.shield(left), 5)
    assert "step_key" in stall.help
    assert not call.done()
    call.cancel()


async def test_an_unknown_method_is_refused_when_its_stub_is_made(saga: Saga) -> None:
    with pytest.raises(ValueError, match="in no contract of this mesh"):
        HealthStub(saga)


async def test_a_stream_is_refused_when_it_is_called(saga: Saga) -> None:
    stub = OrdersServiceStub(saga)
    with pytest.raises(ValueError, match="streams; a saga calls unary methods only"):
        stub.WatchOrder(WatchOrderRequest(order_id=ORDER.order_id))
    for make in (saga.stream_unary, saga.stream_stream):
        with pytest.raises(ValueError, match="streams"):
            make("/some.v1.Service/Method")(iter(()))


async def test_a_method_that_takes_part_in_no_process_is_refused(saga: Saga) -> None:
    with pytest.raises(ValueError, match="takes part in no process"):
        OrdersServiceStub(saga).GetOrder(GetOrderRequest(order_id=ORDER.order_id))


async def test_what_a_step_cannot_take_is_refused(saga: Saga) -> None:
    with pytest.raises(ValueError, match="metadata"):
        InventoryServiceStub(saga).ReserveStock(RESERVE, metadata=(("key", "value"),))


async def test_a_saga_is_always_ready(saga: Saga) -> None:
    async with saga as channel:
        await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        await channel.close()
    assert (await InventoryServiceStub(saga).ReserveStock(RESERVE)).reservation_id == "r-1"


async def test_calls_that_are_abandoned_are_shown_as_such_and_the_saga_is_of_no_use_any_more(
    saga: Saga, port: Port, scripted: Scripted
) -> None:
    call = asyncio.ensure_future(InventoryServiceStub(saga).ReserveStock(RESERVE))
    while not scripted.asked:  # noqa: ASYNC110  # the call is under way within a few turns of the loop
        await asyncio.sleep(0)
    await saga.abandon()
    await asyncio.gather(call, return_exceptions=True)
    assert port.noted[-1] == (StepStatus.STEP_STATUS_FAILED, "abandoned, in doubt")
    with pytest.raises(asyncio.CancelledError):
        await InventoryServiceStub(saga).ReserveStock(RESERVE)
