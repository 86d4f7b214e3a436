"""Growing, jittered delays between tries.

"Full jitter" as in Marc Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): a delay is drawn
evenly between nothing and the bound, so that callers who failed together do not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """How long to wait before each further try, in seconds."""

    first_s: float = 0.05
    factor: float = 2.0
    max_s: float = 5.0

    def bound_s(self, tries: int) -> float:
        """The longest delay after so many failed tries; grows up to `max_s`."""
        # min() inside the power: a saga that retries for days must not overflow a float.
        return min(self.max_s, self.first_s * self.factor ** min(max(tries - 1, 0), 64))

    def delay_s(self, tries: int, rng: random.Random | None = None) -> float:
        """A delay after so many failed tries; from `rng` where a run has to be repeatable."""
        uniform = rng.uniform if rng is not None else random.uniform
        return uniform(0, self.bound_s(tries))

    def delays(self) -> Iterator[float]:
        """Delays without end."""
        tries = 0
        while True:
            tries += 1
            yield self.delay_s(tries)
