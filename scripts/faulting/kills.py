"""kill -9 of every part, nats-server among them, one or two at a time, at random moments."""

from __future__ import annotations

import asyncio
import signal

from scripts.faulting.fault import Fault
from scripts.faulting.ground import PARTS, Ground

# The second of two is killed while the first is being started again.
APART_S = 0.5


class Kills(Fault):
    """Each round of all parts comes in another order."""

    name = "kills"
    does = "kill -9 of every part and of nats-server, in turn, every other time two of them at once"
    proof = tuple(f"{part} killed and replaced" for part in PARTS)
    orders_each = 8
    orders_short = 40

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        left: list[str] = []
        async for number in ground.moments(self.orders_each):
            killed = {}
            for _ in range(1 + number % 2):
                left = left or ground.rng.sample(PARTS, len(PARTS))
                part = left.pop()
                killed[part] = ground.send(part, signal.SIGKILL)
                await asyncio.sleep(ground.rng.uniform(0, APART_S))
            for part, pid in killed.items():
                await ground.replaced(part, pid)
                ground.counts[f"{part} killed and replaced"] += 1
