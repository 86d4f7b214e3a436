"""A real engine over in-process participants: the shop's real services with real ledgers, and faults on demand."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from eventbus.consumer import Delivery
from eventbus.envelope import CHOREOGRAPHED
from mesh import errors
from mesh.changes import Changes
from mesh.clock import Clock, WallClock
from mesh.contract import Contract, Method, service_name
from mesh.errors import Refused
from mesh.sqlite import SqliteDatabase
from orchestrator import store, workflows
from orchestrator.asking import Tell
from orchestrator.engine import Engine
from orchestrator.journal import Journal, SagaStatus
from orchestrator.participants import Answer, Indefinite
from orchestrator.tracker import Tracker
from orchestrator.workflow import Workflows, registered
from services.inventory.service import InventoryService
from services.notifications.service import NotificationsService
from services.orders.service import OrdersService
from services.payments.service import PaymentsService
from services.shipping.service import ShippingService
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order
from tests.unit.participant.participant_bench import LIMIT_S, Bench, an_event

assert workflows  # imported for what it registers

PROCESS = "fulfil-order"
CONTRACT = Contract.of_packages("shop")
RUNNING, COMPENSATING = SagaStatus.SAGA_STATUS_RUNNING, SagaStatus.SAGA_STATUS_COMPENSATING
COMPLETED, COMPENSATED = SagaStatus.SAGA_STATUS_COMPLETED, SagaStatus.SAGA_STATUS_COMPENSATED
STALLED = SagaStatus.SAGA_STATUS_STALLED
BEFORE_THE_PIVOT = ["RecordOrder", "ReserveStock", "AuthorizePayment", "BookShipment"]
FORWARD = [*BEFORE_THE_PIVOT, "ConfirmOrder", "CapturePayment", "DispatchShipment", "CompleteOrder"]
BACK = ["CancelOrder", "ReleaseStock", "VoidPayment", "CancelBooking", "CloseOrder"]


class Shop:
    """The five services of the shop, each with its own ledger."""

    def __init__(self, folder: Path) -> None:
        made = (OrdersService, InventoryService, PaymentsService, ShippingService, NotificationsService)
        benches = [Bench(servicer(), folder) for servicer in made]
        self.benches = {bench.participant.name: bench for bench in benches}

    def of(self, method: str) -> Bench:
        """The service of a method, by its short name."""
        return next(b for b in self.benches.values() for m in b.contract.methods.values() if m.name == method)

    async def call(self, method: str, **fields: Any) -> Any:
        """Calls a method past the engine."""
        return await self.of(method).call(method, **fields)

    async def ledgers(self) -> dict[str, str]:
        """Short name of each step that some ledger knows, and its state."""
        rows = [row for bench in self.benches.values() for row in await bench.rows()]
        return {row.method.rpartition(".")[2]: str(row.state) for row in rows}

    async def books(self, order: Order) -> tuple[int, ...]:
        """What is reserved, captured, held and given back, and the status of the order."""
        stock = (await self.call("GetStock", sku="sku-1")).stock
        balances = (await self.call("GetAccount", customer_id=order.customer_id)).balances
        money = [(one.captured.units, one.open.units, one.voided.units) for one in balances] or [(0, 0, 0)]
        status = (await self.call("GetOrder", order_id=order.order_id)).state.status
        return (stock.reserved, *money[0], status)

    async def close(self) -> None:
        """Ends the services."""
        for bench in self.benches.values():
            await bench.close()


class FakeParticipants:
    """What an engine asks, without a network. The real ledgers answer; faults are by the method's short name."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.asked: list[str] = []  # tries that reached a participant, in order
        self.requests: list[Message] = []
        self.lost: Counter[str] = Counter()  # answers to lose: the step is done and called again
        self.indefinite: dict[str, status_pb2.Status] = {}
        self.refusing: dict[str, Refused] = {}
        self.held_before: dict[str, asyncio.Event] = {}
        self.held_after: dict[str, asyncio.Event] = {}
        self.reached: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def break_(self, method: str, code: grpc.StatusCode = grpc.StatusCode.PERMISSION_DENIED, text: str = "no") -> None:
        """Lets a method answer with a definite error."""
        self.indefinite[method] = status_pb2.Status(code=code.value[0], message=text)

    def hold(self, method: str, *, answered: bool = False) -> None:
        """Holds calls of a method before they reach the participant, or their answers on the way back."""
        (self.held_after if answered else self.held_before)[method] = asyncio.Event()

    async def reaches(self, method: str) -> None:
        """Returns once a call is held."""
        async with asyncio.timeout(LIMIT_S):
            await self.reached[method].wait()

    def release(self) -> None:
        """Holds no call any more."""
        for held in (self.held_before, self.held_after):
            for event in held.values():
                event.set()
            held.clear()

    async def ask(
        self, method: Method, request: bytes, timeout_s: float | None, on_failure: Tell, on_pause: Tell
    ) -> Answer:
        """As orchestrator.participants.Participants.ask."""
        name = method.name
        while True:
            await self._hold(name, self.held_before)
            if name in self.indefinite:
                raise Indefinite(self.indefinite[name])
            if name in self.refusing:
                return Answer(refusal=self.refusing[name].status("shop.test.v1"))
            self.asked.append(name)
            self.requests.append(method.request_class.FromString(request))
            answer = await self._perform(method, self.requests[-1])
            await self._hold(name, self.held_after)
            if self.lost[name] <= 0:
                return answer
            self.lost[name] -= 1
            on_failure("UNAVAILABLE: the answer was lost")
            await asyncio.sleep(0)

    async def _hold(self, name: str, held: dict[str, asyncio.Event]) -> None:
        if name in held:
            self.reached[name].set()
            await held[name].wait()

    async def _perform(self, method: Method, request: Message) -> Answer:
        try:
            answer = await self.shop.benches[service_name(method.service)].raw(method.name, request)
        except errors.MeshError as error:
            raise Indefinite(error.status(method.service.rpartition(".")[0])) from error
        return Answer(response=answer) if isinstance(answer, bytes) else Answer(refusal=answer)  # type: ignore[arg-type]


