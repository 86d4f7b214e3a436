"""Notices that an order was handed over whose orchestrator was asked for by name.

Who hands a saga over (`ensemble saga hand-over`) tells the orchestrator, which publishes the starting event. Where that
is lost before this service has read it, nothing here says that choreography drives the order now, nobody would start it
again, and it would stand still for ever. So of such orders that stand still the orchestrator is asked who drives them.
From then on they are choreographed ones: services.orders.healing looks after them.
"""

from __future__ import annotations

import asyncio
import logging

from ensemble.orchestrator.v1.orchestrator_pb2 import Style
from mesh.errors import MeshError, Unavailable
from services.orders import tables
from services.orders.orchestrator import Orchestrator
from services.orders.still import StillOrders
from services.orders.tables import Still
from services.participant import Surroundings
from shop.orders.v1.orders_pb2 import Coordination

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
ASK_S = 1.0

ORCHESTRATED = Coordination.COORDINATION_ORCHESTRATED
BY_EVENTS = Coordination.COORDINATION_CHOREOGRAPHED


class Given:
    """Looks after the ORCHESTRATED orders of one orders service; replicas do so together, and write the same."""

    def __init__(self, surroundings: Surroundings, orchestrator: Orchestrator) -> None:
        settings = surroundings.settings
        self._database = surroundings.database
        self._orchestrator = orchestrator
        self._still = StillOrders(
            surroundings.database,
            ORCHESTRATED,
            ORCHESTRATED,
            for_s=settings.stalled_after_s,
            heals_max=max(settings.heals_max, 1),
        )

    async def look_for_ever(self) -> None:
        """Looks for orders that were handed over. A side task."""
        while True:
            try:
                await self.look()
            except Unavailable as error:  # a database that is away for a while
                log.warning("orders that were handed over cannot be looked for now: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look at some of the orders that stand still."""
        await asyncio.gather(*(self._look_at(one) for one in await self._still.some()))

    async def _look_at(self, one: Still) -> None:
        try:
            saga = await self._orchestrator.get(one.order_id, ASK_S)
        except MeshError:  # it is away, busy, or has pruned it: the next look asks again
            return
        if saga.style == Style.STYLE_CHOREOGRAPHED:
            # When it last moved stays as it was: healing counts from there.
            statement = tables.take_over(one.order_id, one.updated_us, one.updated_us, BY_EVENTS, 0)
            await self._database.run(lambda tx: tx.execute(statement).rowcount)
