"""Runs a workflow on the engine's own run (orchestrator.run), with nothing durable below it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Iterator

from google.protobuf.message import Message

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh import identity, virtual_time
from mesh.clock import Clock, LoopClock
from mesh.contract import Contract
from mesh.errors import NotFound
from orchestrator.engine_port import Asks
from orchestrator.equivalence.conditions import Conditions
from orchestrator.equivalence.participants import SampleParticipants, Trace
from orchestrator.equivalence.samples import sample
from orchestrator.journal import FOREVER_US, ORCHESTRATED, STALLED, Journal, StepEntry, pack
from orchestrator.mailbox import child_mail
from orchestrator.run import Run
from orchestrator.testing.fake_calls import Endless, FakeCalls, Faults
from orchestrator.workflow import Workflow, Workflows

# Of one run, after which it is taken to have no end. Of days of virtual time many pass in no time at all.
DAYS_MAX = 366
NOTES_MAX = 10_000


def orchestrate(contract: Contract, workflows: Workflows, workflow: Workflow, conditions: Conditions) -> Trace:
    """What a workflow comes to. `workflows` has those of its children."""

    async def rehearse() -> Trace:
        return await _Rehearsal(contract, workflows, conditions).run(workflow)

    with _silent():
        return virtual_time.run(rehearse)


class _Rehearsal:
    """As much of an engine as one run needs (orchestrator.engine_port.EnginePort)."""

    def __init__(self, contract: Contract, workflows: Workflows, conditions: Conditions) -> None:
        self.clock: Clock = LoopClock()
        self.contract = contract
        self._services = SampleParticipants(contract, conditions)
        faults = {name: Faults(failing=1, losing=1) for name in conditions.troubled}
        if conditions.dead:
            faults[conditions.dead] = Faults(failing=math.inf)
        self._calls = FakeCalls(self._services, faults, self._fail, random.Random(0))
        self.participants: Asks = self._calls
        self._workflows = workflows
        self._cancelled = conditions.cancelled
        self._mail: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._arrived = asyncio.Event()
        self._children: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[str, Run] = {}
        self._failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._notes = 0

    async def run(self, workflow: Workflow) -> Trace:
        """Runs a workflow from a sample of its starting event until nothing more comes of it."""
        journal = self._new(workflow, sample(workflow.input_class), "")
        journal.cancelling = self._cancelled
        going = asyncio.create_task(self._to_the_end(journal, workflow), name=f"rehearse {workflow.process}")
        ends: set[asyncio.Future[str]] = {going, self._failed}
        await asyncio.wait(ends, timeout=DAYS_MAX * 24 * 3600, return_when=asyncio.FIRST_COMPLETED)
        outcome = f"RUNNING (still after {DAYS_MAX} days)"
        if self._failed.done():
            outcome = f"STALLED ({self._failed.result()})"
        elif going.done():
            outcome = going.result() or _outcome(journal)
        for task in (going, *self._children.values()):
            task.cancel()
        await asyncio.gather(going, *self._children.values(), return_exceptions=True)
        await self._calls.close()
        return self._services.trace(outcome)

    async def _to_the_end(self, journal: Journal, workflow: Workflow) -> str:
        """Runs a saga on whenever it has parked; what it waits for, where that does not come."""
        run = self._runs[journal.saga_id] = Run(journal, workflow, self)
        while True:
            await run.to_the_end()
            if (park := run.parked) is None:
                return ""
            if park.until_us >= FOREVER_US and not self._children:
                return f"WAITING FOR {' and '.join(park.names)}"
            self._arrived.clear()
            left_s = (park.until_us - self.clock.now_us()) / 1e6
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s if park.until_us < FOREVER_US else None):
                    await self._arrived.wait()

    def _new(self, workflow: Workflow, event: Message, parent: str) -> Journal:
        now_us = self.clock.now_us()
        saga_id = identity.saga_id(event)
        return Journal(
            saga_id, workflow.process, ORCHESTRATED, pack(event), now_us, version=workflow.version, parent=parent
        )

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_result(str(error))

    # What a run asks of its engine

    def note(self, journal: Journal, step: StepEntry | None = None) -> None:
        """Nothing is written; but a workflow that does more and more never ends."""
        self._notes += 1
        if self._notes > NOTES_MAX:
            self._fail(Endless(f"it goes on and on: {NOTES_MAX:,} changes"))

    def forget_steps(self, journal: Journal) -> None:
        """Nothing was written."""

    async def flushed(self) -> None:
        """Nothing is to be written."""

    async def read_mail(self, saga_id: str, name: str) -> tuple[bytes, int] | None:
        """A child's end, or nothing."""
        return self._mail.get((saga_id, name))

    @contextlib.contextmanager
    def mail_of(self, saga_id: str) -> Iterator[asyncio.Event]:
        """Set whenever anything has come for anybody."""
        yield self._arrived

    async def start_child(self, process: str, event: Message, parent: str) -> Journal:
        """Runs a child beside its parent, over the same services; idempotent."""
        workflow = self._workflows.newest(process)
        journal = self._new(workflow, event, parent)
        if journal.saga_id not in self._children:
            task = asyncio.create_task(self._run_child(journal, workflow), name=f"child {journal.saga_id}")
            self._children[journal.saga_id] = task
        return journal

    async def _run_child(self, journal: Journal, workflow: Workflow) -> None:
        await self._to_the_end(journal, workflow)
        if journal.ended:
            end = api.RunSagaResponse(saga=journal.to_proto(with_steps=False))
            end.refusal.CopyFrom(end.saga.refusal)
            end.result.MergeFromString(journal.result)
            self._mail[journal.parent, child_mail(journal.saga_id)] = (end.SerializeToString(), self.clock.now_us())
            self._arrived.set()

    async def cancel(self, saga_id: str) -> Journal:
        """Asks a saga to turn back; raises NotFound."""
        if saga_id not in self._runs:
            raise NotFound(f"no saga {saga_id}")
        run = self._runs[saga_id]
        run.journal.cancelling = True
        run.cancel()
        return run.journal


def _outcome(journal: Journal) -> str:
    status = api.SagaStatus.Name(journal.status).removeprefix("SAGA_STATUS_")
    return f"STALLED ({journal.stalled_reason})" if journal.status == STALLED else status


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What goes wrong here is a finding, and no news of a running orchestrator."""
    logger = logging.getLogger("orchestrator")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
