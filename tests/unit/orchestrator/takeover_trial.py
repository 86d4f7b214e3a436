"""One trial: an order that one style drives, and the other one takes over at a given point.

Real participants on both transports, a real engine, tracker and API; the journal and the ledgers outlive a process
that dies. Calls and events take their time, events come twice and in any order (local_bus).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, cast

from google.protobuf import any_pb2

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from eventbus import replay
from eventbus.bus import EventBus
from eventbus.consumer import Delivery
from eventbus.envelope import Envelope
from mesh.inline_database import InlineDatabase
from orchestrator.api import OrchestratorService
from orchestrator.journal import CHOREOGRAPHED, Journal
from orchestrator.watching import Watching
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order
from shop.orders.v1.orders_pb2 import CancelOrderRequest
from tests.unit.orchestrator.counted_shop import Books, CountedShop
from tests.unit.orchestrator.crash_scenarios import COMPLETING
from tests.unit.orchestrator.crash_trial import Died, Life, empty, journals_of
from tests.unit.orchestrator.engine_bench import CONTRACT, PROCESS, packed
from tests.unit.orchestrator.local_bus import LocalBus
from tests.unit.orchestrator.mortal_process import Network, Process

LOOK_S = 0.05
# In virtual time: whatever is lost is missed long before.
LIMIT_S = 60.0
LEG_S = 0.004
CANCEL_ORDER = CONTRACT.methods["shop.orders.v1.OrdersService.CancelOrder"]


class Side(StrEnum):
    """What becomes of the side that the saga is taken from."""

    ALIVE = "alive"
    DEAD = "dead"
    PAUSED = "paused"  # and goes on when the other side is done


@dataclass(frozen=True)
class Case:
    """An order, and who cancels it when. Points are those of mortal_process, or of local_bus."""

    order: Order
    cancelled_at: str = ""
    by_customer: bool = False  # by CancelOrder; else by CancelSaga
    ends: str = "COMPENSATED"  # empty: either way
    slow_s: Mapping[str, float] = field(default_factory=dict)  # what calls take on top, by method


@dataclass(frozen=True)
class Plan:
    """Who begins, and when the other one takes over."""

    orchestrated: bool  # else choreographed
    at: int  # the point of whoever began
    side: Side = Side.ALIVE
    back_after: int | None = None  # so many deliveries later, it is adopted again


class Trial:
    """Runs a case by a plan. Afterwards the fields say what became of it."""

    def __init__(self, shop: CountedShop, bus: LocalBus, journal: InlineDatabase, case: Case, plan: Plan) -> None:
        self.case = case
        self.plan = plan
        self.books: Books
        self.journal: Journal
        self.taken = False  # it came to the point
        self.must_turn_back = False
        self._shop = shop
        self._bus = bus
        self._tables = journal
        self._network = Network(shop, LEG_S, case.slow_s, holds_at_death=False)
        self._scenario = replace(COMPLETING, order=case.order)
        self._acting: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._deliveries = 0
        self._cancelled = self._gave = False
        self._life: Life

    @property
    def saga_id(self) -> str:
        """The order's id."""
        return self.case.order.order_id

    async def run(self) -> None:
        """To the end of the order, and of all that goes on beside it."""
        await self._shop.empty()
        await self._tables.run(empty)
        self._bus.begin(self.plan.at, self._saw_delivery)
        self._bus.follow(self._track)
        stops = self.plan.orchestrated and self.plan.side is not Side.ALIVE
        self._begin(self.plan.at if stops else None)
        try:
            async with asyncio.timeout(LIMIT_S):
                self._act(self._start())
                await (self._take_from_one_who_is_gone() if stops else self._settled())
                self.books = await self._shop.books()
                self.journal = (await self._tables.run(journals_of))[self.saga_id]
        finally:
            self._life.process.bury()
            self._bus.end()
            await self._network.empty()
            await self._shop.flush()

    # What happens

    def _begin(self, last: int | None) -> None:
        process = Process(last, self._saw_point)
        self._life = Life(self._scenario, self._tables, self._network, process, alone=True)
        engine, database = self._life.engine, self._life.database
        watching = Watching(engine, database, self._life.changes)  # type: ignore[arg-type]  # a port
        bus, nothing = cast(EventBus, self._bus), cast(Any, None)
        self._api = OrchestratorService(engine, database, watching, nothing, bus, nothing)  # type: ignore[arg-type]

    async def _start(self) -> None:
        if self.plan.orchestrated:
            await self._asked(self._life.serves.wait())
            request = api.StartSagaRequest(process=PROCESS, input=self._input())
            await self._asked(self._api.StartSaga(request, _Caller()))
        else:
            await self._bus.publish(self._starting(""))

    async def _take_from_one_who_is_gone(self) -> None:
        """As the orders service does, which has the order and cannot ask the orchestrator."""
        await self._until(lambda: self._life.process.stopped.is_set() or self._ended())
        if not self._life.process.stopped.is_set():
            return await self._settled()
        gone, self.taken = self._life, True
        await self._network.empty()
        await self._bus.publish(self._starting(replay.mint()))
        await self._until(lambda: self._bus.quiet and not self._acting)
        books = await self._shop.books()
        assert books.orders[self.saga_id] in (3, 5), f"the choreography alone does not end it: {books.orders}"
        if self.plan.side is Side.PAUSED:
            gone.process.resume()
        else:
            gone.process.bury()
            self._begin(None)
        return await self._settled()

    async def _hand_over(self) -> None:
        self.taken = True
        await self._until(lambda: self._row is not None)  # before, there is none to hand over
        decided = "call ConfirmOrder" in self._life.process.points
        self.must_turn_back = self._cancelled and not decided
        await self._asked(self._api.HandOver(api.HandOverRequest(saga_id=self.saga_id), _Caller()))
        self._gave, self._deliveries = True, 0

    async def _adopt(self) -> None:
        """As the orders service does, whose broker is away."""
        self.taken = True
        if self.plan.side is Side.DEAD and not self.plan.orchestrated:
            self._bus.die()
        if self.plan.side is Side.PAUSED and not self.plan.orchestrated:
            self._bus.pause()
        await self._asked(self._life.serves.wait())
        request = api.StartSagaRequest(process=PROCESS, input=self._input())
        started = await self._asked(self._api.StartSaga(request, _Caller()))
        if started.saga.style == CHOREOGRAPHED:
            await self._asked(self._api.Adopt(api.AdoptRequest(saga_id=self.saga_id), _Caller()))
        if self.plan.side is Side.PAUSED:
            await self._until(self._ended)
            self._bus.resume()

    async def _cancel(self) -> None:
        if self.case.by_customer:
            await self._shop.perform(CANCEL_ORDER, CancelOrderRequest(order=self.case.order).SerializeToString())
            return
        await self._asked(self._life.serves.wait())
        await self._asked(self._life.engine.cancel(self.saga_id))
        self._cancelled = True

    async def _track(self, delivery: Delivery) -> None:
        """As the broker does, which keeps for the next process what one does not acknowledge."""
        while True:
            life = self._life
            await self._until(lambda: self._life is not life or self._serves(life))  # noqa: B023  # awaited here
            if life is not self._life:
                continue
            handling = life.tracker.handle(delivery)
            try:  # one that was paused goes on with what it has in hand
                return await (handling if life.process.stopped.is_set() else life.answers(handling))
            except Died:
                continue

    # When

    def _saw_point(self, point: str) -> None:
        if point == self.case.cancelled_at:
            self._act(self._cancel())
        mine = self.plan.orchestrated and self.plan.side is Side.ALIVE
        if mine and len(self._life.process.points) - 1 == self.plan.at:
            self._act(self._hand_over())

    def _saw_delivery(self, point: str) -> None:
        if point == self.case.cancelled_at:
            self._act(self._cancel())
        nth, self._deliveries = self._deliveries, self._deliveries + 1
        if (nth == self.plan.at and not self.plan.orchestrated) or (nth == self.plan.back_after and self._gave):
            self._act(self._adopt())

    async def _settled(self) -> None:
        """Returns once all has ended, and nothing is under way."""
        await self._until(lambda: self._ended() and not self._acting and self._bus.idle)
        await self._network.empty()
        await self._until(lambda: not self._life.engine.runs(self.saga_id) and self._bus.idle)
        await self._life.engine.flushed()

    def _serves(self, life: Life) -> bool:
        return life.serves.is_set() and life.process.going

    def _ended(self) -> bool:
        return self._row is not None and self._row.ended

    async def _until(self, condition: Any) -> None:
        while True:
            for failure in self._failures:
                raise failure
            self._row = (await self._tables.run(journals_of)).get(self.saga_id)
            if condition():
                return
            await asyncio.sleep(LOOK_S)

    async def _asked(self, call: Coroutine[Any, Any, Any]) -> Any:
        return await self._life.answers(call)

    def _act(self, action: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(action)
        self._acting.add(task)
        task.add_done_callback(self._acted)

    def _acted(self, task: asyncio.Task[None]) -> None:
        self._acting.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None and not isinstance(failure, Died):
            self._failures.append(failure)

    def _input(self) -> any_pb2.Any:
        return packed(OrderPlaced(order=self.case.order))

    def _starting(self, replay_id: str) -> Envelope:
        event = OrderPlaced(order=self.case.order)
        return Envelope.starting(event, method="test", source="orders", replay=replay_id)


class _Caller:
    """Somebody with patience."""

    def time_remaining(self) -> float:
        return 60.0
