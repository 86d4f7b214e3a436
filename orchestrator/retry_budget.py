"""Bounds how much of a participant's load is retries, so that retries do not keep it down.

A token bucket, as Finagle's RetryBudget and the SRE book have it ("Handling Overload", chapter 21): a first try
deposits a fraction of a token, a retry withdraws one, and a small reserve comes in steadily, so that a participant
whom hardly anybody calls is retried too. It differs in two points:

- without tokens a retry waits, it is never given up: a step in doubt has to be settled;
- a retry that is answered gives its token back, so that what is bounded is the load that is wasted. When a
  participant is well again, its backlog goes as fast as it answers, not at the pace of the reserve.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools

# Finagle's defaults: a fifth of the first tries, ten a second in reserve, for ten seconds.
RATIO = 0.2
RESERVE_PER_S = 10.0
TOKENS_MAX = 100.0

# No timer is set for less: what is missing from a token may be no more than a rounding error.
_WAIT_S_MIN = 0.001


class RetryBudget:
    """The tokens for one participant. Belongs to one event loop, whose time it goes by."""

    def __init__(
        self, ratio: float = RATIO, reserve_per_s: float = RESERVE_PER_S, tokens_max: float = TOKENS_MAX
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ratio = ratio
        self._reserve_per_s = reserve_per_s
        self._tokens_max = tokens_max
        self._tokens = tokens_max
        self._filled = self._loop.time()
        # Sorted, the next one last: the fewest tries first, or requests that fail each time would hold up those that
        # failed by chance; then whoever came first.
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def deposit(self) -> None:
        """A first try is made."""
        if self._tokens < self._tokens_max:
            self._tokens += self._ratio
            if self._waiting:
                self._serve()

    async def withdraw(self, tries: int) -> None:
        """Takes a token for a retry after so many tries; waits until there is one. Cancelled, it takes none."""
        waiter = self._loop.create_future()
        entry = (-tries, -next(self._numbers), waiter)
        bisect.insort(self._waiting, entry)
        self._serve()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._forget(entry)
            else:  # it was served in the same moment
                self.give_back()
            raise

    def give_back(self) -> None:
        """The retry was answered, or never sent."""
        self._tokens = min(self._tokens_max, self._tokens + 1)
        self._serve()

    def _serve(self) -> None:
        now = self._loop.time()
        self._tokens = min(self._tokens_max, self._tokens + (now - self._filled) * self._reserve_per_s)
        self._filled = now
        while self._waiting and self._tokens >= 1:
            waiter = self._waiting.pop()[-1]
            if not waiter.done():  # else cancelled, and about to say so
                self._tokens -= 1
                waiter.set_result(None)
        if self._waiting and self._timer is None:
            missing_s = (1 - self._tokens) / self._reserve_per_s
            self._timer = self._loop.call_later(max(missing_s, _WAIT_S_MIN), self._due)

    def _due(self) -> None:
        self._timer = None
        self._serve()

    def _forget(self, entry: tuple[int, int, asyncio.Future[None]]) -> None:
        place = bisect.bisect_left(self._waiting, entry)
        if place < len(self._waiting) and self._waiting[place] is entry:
            del self._waiting[place]
