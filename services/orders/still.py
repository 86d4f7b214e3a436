"""Orders that stand still, some at a look: each look goes on behind the one before, so that none hides another."""

from __future__ import annotations

from mesh.database import Database
from services.orders import tables
from services.orders.tables import Still
from shop.orders.v1.orders_pb2 import Coordination

AT_ONCE_MAX = 50
_FIRST = (0, "")


class StillOrders:
    """Open orders of one style that was asked for, which one side drives, and whose row has not changed for so long."""

    def __init__(
        self,
        database: Database,
        asked: Coordination.ValueType,
        taken: Coordination.ValueType,
        *,
        for_s: float,
        heals_max: int,
    ) -> None:
        """Not those that were started again `heals_max` times."""
        self._database = database
        self._asked = asked
        self._taken = taken
        self._for_s = for_s
        self._heals_max = heals_max
        self._after = _FIRST

    async def some(self) -> list[Still]:
        """The next ones, those first that stand still longest; raises Unavailable."""
        before_us = tables.now_us() - int(self._for_s * 1e6)
        look = tables.still(self._asked, self._taken, before_us, self._heals_max, self._after, AT_ONCE_MAX)
        found = await self._database.run(look)
        last = found[-1] if len(found) == AT_ONCE_MAX else None
        self._after = (last.updated_us, last.order_id) if last else _FIRST
        return found

    async def first(self) -> list[Still]:
        """Those that stand still longest."""
        self._after = _FIRST
        return await self.some()
