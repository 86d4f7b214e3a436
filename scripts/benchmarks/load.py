"""So many at a time, for so long: a closed loop, in which whoever is done begins again at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from mesh.percentile import percentile
from scripts.benchmarks.processor import Spent

# How long the loop runs at least before anything is counted: connections, caches, and everybody somewhere else in it.
RAMP_S = 0.3


class Incomplete(Exception):
    """A saga did not end as completed."""


@dataclass(frozen=True)
class Round:
    """What one round measured."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]  # for each call that ended, by the name of the process that took it


async def measure(
    once: Callable[[], Awaitable[object]], *, in_flight: int, seconds: float, spent: Callable[[], Spent]
) -> Round:
    """Keeps `in_flight` calls of `once` going, and counts those that end within `seconds` after a ramp.

    The ramp takes until as many have ended as go at a time. Where none ends in time, it goes on until one has. Raises
    what a call raises.
    """
    loop = _Loop(once, in_flight, seconds, spent)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(loop.go_round())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    took_ms = [one * 1000 for one in loop.took_s]
    return Round(len(took_ms) / loop.lasted_s, percentile(took_ms, 0.5), percentile(took_ms, 0.99), loop.cpu_us())


class _Loop:
    """The state that all who go round share."""

    def __init__(
        self, once: Callable[[], Awaitable[object]], in_flight: int, seconds: float, spent: Callable[[], Spent]
    ) -> None:
        self._once = once
        self._seconds = seconds
        self._spent = spent
        self._spent_before: Spent = {}
        self._spent_after: Spent = {}
        self._to_come = in_flight  # of those that end during the ramp
        self._ramp_ends = time.perf_counter() + RAMP_S
        self._ends = float("inf")
        self.lasted_s = seconds
        self.took_s: list[float] = []

    async def go_round(self) -> None:
        now = time.perf_counter()
        while now < self._ends:
            began = now
            await self._once()
            now = time.perf_counter()
            if self._ends == float("inf"):
                self._ramp(now)
            elif now < self._ends:
                self.took_s.append(now - began)
            elif not self.took_s:
                self.took_s.append(now - began)
                self.lasted_s += now - self._ends
        self._spent_after = self._spent_after or self._spent()

    def cpu_us(self) -> Mapping[str, float]:
        """What each process took for each call that ended."""
        return {
            name: (after - self._spent_before[name]) * 1e6 / len(self.took_s)
            for name, after in self._spent_after.items()
        }

    def _ramp(self, now: float) -> None:
        self._to_come -= 1
        if self._to_come <= 0 and now >= self._ramp_ends:
            self._ends = now + self._seconds
            self._spent_before = self._spent()
