"""Runs sagas to their end, and runs them on after a restart.

    RUNNING ── the workflow returns ──────────────▶ COMPLETED
       │ ▲
       │ └─ the pivot had decided for go ─┐
       ▼                                  │
    COMPENSATING ── the way back ends ────┴──────▶ COMPENSATED

    either ── what calling again cannot mend ──▶ STALLED ── RetrySaga ──▶ back

What may happen at any point, and what follows:
- the process dies: every saga that had not ended is run again; what the journal forgot, the ledgers answer;
- another orchestrator drives the same saga, or the participants' events do: each step happens once, the pivot
  decides once, and whoever loses is told so by a refusal and follows the winner;
- a cancellation comes: it is durable before it is acknowledged, and the pivot decides whether it came in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from mesh import identity, telemetry, validation
from mesh.changes import Changes
from mesh.contract import Contract, Process
from mesh.database import Database
from mesh.errors import AlreadyExists, Invalid, NotFound, OutOfOrder, Overloaded
from mesh.projection import project
from orchestrator import no_go, store
from orchestrator.journal import GOING, Journal, SagaStatus, StepEntry, Style, now_us
from orchestrator.no_go import PivotLost
from orchestrator.participants import Participants
from orchestrator.saga import Saga, Stall, StepRefused
from orchestrator.store import WriteBehind
from orchestrator.workflow import Workflow

log = logging.getLogger(__name__)

RETRY_AFTER_S = 0.5


class _Cancelled(Exception):
    """The no-go side was asked for from outside."""


class _Run:
    """One saga that this process drives."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.cancel = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


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
        self._runs: dict[str, _Run] = {}

    async def write_for_ever(self) -> None:
        """Writes the journal behind. A side task of the process."""
        await self._behind.run()

    async def recover(self) -> int:
        """Runs on all sagas that had not ended; returns how many."""
        ids = await self._database.run(store.going)
        for saga_id in ids:
            journal = await self._database.run(lambda tx, saga_id=saga_id: store.load(tx, saga_id))  # type: ignore[misc]
            if journal is not None and saga_id not in self._runs:
                self._drive(journal)
        return len(ids)

    async def start(self, process: str, packed: any_pb2.Any) -> Journal:
        """Starts a saga and returns once that is durable; the saga as it stands where it was started before.

        Raises NotFound, Invalid, AlreadyExists (this id with another input) and Overloaded.
        """
        event = self._unpack(process, packed)
        saga_id = identity.saga_id(event)
        known = await self._find(saga_id)
        if known is None:
            if len(self._runs) >= self._sagas_max:
                raise Overloaded(f"{self._sagas_max} sagas run already, as many as may; try again", RETRY_AFTER_S)
            journal = Journal(saga_id, process, Style.STYLE_ORCHESTRATED, _pack(event).SerializeToString())
            if await self._database.run(lambda tx: store.add_saga(tx, journal)):
                self._drive(journal)
                return journal
            known = await self.get(saga_id)
        if known.input and identity.digest(self._input(known)) != identity.digest(event):
            raise AlreadyExists(f"saga {saga_id} was started with another input; use another id", reason="SAGA_EXISTS")
        return known

    async def get(self, saga_id: str) -> Journal:
        """A saga as it stands; raises NotFound."""
        journal = await self._find(saga_id)
        if journal is None:
            raise NotFound(f"no saga {saga_id}; ListSagas shows those there are")
        return journal

    async def _find(self, saga_id: str) -> Journal | None:
        if (run := self._runs.get(saga_id)) is not None:
            return run.journal
        return await self._database.run(lambda tx: store.load(tx, saga_id))

    async def cancel(self, saga_id: str) -> Journal:
        """Asks for the no-go side, durably. For a choreographed saga the aborting method is called at once."""
        journal = await self.get(saga_id)
        if journal.ended:
            return journal
        if journal.style == Style.STYLE_CHOREOGRAPHED:
            await self._abort_choreographed(journal)
            return journal
        journal.cancelling = True
        if journal.status == SagaStatus.SAGA_STATUS_STALLED:
            journal.status = SagaStatus.SAGA_STATUS_COMPENSATING
            return await self._take(journal)
        await self._database.run(lambda tx: store.put_saga(tx, journal))
        if (run := self._runs.get(saga_id)) is not None:
            run.cancel.set()
        return journal

    async def retry(self, saga_id: str) -> Journal:
        """Sets a stalled saga going again; raises OutOfOrder where it is not stalled."""
        journal = await self.get(saga_id)
        if journal.status != SagaStatus.SAGA_STATUS_STALLED:
            raise OutOfOrder(f"saga {saga_id} is not stalled but {SagaStatus.Name(journal.status)}")
        journal.status = SagaStatus.SAGA_STATUS_RUNNING
        return await self._take(journal)

    async def adopt(self, saga_id: str) -> Journal:
        """Drives a choreographed saga from now on: finished steps answer from their ledgers."""
        journal = await self.get(saga_id)
        if journal.ended or saga_id in self._runs:
            return journal
        if not journal.input:
            raise OutOfOrder(f"the starting event of saga {saga_id} was not seen yet; try again")
        journal.steps = {}
        journal.status = SagaStatus.SAGA_STATUS_RUNNING
        return await self._take(journal)

    async def let_go(self, saga_id: str) -> Journal:
        """Drives a saga no longer, and marks it as choreographed. Calls under way are left in doubt."""
        journal = await self.get(saga_id)
        if journal.ended:
            return journal
        await self._stop(saga_id)
        journal.style = Style.STYLE_CHOREOGRAPHED
        journal.status = SagaStatus.SAGA_STATUS_RUNNING
        journal.updated_us = now_us()
        await self._database.run(lambda tx: store.put_saga(tx, journal))
        self._changes.changed(saga_id)
        return journal

    def starting_event(self, journal: Journal) -> Message:
        """The starting event of a saga; raises OutOfOrder where it was not seen."""
        if not journal.input:
            raise OutOfOrder(f"the starting event of saga {journal.saga_id} was not seen yet; try again")
        return self._input(journal)

    async def close(self) -> None:
        """Lets go of all sagas; they are run on after the next start."""
        for saga_id in list(self._runs):
            await self._stop(saga_id)

    async def flushed(self) -> None:
        """Returns once all that is known is committed."""
        await self._behind.flushed()

    # One saga

    def _drive(self, journal: Journal) -> None:
        run = self._runs[journal.saga_id] = _Run(journal)
        run.task = asyncio.create_task(self._run(run), name=f"saga {journal.saga_id}")

    async def _take(self, journal: Journal) -> Journal:
        journal.style = Style.STYLE_ORCHESTRATED
        journal.stalled_reason = journal.stalled_help = ""
        await self._database.run(lambda tx: store.put_saga(tx, journal))
        self._drive(journal)
        return journal

    async def _stop(self, saga_id: str) -> None:
        run = self._runs.pop(saga_id, None)
        if run is not None and run.task is not None:
            run.task.cancel()
            await asyncio.gather(run.task, return_exceptions=True)

    async def _run(self, run: _Run) -> None:
        journal = run.journal
        telemetry.current_saga.set(journal.saga_id)
        telemetry.enter_trace(None)
        try:
            await self._to_the_end(run)
        except Stall as stall:
            journal.stalled_reason, journal.stalled_help = stall.reason, stall.help
            log.error("stalled: %s; %s", stall.reason, stall.help)
            self._set(journal, SagaStatus.SAGA_STATUS_STALLED)
        except Exception as error:  # a fault of ours: the saga must not vanish
            log.exception("the engine failed")
            journal.stalled_reason = f"the engine failed: {type(error).__name__}"
            journal.stalled_help = f"the orchestrator's log says more; `ensemble saga retry {journal.saga_id}`"
            self._set(journal, SagaStatus.SAGA_STATUS_STALLED)
        await self._behind.flushed()
        if self._runs.get(journal.saga_id) is run:
            del self._runs[journal.saga_id]

    async def _to_the_end(self, run: _Run) -> None:
        journal = run.journal
        go_decided = False
        while True:
            if journal.status == SagaStatus.SAGA_STATUS_RUNNING and not journal.cancelling:
                try:
                    await self._forward(run)
                    return
                except StepRefused as refusal:
                    if go_decided:
                        raise Stall(
                            f"{refusal.method} refused ({refusal.info.reason}) though the pivot decided for go",
                            "the contract allows no refusal behind the pivot: mend the service, "
                            f"then run `ensemble saga retry {journal.saga_id}`",
                        ) from refusal
                    journal.refusal = refusal.info.SerializeToString()
                except _Cancelled:
                    journal.refusal = error_details_pb2.ErrorInfo(reason="CANCELLED").SerializeToString()
            try:
                await self._back(run)
                return
            except PivotLost:
                # Too late: the cancellation is forgotten and the workflow runs again from its start.
                go_decided = True
                journal.cancelling, journal.refusal = False, b""
                journal.forget_refusals()
                run.cancel.clear()
                self._set(journal, SagaStatus.SAGA_STATUS_RUNNING)

    async def _forward(self, run: _Run) -> None:
        journal = run.journal
        saga = self._saga(journal)
        workflow = self._workflow(journal.process)
        try:
            result = await self._supervise(saga, workflow.run(saga, self._input(journal)), run.cancel)
        except (StepRefused, BaseExceptionGroup) as error:
            raise _refusal_in(error) from error
        finally:
            await saga.abandon()
        if result is not None:
            journal.result = _pack(result).SerializeToString()
        self._set(journal, SagaStatus.SAGA_STATUS_COMPLETED)

    async def _back(self, run: _Run) -> None:
        journal = run.journal
        self._set(journal, SagaStatus.SAGA_STATUS_COMPENSATING)
        saga = self._saga(journal)
        try:
            way = no_go.compensate(saga, self._contract, self._process(journal.process), self._input(journal))
            await self._supervise(saga, way, None)
        finally:
            await saga.abandon()
        self._set(journal, SagaStatus.SAGA_STATUS_COMPENSATED)

    async def _supervise(self, saga: Saga, way: Awaitable[Any], cancel: asyncio.Event | None) -> Any:
        """Runs one way of a saga until it ends, stalls, or is cancelled from outside."""
        walking = asyncio.ensure_future(way)
        cancelled = asyncio.ensure_future(cancel.wait()) if cancel else None
        try:
            waiting = {walking, saga.stalled} | ({cancelled} if cancelled else set())
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if saga.stalled.done():
                raise saga.stalled.result()
            if walking.done():
                return walking.result()
            raise _Cancelled
        except (StepRefused, PivotLost, Stall, _Cancelled, BaseExceptionGroup):
            raise
        except Exception as error:
            log.exception("the workflow failed")
            raise Stall(
                f"the workflow raised {type(error).__name__}: {error}",
                f"mend it, start the orchestrator again, then run `ensemble saga retry {saga.saga_id}`",
            ) from error
        finally:
            for task in filter(None, (walking, cancelled)):
                task.cancel()
            await asyncio.gather(*filter(None, (walking, cancelled)), return_exceptions=True)

    def _saga(self, journal: Journal) -> Saga:
        def changed(step: StepEntry) -> None:
            journal.updated_us = now_us()
            self._behind.step(journal.saga_id, step)
            self._changes.changed(journal.saga_id)

        return Saga(journal, self._contract, self._participants, changed)

    def _set(self, journal: Journal, status: SagaStatus.ValueType) -> None:
        journal.status = status
        journal.updated_us = now_us()
        if status not in GOING:
            journal.ended_us = journal.updated_us if journal.ended else 0
        self._behind.saga(journal)
        self._changes.changed(journal.saga_id)

    # What a saga is about

    def _workflow(self, process: str) -> Workflow:
        if process not in self._workflows:
            known = ", ".join(sorted(self._workflows)) or "none"
            raise NotFound(f"no workflow for process {process!r}; there are: {known}")
        return self._workflows[process]

    def _process(self, process: str) -> Process:
        if process not in self._contract.processes:
            raise Stall(f"no contract starts a process {process!r}", "mark its starting event with `starts`")
        return self._contract.processes[process]

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

    def _input(self, journal: Journal) -> Message:
        packed = any_pb2.Any.FromString(journal.input)
        return self._workflow(journal.process).input_class.FromString(packed.value)

    async def _abort_choreographed(self, journal: Journal) -> None:
        aborting = self._process(journal.process).aborting
        if aborting is None:
            raise OutOfOrder(f"process {journal.process} has no method that aborts it")
        request = project(aborting.request_class, self.starting_event(journal))
        # A refusal says that the pivot had decided for go: the saga goes on, and its state tells so.
        await self._participants.ask(aborting, request.SerializeToString(), None, lambda _: None)


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _refusal_in(error: BaseException) -> BaseException:
    """The refusal that ended a workflow, also where a TaskGroup wrapped it; the error itself where there is none."""
    if isinstance(error, BaseExceptionGroup):
        refusals = error.subgroup(StepRefused)
        if refusals is not None:
            return _refusal_in(refusals.exceptions[0])
        return Stall(f"the workflow raised {error}", "mend it, and start the orchestrator again")
    return error
