"""How a saga that nobody runs is found: after a crash of this or another orchestrator, after a long wait.

Two side tasks. The heartbeat renews this orchestrator's lease and makes due what dead ones own; the claimer takes what
is due, as much as there is room for. So recovery, waking and takeover are one mechanism (orchestrator.leases), and a
start after a crash does not run hundreds of sagas before it serves: they are claimed like any others.
"""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import Connection

from mesh.changes import Changes
from mesh.clock import Clock
from mesh.database import Database
from mesh.errors import Unavailable
from orchestrator import leases
from orchestrator.admission import Admission
from orchestrator.mailbox import mail_key
from orchestrator.runs import Runs
from orchestrator.workflow import Workflows

log = logging.getLogger(__name__)

# A dead orchestrator's sagas move within a lease and two heartbeats, which is less than five seconds.
LEASE_S = 3.0
HEARTBEAT_S = 0.8
# How often a claimer looks for what is due by others' doing; what was parked here it knows.
LOOK_EVERY_S = 0.5
CLAIM_MAX = 64


class Recovery:
    """The side tasks of one engine."""

    def __init__(
        self,
        owner: str,
        runs: Runs,
        admission: Admission,
        workflows: Workflows,
        database: Database,
        changes: Changes,
        clock: Clock,
        *,
        alone: bool,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`alone`: no other orchestrator uses the database, so what one that is gone has left is due at once."""
        self._owner = owner
        self._runs = runs
        self._admission = admission
        self._workflows = workflows
        self._database = database
        self._changes = changes
        self._clock = clock
        self._alone = alone
        self._look_every_s = look_every_s
        self._strays: set[str] = set()
        self._leased_until_us: int | None = None

    async def beat_for_ever(self) -> None:
        """Renews the lease, frees what dead orchestrators own, and lets go of what was taken from this one."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            try:
                if freed := await self.beat():
                    log.info("%d sagas that nobody ran any more are due", freed)
            except Unavailable as error:
                log.warning("no heartbeat: %s", error)

    async def claim_for_ever(self) -> None:
        """Takes sagas that are due, whenever there are any and there is room."""
        due = self._runs.something_is_due
        while True:
            due.clear()
            try:
                more_in_s = await self._claim()
            except Unavailable as error:
                log.warning("no look for sagas that are due: %s", error)
                more_in_s = self._look_every_s
            try:
                async with asyncio.timeout(more_in_s):
                    await due.wait()
            except TimeoutError:
                pass

    async def beat(self) -> int:
        """One heartbeat; returns how many sagas it made due."""
        running = self._runs.going()
        # Owned at two heartbeats and still driven by nobody: commits whose outcome nobody knew.
        strays = [saga_id for saga_id in self._strays if not self._runs.knows(saga_id)]
        now_us = self._clock.now_us()
        expires_us = now_us + int(LEASE_S * 1e6)
        # Whose own lease ran out was frozen or without its database, and so perhaps were the others: their turn first.
        was_away = self._leased_until_us is not None and self._leased_until_us < now_us

        def work(tx: Connection) -> tuple[int, set[str]]:
            leases.beat(tx, self._owner, expires_us)
            freed = 0 if was_away else leases.reap(tx, self._owner, now_us, alone=self._alone)
            freed += leases.release(tx, self._owner, strays, now_us)
            return freed, leases.owned_by(tx, self._owner)

        freed, owned = await self._database.run(work)
        self._leased_until_us = expires_us
        self._strays = {saga_id for saga_id in owned if not self._runs.knows(saga_id)}
        self._runs.lost(running - owned)
        if freed:
            self._runs.something_is_due.set()
        if not self._alone:  # others deliver mail, too
            for saga_id in running:
                self._changes.changed(mail_key(saga_id))
        return freed

    async def resign(self) -> None:
        """Gives up the lease, so that others need not wait for its end."""
        await self._database.run(lambda tx: leases.resign(tx, self._owner, self._clock.now_us()))

    async def _claim(self) -> float:
        """Claims what there is room for; returns after how many seconds there may be more."""
        now_us = self._clock.now_us()
        limit = min(self._admission.room_for_due(len(self._runs)), CLAIM_MAX)
        keys = self._workflows.keys()
        if limit <= 0 or not keys:
            return self._look_every_s
        found = await self._database.run(lambda tx: leases.claim(tx, self._owner, now_us, limit, keys))
        for damage in found.damages:
            log.error("%s: it is stalled, and the others run on", damage)
            self._changes.changed(damage.saga_id)
        for journal in found.journals:
            self._runs.claimed(journal)
        if len(found.journals) + len(found.damages) == limit:
            return 0.0
        if found.next_due_us is None:
            return self._look_every_s
        return max(0.0, min(self._look_every_s, (found.next_due_us - self._clock.now_us()) / 1e6))
