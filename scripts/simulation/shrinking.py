"""Makes a plan that fails smaller, as long as it fails: what is left is what it takes.

One item after the other is left out, as in the last stage of delta debugging (Zeller and Hildebrandt, "Simplifying and
Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002); what was needed once may not be later, so it goes round until
a round leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Callable

TRIALS_MAX = 200


def shrink(count: int, fails: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...]:
    """Of `count` items, some with which it still fails, and without any of which it does not (as far as was tried)."""
    kept, trials = tuple(range(count)), 0
    while True:
        before = kept
        for index in reversed(before):
            fewer = tuple(one for one in kept if one != index)
            trials += 1
            if fails(fewer):
                kept = fewer
            if trials >= TRIALS_MAX:
                return kept
        if kept == before:
            return kept
