"""Starts sagas, runs them on after a restart, and lets others take a hand in them.

Each saga is driven by at most one run (orchestrator.run) of this process. Whatever changes who drives it, or what is
asked of it, holds the saga's lock from its look at the state to the commit and the run that follow, in a task of the
engine's own: a caller who gives up in between must not leave a saga that is durable and that nobody drives.

Who runs a saga is written in its row (orchestrator.leases), and that is also how sagas are recovered, woken, and moved
between orchestrators: whatever is due is claimed. An engine that is asked to do something with a saga that it does not
run takes it, from whomever; to take a saga from a live orchestrator costs some calls twice and does no harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from sqlalchemy import Connection

from ensemble.orchestrator.v1.orchestrator_pb2 import CancelVerdict
from mesh import identity, registry, validation
from mesh.changes import Changes
from mesh.clock import Clock, WallClock
from mesh.contract import Contract, Method
from mesh.database import Database
from mesh.errors import AlreadyExists, Invalid, NotFound, OutOfOrder, Unavailable
from mesh.projection import project
from orchestrator import leases, store
from orchestrator.admission import Admission
from orchestrator.engine_port import Asks
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
    StepEntry,
    pack,
)
from orchestrator.run import Run
from orchestrator.starts import Starts
from orchestrator.store import Damaged
from orchestrator.workflow import Workflows
from orchestrator.write_behind import AGAIN, WriteBehind

log = logging.getLogger(__name__)

T = TypeVar("T")

# A dead orchestrator's sagas move within a lease and two heartbeats, which is less than five seconds.
LEASE_S = 3.0
HEARTBEAT_S = 0.8
# How often an engine looks for what is due by others' doing; what it parked itself it knows.
LOOK_EVERY_S = 0.5
CLAIM_MAX = 64


class Engine:
    """Drives the sagas of one process. Its methods belong to one event loop."""

    def __init__(
        self,
        contract: Contract,
        workflows: Workflows,
        participants: Asks,
        database: Database,
        changes: Changes,
        *,
        sagas_max: int,
        queue_max: int = 0,
        clock: Clock | None = None,
        alone: bool = True,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`alone`: no other orchestrator uses the database, so what one that is gone has left is due at once."""
        self.contract = contract
        self.participants = participants
        self.clock = clock or WallClock()
        self.owner = str(uuid4())
        self._workflows = workflows
        self._database = database
        self._changes = changes
        self._alone = alone
        self._look_every_s = look_every_s
        self._admission = Admission(sagas_max, queue_max)
        self._behind = WriteBehind(database, self.owner, self._lost, self.mail_came)
        self._starts = Starts(database, lambda: len(self._runs))
        self._runs: dict[str, tuple[Run, asyncio.Task[None]]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._acting: set[asyncio.Task[Any]] = set()
        self._something_is_due = asyncio.Event()
        self._strays: set[str] = set()

    # Side tasks of the process

    async def write_for_ever(self) -> None:
        """Writes the journal behind."""
        await self._behind.run()

    async def beat_for_ever(self) -> None:
        """Renews the lease, frees what dead orchestrators own, and lets go of what was taken from this one."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            try:
                await self._beat()
            except Unavailable as error:
                log.warning("no heartbeat: %s", error)

    async def claim_for_ever(self) -> None:
        """Takes sagas that are due, whenever there are any and there is room."""
        while True:
            self._something_is_due.clear()
            try:
                more_in_s = await self._claim()
            except Unavailable as error:
                log.warning("no look for sagas that are due: %s", error)
                more_in_s = self._look_every_s
            try:
                async with asyncio.timeout(more_in_s):
                    await self._something_is_due.wait()
            except TimeoutError:
                pass

    async def join(self) -> int:
        """Takes the lease; returns how many sagas others had left. Before anything is started, or claimed."""
        return await self._beat()

    async def flushed(self) -> None:
        """Returns once all that is known is committed."""
        await self._behind.flushed()

    async def close(self) -> None:
        """Lets go of all sagas; somebody runs them on, or this process does after its next start."""
        await asyncio.gather(*self._acting, return_exceptions=True)
        for saga_id in list(self._runs):
            await self._stop(saga_id)

    async def resign(self) -> None:
        """After `close`: gives up the lease, so that others need not wait for its end."""
        await self._database.run(lambda tx: leases.resign(tx, self.owner, self.clock.now_us()))

    # What is asked of it

    async def get(self, saga_id: str) -> Journal:
        """A saga as it stands, a damaged one with what is wrong; raises NotFound."""
        journal = await self._look(saga_id)
        if journal is None:
            raise NotFound(f"no saga {saga_id}; ListSagas shows those there are")
        return journal

    def over(self, saga_id: str) -> asyncio.Future[Journal | None] | None:
        """Where this engine drives a saga: its state at its end, or once it stalls; None where it is left before."""
        return self._runs[saga_id][0].over if saga_id in self._runs else None

    def runs(self, saga_id: str) -> bool:
        """Whether this engine drives a saga now, so that its state is read from memory."""
        return saga_id in self._runs

    def starting_event(self, journal: Journal) -> Message:
        """The starting event of a saga; raises OutOfOrder where it was not seen."""
        if not journal.input:
            raise OutOfOrder(f"the starting event of saga {journal.saga_id} was not seen yet; try again")
        packed = any_pb2.Any.FromString(journal.input)
        return registry.message_class(packed.TypeName()).FromString(packed.value)

    async def start(self, process: str, packed: any_pb2.Any) -> Journal:
        """Starts a saga and returns once that is durable; the saga as it stands where it was started before.

        Raises NotFound, Invalid, AlreadyExists (this id with another input) and Overloaded.
        """
        event = self._unpack(process, packed)
        return await self._start(process, event, parent="")

    async def start_child(self, process: str, event: Message, parent: str) -> Journal:
        """Starts a saga for another; it runs once there is room. Raises like `start`, but for Overloaded."""
        return await self._start(process, self._unpack(process, any_pb2.Any.FromString(pack(event))), parent=parent)

    async def cancel(self, saga_id: str) -> Journal:
        """Asks for the no-go side, durably. For a choreographed saga the aborting method is called at once."""
        journal = await self.get(saga_id)
        if not journal.ended and journal.style == CHOREOGRAPHED:
            return await self._cancel_choreographed(journal)
        return await self._exclusively(saga_id, self._cancel(saga_id))

    async def retry(self, saga_id: str) -> Journal:
        """Sets a stalled saga going again, a choreographed one by adopting it; raises OutOfOrder otherwise.

        Of a damaged saga the steps are forgotten, as the ledgers have their answers; where its own row is damaged, it
        has to be started again with its input, under the same id.
        """
        return await self._exclusively(saga_id, self._retry(saga_id))

    async def adopt(self, saga_id: str) -> Journal:
        """Drives a choreographed saga from now on: finished steps answer from their ledgers."""
        return await self._exclusively(saga_id, self._adopt(saga_id))

    async def let_go(self, saga_id: str) -> Journal:
        """Drives a saga no longer, and marks it as choreographed. Calls under way are left in doubt.

        Raises OutOfOrder while a cancellation is not decided: it was acknowledged, and must not be forgotten.
        """
        return await self._exclusively(saga_id, self._let_go(saga_id))

    def verdict(self, journal: Journal) -> CancelVerdict.ValueType:
        """What became of a cancellation that was asked for, as far as that is known."""
        if journal.status == COMPENSATED or self._is_turned_back(journal):
            return CancelVerdict.CANCEL_VERDICT_CANCELLED
        if journal.status == COMPLETED or self._is_forward_only(journal):
            return CancelVerdict.CANCEL_VERDICT_TOO_LATE
        return CancelVerdict.CANCEL_VERDICT_UNSPECIFIED

    def mail_came(self, saga_id: str) -> None:
        """Something was delivered to a saga (store.deliver): whoever waits for it looks."""
        self._changes.changed(_mail(saga_id))
        self._something_is_due.set()

    # What its runs ask of it (orchestrator.engine_port)

    def note(self, journal: Journal, step: StepEntry | None = None) -> None:
        """A saga, or one of its steps, has changed."""
        journal.updated_us = self.clock.now_us()
        if step is None:
            self._behind.saga(journal)
        else:
            self._behind.step(journal.saga_id, step)
        self._changes.changed(journal.saga_id)

    def forget_steps(self, journal: Journal) -> None:
        """The steps that were noted before are void; those that the journal still has are noted anew."""
        self._behind.forget_steps(journal.saga_id)
        for step in journal.steps.values():
            self._behind.step(journal.saga_id, step)

    async def read_mail(self, saga_id: str, name: str) -> tuple[bytes, int] | None:
        """What came for a saga under a name, and when."""
        return await self._database.run(lambda tx: store.mail(tx, saga_id, name))

    def mail_of(self, saga_id: str) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever mail may have come for a saga."""
        return self._changes.watch(_mail(saga_id))

    # Under the saga's lock

    async def _start(self, process: str, event: Message, *, parent: str) -> Journal:
        saga_id = identity.saga_id(event)
        if saga_id in self._runs:
            return self._same(self._runs[saga_id][0].journal, event)
        # No task of the engine's own here, as for changes: starts are many. A caller who gives up right behind the
        # commit leaves a saga that is owned and not driven, which the next start or heartbeat finds.
        async with self._locks.setdefault(saga_id, asyncio.Lock()):
            return await self._start_new(saga_id, process, event, parent)

    async def _start_new(self, saga_id: str, process: str, event: Message, parent: str) -> Journal:
        version = self._workflows.newest(process).version
        journal = Journal(saga_id, process, ORCHESTRATED, pack(event), self.clock.now_us(), version, parent)
        journal.updated_us = journal.started_us
        if parent:  # its parent runs already; to refuse the child would only make it ask again
            journal.due_us = journal.started_us
            known = await self._starts.add(journal)
            self._something_is_due.set()
            return self._same(known, event) if known else journal
        self._admission.reserve(len(self._runs))
        try:
            journal.owner = self.owner
            known = await self._starts.add(journal)
        finally:
            self._admission.release()
        if known is None:
            self._run_in_turn(journal, event)
            return journal
        self._same(known, event)
        if known.owner == self.owner and saga_id not in self._runs and self._admission.find(saga_id) is None:
            self._run_in_turn(known, event)
        return known

    def _same(self, known: Journal, event: Message) -> Journal:
        if identity.digest(self.starting_event(known)) != identity.digest(event):
            raise AlreadyExists(
                f"saga {known.saga_id} was started with another input; use another id", reason="SAGA_EXISTS"
            )
        return known

    async def _cancel(self, saga_id: str) -> Journal:
        def change(journal: Journal) -> None:
            if journal.ended:
                return
            journal.cancelling = True
            journal.refusal = journal.refusal or error_details_pb2.ErrorInfo(reason="CANCELLED").SerializeToString()
            if journal.status == STALLED:
                _set_going(journal, COMPENSATING)

        journal = await self._change(saga_id, change)
        if saga_id in self._runs:
            self._runs[saga_id][0].cancel()
        return journal

    async def _cancel_choreographed(self, journal: Journal) -> Journal:
        """Its participants do the rest by events. A refusal says that the pivot had decided for go."""
        aborting = self._aborting(journal)
        request = project(aborting.request_class, self.starting_event(journal))
        answer = await self.participants.ask(aborting, request.SerializeToString(), None, lambda _: None)
        if answer.refusal is None and not journal.ended:
            journal.status = COMPENSATING  # as the tracker will write
        return journal

    async def _retry(self, saga_id: str) -> Journal:
        def change(journal: Journal) -> None:
            if journal.status != STALLED:
                raise OutOfOrder(f"saga {saga_id} is not stalled but {SagaStatus.Name(journal.status)}")
            if journal.style == CHOREOGRAPHED:
                self._make_orchestrated(journal)
            # A saga on its way back goes on from its start: the refusal is in the journal and leads it there again.
            turning = COMPENSATING if journal.cancelling else RUNNING
            _set_going(journal, turning)

        await self._mend(saga_id)
        return await self._change(saga_id, change)

    async def _adopt(self, saga_id: str) -> Journal:
        def change(journal: Journal) -> None:
            if not journal.ended and journal.style == CHOREOGRAPHED:
                self._make_orchestrated(journal)

        return await self._change(saga_id, change)

    def _make_orchestrated(self, journal: Journal) -> None:
        self.starting_event(journal)
        # What the tracker saw are no answers: the ledgers have those.
        journal.steps.clear()
        journal.style = ORCHESTRATED
        journal.version = self._workflows.newest(journal.process).version
        _set_going(journal, RUNNING)

    async def _let_go(self, saga_id: str) -> Journal:
        def change(journal: Journal) -> None:
            if journal.ended or journal.style == CHOREOGRAPHED:
                return
            if journal.cancelling and not self._is_turned_back(journal):
                raise OutOfOrder(f"saga {saga_id} is being cancelled; hand it over once that is decided")
            journal.style = CHOREOGRAPHED
            _set_going(journal, journal.status if journal.status in GOING else RUNNING)

        if saga_id in self._runs:
            change(replace(self._runs[saga_id][0].journal))  # where it is refused, the run goes on
        await self._stop(saga_id)
        return await self._change(saga_id, change)

    async def _change(self, saga_id: str, change: Callable[[Journal], None]) -> Journal:
        """Changes what a saga is, in one transaction, and drives it where it is to be driven and nobody here does.

        Raises NotFound, OutOfOrder for a damaged saga, and what `change` raises, and then nothing is changed.
        """
        if saga_id in self._runs and self._runs[saga_id][0].journal.status in GOING:
            journal = self._runs[saga_id][0].journal
            change(journal)
            self.note(journal)
            await self.flushed()
            if saga_id in self._runs:
                return journal
            # It ended meanwhile; or others had taken it, so that nothing was written, and it is taken from them.
        await self._stop(saga_id)  # a run that has ended, and may still be being written
        self._admission.remove(saga_id)
        await self.flushed()

        def work(tx: Connection) -> Journal:
            journal = store.load(tx, saga_id, lock=True)
            if journal is None:
                raise NotFound(f"no saga {saga_id}; ListSagas shows those there are")
            before, had_steps = replace(journal), bool(journal.steps)
            change(journal)
            if had_steps and not journal.steps:
                store.delete_steps(tx, [saga_id])
            if journal != before:  # by which those see it who watch it at other orchestrators
                journal.updated_us = self.clock.now_us()
            journal.owner, journal.due_us = (self.owner if journal.driven else None), None
            store.put_saga(tx, journal)
            return journal

        try:
            journal = await self._database.run(work)
        except Damaged as damage:
            raise OutOfOrder(f"{damage}; `ensemble saga retry {saga_id}` tries to mend it") from None
        self._changes.changed(saga_id)
        if journal.driven:
            self._drive(journal)
        return journal

    async def _mend(self, saga_id: str) -> None:
        """Forgets the steps of a damaged saga, as the ledgers have their answers.

        Raises OutOfOrder where the saga's own row is damaged.
        """

        def work(tx: Connection) -> None:
            try:
                store.load(tx, saga_id, lock=True)
            except Damaged:
                store.delete_steps(tx, [saga_id])
                store.load(tx, saga_id, lock=True)

        try:
            await self._database.run(work)
        except Damaged as damage:
            shown = store.damaged_journal(damage)
            raise OutOfOrder(f"{shown.stalled_reason}; {shown.stalled_help}") from None

    async def _exclusively(self, saga_id: str, action: Coroutine[Any, Any, T]) -> T:
        lock = self._locks.setdefault(saga_id, asyncio.Lock())

        async def act() -> T:
            async with lock:
                return await action

        task = asyncio.create_task(act(), name=f"change saga {saga_id}")
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)
        return await asyncio.shield(task)

    # Runs

    def _run_in_turn(self, journal: Journal, event: Message) -> None:
        if self._admission.has_room(len(self._runs)):
            self._drive(journal, event)
        else:
            self._admission.wait(journal)

    def _drive(self, journal: Journal, event: Message | None = None) -> None:
        run = Run(journal, self._workflows.of(journal.process, journal.version), self, event)
        task = asyncio.create_task(self._run(run), name=f"saga {journal.saga_id}")
        self._runs[journal.saga_id] = (run, task)

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
        lock = self._locks.setdefault(journal.saga_id, asyncio.Lock())
        async with lock:
            if journal.cancelling and journal.status == RUNNING:
                return False
            now_us = self.clock.now_us()
            await self._surely(
                lambda tx: leases.park(tx, self.owner, journal.saga_id, park.until_us, park.names, now_us)
            )
            self._gone(run)
        self._something_is_due.set()  # the claimer looks anew when the next one is
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
        if self._runs.get(run.journal.saga_id, (None,))[0] is run:
            del self._runs[run.journal.saga_id]
        while self._admission.has_room(len(self._runs)) and (waiting := self._admission.next()) is not None:
            self._drive(waiting)

    async def _stop(self, saga_id: str) -> None:
        if saga_id in self._runs:
            _, task = self._runs.pop(saga_id)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _lost(self, saga_ids: set[str]) -> None:
        """Others have taken these: their runs here end, and write nothing more."""
        for saga_id in saga_ids & self._runs.keys():
            run, task = self._runs[saga_id]
            if run.journal.status in GOING:
                log.info("saga %s is run by another orchestrator now", saga_id)
                del self._runs[saga_id]
                task.cancel()

    # Leases

    async def _beat(self) -> int:
        running = {saga_id for saga_id, (run, _) in self._runs.items() if run.journal.status in GOING}
        now_us = self.clock.now_us()

        def work(tx: Connection) -> tuple[int, set[str]]:
            leases.beat(tx, self.owner, now_us + int(LEASE_S * 1e6))
            freed = leases.reap(tx, self.owner, now_us, alone=self._alone)
            # Owned at two heartbeats and still driven by nobody: a commit whose outcome nobody knew.
            freed += leases.release(tx, self.owner, [one for one in self._strays if not self._knows(one)], now_us)
            return freed, leases.owned_by(tx, self.owner)

        freed, owned = await self._database.run(work)
        self._strays = {saga_id for saga_id in owned if not self._knows(saga_id)}
        self._lost(running - owned)
        if freed:
            self._something_is_due.set()
        if not self._alone:  # others deliver mail, too
            for saga_id in running:
                self._changes.changed(_mail(saga_id))
        return freed

    def _knows(self, saga_id: str) -> bool:
        return saga_id in self._runs or saga_id in self._locks or self._admission.find(saga_id) is not None

    async def _claim(self) -> float:
        """Claims what there is room for; returns after how many seconds there may be more."""
        now_us = self.clock.now_us()
        limit = min(self._admission.room_for_due(len(self._runs)), CLAIM_MAX)
        keys = self._workflows.keys()
        if limit <= 0 or not keys:
            return self._look_every_s
        found = await self._database.run(lambda tx: leases.claim(tx, self.owner, now_us, limit, keys))
        for damage in found.damages:
            log.error("%s: it is stalled, and the others run on", damage)
            self._changes.changed(damage.saga_id)
        for journal in found.journals:
            if journal.saga_id not in self._runs:
                self._drive(journal)
        if len(found.journals) + len(found.damages) == limit:
            return 0.0
        if found.next_due_us is None:
            return self._look_every_s
        return max(0.0, min(self._look_every_s, (found.next_due_us - self.clock.now_us()) / 1e6))

    # What a saga is about

    async def _look(self, saga_id: str) -> Journal | None:
        """A saga as it is shown."""
        try:
            return await self._find(saga_id)
        except Damaged as damage:
            return store.damaged_journal(damage)

    async def _find(self, saga_id: str) -> Journal | None:
        if saga_id in self._runs:
            return self._runs[saga_id][0].journal
        if (waiting := self._admission.find(saga_id)) is not None:
            return waiting
        return await self._database.run(lambda tx: store.load(tx, saga_id))

    def _aborting(self, journal: Journal) -> Method:
        process = self.contract.processes.get(journal.process)
        if process is None or process.aborting is None:
            raise OutOfOrder(f"process {journal.process!r} has no method that aborts it")
        return process.aborting

    def _is_turned_back(self, journal: Journal) -> bool:
        """Whether the pivot has decided for no-go; without a pivot, whether the way back has begun."""
        if journal.status != COMPENSATING:
            return False
        process = self.contract.processes.get(journal.process)
        if process is None or process.aborting is None or journal.style == CHOREOGRAPHED:
            return True
        step = journal.steps.get((process.aborting.full_name, ""))
        return step is not None and step.done

    def _is_forward_only(self, journal: Journal) -> bool:
        """Whether a cancellation was asked for, and forgotten since: the pivot had decided for go."""
        return journal.status == RUNNING and not journal.cancelling

    def _unpack(self, process: str, packed: any_pb2.Any) -> Message:
        expected = self._workflows.newest(process).input_class
        if packed.TypeName() != expected.DESCRIPTOR.full_name:
            name = packed.TypeName()
            raise Invalid(
                [("input", f"{process} starts with a {expected.DESCRIPTOR.full_name}, not a {name or 'nothing'}")]
            )
        event = validation.parse(expected, packed.value)
        validation.validate(event)
        return event


def _set_going(journal: Journal, status: SagaStatus.ValueType) -> None:
    journal.status = status
    journal.stalled_reason = journal.stalled_help = ""


def _mail(saga_id: str) -> str:
    """The key under which those are woken who wait for a saga's mail; no saga id has a colon."""
    return f"mail:{saga_id}"
