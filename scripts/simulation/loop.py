"""The event loop of a simulation: virtual time, and each callback run by the process that it belongs to.

Two runs of one seed do the same in the same order. Beside time and chance (scripts.simulation.chance) one thing could
tell them apart: the order of a set of tasks is that of their hashes, which are addresses. So tasks are numbered here.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from mesh.virtual_time import VirtualTimeLoop
from scripts.simulation.process import CURRENT, Callback


class NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class SimulationLoop(VirtualTimeLoop):
    """Runs many processes, one callback at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]  # takes more than it is given
        self._tasks_made = 0

    def call_soon(  # type: ignore[override]  # the types of arguments that are only passed on
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's; in the process of the context."""
        if context is None:  # an empty one is false, and somebody's
            context = contextvars.copy_context()
        process = context.get(CURRENT)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        mine = Callback(callback, args, context)
        mine.handle = super().call_soon(process.run, mine, context=context)
        return mine.handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's; in the process of the context."""
        if context is None:  # an empty one is false, and somebody's
            context = contextvars.copy_context()
        process = context.get(CURRENT)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        mine = Callback(callback, args, context)
        timer = super().call_at(when, process.run, mine, context=context)
        mine.handle = timer
        return timer

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> NumberedTask:
        task = NumberedTask.__new__(NumberedTask)
        self._tasks_made += 1
        task.number = self._tasks_made
        task.__init__(coroutine, loop=loop, **options)  # type: ignore[misc]  # hashed already while it is made
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # what dies is destroyed while it is pending
        context: contextvars.Context | None = options.get("context")
        process = (contextvars.copy_context() if context is None else context).get(CURRENT)
        if process is not None:
            process.keep(task)
        return task
