"""Time and chance, as all code of a simulation sees them: virtual, and from the seed.

What a simulated process asks of the machine (the time, a random number, an id) is asked of Python's library, by our
code and by that of others. So it is answered there, while a simulation runs; nothing of the code under test is changed.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import uuid_utils

# When simulations begin, in seconds since the epoch.
EPOCH_S = 1_700_000_000


@contextlib.contextmanager
def from_seed(seed: int, now_s: Callable[[], float]) -> Iterator[random.Random]:
    """Answers from a seed, and from a loop's time, as long as the block lasts; yields a source for the world's own."""
    rng = random.Random(seed)
    ids = random.Random(rng.getrandbits(64))
    before = random.getstate()
    random.seed(rng.getrandbits(64))

    class FromTheSeed(random.Random):
        """What nobody gave a seed draws one from the machine otherwise."""

        def seed(self, a: Any = None, version: int = 2) -> None:
            super().seed(ids.getrandbits(64) if a is None else a, version)

    def time_s() -> float:
        return EPOCH_S + now_s()

    def time_ns() -> int:
        return EPOCH_S * 10**9 + int(now_s() * 1e6) * 1000

    def uuid7() -> uuid.UUID:
        """RFC 9562, 5.7."""
        value = int((EPOCH_S + now_s()) * 1000) << 80 | 7 << 76 | ids.getrandbits(12) << 64
        return uuid.UUID(int=value | 0b10 << 62 | ids.getrandbits(62))

    with (
        mock.patch.object(time, "time", time_s),
        mock.patch.object(time, "time_ns", time_ns),
        mock.patch.object(time, "monotonic", now_s),
        mock.patch.object(os, "urandom", ids.randbytes),
        mock.patch.object(random, "Random", FromTheSeed),
        mock.patch.object(uuid_utils, "uuid7", uuid7),
    ):
        try:
            yield rng
        finally:
            random.setstate(before)
