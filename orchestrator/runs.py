"""The sagas that this process drives now, each by one run.

    admitted ── driven ──┬─ ended, stalled ── written ──▶ gone
        ▲                ├─ only waits ── parked, due later (orchestrator.leases) ──▶ gone
        └─ its turn      ├─ stopped: somebody here changes who drives it ──▶ gone
                         └─ lost: another orchestrator has taken it ──▶ gone

Until a run is gone its saga is read from memory; then from the tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import WeakValueDictionary

from google.protobuf.message import Message
from sqlalchemy import Connection

from mesh import telemetry
from mesh.changes import Changes
from mesh.database import Database
from mesh.errors import Unavailable
from orchestrator import leases
from orchestrator.admission import Admission
from orchestrator.engine_port import EnginePort
from orchestrator.journal import GOING, RUNNING, Journal
from orchestrator.run import Run
from orchestrator.workflow import Workflows
from orchestrator.write_behind import AGAIN, WriteBehind

log = logging.getLogger(__name__)


class Runs:
    """The runs of one engine. For use on one event loop."""

    def __init__(
        self,
        engine: EnginePort,
        owner: str,
        workflows: Workflows,
        admission: Admission,
        behind: WriteBehind,
        database: Database,
        changes: Changes,
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._workflows = workflows
        self._admission = admission
        self._behind = behind
        self._database = database
        self._changes = changes
        self._runs: dict[str, tuple[Run, asyncio.Task[None]]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._changing: set[str] = set()
        self.something_is_due = asyncio.Event()  # wakes whoever claims (orchestrator.recovery)

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, saga_id: str) -> bool:
        return saga_id in self._runs

    def get(self, saga_id: str) -> Run | None:
        """The run of a saga."""
        known = self._runs.get(saga_id)
        return known[0] if known else None

    def going(self) -> set[str]:
        """The ids of the sagas that are on their way."""
        return {saga_id for saga_id, (run, _) in self._runs.items() if run.journal.status in GOING}

    def journals(self) -> list[Journal]:
        """All that is driven here, as it stands."""
        return [run.journal for run, _ in self._runs.values()]

    def lock(self, saga_id: str) -> asyncio.Lock:
        """Whoever changes who drives a saga, or what is asked of it, holds its lock."""
        return self._locks.setdefault(saga_id, asyncio.Lock())

    @contextlib.contextmanager
    def changing(self, saga_id: str) -> Iterator[None]:
        """Whoever changes what a saga is in the tables drives it afterwards; until then nobody else here does."""
        self._changing.add(saga_id)
        try:
            yield
        finally:
            self._changing.discard(saga_id)

    def claimed(self, journal: Journal) -> None:
        """Drives a saga that was due, unless somebody here does, or will: two runs would not know of each other."""
        if journal.saga_id not in self._runs and journal.saga_id not in self._changing:
            self.drive(journal)

    def knows(self, saga_id: str) -> bool:
        """Whether somebody here takes care of a saga: it is driven, waits for its turn, or is being changed."""
        return saga_id in self._runs or saga_id in self._locks or self._admission.find(saga_id) is not None

    def in_turn(self, journal: Journal, event: Message) -> None:
        """Drives a saga that was admitted, now or when there is room."""
        if self._admission.has_room(len(self._runs)):
            self.drive(journal, event, telemetry.current_trace())
        else:
            self._admission.wait(journal)

    def drive(self, journal: Journal, event: Message | None = None, trace: str = "") -> None:
        """Drives a saga now. `event` and `trace` as in Run."""
        run = Run(journal, self._workflows.of(journal.process, journal.version), self._engine, event, trace)
        task = asyncio.create_task(self._run(run), name=f"saga {journal.saga_id}")
        self._runs[journal.saga_id] = (run, task)

    async def stop(self, saga_id: str) -> None:
        """Ends a run where it is: calls under way are left in doubt, for whoever drives the saga next."""
        if saga_id in self._runs:
            run, task = self._runs.pop(saga_id)
            run.left()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stop_all(self) -> None:
        """Ends all runs."""
        for saga_id in list(self._runs):
            await self.stop(saga_id)

    def lost(self, saga_ids: Iterable[str]) -> None:
        """Others have taken these sagas: their runs here end, and write nothing more."""
        for saga_id in set(saga_ids) & self.going():
            log.info("saga %s is run by another orchestrator now", saga_id)
            run, task = self._runs.pop(saga_id)
            run.left()
            task.cancel()

    async def _run(self, run: Run) -> None:
        while True:
            await run.to_the_end()
            await self._behind.written()  # until then the state is read from memory
            if run.parked is None or await self._park(run):
                break
        self._gone(run)

    async def _park(self, run: Run) -> bool:
        """Leaves a saga to the tables until it is due; False where it was cancelled meanwhile, and has to go on."""
        journal, park = run.journal, run.parked
        assert park is not None
        async with self.lock(journal.saga_id):
            if journal.cancelling and journal.status == RUNNING:
                return False
            now_us = self._engine.clock.now_us()
            await self._surely(
                lambda tx: leases.park(tx, self._owner, journal.saga_id, park.until_us, park.names, now_us)
            )
            self._gone(run)
        self.something_is_due.set()  # the claimer looks anew when the next one is
        self._changes.changed(journal.saga_id)
        return True

    async def _surely(self, work: Callable[[Connection], Any]) -> None:
        """Runs a work that may run twice, until the database takes it."""
        for delay_s in AGAIN.delays():
            try:
                await self._database.run(work)
                return
            except Unavailable as error:
                log.warning("a saga cannot be parked now: %s", error)
                await asyncio.sleep(delay_s)

    def _gone(self, run: Run) -> None:
        run.left()
        if self.get(run.journal.saga_id) is run:
            del self._runs[run.journal.saga_id]
        while self._admission.has_room(len(self._runs)) and (waiting := self._admission.next()) is not None:
            self.drive(waiting)
