"""One trial: an order, an orchestrator whose process stops at a given point, and another one that takes over.

The engines are real, and so are the participants; the journal and the ledgers outlive the processes, as on a disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sql
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from eventbus.consumer import Delivery
from eventbus.envelope import CHOREOGRAPHED
from mesh.changes import Changes
from mesh.clock import LoopClock
from mesh.contract import Contract
from mesh.inline_database import InlineDatabase
from orchestrator import store
from orchestrator.engine import Engine
from orchestrator.journal import Journal, SagaStatus
from orchestrator.tables import METADATA, SAGAS
from orchestrator.tracker import Tracker
from orchestrator.workflow import Workflow, Workflows
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order
from tests.unit.orchestrator.counted_shop import Books, CountedShop
from tests.unit.orchestrator.engine_bench import FORWARD, packed
from tests.unit.orchestrator.mortal_process import MortalCalls, MortalDatabase, Network, Process

T = TypeVar("T")

# More than a call takes: what is under way when a process dies arrives before there is another one.
RESTART_S = 0.2
# In virtual time, within the deadline of the shop's process: nothing here may be saved by that.
LIMIT_S = 600.0
LOOK_AGAIN_S = 0.5

# The moment of a cancellation that is asked for as soon as the start is acknowledged.
STARTED = "started"


@dataclass(frozen=True)
class Scenario:
    """What is asked of the orchestrator. Points are named as in mortal_process."""

    workflows: tuple[Workflow, ...]  # the first one is started
    contract: Contract
    order: Order
    steps: Sequence[str] = tuple(FORWARD)  # that it takes, where a pivot decides for go
    refusal: str = ""  # the reason for which it turns back, where nobody asks it to
    cancelled_at: str = ""  # the point at which a client asks for that
    insists: bool = False  # asks again, where the first time was not acknowledged
    decides: str = "ConfirmOrder"  # the step after whose call a cancellation may come too late
    cancelled_after_s: float | None = None  # the same, by the client's clock
    published: Message | None = None  # an event of the choreography
    published_after_s: float = 0.0
    varies: bool = False  # how far it comes before it turns back is a matter of time
    leg_s: float = 0.004  # with the disk, two legs are about the journal's lag: steps are written one by one, or not
    slow_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What happens to the processes."""

    lasts: tuple[int, ...] = ()  # the last point of the first process, of the second one, …; then one lives on
    held: bool = False  # what the first one had under way arrives late
    paused: bool = False  # the first one does not die, and goes on late
    late: int | None = None  # how late: at which call of the second one (0: its start); None: after the end
    shared: bool = False  # others may use the journal, so a dead one's sagas wait for the end of its lease


class Died(Exception):
    """Whoever was asked died before the answer came."""


class Life:
    """One process of the orchestrator, as orchestrator.__main__ makes it."""

    def __init__(self, scenario: Scenario, journal: InlineDatabase, network: Network, process: Process, *, alone: bool):
        self.process = process
        self.changes = Changes()
        self.serves = asyncio.Event()
        database, clock = MortalDatabase(journal, process), LoopClock()
        self.database = database
        self.engine = Engine(
            scenario.contract,
            Workflows(scenario.workflows),
            MortalCalls(network, process),
            database,
            self.changes,
            sagas_max=100,
            clock=clock,
            alone=alone,
        )
        self.tracker = Tracker(scenario.contract, database, self.changes, self.engine.mail_came)
        self._tasks = [asyncio.create_task(self._live(), name="life")]

    async def _live(self) -> None:
        await self.engine.join()
        side_tasks = (self.engine.write_for_ever(), self.engine.beat_for_ever(), self.engine.claim_for_ever())
        self._tasks += [asyncio.create_task(task, name=task.__qualname__) for task in side_tasks]
        self.serves.set()

    async def answers(self, asked: Coroutine[Any, Any, T]) -> T:
        """What a client gets that asks; raises Died."""
        answer, death = asyncio.create_task(asked), asyncio.create_task(self.process.stopped.wait())
        await asyncio.wait([answer, death], return_when=asyncio.FIRST_COMPLETED)
        if self.process.stopped.is_set():
            raise Died
        death.cancel()
        return answer.result()

    async def rests(self, saga_id: str) -> Journal:
        """The saga once it has ended or stalls, and that is written."""
        with self.changes.watch(saga_id) as changed:
            while True:
                changed.clear()
                journal = await self.engine.get(saga_id)
                if journal.ended or journal.status == SagaStatus.SAGA_STATUS_STALLED:
                    await self.engine.flushed()
                    return journal
                with contextlib.suppress(TimeoutError):  # another process does not tell
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        await changed.wait()


