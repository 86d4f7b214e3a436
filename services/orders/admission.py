"""How many orders may be on their way at once: what comes on top is turned away before it is written down.

An order that is taken is work for all participants, however it goes on. Taken faster than they get through with it,
they would begin ever more and end ever less: most of their time would go into first steps, and each customer would wait
for all that came before. So PlaceOrder takes no more than keeps the mesh busy, in whichever style, and tells the others
when to come again. It does not look who they are, nor whether they have been there before, since turning away has to
cost next to nothing: what that takes, those who are served have less. To ask again is safe, as ever.

Orders that stand still wait for somebody who is away. They take nobody's time, so they are not counted: else a
participant that is away would soon keep everybody from ordering.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Iterator

from mesh.database import Database
from mesh.errors import Overloaded, Unavailable
from services.orders import tables

log = logging.getLogger(__name__)

# Longer than the last of those who are let in waits, however busy the machine is.
STANDS_STILL_S = 30.0
COUNT_EVERY_S, OLD_S = 0.05, 2.0
RETRY_AFTER_S = 0.5


class Admission:
    """The places for orders, of all replicas together (give or take what they take between two counts)."""

    def __init__(self, database: Database, orders_max: int) -> None:
        self._database = database
        self._orders_max = orders_max
        self._open = 0
        self._coming = 0
        self._counted_s = -math.inf
        self._counting: asyncio.Task[None] | None = None

    def admit(self) -> None:
        """Raises Overloaded where there was no place when the orders were last counted, unless that is long ago."""
        if self._age_s() < OLD_S:
            self._count_again()
            self._ensure_a_place()

    async def count(self) -> None:
        """Looks how many orders are on their way, for each order before it takes its place.

        One count goes on at a time, and is waited for only where the last one is old: in a busy database it takes long.
        Where the database is away the last one stands, and who writes the order down is told.
        """
        self._count_again()
        if self._age_s() > OLD_S and self._counting is not None:
            await asyncio.shield(self._counting)

    def _age_s(self) -> float:
        return asyncio.get_running_loop().time() - self._counted_s

    def _count_again(self) -> None:
        if self._age_s() > COUNT_EVERY_S and self._counting is None:
            self._counting = asyncio.create_task(self._count(), name="count the orders on their way")

    async def _count(self) -> None:
        try:
            self._open = await self._database.run(tables.count_moving(STANDS_STILL_S))
            self._counted_s = asyncio.get_running_loop().time()
        except Unavailable as error:
            log.debug("the orders on their way cannot be counted now: %s", error)
        finally:
            self._counting = None

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for an order that is written down in the block; it gives it back by ending. Raises Overloaded."""
        self._ensure_a_place()
        self._coming += 1
        try:
            yield
            self._open += 1  # until the next count, which may know it already
        finally:
            self._coming -= 1

    def _ensure_a_place(self) -> None:
        if self._open + self._coming >= self._orders_max:
            raise Overloaded(f"{self._orders_max} orders are on their way, as many as may; try again", RETRY_AFTER_S)
