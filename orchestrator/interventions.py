"""How others take a hand in a saga: cancel it, set it going again, take it, let it go.

Each is a change of what the saga is, under its lock, from the look at its state to the commit and the run that follow;
in a task of its own, as a caller who gives up in between must not leave a saga that is durable and that nobody drives.
A saga that is not driven here is taken, from whomever: to take one from a live orchestrator costs some calls twice and
does no harm (orchestrator.leases).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from google.rpc import error_details_pb2
from sqlalchemy import Connection

from ensemble.orchestrator.v1.orchestrator_pb2 import CancelVerdict
from mesh.changes import Changes
from mesh.contract import Contract, Method
from mesh.database import Database
from mesh.errors import NotFound, OutOfOrder
from mesh.projection import project
from mesh.shielding import to_its_end
from orchestrator import store
from orchestrator.admission import Admission
from orchestrator.asking import Tell
from orchestrator.engine_port import EnginePort
from orchestrator.journal import (
    CHOREOGRAPHED,
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    GOING,
    ORCHESTRATED,
    RUNNING,
    STALLED,
    Journal,
    SagaStatus,
)
from orchestrator.runs import Runs
from orchestrator.store import Damaged
from orchestrator.workflow import Workflows

Change = Callable[[Journal], None]


class Undecided(OutOfOrder):
    """A cancellation was acknowledged that nobody would remember if the orchestrator let go now."""


class Interventions:
    """What may be asked of the sagas of one engine. For use on one event loop."""

    def __init__(
        self,
        engine: EnginePort,
        owner: str,
        runs: Runs,
        admission: Admission,
        workflows: Workflows,
        database: Database,
        changes: Changes,
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._runs = runs
        self._admission = admission
        self._workflows = workflows
        self._database = database
        self._changes = changes
        self._acting: set[asyncio.Task[Any]] = set()

    async def cancel(self, saga_id: str) -> Journal:
        """Asks for a saga's no-go side; durable when it returns, in the journal or in the ledger of the pivot."""

        def change(journal: Journal) -> None:
            if journal.ended or journal.style == CHOREOGRAPHED:
                return
            journal.cancelling = True
            journal.refusal = journal.refusal or error_details_pb2.ErrorInfo(reason="CANCELLED").SerializeToString()
            if journal.status == STALLED:
                _set_going(journal, COMPENSATING)

        async def act() -> Journal:
            journal = await self._change(saga_id, change)
            if (run := self._runs.get(saga_id)) is not None:
                run.cancel()
            return journal

        journal = await self._exclusively(saga_id, act())
        # Seen under the lock: one that is handed over meanwhile has nobody who would remember the flag.
        if not journal.ended and journal.style == CHOREOGRAPHED:
            return await self._cancel_choreographed(journal)
        return journal

    async def _cancel_choreographed(self, journal: Journal) -> Journal:
        """Calls the aborting method; its event does the rest. A refusal says that the pivot had decided for go."""
        aborting = self._aborting(journal)
        request = project(aborting.request_class, journal.starting_event())
        nobody: Tell = lambda _: None  # noqa: E731
        answer = await self._engine.participants.ask(aborting, request.SerializeToString(), None, nobody, nobody)
        if answer.refusal is None and not journal.ended:
            journal.status = COMPENSATING  # as the tracker will write
        return journal

    async def retry(self, saga_id: str) -> Journal:
        """Sets a stalled saga going again; see Engine.retry."""

        def change(journal: Journal) -> None:
            if journal.status != STALLED:
                raise OutOfOrder(f"saga {saga_id} is not stalled but {SagaStatus.Name(journal.status)}")
            if journal.style == CHOREOGRAPHED:
                self._make_orchestrated(journal)
            # One that was refused goes on from its start: the refusal is in the journal and leads it back again.
            _set_going(journal, COMPENSATING if journal.cancelling else RUNNING)

        async def act() -> Journal:
            await self._mend(saga_id)
            return await self._change(saga_id, change)

        return await self._exclusively(saga_id, act())

    async def adopt(self, saga_id: str) -> Journal:
        """Drives a choreographed saga from now on."""

        def change(journal: Journal) -> None:
            if not journal.ended and journal.style == CHOREOGRAPHED:
                self._make_orchestrated(journal)

        return await self._exclusively(saga_id, self._change(saga_id, change))

    async def let_go(self, saga_id: str) -> Journal:
        """Drives a saga no longer, and marks it as choreographed."""

        def change(journal: Journal) -> None:
            if journal.ended or journal.style == CHOREOGRAPHED:
                return
            self.check_choreography(journal)
            if self.awaits_pivot(journal):
                raise Undecided(f"saga {saga_id} is being cancelled; hand it over once that is decided")
            back = journal.status == COMPENSATING or self._is_turned_back(journal)
            journal.style, journal.cancelling = CHOREOGRAPHED, False
            _set_going(journal, COMPENSATING if back else RUNNING)

        async def act() -> Journal:
            if (run := self._runs.get(saga_id)) is not None:
                change(replace(run.journal))  # where it is refused, the run goes on
            await self._runs.stop(saga_id)
            return await self._change(saga_id, change)

        return await self._exclusively(saga_id, act())

    async def close(self) -> None:
        """Returns once nothing is being changed any more."""
        await asyncio.gather(*self._acting, return_exceptions=True)

    def verdict(self, journal: Journal) -> CancelVerdict.ValueType:
        """What became of a cancellation that was asked for, as far as that is known."""
        if journal.status == COMPENSATED or self._is_turned_back(journal):
            return CancelVerdict.CANCEL_VERDICT_CANCELLED
        # Asked for, and forgotten since, or refused: the pivot had decided for go. A choreographed saga that stalls
        # was asked for its decision like one that gets on.
        open_ = journal.status == RUNNING or (journal.status == STALLED and journal.style == CHOREOGRAPHED)
        if journal.status == COMPLETED or (open_ and not journal.cancelling):
            return CancelVerdict.CANCEL_VERDICT_TOO_LATE
        return CancelVerdict.CANCEL_VERDICT_UNSPECIFIED

    def awaits_pivot(self, journal: Journal) -> bool:
        """Whether a cancellation was asked for that only the orchestrator knows of: its pivot has not decided yet."""
        return journal.cancelling and not journal.ended and not self._is_turned_back(journal)

    def check_choreography(self, journal: Journal) -> None:
        """Raises OutOfOrder where nobody would go on with a saga that is let go of, or tell its parent."""
        if journal.parent:
            raise OutOfOrder(
                f"saga {journal.saga_id} was started by saga {journal.parent}, which waits for its end at the "
                "orchestrator; so it stays there"
            )
        process = self._engine.contract.processes.get(journal.process)
        if process is None or not process.methods or process.aborting is None:
            raise OutOfOrder(
                f"process {journal.process!r} is orchestrated only: no choreography leads from its starting event to a "
                f"pivot, so saga {journal.saga_id} stays with the orchestrator; `ensemble graph` shows what there is"
            )

    def _make_orchestrated(self, journal: Journal) -> None:
        journal.starting_event()
        # What the tracker saw are no answers: the ledgers have those.
        journal.steps.clear()
        journal.style = ORCHESTRATED
        journal.version = self._workflows.newest(journal.process).version
        _set_going(journal, RUNNING)

    async def _change(self, saga_id: str, change: Change) -> Journal:
        """Changes what a saga is, durably, and drives it where it is to be driven and nobody here does.

        Raises NotFound, OutOfOrder for a damaged saga, and what `change` raises, and then nothing is changed.
        """
        run = self._runs.get(saga_id)
        if run is not None and run.journal.status in GOING:
            change(run.journal)
            self._engine.note(run.journal)
            await self._engine.flushed()
            if saga_id in self._runs:
                return run.journal  # otherwise it has ended meanwhile, or was lost, and nothing was written
        with self._runs.changing(saga_id):
            await self._runs.stop(saga_id)  # a run that has ended, and may still be being written
            self._admission.remove(saga_id)
            await self._engine.flushed()
            try:
                journal = await self._database.run(lambda tx: self._take(tx, saga_id, change))
            except Damaged as damage:
                raise OutOfOrder(f"{damage}; `ensemble saga retry {saga_id}` tries to mend it") from None
            self._changes.changed(saga_id)
            if journal.driven:
                self._runs.drive(journal)
            return journal

    def _take(self, tx: Connection, saga_id: str, change: Change) -> Journal:
        journal = store.load(tx, saga_id, lock=True)
        if journal is None:
            raise NotFound(f"no saga {saga_id}; ListSagas shows those there are")
        before, had_steps = replace(journal), bool(journal.steps)
        change(journal)
        if had_steps and not journal.steps:
            store.delete_steps(tx, [saga_id])
        if journal != before:  # by which those see it who watch it at other orchestrators
            journal.updated_us = self._engine.clock.now_us()
        journal.owner, journal.due_us = (self._owner if journal.driven else None), None
        store.put_saga(tx, journal)
        return journal

    async def _mend(self, saga_id: str) -> None:
        """Forgets the damaged steps of a saga; raises OutOfOrder where the saga's own row is damaged."""

        def work(tx: Connection) -> None:
            try:
                store.load(tx, saga_id, lock=True)
            except Damaged:
                store.delete_damaged_steps(tx, saga_id)
                store.load(tx, saga_id, lock=True)

        try:
            await self._database.run(work)
        except Damaged as damage:
            shown = store.damaged_journal(damage)
            raise OutOfOrder(f"{shown.stalled_reason}; {shown.stalled_help}") from None

    async def _exclusively(self, saga_id: str, action: Coroutine[Any, Any, Journal]) -> Journal:
        async def act() -> Journal:
            async with self._runs.lock(saga_id):
                return await action

        task = asyncio.create_task(act(), name=f"change saga {saga_id}")
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)
        return await to_its_end(task)

    def _aborting(self, journal: Journal) -> Method:
        aborting = _aborting_in(self._engine.contract, journal)
        if aborting is None:
            raise OutOfOrder(f"process {journal.process!r} has no method that aborts it")
        return aborting

    def _is_turned_back(self, journal: Journal) -> bool:
        """Whether the pivot has decided for no-go; without a pivot, whether the way back has begun."""
        if journal.status not in (COMPENSATING, STALLED):
            return False
        aborting = _aborting_in(self._engine.contract, journal)
        if journal.status == COMPENSATING and (aborting is None or journal.style == CHOREOGRAPHED):
            return True
        step = journal.steps.get((aborting.full_name, "")) if aborting is not None else None
        return step is not None and step.done


def _aborting_in(contract: Contract, journal: Journal) -> Method | None:
    process = contract.processes.get(journal.process)
    return process.aborting if process is not None else None


def _set_going(journal: Journal, status: SagaStatus.ValueType) -> None:
    journal.status = status
    journal.stalled_reason = journal.stalled_help = ""
