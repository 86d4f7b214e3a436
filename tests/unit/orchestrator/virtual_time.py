"""An event loop whose time passes at once: waiting costs nothing, and every delay is exact."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class _Selector(selectors.SelectSelector):
    """Where the loop would wait for its next timer, moves its time to it instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits, and no timer will wake them")
        # No less than a microsecond, which might not move a float at all.
        self.now += max(timeout, 1e-6) if timeout > 0 else 0.0
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For tests without sockets or threads."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run(test: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(test)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Makes a test of a coroutine."""

    @wraps(test)
    def running(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(test(*args, **kwargs))

    return running


async def settle() -> None:
    """Lets everything run that does not wait for a timer."""
    await asyncio.sleep(1e-6)
