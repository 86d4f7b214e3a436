"""The real engine in this process: no server, no broker, no thread. All that the kit knows of the engine is here."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf import any_pb2
from google.protobuf.message import Message

from eventbus.consumer import Delivery
from eventbus.envelope import CHOREOGRAPHED
from mesh.changes import Changes
from mesh.clock import Clock
from mesh.contract import Contract
from mesh.inline_database import InlineDatabase
from orchestrator.engine import Engine
from orchestrator.engine_port import Asks
from orchestrator.journal import Journal, SagaStatus
from orchestrator.tables import METADATA
from orchestrator.tracker import Tracker
from orchestrator.workflow import Workflows

SAGAS_MAX = 10_000
# Nobody else makes a saga due here, so there is nothing to look for; and in a week of virtual time it would be looked
# for a million times.
LOOK_EVERY_S = 24 * 3600.0


def new_database() -> InlineDatabase:
    """A journal in memory. It outlives the engines that use it."""
    return InlineDatabase(METADATA)


class LocalEngine:
    """One life of an orchestrator's process after the other, on one journal."""

    def __init__(
        self,
        contract: Contract,
        workflows: Workflows,
        participants: Asks,
        database: InlineDatabase,
        clock: Clock,
    ) -> None:
        self._contract = contract
        self._workflows = workflows
        self._participants = participants
        self._database = database
        self._clock = clock
        self._changes = Changes()
        self._begin()

    def _begin(self) -> None:
        self.engine = Engine(
            self._contract,
            self._workflows,
            self._participants,
            self._database,
            self._changes,
            sagas_max=SAGAS_MAX,
            clock=self._clock,
            look_every_s=LOOK_EVERY_S,
        )
        self._tracker = Tracker(self._contract, self._database, self._changes, self.engine.mail_came)
        side_tasks = {"journal": self.engine.write_for_ever(), "claims": self.engine.claim_for_ever()}
        self._side_tasks = [asyncio.create_task(task, name=name) for name, task in side_tasks.items()]

    async def start(self, process: str, event: Message) -> None:
        """Starts a saga, durably."""
        packed = any_pb2.Any()
        packed.Pack(event)
        await self.engine.start(process, packed)

    async def publish(self, event: Message) -> None:
        """Delivers an event of the choreography, for sagas that wait for it."""
        name, stored_us = event.DESCRIPTOR.full_name, self._clock.now_us()
        await self._tracker.handle(Delivery(name, event.SerializeToString(), CHOREOGRAPHED, "", 1, 1, stored_us))

    async def comes_to_rest(self, saga_id: str) -> Journal:
        """The saga once it has ended, or stalls."""
        with self._changes.watch(saga_id) as changed:
            while True:
                changed.clear()
                journal = await self.engine.get(saga_id)
                if journal.ended or journal.status == SagaStatus.SAGA_STATUS_STALLED:
                    return journal
                await changed.wait()

    async def crash(self) -> None:
        """Ends as a crash does (what was to be written behind is lost), and starts again."""
        await self._end_side_tasks()
        await self.engine.close()
        self._begin()
        await self.engine.join()

    async def close(self) -> None:
        """Ends as a process does that is told to stop."""
        await self.engine.close()
        await self.engine.flushed()
        await self._end_side_tasks()

    async def _end_side_tasks(self) -> None:
        for task in self._side_tasks:
            task.cancel()
        ended: list[Any] = await asyncio.gather(*self._side_tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error
