"""What time it is. Durations are always slept by the event loop; this is for times that are written down."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now_us(self) -> int:
        """Microseconds since the epoch."""


class WallClock:
    """The time of the machine. Machines that share a database should agree on it to within a second."""

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000


class LoopClock:
    """The time of the running event loop, which may be virtual, from a given beginning on."""

    def __init__(self, epoch_us: int = 1_700_000_000_000_000) -> None:
        self._epoch_us = epoch_us

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return self._epoch_us + int(asyncio.get_running_loop().time() * 1e6)
