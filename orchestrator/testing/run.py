"""One run of a test: the saga, the script beside it, and what fails the test."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from mesh.virtual_time import VirtualTimeLoop
from orchestrator.journal import Journal
from orchestrator.testing.local_engine import LocalEngine
from orchestrator.testing.saga_result import story_of

Action = Callable[[], Any]


class NotEnded(AssertionError):
    """The saga has neither ended nor stalled in the (virtual) time that it was given."""


class Run:
    """One run: the saga, the script beside it, and what fails the test."""

    def __init__(self, saga_id: str, engine: LocalEngine) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.loop = loop
        self.saga_id = saga_id
        self.engine = engine
        self._failed: asyncio.Future[None] = self.loop.create_future()
        self._actions: set[asyncio.Task[None]] = set()

    def do(self, after_s: float, action: Action) -> None:
        """Does an action of the script, later."""

        async def act() -> None:
            await asyncio.sleep(after_s)
            done = action()
            if inspect.isawaitable(done):
                await done

        task = self.loop.create_task(act(), name=f"script, after {after_s} s")
        self._actions.add(task)
        task.add_done_callback(self._acted)

    def _acted(self, task: asyncio.Task[None]) -> None:
        self._actions.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Fails the test."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def rests(self, within_s: float) -> Journal:
        """The saga once it has ended or stalls, and the script is through."""
        resting = asyncio.create_task(self._rests(), name="the test")
        try:
            ends: set[asyncio.Future[Any]] = {resting, self._failed}
            await asyncio.wait(ends, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            if not resting.done():
                story = story_of(await self.engine.engine.get(self.saga_id), within_s)
                raise NotEnded(f"{story}\nand its tasks:\n{self.loop.waiting()}")
            return resting.result()
        finally:
            resting.cancel()

    async def _rests(self) -> Journal:
        while True:
            journal = await self.engine.comes_to_rest(self.saga_id)
            if not self._actions:
                return journal
            await asyncio.wait(set(self._actions))

    async def end(self) -> None:
        """Ends what is left."""
        for task in set(self._actions):
            task.cancel()
        await asyncio.gather(*self._actions, return_exceptions=True)
        self._failed.cancel()
