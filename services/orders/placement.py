"""Takes orders, and starts their sagas in the style asked for.

PlaceOrder is no step of the ledger: one transaction writes the order and the style asked for, then the saga is
started (which is idempotent), another writes the style taken. What may happen in between, and what follows:
- the process dies before the first commit: nothing happened, and the client does not hold an answer;
- it dies after it: the row has no style taken, and the order is started again after the restart;
- the start is in doubt (a timeout): HYBRID goes on by choreography. Should the orchestrator have taken it as well,
  both drive the same steps, and the ledgers let each through once.
"""

from __future__ import annotations

import asyncio
import logging
import time

import uuid_utils
from sqlalchemy import Connection

from ensemble.orchestrator.v1.orchestrator_pb2 import Style
from eventbus.bus import Unpublished
from mesh import identity
from mesh.backoff import Backoff
from mesh.errors import AlreadyExists, MeshError, NotFound, Overloaded, Unavailable
from services.orders import tables
from services.orders.admission import Admission
from services.orders.orchestrator import Orchestrator
from services.orders.starting import starting_event
from services.participant import Surroundings
from shop.orders.v1.order_pb2 import Order
from shop.orders.v1.orders_pb2 import Coordination, OrderState, PlaceOrderRequest, PlaceOrderResponse

log = logging.getLogger(__name__)

# HYBRID must be under way within a second, so the orchestrator has less than that to answer.
HYBRID_START_S = 0.7
START_S = 5.0

LOOK_EVERY_S = 1.0
# Younger orders are being started by the call that placed them.
UNSTARTED_AFTER_S = 5.0
AT_ONCE_MAX = 100

ORCHESTRATED = Coordination.COORDINATION_ORCHESTRATED
BY_EVENTS = Coordination.COORDINATION_CHOREOGRAPHED
HYBRID = Coordination.COORDINATION_HYBRID


class Placement:
    """Starts the sagas of orders."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._database = surroundings.database
        self._bus = surroundings.bus
        self._orchestrator = Orchestrator(surroundings)
        settings = surroundings.settings
        self._admission = Admission(self._database, settings.sagas_max + settings.sagas_queued_max)

    def admit(self) -> None:
        """Raises Overloaded where too many orders are on their way for another one."""
        self._admission.admit()

    async def place(self, request: PlaceOrderRequest) -> PlaceOrderResponse:
        """Takes an order; idempotent by its id. Raises AlreadyExists where another order has it, and Overloaded."""
        order = request.order
        if not order.order_id:
            order.order_id = str(uuid_utils.uuid7())
        asked = request.coordination or HYBRID
        await self._admission.count()
        with self._admission.place():
            state = await self._database.run(lambda tx: _add(tx, order, asked))
        taken = state.coordination_taken or await self._start_unless_ended(state)
        return PlaceOrderResponse(order_id=order.order_id, coordination=taken)

    async def _start_unless_ended(self, state: OrderState) -> Coordination.ValueType:
        """Where an order has ended without this being known to be started, its saga may be pruned: no second one."""
        if state.status in tables.OPEN:
            return await self._start(state.order, state.coordination_asked, START_S)
        return state.coordination_asked

    async def resume_for_ever(self) -> None:
        """Starts what was placed and not started. A side task."""
        placed_before_us = tables.now_us()  # at a restart: whoever was starting what is there may be gone
        while True:
            # Each style by itself: orders that wait for the orchestrator must not hold up the others.
            try:
                for asked in (BY_EVENTS, HYBRID, ORCHESTRATED):
                    await self._resume_some(asked, placed_before_us)
            except Unavailable as error:  # a database that is away for a while
                log.warning("orders that are not started cannot be looked after now: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)
            placed_before_us = tables.now_us() - int(UNSTARTED_AFTER_S * 1e6)

    async def _resume_some(self, asked: Coordination.ValueType, before_us: int) -> None:
        states = await self._database.run(tables.unstarted(asked, before_us, AT_ONCE_MAX))
        await asyncio.gather(*(self._resume(state) for state in states))

    async def _resume(self, state: OrderState) -> None:
        try:
            await self._start(state.order, state.coordination_asked, HYBRID_START_S)
        except MeshError as error:
            log.warning("order %s is not started yet: %s", state.order.order_id, error)

    async def _start(self, order: Order, asked: Coordination.ValueType, patience_s: float) -> Coordination.ValueType:
        """Starts an order's saga; returns the style that is on record, which a call at the same time may have set."""
        taken = await self._start_in_style(order, asked, patience_s)
        return await self._database.run(lambda tx: _take(tx, order.order_id, taken))

    async def _start_in_style(
        self, order: Order, asked: Coordination.ValueType, patience_s: float
    ) -> Coordination.ValueType:
        if asked == ORCHESTRATED:
            return await self._start_patiently(order, patience_s)
        if asked == HYBRID:
            try:
                return await self._start_orchestrated(order, HYBRID_START_S)
            except (Unavailable, Overloaded) as error:
                log.info("order %s goes by choreography: %s", order.order_id, error)
        try:
            await self._bus.publish(starting_event(order))
        except Unpublished:
            raise Unavailable(
                f"order {order.order_id} is recorded; its start waits for the broker. It will be started by itself; "
                "placing it again with the same id is safe"
            ) from None
        return BY_EVENTS

    async def _start_patiently(self, order: Order, patience_s: float) -> Coordination.ValueType:
        """Starts a saga across a short absence of the orchestrator: in doubt, it is started again."""
        deadline = time.monotonic() + patience_s
        for delay_s in Backoff(max_s=1.0).delays():
            try:
                return await self._start_orchestrated(order, max(HYBRID_START_S, deadline - time.monotonic()))
            except (Unavailable, Overloaded):
                if time.monotonic() + delay_s > deadline:
                    raise
            await asyncio.sleep(delay_s)
        raise AssertionError("delays never end")

    async def _start_orchestrated(self, order: Order, timeout_s: float) -> Coordination.ValueType:
        """Starts a saga; returns who drives it, which is not the orchestrator where the events were first."""
        try:
            saga = await self._orchestrator.start(order, timeout_s)
        except (Unavailable, NotFound) as error:
            raise Unavailable(
                f"order {order.order_id} is recorded; its start waits for the orchestrator ({error}). "
                "It will be started by itself; placing it again with the same id is safe"
            ) from None
        return BY_EVENTS if saga.style == Style.STYLE_CHOREOGRAPHED else ORCHESTRATED


def _add(tx: Connection, order: Order, asked: Coordination.ValueType) -> OrderState:
    if not tables.add(tx, order, asked, Coordination.COORDINATION_UNSPECIFIED):
        tx.execute(tables.set_asked(order.order_id, asked))
    (row,) = tables.find(tx, order.order_id)
    if row.digest != identity.digest(order):
        raise AlreadyExists(
            f"another order has the id {order.order_id}; leave order_id empty, or choose another", reason="ORDER_EXISTS"
        )
    return tables.state_of(row)


def _take(tx: Connection, order_id: str, taken: Coordination.ValueType) -> Coordination.ValueType:
    tx.execute(tables.set_taken(order_id, taken))
    (row,) = tables.find(tx, order_id)
    return row.taken
