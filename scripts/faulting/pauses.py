"""SIGSTOP and SIGCONT: processes that neither work nor die, as on a machine that swaps or was suspended."""

from __future__ import annotations

import asyncio
import signal

from orchestrator.recovery import LEASE_S
from scripts.faulting.fault import Fault
from scripts.faulting.ground import PARTS, Ground
from scripts.faulting.processes import STOPPED, state_of

SHORT_S = 0.2
# Past an orchestrator's lease, and past the wait for an acknowledgement (2 s here): their work is given to others.
LONG_S = LEASE_S + 0.5
AT_ONCE = 3


class Pauses(Fault):
    """Three parts at a time, so that those that wake up meet others that do not."""

    name = "pauses"
    does = f"SIGSTOP of three parts at a time, for {SHORT_S} s or past leases and ack waits ({LONG_S} s), then SIGCONT"
    proof = tuple(f"{part} stopped past leases" for part in PARTS)
    orders_each = 12
    orders_short = 36

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        left: list[str] = []
        async for number in ground.moments(self.orders_each):
            if number % 4 == 3:
                await self._stop(ground, ground.rng.sample(PARTS, AT_ONCE), SHORT_S, "for a moment")
                continue
            if len(left) < AT_ONCE:
                left += ground.rng.sample(PARTS, len(PARTS))
            some, left = left[:AT_ONCE], left[AT_ONCE:]
            await self._stop(ground, some, LONG_S, "past leases")

    async def _stop(self, ground: Ground, parts: list[str], seconds: float, how_long: str) -> None:
        pids = {part: ground.send(part, signal.SIGSTOP) for part in parts}
        try:
            await asyncio.sleep(seconds)
            ground.counts.update(f"{part} stopped {how_long}" for part, pid in pids.items() if state_of(pid) == STOPPED)
        finally:
            for part in parts:
                ground.send(part, signal.SIGCONT)
