"""One process: its tasks, its signals, its end.

Side tasks are named and watched: one that dies ends the process, loudly, and whoever supervises it starts it again.
The first SIGTERM or SIGINT asks for a stop, the second skips the wait. A process whose supervisor is gone (its
standard input, a pipe from the supervisor, ends) stops as well, so that no orphan holds a port or a database.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from mesh import telemetry
from mesh.settings import Settings, load_settings_or_exit

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# So many new objects until the garbage collector looks among them. What is under way at once (calls, sagas) lives for
# milliseconds and is freed without it; with Python's 700 it looks through all of that again and again, for nothing.
GARBAGE_AFTER = 20_000


class Lifecycle:
    """The tasks of one process, and when it shall stop."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def spawn(self, name: str, task: Coroutine[Any, Any, None]) -> None:
        """Runs a side task until the process ends. Where it raises, the process ends."""
        running = asyncio.create_task(task, name=name)
        self._tasks.add(running)
        running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %r died: %s", task.get_name(), error, exc_info=error)
            if not self._failed.done():
                self._failed.set_exception(error)

    async def stopped(self) -> None:
        """Returns when the process was asked to stop; raises where a side task died."""
        stop = asyncio.create_task(self.stopping.wait(), name="stopping")
        try:
            waiting: set[asyncio.Future[Any]] = {stop, self._failed}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
        finally:
            stop.cancel()

    async def end_tasks(self) -> None:
        """Cancels what still runs and waits for it."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run_part(name: str, main: Callable[[Settings, Lifecycle], Awaitable[None]]) -> None:
    """Runs the process of a part to its end, with its settings from the environment, and its log on standard error."""
    settings = load_settings_or_exit()
    telemetry.configure_logging(name, settings.log_level)
    run(lambda life: main(settings, life))


def run(main: Callable[[Lifecycle], Awaitable[None]]) -> None:
    """Runs one process to its end, with uvloop where there is one; a failure ends it with status 1."""
    spare_the_collector()
    with runner() as running:
        try:
            running.run(_run(main))
        except Exception as error:
            log.critical("ended by %s: %s", type(error).__name__, error)
            sys.exit(1)


def spare_the_collector() -> None:
    """Takes what the imports made, which never goes, out of the garbage collector's rounds, and makes them rarer.

    Measured on an orchestrator with 64 sagas at a time: a few hundredths of its CPU, less than the noise of a run.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)


def runner() -> asyncio.Runner:
    """With the event loop of every part of the mesh: uvloop's, where there is one."""
    try:
        import uvloop
    except ImportError:  # no wheel for this platform
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _run(main: Callable[[Lifecycle], Awaitable[None]]) -> None:
    life = Lifecycle()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, _stop, life)
    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
            loop.add_reader(sys.stdin.fileno(), _supervisor_gone, life)
    try:
        await main(life)
    finally:
        await life.end_tasks()


def _stop(life: Lifecycle) -> None:
    if life.stopping.is_set():
        os._exit(1)  # asked twice: nothing is lost, the ledgers know what was done
    life.stopping.set()


def _supervisor_gone(life: Lifecycle) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        life.stopping.set()
