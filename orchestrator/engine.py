"""The engine: starts sagas, shows them, and puts together what drives them.

    starts         new sagas, durably                 runs           the sagas that are driven here, each by a Run
    recovery       finds those that nobody drives     interventions  cancel, retry, adopt, let go
    write_behind   what they come to, in batches      admission      how many at once

Each saga is driven by at most one run of this process. Who drives it is written in its row (orchestrator.leases), so
that any number of engines may share a database.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from uuid import uuid4

from google.protobuf import any_pb2
from google.protobuf.message import Message

from ensemble.orchestrator.v1.orchestrator_pb2 import CancelVerdict
from mesh import identity, validation
from mesh.changes import Changes
from mesh.clock import Clock, WallClock
from mesh.contract import Contract
from mesh.database import Database
from mesh.errors import AlreadyExists, Invalid, NotFound
from orchestrator import store
from orchestrator.admission import Admission
from orchestrator.engine_port import Asks
from orchestrator.interventions import Interventions
from orchestrator.journal import ORCHESTRATED, Journal, StepEntry, pack
from orchestrator.mailbox import mail_key
from orchestrator.recovery import LOOK_EVERY_S, Recovery
from orchestrator.runs import Runs
from orchestrator.starts import Starts
from orchestrator.store import Damaged
from orchestrator.workflow import Workflows
from orchestrator.write_behind import WriteBehind


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
        self._admission = Admission(sagas_max, queue_max)
        self._behind = WriteBehind(database, self.owner, self._lost, self.mail_came)
        self._runs = Runs(self, self.owner, workflows, self._admission, self._behind, database, changes)
        self._starts = Starts(database, self._runs.__len__)
        self._interventions = Interventions(self, self.owner, self._runs, self._admission, workflows, database, changes)
        self._recovery = Recovery(
            self.owner,
            self._runs,
            self._admission,
            workflows,
            database,
            changes,
            self.clock,
            alone=alone,
            look_every_s=look_every_s,
        )

    # Side tasks of the process

    async def write_for_ever(self) -> None:
        """Writes the journal behind."""
        await self._behind.run()

    async def beat_for_ever(self) -> None:
        """Renews the lease, frees what dead orchestrators own, and lets go of what was taken from this one."""
        await self._recovery.beat_for_ever()

    async def claim_for_ever(self) -> None:
        """Takes sagas that are due, whenever there are any and there is room."""
        await self._recovery.claim_for_ever()

    # Its life

    async def join(self) -> int:
        """Takes the lease; returns how many sagas others had left. Before anything is started, or claimed."""
        return await self._recovery.beat()

    async def close(self) -> None:
        """Lets go of all sagas; somebody runs them on, or this process does after its next start."""
        await self._interventions.close()
        await self._runs.stop_all()

    async def resign(self) -> None:
        """After `close`: gives up the lease, so that others need not wait for its end."""
        await self._recovery.resign()

    # What is asked of it

    async def start(self, process: str, packed: any_pb2.Any) -> Journal:
        """Starts a saga and returns once that is durable; the saga as it stands where it was started before.

        Raises NotFound, Invalid, AlreadyExists (this id with another input) and Overloaded.
        """
        return await self._start(process, self._unpack(process, packed), parent="")

    def admit(self) -> None:
        """Raises Overloaded where `start` would, whatever is to be started."""
        self._admission.ensure_a_place(len(self._runs))

    async def get(self, saga_id: str) -> Journal:
        """A saga as it stands, a damaged one with what is wrong; raises NotFound."""
        if (run := self._runs.get(saga_id)) is not None:
            return run.journal
        if (waiting := self._admission.find(saga_id)) is not None:
            return waiting
        try:
            journal = await self._database.run(lambda tx: store.load(tx, saga_id))
        except Damaged as damage:
            return store.damaged_journal(damage)
        if journal is None:
            raise NotFound(f"no saga {saga_id}; ListSagas shows those there are")
        return journal

    def runs(self, saga_id: str) -> bool:
        """Whether this engine drives a saga now, so that its state is read from memory."""
        return saga_id in self._runs

    def driven(self) -> list[Journal]:
        """All that this engine drives now, as it stands."""
        return self._runs.journals()

    def over(self, saga_id: str) -> asyncio.Future[Journal | None] | None:
        """Where this engine drives a saga: its state at its end, or once it stalls; None where it is left before."""
        run = self._runs.get(saga_id)
        return run.over if run is not None else None

    async def cancel(self, saga_id: str) -> Journal:
        """Asks for the no-go side, durably. For a choreographed saga the aborting method is called at once."""
        return await self._interventions.cancel(saga_id)

    def verdict(self, journal: Journal) -> CancelVerdict.ValueType:
        """What became of a cancellation that was asked for, as far as that is known."""
        return self._interventions.verdict(journal)

    async def retry(self, saga_id: str) -> Journal:
        """Sets a stalled saga going again, a choreographed one by adopting it; raises OutOfOrder otherwise.

        Of a damaged saga the damaged steps are forgotten, as the ledgers have their answers; where its own row is, it
        has to be started again with its input, under the same id.
        """
        return await self._interventions.retry(saga_id)

    async def adopt(self, saga_id: str) -> Journal:
        """Drives a choreographed saga from now on: finished steps answer from their ledgers."""
        return await self._interventions.adopt(saga_id)

    async def let_go(self, saga_id: str) -> Journal:
        """Drives a saga no longer, and marks it as choreographed. Calls under way are left in doubt.

        Raises Undecided while a cancellation is not decided (`awaits_pivot`): it was acknowledged, and must not be
        forgotten; OutOfOrder where no choreography would go on with it.
        """
        return await self._interventions.let_go(saga_id)

    def awaits_pivot(self, journal: Journal) -> bool:
        """Whether a cancellation was asked for that only the orchestrator knows of: its pivot has not decided yet."""
        return self._interventions.awaits_pivot(journal)

    def check_choreography(self, journal: Journal) -> None:
        """Raises OutOfOrder where nobody would go on with a saga that the orchestrator lets go of."""
        self._interventions.check_choreography(journal)

    def mail_came(self, saga_id: str) -> None:
        """Something was delivered to a saga (store.deliver): whoever waits for it looks."""
        self._changes.changed(mail_key(saga_id))
        self._runs.something_is_due.set()

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

    async def flushed(self) -> None:
        """Returns once all that is known is committed."""
        await self._behind.flushed()

    async def read_mail(self, saga_id: str, name: str) -> tuple[bytes, int] | None:
        """What came for a saga under a name, and when."""
        return await self._database.run(lambda tx: store.mail(tx, saga_id, name))

    def mail_of(self, saga_id: str) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever mail may have come for a saga."""
        return self._changes.watch(mail_key(saga_id))

    async def start_child(self, process: str, event: Message, parent: str) -> Journal:
        """Starts a saga for another; it runs once there is room. Raises like `start`, but for Overloaded."""
        return await self._start(process, self._unpack(process, any_pb2.Any.FromString(pack(event))), parent=parent)

    # Starts

    async def _start(self, process: str, event: Message, *, parent: str) -> Journal:
        saga_id = identity.saga_id(event)
        if (run := self._runs.get(saga_id)) is not None:
            return _same(run.journal, event)
        # No task of the engine's own here, as for interventions: starts are many. A caller who gives up right behind
        # the commit leaves a saga that is owned and not driven, which the next start or heartbeat finds.
        async with self._runs.lock(saga_id):
            version = self._workflows.newest(process).version
            journal = Journal(saga_id, process, ORCHESTRATED, pack(event), self.clock.now_us(), version, parent)
            journal.updated_us = journal.started_us
            return await (self._add_child(journal, event) if parent else self._add(journal, event))

    async def _add(self, journal: Journal, event: Message) -> Journal:
        self._admission.reserve(len(self._runs))
        try:
            journal.owner = self.owner
            known = await self._starts.add(journal)
        finally:
            self._admission.release()
        if known is None:
            self._runs.in_turn(journal, event)
            return journal
        _same(known, event)
        if known.owner == self.owner and known.saga_id not in self._runs and not self._admission.find(known.saga_id):
            self._runs.in_turn(known, event)
        return known

    async def _add_child(self, journal: Journal, event: Message) -> Journal:
        """A child is not refused for want of room: its parent, which runs already, would only ask again."""
        journal.due_us = journal.started_us
        known = await self._starts.add(journal)
        self._runs.something_is_due.set()
        return _same(known, event) if known else journal

    def _lost(self, saga_ids: set[str]) -> None:
        self._runs.lost(saga_ids)

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


def _same(known: Journal, event: Message) -> Journal:
    if identity.digest(known.starting_event()) != identity.digest(event):
        raise AlreadyExists(
            f"saga {known.saga_id} was started with another input; use another id", reason="SAGA_EXISTS"
        )
    return known