def packed(message: Message) -> any_pb2.Any:
    """A message in an Any."""
    wrapped = any_pb2.Any()
    wrapped.Pack(message)
    return wrapped


class EngineBench:
    """One life of an orchestrator's process, without its server."""

    def __init__(
        self,
        folder: Path,
        participants: Any,
        *,
        workflows: Workflows | None = None,
        sagas_max: int = 100,
        queue_max: int = 0,
        contract: Contract = CONTRACT,
        database: type[SqliteDatabase] = SqliteDatabase,
        writing: bool = True,
        alone: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.database = database(folder / "orchestrator.db", store.METADATA)
        self.changes = Changes()
        self.engine = Engine(
            contract,
            registered() if workflows is None else workflows,
            participants,
            self.database,
            self.changes,
            sagas_max=sagas_max,
            queue_max=queue_max,
            alone=alone,
            clock=clock,
        )
        self._claiming = asyncio.create_task(self.engine.claim_for_ever())
        self._writing: asyncio.Task[None] | None = None
        if writing:
            self.write()

    def write(self) -> None:
        """Begins to write the journal behind."""
        self._writing = asyncio.create_task(self.engine.write_for_ever())

    async def recover(self) -> int:
        """Takes over what an engine before has left; returns how many sagas that were."""
        return await self.engine.join()

    async def start(self, order: Order) -> Journal:
        """Starts the saga of an order."""
        return await self.engine.start(PROCESS, packed(OrderPlaced(order=order)))

    async def comes_to(self, saga_id: str, *statuses: int) -> Journal:
        """The saga once it has one of these statuses."""
        with self.changes.watch(saga_id) as changed:
            try:
                async with asyncio.timeout(LIMIT_S):
                    while True:
                        changed.clear()
                        journal = await self.engine.get(saga_id)
                        if journal.status in statuses:
                            break
                        if journal.ended or journal.status == STALLED:  # nothing more will come
                            raise TimeoutError
                        await changed.wait()
            except TimeoutError:
                what = f"{SagaStatus.Name(journal.status)} {journal.stalled_reason}"
                raise AssertionError(f"saga {saga_id} is {what}, not {statuses}") from None
        if self._writing is not None:
            await self.engine.flushed()
        return journal

    async def run(self, order: Order) -> Journal:
        """Starts a saga and waits until it has ended or stalled."""
        await self.start(order)
        return await self.comes_to(order.order_id, COMPLETED, COMPENSATED, STALLED)

    async def stored(self, saga_id: str) -> Journal | None:
        """The saga as the tables have it."""
        return await self.database.run(lambda tx: store.load(tx, saga_id))

    async def close(self) -> None:
        """Ends it as a process does that was told to stop."""
        await self.engine.close()
        await self.engine.flushed()
        await self.crash()

    async def crash(self) -> None:
        """Ends it as a crash does: what was to be written behind is lost."""
        for task in filter(None, (self._writing, self._claiming)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        # The sagas' tasks wait for a writer that is gone, so they are cancelled and not waited out.
        await self.engine.close()
        await self.database.close()


async def track(bench: EngineBench, order: Order, *names: str) -> None:
    """Lets the tracker see these events."""
    tracker = Tracker(CONTRACT, bench.database, bench.changes)
    for name in names:
        event = an_event(name, order)
        delivery = Delivery(event.DESCRIPTOR.full_name, event.SerializeToString(), CHOREOGRAPHED, "", 1, 1)
        await tracker.handle(replace(delivery, stored_us=WallClock().now_us()))
