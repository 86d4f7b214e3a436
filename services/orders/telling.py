"""Tells again how cases ended, after the broker has lost what it was told.

A case that is open and lost an event stalls, and is started again (services.orders.healing). One that has ended waits
for nothing, nor does a cancelled one that calls close; but those who observe, and the tracker, may not have read of it
when the broker's disk was emptied or the stream purged. So when the stream is seen to have lost its messages, the ends
of the last TOLD_AGAIN_S are due again in the ledger, by one deliberate replay, and the outbox publishes them. Whoever
had read of them knows them.

What was last seen of the stream is kept in the database, so that a loss is noticed across restarts, too, and by one of
several replicas.

What may happen, and what follows:
- the process dies, or the database is away: the stream is compared again with what was seen of it;
- a broker that answers before it syncs (ours does not) lost its power: what it had not synced is missed where the
  stream was shorter at a look than before, and not where as much has come meanwhile;
- somebody lagged longer behind than TOLD_AGAIN_S: those ends stay unknown to observers, until the case is started again
  by hand.
"""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import Connection

from eventbus import replay
from eventbus.bus import Extent
from mesh.database import serialize
from mesh.errors import Unavailable
from services.orders import tables
from services.participant import Surroundings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
TOLD_AGAIN_S = 300.0


class Telling:
    """Looks after the ends that one orders service has told of."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._database = surroundings.database
        self._bus = surroundings.bus

    async def tell_for_ever(self) -> None:
        """Tells again whenever the stream has lost its messages. A side task."""
        while True:
            try:
                if (extent := await self._bus.extent()) is not None:
                    await self._look_at(extent)
            except Unavailable as error:  # a database that is away for a while
                log.warning("the ends of orders cannot be told again now: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look_at(self, extent: Extent) -> None:
        if count := await self._database.run(lambda tx: _look(tx, extent)):
            log.warning("the broker has lost its events; %d that tell of orders' ends are published again", count)


def _look(tx: Connection, extent: Extent) -> int:
    """Makes due what has to be told again, and remembers what was seen; returns how much that is."""
    serialize(tx, "the stream as it was seen")
    now_us, window_us = tables.now_us(), int(TOLD_AGAIN_S * 1e6)
    seen = tables.seen(tx)
    lost_at_us = lost_us(seen, extent, now_us)
    if extent != seen:
        tx.execute(tables.saw(extent))
    if lost_at_us < now_us - window_us:
        return 0
    return tx.execute(tables.tell_ends_again(lost_at_us - window_us, lost_at_us, replay.mint())).rowcount


def lost_us(seen: Extent | None, extent: Extent, now_us: int) -> int:
    """When the stream lost what it had, in microseconds since the epoch; 0 where it has lost nothing since it was seen.

    One that was never seen may have been made anew while nobody looked, and have lost since whatever it had.
    """
    if seen is None or seen.created_us != extent.created_us:
        return now_us if extent.first > 1 else extent.created_us
    # Where it was empty: the first that came since is gone. A stream that never had any says 0.
    purged = extent.first > max(seen.first, seen.last, 1)
    return now_us if purged or extent.last < seen.last else 0
