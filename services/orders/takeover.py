"""HYBRID orders change sides by themselves: either style finishes what the other began, within seconds.

An order whose row has not changed for `STILL_S` is looked at, whichever side drives it:

    the orchestrator does     it is asked for the saga
      no answer to any of a look's questions    it is away: the starting event is published, and choreography goes on
      an answer: the saga is stalled            the orchestrator is told to hand it over
      ... or has come no further in that time   the same, for a few at a look
      ... or moves, or waits for what is known  it is left alone
    choreography does, and the broker is away   the orchestrator is told to start it, or to adopt it

To be wrong about that does no harm: then both sides drive the order, each step happens once, and the pivot decides
once. So it may be decided quickly, by several replicas at once (the first to write it down acts), and of one that was
only paused. What must not happen is that everybody moves at once because all is slow:
- an orchestrator that is overloaded says so, or answers some of the questions: it keeps what it has;
- sagas without progress are more often held up by a participant that is slow, before which choreography would stand as
  well: so no more than `STILL_MAX` of them move at a look;
- an order changes sides no more often than it may be started again (`heals_max`, together with healing).

When it is decided and the process dies before it is done, the order stands still again, and healing starts it again.
A cancellation that an orchestrator had in hand when it died comes to the pivot when it is back, perhaps too late: who
asked for it was not told that it is decided.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from enum import Enum, auto

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from eventbus import replay
from eventbus.bus import Unpublished
from mesh.errors import MeshError, NotFound, Overloaded, Unavailable
from services.orders import tables
from services.orders.orchestrator import Orchestrator
from services.orders.starting import starting_event
from services.orders.still import StillOrders
from services.orders.tables import Still
from services.participant import Surroundings
from shop.orders.v1.orders_pb2 import Coordination

log = logging.getLogger(__name__)

# Together, and with the time that the start of the other side takes, less than five seconds.
STILL_S = 2.0
LOOK_EVERY_S = 0.5
ASK_S = 0.7

TELL_S = 5.0
STILL_MAX = 8

HYBRID = Coordination.COORDINATION_HYBRID
ORCHESTRATED = Coordination.COORDINATION_ORCHESTRATED
BY_EVENTS = Coordination.COORDINATION_CHOREOGRAPHED
_ENDED = (api.SagaStatus.SAGA_STATUS_COMPLETED, api.SagaStatus.SAGA_STATUS_COMPENSATED)


class Found(Enum):
    """What the orchestrator says of an order that stands still."""

    NOTHING = auto()  # it does not answer
    LEAVE = auto()
    STALLED = auto()
    STILL = auto()
    GIVEN = auto()  # somebody had it handed over
    UNKNOWN = auto()  # it has lost it


class Takeover:
    """Looks after the HYBRID orders of one orders service; replicas do so together."""

    def __init__(self, surroundings: Surroundings, orchestrator: Orchestrator) -> None:
        self._database = surroundings.database
        self._bus = surroundings.bus
        self._orchestrator = orchestrator
        heals_max = surroundings.settings.heals_max
        self._orchestrated = StillOrders(self._database, HYBRID, ORCHESTRATED, for_s=STILL_S, heals_max=heals_max)
        self._by_events = StillOrders(self._database, HYBRID, BY_EVENTS, for_s=STILL_S, heals_max=heals_max)

    async def look_for_ever(self) -> None:
        """Looks for orders that stand still, and takes over. A side task."""
        while True:
            try:
                await self.look()
            except Unavailable as error:  # a database that is away for a while
                log.warning("orders that stand still cannot be looked after now: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look at some of both sides' orders."""
        if still := await self._orchestrated.some():
            await self._look_at_orchestrated(still)
        if not self._bus.connected and (still := await self._by_events.some()):
            await self._take_from_choreography(still)

    async def _look_at_orchestrated(self, still: list[Still]) -> None:
        answers = await asyncio.gather(*(self._ask(one) for one in still))
        if set(answers) == {Found.NOTHING}:
            await self._leave_the_orchestrator(still)
            return
        by_answer: dict[Found, list[Still]] = defaultdict(list)
        for one, answer in zip(still, answers, strict=True):
            by_answer[answer].append(one)
        handed_over = by_answer[Found.STALLED] + by_answer[Found.STILL][:STILL_MAX]
        await asyncio.gather(
            *(self._go_on_by_events(one) for one in by_answer[Found.UNKNOWN]),
            *(self._have_handed_over(one) for one in handed_over),
            *(self._write(one, tables.now_us(), BY_EVENTS, 0) for one in by_answer[Found.GIVEN]),
        )

    async def _leave_the_orchestrator(self, still: list[Still]) -> None:
        """It was asked enough: all that stands still by now goes on by choreography."""
        while still:
            log.warning("the orchestrator does not answer; %d orders go on by choreography", len(still))
            if not all(await asyncio.gather(*(self._go_on_by_events(one) for one in still))):
                return
            still = await self._orchestrated.first()

    async def _ask(self, one: Still) -> Found:
        try:
            saga = await self._orchestrator.get(one.order_id, ASK_S)
        except Unavailable:
            return Found.NOTHING
        except Overloaded:
            return Found.LEAVE
        except NotFound:
            return Found.UNKNOWN
        return what_it_means(saga, tables.now_us())

    async def _go_on_by_events(self, one: Still) -> bool:
        """Publishes the starting event as a deliberate replay: finished steps answer from their ledgers and emit.

        Returns False where the broker is away.
        """
        taken_us = tables.now_us()
        if not await self._write(one, taken_us, BY_EVENTS):
            return True
        try:
            await self._bus.publish(starting_event(one.order, replay.mint()))
            return True
        except Unpublished as error:
            log.warning("order %s cannot go on by choreography yet: %s", one.order_id, error)
            await self._take_back(one, taken_us, ORCHESTRATED)
            return False

    async def _have_handed_over(self, one: Still) -> None:
        taken_us = tables.now_us()
        if not await self._write(one, taken_us, BY_EVENTS):
            return
        try:
            await self._orchestrator.hand_over(one.order_id, TELL_S)
            log.warning("order %s stood still and is handed over to choreography", one.order_id)
        except MeshError as error:
            log.warning("order %s stands still and is not handed over: %s", one.order_id, error)
            await self._take_back(one, taken_us, ORCHESTRATED)

    async def _take_from_choreography(self, still: list[Still]) -> None:
        first, *others = still
        if await self._have_adopted(first):  # otherwise the orchestrator is away as well, and needs no fifty questions
            log.warning("the broker is away; %d orders go on with the orchestrator", len(still))
            await asyncio.gather(*(self._have_adopted(one) for one in others))

    async def _have_adopted(self, one: Still) -> bool:
        """Returns False where the orchestrator did not take it."""
        taken_us = tables.now_us()
        if not await self._write(one, taken_us, ORCHESTRATED):
            return True
        try:
            saga = await self._orchestrator.start(one.order, TELL_S)
            if saga.style == api.Style.STYLE_CHOREOGRAPHED:
                await self._orchestrator.adopt(one.order_id, TELL_S)
            return True
        except MeshError as error:
            log.warning("order %s waits for the broker, and is not adopted: %s", one.order_id, error)
            await self._take_back(one, taken_us, BY_EVENTS)
            return False

    async def _write(self, one: Still, now_us: int, taken: Coordination.ValueType, count: int = 1) -> bool:
        """Whether the order was still as it was seen, and the other side is written down."""
        statement = tables.take_over(one.order_id, one.updated_us, now_us, taken, count)
        return bool(await self._database.run(lambda tx: tx.execute(statement).rowcount))

    async def _take_back(self, one: Still, taken_us: int, taken: Coordination.ValueType) -> None:
        statement = tables.take_over(one.order_id, taken_us, one.updated_us, taken, -1)
        await self._database.run(lambda tx: tx.execute(statement).rowcount)


def what_it_means(saga: api.Saga, now_us: int) -> Found:
    """What follows from a saga as the orchestrator shows it."""
    if saga.style == api.Style.STYLE_CHOREOGRAPHED:
        return Found.GIVEN
    if saga.status == api.SagaStatus.SAGA_STATUS_STALLED:
        return Found.STALLED
    # A try that failed is progress, too: somebody looks after it. One without steps waits for its turn; one that waits
    # for a participant that is known to be away would wait for it by choreography as well.
    lately = now_us - saga.updated.ToMicroseconds() < STILL_S * 1e6
    tried = any(step.status == api.StepStatus.STEP_STATUS_RUNNING and step.last_error for step in saga.steps)
    begun = any(step.HasField("started") for step in saga.steps)  # the others are planned
    if saga.status in _ENDED or saga.HasField("wakes") or not begun or lately or tried:
        return Found.LEAVE
    return Found.STILL
