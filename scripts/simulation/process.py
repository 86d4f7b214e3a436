"""A simulated process: all that runs in it, and what a kill, a pause and a crash at any await do to it.

Whatever a coroutine, a timer or a callback starts inherits its context, and a context variable there names the process.
So the loop (scripts.simulation.loop) knows of each callback whose it is, and that is all that it takes:

    running    its callbacks run
    paused     they are kept, in order, as after SIGSTOP; `resume` runs them
    dead       they are dropped: no `finally` runs, no `except CancelledError`, as after SIGKILL

Between two callbacks of a process lies an await, so to die at the n-th callback is to die at any await.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)

# Of what the world does, which is done for no process.
NOBODY = contextvars.Context()


class State(Enum):
    """What a process does."""

    RUNNING = "running"
    PAUSED = "paused"
    DEAD = "dead"


class Callback:
    """Something that the loop shall run in a process; it may be parked, and cancelled while it is."""

    __slots__ = ("arguments", "call", "context", "handle")

    def __init__(self, call: Callable[..., Any], arguments: tuple[Any, ...], context: contextvars.Context) -> None:
        self.call = call
        self.arguments = arguments
        self.context = context
        self.handle: asyncio.Handle | None = None

    def run_unless_cancelled(self) -> None:
        """For one that was parked: what ran before it may have cancelled it."""
        if self.handle is None or not self.handle.cancelled():
            self.call(*self.arguments)


class Process:
    """One incarnation of a part. A restart makes a new one."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.state = State.RUNNING
        self.callbacks = 0  # that were run
        self.dies_at = 0  # at this one; 0: at none
        self.died: Callable[[], None] = lambda: None  # told of a crash
        self.context = contextvars.Context()
        self.context.run(CURRENT.set, self)
        self._parked: list[Callback] = []
        # Nobody else holds what is dead, and where the garbage collector finds a coroutine its `finally` runs.
        self._keeps: list[asyncio.Task[Any]] = []
        self._keeps_max = 256

    def __repr__(self) -> str:
        return f"{self.name}#{self.number}"

    @property
    def alive(self) -> bool:
        """Whether it has not been killed; a paused one is alive."""
        return self.state is not State.DEAD

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Runs a coroutine in the process."""
        return asyncio.get_running_loop().create_task(coroutine, name=name, context=self.context.copy())

    def run(self, callback: Callback) -> None:
        """Runs a callback, keeps it for later, or drops it. For the loop."""
        if self.state is State.RUNNING:
            self.callbacks += 1
            if self.callbacks == self.dies_at:
                self.kill()
                self.died()
                return
            callback.handle = None  # which holds the callback: a circle for the garbage collector
            callback.call(*callback.arguments)
        elif self.state is State.PAUSED:
            self._parked.append(callback)

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Holds a task until the simulation ends."""
        self._keeps.append(task)
        if len(self._keeps) > self._keeps_max:
            self._keeps = [one for one in self._keeps if not one.done()]
            self._keeps_max = 256 + 2 * len(self._keeps)

    def kill(self) -> None:
        """As SIGKILL does."""
        self.state = State.DEAD
        self._parked.clear()

    def pause(self) -> None:
        """As SIGSTOP does; nothing, where it is dead."""
        if self.alive:
            self.state = State.PAUSED

    def resume(self) -> None:
        """As SIGCONT does; nothing, where it is not paused."""
        if self.state is State.PAUSED:
            self.state = State.RUNNING
            loop = asyncio.get_running_loop()
            parked, self._parked = self._parked, []
            for callback in parked:
                loop.call_soon(callback.run_unless_cancelled, context=callback.context)
