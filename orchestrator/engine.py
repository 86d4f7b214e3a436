"""Starts sagas, runs them on after a restart, and lets others take a hand in them.

Each saga is driven by at most one run (orchestrator.run) of this process. Whatever changes who drives it, or what is
asked of it, holds the saga's lock from its look at the state to the commit and the run that follow, in a task of the
engine's own: a caller who gives up in between must not leave a saga that is durable and that nobody drives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from mesh import identity, validation
from mesh.changes import Changes
from mesh.contract import Contract, Method
from mesh.database import Database
from mesh.errors import AlreadyExists, Invalid, NotFound, OutOfOrder, Overloaded
from mesh.projection import project
from orchestrator import store
from orchestrator.journal import GOING, Journal, SagaStatus, StepStatus, Style, now_us, pack
from orchestrator.participants import Participants
from orchestrator.run import Run
from orchestrator.store import WriteBehind
from orchestrator.workflow import Workflow

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_AFTER_S = 0.5


class Engine:
    """Drives the sagas of one process. Its methods belong to one event loop."""

    def __init__(
        self,
        contract: Contract,
        workflows: dict[str, Workflow],
        participants: Participants,
        database: Database,
        changes: Changes,
        *,
        sagas_max: int,
    ) -> None:
        self._contract = contract
        self._workflows = workflows
        self._participants = participants
        self._database = database
        self._changes = changes
        self._sagas_max = sagas_max
        self._behind = WriteBehind(database)
        self._runs: dict[str, tuple[Run, asyncio.Task[None]]] = {}
        self._starting = 0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._acting: set[asyncio.Task[Any]] = set()

    async def write_for_ever(self) -> None:
        """Writes the journal behind. A side task of the process."""
        await self._behind.run()

    async def flushed(self) -> None:
        """Returns once all that is known is committed."""
        await self._behind.flushed()

    async def recover(self) -> int:
        """Runs on all sagas that had not ended; returns how many."""
        ids = await self._database.run(store.going)
        for saga_id in ids:
            await self._exclusively(saga_id, self._resume(saga_id))
        return len(ids)

    async def close(self) -> None:
        """Lets go of all sagas; they are run on after the next start."""
        await asyncio.gather(*self._acting, return_exceptions=True)
        for saga_id in list(self._runs):
            await self._stop(saga_id)

    async def get(self, saga_id: str) -> Journal:
        """A saga as it stands; raises NotFound."""
        journal = await self._find(saga_id)
        if journal is None:
            raise NotFound(f"no saga {saga_id}; ListSagas shows those there are")
        return journal

    def starting_event(self, journal: Journal) -> Message:
        """The starting event of a saga; raises OutOfOrder where it was not seen."""
        if not journal.input:
            raise OutOfOrder(f"the starting event of saga {journal.saga_id} was not seen yet; try again")
        return journal.input_as(self._workflow(journal.process).input_class)

    async def start(self, process: str, packed: any_pb2.Any) -> Journal:
        """Starts a saga and returns once that is durable; the saga as it stands where it was started before.

        Raises NotFound, Invalid, AlreadyExists (this id with another input) and Overloaded.
        """
        event = self._unpack(process, packed)
        saga_id = identity.saga_id(event)
        return await self._exclusively(saga_id, self._start(saga_id, process, event))

    async def cancel(self, saga_id: str) -> Journal:
        """Asks for the no-go side, durably. For a choreographed saga the aborting method is called at once."""
        journal = await self.get(saga_id)
        if not journal.ended and journal.style == Style.STYLE_CHOREOGRAPHED:
            # A refusal says that the pivot had decided for go: the saga goes on, and its state tells so.
            aborting = self._aborting(journal)
            request = project(aborting.request_class, self.starting_event(journal))
            await self._participants.ask(aborting, request.SerializeToString(), None, lambda _: None)
            return journal
        return await self._exclusively(saga_id, self._cancel(saga_id))

    async def retry(self, saga_id: str) -> Journal:
        """Sets a stalled saga going again, a choreographed one by adopting it; raises OutOfOrder otherwise."""
        return await self._exclusively(saga_id, self._retry(saga_id))

    async def adopt(self, saga_id: str) -> Journal:
        """Drives a choreographed saga from now on: finished steps answer from their ledgers."""
        return await self._exclusively(saga_id, self._adopt(saga_id))

    async def let_go(self, saga_id: str) -> Journal:
        """Drives a saga no longer, and marks it as choreographed. Calls under way are left in doubt.

        Raises OutOfOrder while a cancellation is not decided: it was acknowledged, and must not be forgotten.
        """
        return await self._exclusively(saga_id, self._let_go(saga_id))

    # Under the saga's lock

    async def _start(self, saga_id: str, process: str, event: Message) -> Journal:
        known = await self._find(saga_id)
        if known is None:
            if len(self._runs) + self._starting >= self._sagas_max:
                raise Overloaded(f"{self._sagas_max} sagas run already, as many as may; try again", RETRY_AFTER_S)
            journal = Journal(saga_id, process, Style.STYLE_ORCHESTRATED, pack(event))
            self._starting += 1
            try:
                await self._database.run(lambda tx: store.add_saga(tx, journal))
            finally:
                self._starting -= 1
            self._drive(journal)
            return journal
        if known.input and identity.digest(self.starting_event(known)) != identity.digest(event):
            raise AlreadyExists(f"saga {saga_id} was started with another input; use another id", reason="SAGA_EXISTS")
        return known

    async def _resume(self, saga_id: str) -> None:
        journal = await self._find(saga_id)
        if journal is not None and journal.status in GOING and saga_id not in self._runs:
            self._drive(journal)

    async def _cancel(self, saga_id: str) -> Journal:
        journal = await self.get(saga_id)
        if journal.ended:
            return journal
        journal.cancelling = True
        journal.refusal = journal.refusal or error_details_pb2.ErrorInfo(reason="CANCELLED").SerializeToString()
        if journal.status == SagaStatus.SAGA_STATUS_STALLED:
            return await self._go_on(journal, SagaStatus.SAGA_STATUS_COMPENSATING)
        await self._write(journal)
        if saga_id in self._runs:
            self._runs[saga_id][0].cancel.set()
        return journal

    async def _retry(self, saga_id: str) -> Journal:
        journal = await self.get(saga_id)
        if journal.status != SagaStatus.SAGA_STATUS_STALLED:
            raise OutOfOrder(f"saga {saga_id} is not stalled but {SagaStatus.Name(journal.status)}")
        if journal.style == Style.STYLE_CHOREOGRAPHED:
            return await self._adopt(saga_id)
        return await self._go_on(journal, SagaStatus.SAGA_STATUS_RUNNING)

    async def _adopt(self, saga_id: str) -> Journal:
        journal = await self.get(saga_id)
        if journal.ended or journal.style == Style.STYLE_ORCHESTRATED:
            return journal
        self.starting_event(journal)
        # What the tracker saw are no answers: the ledgers have those.
        journal.steps = {}
        self._behind.forget_steps(saga_id)
        return await self._go_on(journal, SagaStatus.SAGA_STATUS_RUNNING)

    async def _let_go(self, saga_id: str) -> Journal:
        journal = await self.get(saga_id)
        if journal.ended or journal.style == Style.STYLE_CHOREOGRAPHED:
            return journal
        if journal.cancelling and not self._is_decided(journal):
            raise OutOfOrder(f"saga {saga_id} is being cancelled; hand it over once that is decided")
        await self._stop(saga_id)
        journal.style = Style.STYLE_CHOREOGRAPHED
        if journal.status == SagaStatus.SAGA_STATUS_STALLED:
            journal.status = SagaStatus.SAGA_STATUS_RUNNING
            journal.stalled_reason = journal.stalled_help = ""
        await self._write(journal)
        return journal

    async def _go_on(self, journal: Journal, status: SagaStatus.ValueType) -> Journal:
        await self._stop(journal.saga_id)  # a run that has stalled may still be writing
        journal.style, journal.status = Style.STYLE_ORCHESTRATED, status
        journal.stalled_reason = journal.stalled_help = ""
        await self._write(journal)
        self._drive(journal)
        return journal

    async def _write(self, journal: Journal) -> None:
        """Commits a saga's state, behind whatever of it is still to be written, and tells those who watch."""
        journal.updated_us = now_us()
        self._behind.saga(journal)
        await self._behind.flushed()
        self._changes.changed(journal.saga_id)

    def _drive(self, journal: Journal) -> None:
        workflow = self._workflow(journal.process)
        run = Run(journal, workflow, self._contract, self._participants, self._behind, self._changes.changed)
        task = asyncio.create_task(self._run(run), name=f"saga {journal.saga_id}")
        self._runs[journal.saga_id] = (run, task)

    async def _run(self, run: Run) -> None:
        await run.to_the_end()
        await self._behind.flushed()  # until then the state is read from memory
        if self._runs.get(run.journal.saga_id, (None,))[0] is run:
            del self._runs[run.journal.saga_id]

    async def _stop(self, saga_id: str) -> None:
        if saga_id in self._runs:
            _, task = self._runs.pop(saga_id)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _exclusively(self, saga_id: str, action: Coroutine[Any, Any, T]) -> T:
        lock = self._locks.setdefault(saga_id, asyncio.Lock())

        async def act() -> T:
            async with lock:
                return await action

        task = asyncio.create_task(act(), name=f"change saga {saga_id}")
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)
        return await asyncio.shield(task)

    # What a saga is about

    async def _find(self, saga_id: str) -> Journal | None:
        if saga_id in self._runs:
            return self._runs[saga_id][0].journal
        return await self._database.run(lambda tx: store.load(tx, saga_id))

    def _workflow(self, process: str) -> Workflow:
        if process not in self._workflows:
            known = ", ".join(sorted(self._workflows)) or "none"
            raise NotFound(f"no workflow for process {process!r}; there are: {known}")
        return self._workflows[process]

    def _aborting(self, journal: Journal) -> Method:
        process = self._contract.processes.get(journal.process)
        if process is None or process.aborting is None:
            raise OutOfOrder(f"process {journal.process!r} has no method that aborts it")
        return process.aborting

    def _is_decided(self, journal: Journal) -> bool:
        """Whether the aborting method has answered."""
        step = journal.steps.get((self._aborting(journal).full_name, ""))
        return step is not None and step.status in (StepStatus.STEP_STATUS_DONE, StepStatus.STEP_STATUS_REFUSED)

    def _unpack(self, process: str, packed: any_pb2.Any) -> Message:
        expected = self._workflow(process).input_class
        if packed.TypeName() != expected.DESCRIPTOR.full_name:
            name = packed.TypeName()
            raise Invalid(
                [("input", f"{process} starts with a {expected.DESCRIPTOR.full_name}, not a {name or 'nothing'}")]
            )
        event = validation.parse(expected, packed.value)
        validation.validate(event)
        return event
