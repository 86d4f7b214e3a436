"""Tests that are coroutines, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mesh import virtual_time
from mesh.virtual_time import RESOLUTION_S

T = TypeVar("T")
P = ParamSpec("P")


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Makes a test of a coroutine."""

    @wraps(test)
    def running(*args: P.args, **kwargs: P.kwargs) -> T:
        return virtual_time.run(lambda: test(*args, **kwargs))

    return running


async def settle() -> None:
    """Lets everything run that does not wait for a timer."""
    await asyncio.sleep(2 * RESOLUTION_S)
