"""nats-server is started again, in order and by kill -9, with what it has on its disk."""

from __future__ import annotations

import signal

from mesh.addresses import BROKER
from scripts.faulting.fault import Fault
from scripts.faulting.ground import Ground


class BrokerRestart(Fault):
    """In turn."""

    name = "broker-restart"
    does = "nats-server is ended by SIGTERM and by kill -9 in turn, and started again with its streams"
    proof = ("broker ended by SIGTERM and replaced", "broker ended by SIGKILL and replaced")
    orders_each = 16
    orders_short = 32

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        async for number in ground.moments(self.orders_each):
            by = (signal.SIGTERM, signal.SIGKILL)[number % 2]
            await ground.replaced(BROKER, ground.send(BROKER, by))
            ground.counts[f"broker ended by {by.name} and replaced"] += 1