class Trial:
    """Runs a scenario by a plan. Afterwards the fields say what became of it."""

    def __init__(self, shop: CountedShop, journal: InlineDatabase, scenario: Scenario, plan: Plan) -> None:
        self.scenario = scenario
        self.plan = plan
        self.books: Books
        self.journals: dict[str, Journal]
        self.moot = False  # nothing was under way that could have arrived late
        self.cancelled = False  # a cancellation was acknowledged
        self.must_turn_back = False  # and that in time
        self._shop = shop
        self._journal = journal
        self._network = Network(shop, scenario.leg_s, scenario.slow_s, holds_at_death=plan.held)
        self._lives: list[Life] = []
        self._born = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._undelivered: list[tuple[Message, int]] = []
        self._done_once: set[str] = set()
        self._calls_of_second = 0

    @property
    def saga_id(self) -> str:
        """The saga that is started."""
        return self.scenario.order.order_id

    @property
    def points(self) -> list[str]:
        """The points of the first process."""
        return self._lives[0].process.points

    @property
    def refusal(self) -> str:
        """The reason for which the saga turned back; empty where it did not."""
        return error_details_pb2.ErrorInfo.FromString(self.journals[self.saga_id].refusal).reason

    @property
    def reached(self) -> bool:
        """Whether all processes that were to stop have stopped."""
        return len(self._lives) == len(self.plan.lasts) + 1

    async def run(self) -> None:
        """To the end of the saga, and of all that goes on beside it."""
        await self._shop.empty()
        await self._journal.run(empty)
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._live()
                if not self.moot:
                    await self._settle()
        finally:
            for life in self._lives:
                life.process.bury()
            self._network.let_through()
            await self._network.empty()
            await self._shop.flush()

    async def _live(self) -> None:
        self._act(self._place())
        if self.scenario.published is not None:
            self._act(self._publish(self.scenario.published))
        if self.scenario.cancelled_after_s is not None:
            self._act(self._cancel_later(self.scenario.cancelled_after_s))
        for nth, last in enumerate((*self.plan.lasts, None)):
            life = self._begin(last)
            resting = asyncio.create_task(self._rests(life))
            dying = asyncio.create_task(life.process.stopped.wait())
            await asyncio.wait([resting, dying], return_when=asyncio.FIRST_COMPLETED)
            if life.process.going:
                dying.cancel()
                return await resting
            resting.cancel()
            if nth == 0 and self.plan.held:
                self._network.hold()
                self.moot = not self._network.holding
                if self.moot:
                    return None
            await asyncio.sleep(RESTART_S)
        raise AssertionError("the last process does not stop")

    def _begin(self, last: int | None) -> Life:
        nth = len(self._lives)
        if nth == 1 and self.plan.late == 0:
            self._come_late()
        process = Process(last, lambda point: self._saw(nth, point))
        alone = not (self.plan.shared or self.plan.paused)
        self._lives.append(Life(self.scenario, self._journal, self._network, process, alone=alone))
        self._born.set()
        self._born = asyncio.Event()
        self._act(self._deliver(self._lives[nth]))
        return self._lives[nth]

    async def _rests(self, life: Life) -> None:
        while self._clients:
            await asyncio.wait(set(self._clients))
            for failure in self._failures:
                raise failure
        journal = await life.rests(self.saga_id)
        assert journal.ended, f"stalled: {journal.stalled_reason}"

    async def _settle(self) -> None:
        """Lets everything come that is late, and stand still again."""
        self._come_late()
        await self._network.empty()
        for life in [one for one in self._lives if one.process.going]:
            while life.engine.runs(self.saga_id):  # noqa: ASYNC110  # one that was paused learns at its next heartbeat
                await asyncio.sleep(0.1)
            await life.engine.flushed()
        self.books = await self._shop.books()
        self.journals = await self._journal.run(journals_of)

    # What clients do

    async def _place(self) -> None:
        """Starts the saga, again where that was not acknowledged and is not known."""
        starting = packed(OrderPlaced(order=self.scenario.order))
        life = await self._successor(None)
        while True:
            try:
                await life.answers(life.serves.wait())
                await life.answers(life.engine.start(self.scenario.workflows[0].process, starting))
                break
            except Died:
                life = await self._successor(life)
                if self.saga_id in await self._journal.run(journals_of):
                    break
                assert (await self._shop.books()).effects == [], "of a saga that does not exist"
        if self.scenario.cancelled_at == STARTED:
            self._once(STARTED, self._cancel(life))

    async def _cancel(self, life: Life) -> None:
        """Asks for the no-go side. Unacknowledged, either outcome is right."""
        if not life.process.going:
            life = await self._successor(life)
        try:
            await life.answers(life.serves.wait())
            journal = await life.answers(life.engine.cancel(self.saga_id))
        except Died:
            if self.scenario.insists:
                await self._cancel(life)
            return
        decided = any(f"call {self.scenario.decides}" in one.process.points for one in self._lives)
        self.must_turn_back = not decided and not journal.ended
        self.cancelled = True

    async def _cancel_later(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._cancel(self._lives[-1])

    async def _publish(self, event: Message) -> None:
        await asyncio.sleep(self.scenario.published_after_s)
        self._undelivered.append((event, LoopClock().now_us()))
        await self._deliver(self._lives[-1])

    async def _deliver(self, life: Life) -> None:
        """As the broker does, which keeps what is not acknowledged."""
        try:
            await life.answers(life.serves.wait())
            for message in list(self._undelivered):
                event, stored_us = message
                name = event.DESCRIPTOR.full_name
                delivery = Delivery(name, event.SerializeToString(), CHOREOGRAPHED, "", 1, 1, stored_us)
                await life.answers(life.tracker.handle(delivery))
                if message in self._undelivered:  # else it was delivered twice, as happens
                    self._undelivered.remove(message)
        except Died:
            return

    async def _successor(self, life: Life | None) -> Life:
        while not self._lives or self._lives[-1] is life:
            await self._born.wait()
        return self._lives[-1]

    # What happens when

    def _saw(self, nth: int, point: str) -> None:
        """A process has come to a point."""
        life = self._lives[nth]
        if point == self.scenario.cancelled_at:
            self._once(point, self._cancel(life))
        if nth == 1 and point.startswith("call "):
            self._calls_of_second += 1
            if self._calls_of_second == self.plan.late:
                self._come_late()

    def _come_late(self) -> None:
        self._network.let_through()
        if self.plan.paused:
            self._lives[0].process.resume()

    def _once(self, what: str, action: Coroutine[Any, Any, None]) -> None:
        if what in self._done_once:
            action.close()
            return
        self._done_once.add(what)
        self._act(action)

    def _act(self, action: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(action)
        self._clients.add(task)
        task.add_done_callback(self._acted)

    def _acted(self, task: asyncio.Task[None]) -> None:
        self._clients.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append(failure)


_DELETES = [table.delete() for table in METADATA.sorted_tables]
_IDS = sql.select(SAGAS.c.saga_id)


def empty(tx: sql.Connection) -> None:
    """Forgets all sagas of a journal."""
    for delete in _DELETES:
        tx.execute(delete)


def journals_of(tx: sql.Connection) -> dict[str, Journal]:
    """All sagas of a journal, by id."""
    journals, damages = store.load_many(tx, list(tx.execute(_IDS).scalars()))
    assert damages == []
    return {journal.saga_id: journal for journal in journals}
