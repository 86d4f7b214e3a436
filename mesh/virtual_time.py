"""An event loop whose time is virtual: a week's sleep takes microseconds.

As soon as nothing is ready to run, the time jumps to the next timer, as in trio's `MockClock(autojump_threshold=0)`
and, for asyncio, in looptime (https://github.com/nolar/looptime). Code takes no time at all, only sleeping does, and
where there is nothing to sleep for either, the loop says what waits instead of hanging.

For tests and simulation, in one thread: nothing outside the loop can wake it. Who sleeps by the loop (asyncio.sleep,
asyncio.timeout, call_later) sleeps in virtual time; `time.time()` and its kin do not know of it, so code under test
takes a mesh.clock.LoopClock.

The order of what runs follows from the program alone, as far as the program does not iterate over a set of tasks.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

# What a coroutine, a generator or an asynchronous generator waits for, by the prefix of its attributes.
_AWAITS = {"cr": "cr_await", "gi": "gi_yieldfrom", "ag": "ag_await"}
# Timers this close to each other are due together. Far above the error of a float that counts centuries of seconds.
RESOLUTION_S = 1e-6


class Deadlock(RuntimeError):
    """Nothing is ready, no timer runs, and nothing outside the loop can come: who waits would wait for ever."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop of its own time, in seconds. It begins at `start_s` and stands still while anything is ready."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s
        super().__init__(_Jumping(self._jump))
        self._clock_resolution = RESOLUTION_S

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def waiting(self) -> str:
        """Its tasks, a line each, and where they wait."""
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        return "\n".join(f"- {task.get_name()} waits in {_place(task)}" for task in tasks)

    def run_in_executor(self, *_: Any) -> NoReturn:  # type: ignore[override]  # takes all, as it refuses all
        """Refuses: a thread takes real time, in which virtual time would run away from it."""
        raise RuntimeError("no threads on a loop of virtual time: run it inline, or take an ordinary loop")

    def _jump(self, timeout_s: float | None) -> None:
        if timeout_s is None:
            raise Deadlock(f"{Deadlock.__doc__}\n{self.waiting()}")
        self._now_s += timeout_s


class _Jumping(selectors.BaseSelector):
    """A selector that never waits, but lets the time jump by what it was to wait for.

    It does not look at files either, of which the loop has its own only: asking the system is what costs most here.
    """

    def __init__(self, jump: Callable[[float | None], None]) -> None:
        self._real = selectors.DefaultSelector()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """No file: none is ever ready."""
        if timeout != 0:
            self._jump(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As any selector."""
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As any selector."""
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """As any selector."""
        return self._real.get_map()

    def close(self) -> None:
        """As any selector."""
        self._real.close()


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine function to its end on a loop of virtual time of its own; raises Deadlock."""
    with runner() as made:
        return made.run(main())


def runner(start_s: float = 0.0) -> asyncio.Runner:
    """A runner with a loop of virtual time, for those who run several coroutines, one after the other."""
    return asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(start_s))


def _place(task: asyncio.Task[Any]) -> str:
    """Where a task is suspended: the innermost of the coroutines and generators that await each other."""
    innermost = "(it has not begun)"
    awaited: Any = task.get_coro()
    while (kind := next((kind for kind in _AWAITS if hasattr(awaited, f"{kind}_frame")), None)) is not None:
        if (frame := getattr(awaited, f"{kind}_frame")) is not None:
            innermost = f"{frame.f_code.co_qualname}, {frame.f_code.co_filename}:{frame.f_lineno}"
        awaited = getattr(awaited, _AWAITS[kind])
    return innermost
