"""Starts cases again that do not get on: replay from the first event.

Finished steps answer from their ledgers and emit again, so a case that lost an event, or all of them with the broker's
disk, runs on from where it is. Every start again is a deliberate replay with an id of its own, or the broker would
swallow it as a duplicate.

How often: a case that stands still is started again after `stalled_after_s`, then after twice as long, and so on,
`heals_max` times; then the log says once that it is left alone. One that moves has all its starts again before it.
Each is counted before it is published, by compare-and-set on the order's row:
- two replicas that see the same case: one of them counts, and starts it;
- the process dies between the two: that start is lost, the next one comes by itself;
- the broker is away: the count is taken back, and it is tried again at the next look.
"""

from __future__ import annotations

import asyncio
import logging

from eventbus import replay
from eventbus.bus import Unpublished
from mesh.errors import Unavailable
from services.orders import tables
from services.orders.starting import starting_event
from services.participant import Surroundings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
AT_ONCE_MAX = 100


class Healing:
    """Looks after the cases of one orders service; replicas do so together."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._database = surroundings.database
        self._bus = surroundings.bus
        self._stalled_after_s = surroundings.settings.stalled_after_s
        self._heals_max = surroundings.settings.heals_max

    async def heal_for_ever(self) -> None:
        """Starts again what stalls. A side task."""
        while True:
            try:
                for stalled in await self._stalled():
                    await self._heal(stalled)
            except Unavailable as error:  # a database that is away for a while
                log.warning("stalled orders cannot be looked after now: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _stalled(self) -> list[tables.Stalled]:
        look = tables.stalled(tables.now_us(), self._stalled_after_s, self._heals_max, AT_ONCE_MAX)
        return await self._database.run(look)

    async def _heal(self, stalled: tables.Stalled) -> None:
        order_id, healed_us = stalled.order.order_id, tables.now_us()
        if not await self._count(order_id, stalled.updated_us, healed_us, 1):
            return
        if stalled.heals >= self._heals_max:
            log.error(
                "order %s made no progress, was started again %d times, and is left alone now; "
                "`ensemble saga get %s` shows how far it is, `ensemble dead-letters list --saga %s` what could not be "
                "handled, and `ensemble saga retry %s` starts it again",
                *(order_id, self._heals_max, order_id, order_id, order_id),
            )
            return
        try:
            await self._bus.publish(starting_event(stalled.order, replay.mint()))
            log.warning(
                "order %s made no progress and is started again (%d of %d)",
                *(order_id, stalled.heals + 1, self._heals_max),
            )
        except Unpublished as error:
            log.warning("order %s stalls and cannot be started again yet: %s", order_id, error)
            await self._count(order_id, healed_us, stalled.updated_us, -1)

    async def _count(self, order_id: str, seen_us: int, now_us: int, count: int) -> bool:
        """Whether the case still was as it was seen, and the start again is counted."""
        statement = tables.count_heal(order_id, seen_us, now_us, count)
        return bool(await self._database.run(lambda tx: tx.execute(statement).rowcount))
