"""A rolling restart under load: SIGTERM of one part after the other, each once the one before serves again."""

from __future__ import annotations

import signal

from scripts.faulting.fault import Fault
from scripts.faulting.ground import PARTS, Ground


class RollingRestart(Fault):
    """Every part must end by itself, in order; the customers must meet nothing that another try does not mend."""

    name = "rolling-restart"
    does = "SIGTERM of every part and of nats-server, one by one, each once all serve again"
    proof = tuple(f"{part} ended by itself and replaced" for part in PARTS)
    orders_each = 8
    orders_short = 8 * len(PARTS)

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        async for number in ground.moments(self.orders_each):
            part = PARTS[number % len(PARTS)]
            before = self._by_itself(ground, part)
            await ground.replaced(part, ground.send(part, signal.SIGTERM))
            await ground.all_serve()
            ground.counts[f"{part} ended by itself and replaced"] += self._by_itself(ground, part) - before

    def _by_itself(self, ground: Ground, part: str) -> int:
        """How often the supervisor saw it end with a status, not by a signal."""
        return ground.logs()["supervisor"].count(f"{part} ended (status ")
