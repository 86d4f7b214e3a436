"""So many at a time, for so long: a closed loop, in which whoever is done begins again at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

# How long the loop runs before anything is counted: connections, caches, and everybody in the middle of something.
RAMP_S = 0.3


@dataclass(frozen=True)
class Round:
    """What one round measured."""

    per_second: float
    p50_ms: float
    p99_ms: float


async def measure(once: Callable[[], Awaitable[None]], *, in_flight: int, seconds: float) -> Round:
    """Keeps `in_flight` calls of `once` going, and counts those that end within `seconds` after the ramp."""
    begins = time.perf_counter() + RAMP_S
    ends = begins + seconds
    took_s: list[float] = []

    async def again_and_again() -> None:
        now = time.perf_counter()
        while now < ends:
            began = now
            await once()
            now = time.perf_counter()
            if begins <= now < ends:
                took_s.append(now - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(again_and_again())
    if not took_s:
        raise TooShort(f"nothing ended within {seconds} s; measure longer, with --seconds")
    took_s.sort()
    return Round(len(took_s) / seconds, _percentile_ms(took_s, 0.5), _percentile_ms(took_s, 0.99))


class TooShort(Exception):
    """A round ended before anything that it counts."""


def _percentile_ms(sorted_s: list[float], share: float) -> float:
    return sorted_s[min(int(len(sorted_s) * share), len(sorted_s) - 1)] * 1000
