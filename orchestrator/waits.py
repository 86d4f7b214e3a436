"""Durable time and events: what a workflow may wait for beside its steps.

    await saga.sleep(timedelta(days=7))
    paid = await saga.event(InvoicePaid, timeout=timedelta(days=30))
    result = await saga.child("ship-parcel", ParcelReady(...))

Each wait is an entry of the journal like a step, keyed by what it is. A crash does not make it longer: the entry says
when it began. What comes from outside (an event, a child's end) lies in the saga's box, where it is never consumed, so
that it may also come before the wait, and is found again by every run.

What a wait came to decides which way the workflow goes on, and no ledger knows it: so it is durable before the
workflow is told.

A saga that only waits, and for long, leaves memory (`Waits.next_us`): its run is dropped and, when the time or the
mail comes, it is run again from its start.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

from google.protobuf.message import Message

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh import registry
from mesh.contract import read_event
from orchestrator.engine_port import EnginePort
from orchestrator.journal import (
    FOREVER_US,
    OWN,
    STEP_DONE,
    STEP_FAILED,
    STEP_RUNNING,
    Journal,
    StepEntry,
    StepKey,
    StepStatus,
)
from orchestrator.mailbox import child_mail

SLEEP, EVENT, CHILD, NOW = f"{OWN}sleep", f"{OWN}event", f"{OWN}child", f"{OWN}now"

# Timers of event loops are not made for months.
TIMER_MAX_S = 3600.0

Duration = timedelta | float

Event = TypeVar("Event", bound=Message)


def seconds(duration: Duration) -> float:
    """A duration in seconds; raises ValueError where it is none."""
    value = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not 0 <= value < FOREVER_US / 1e6:
        raise ValueError(f"a duration is a positive number of seconds or a timedelta, not {duration!r}")
    return value


class Waits:
    """The waits of one run of one saga."""

    def __init__(self, journal: Journal, engine: EnginePort, began: Callable[[], None]) -> None:
        """`began` is called whenever a wait begins."""
        self._journal = journal
        self._engine = engine
        self._began = began
        self._open: dict[StepKey, tuple[int, str]] = {}  # until when, and for which mail
        self._counts: dict[str, int] = {}
        self.tasks: set[asyncio.Task[object]] = set()  # those of the workflow that wait here

    @property
    def next_us(self) -> int | None:
        """When the first of the waits ends by itself; None where there are none."""
        return min((until_us for until_us, _ in self._open.values()), default=None)

    @property
    def names(self) -> list[str]:
        """The mail that is waited for."""
        return [name for _, name in self._open.values() if name]

    def nth(self, what: str) -> str:
        """`what`, numbered: the same in every run of a workflow that asks in the same order."""
        self._counts[what] = self._counts.get(what, 0) + 1
        return f"{what}#{self._counts[what]}"

    def entry(self, method: str, step_key: str) -> StepEntry:
        """The entry of a wait, begun now where it is new."""
        entry = self._journal.steps.get((method, step_key))
        if entry is None:
            entry = StepEntry(method, step_key, self._engine.clock.now_us(), attempts=1)
            self._journal.steps[entry.key] = entry
            self._engine.note(self._journal, entry)
        return entry

    async def sleep(self, duration: Duration) -> None:
        """Waits so long since it was first asked to."""
        length_s = seconds(duration)
        entry = self.entry(SLEEP, self.nth(f"{length_s:g}s"))
        if entry.done:
            return
        until_us = entry.started_us + int(length_s * 1e6)
        with self._waiting(entry, until_us, ""):
            while (left_us := until_us - self._engine.clock.now_us()) > 0:  # noqa: ASYNC110  # for the clock, not a flag
                await asyncio.sleep(min(left_us / 1e6, TIMER_MAX_S))
        await self._close(entry, STEP_DONE)

    async def event(self, event_class: type[Event], timeout: Duration | None) -> Event:  # noqa: ASYNC109  # durable
        """Waits for an event; raises TimeoutError."""
        name = event_class.DESCRIPTOR.full_name
        read_event(registry.message_descriptor(name))
        entry = self.entry(EVENT, name)
        if entry.status == STEP_RUNNING:
            until_us = entry.started_us + int(seconds(timeout) * 1e6) if timeout is not None else FOREVER_US
            body = await self._mail(entry, name, until_us)
            if body is None:
                entry.last_error = f"timed out after {seconds(timeout or 0):g} s"
                await self._close(entry, STEP_FAILED)
            else:
                await self._close(entry, STEP_DONE, body)
        if not entry.done:
            raise TimeoutError(f"no {name} came: {entry.last_error}")
        return event_class.FromString(entry.outcome)

    async def child_end(self, entry: StepEntry, child_id: str) -> api.RunSagaResponse:
        """Waits for the end of a child that was started."""
        if entry.status == STEP_RUNNING:
            body = await self._mail(entry, child_mail(child_id), FOREVER_US)
            await self._close(entry, STEP_DONE, body or b"")
        return api.RunSagaResponse.FromString(entry.outcome)

    async def _mail(self, entry: StepEntry, name: str, until_us: int) -> bytes | None:
        """The mail of a name that came in time; None where it did not."""
        saga_id = self._journal.saga_id
        with self._waiting(entry, until_us, name), self._engine.mail_of(saga_id) as arrived:
            while True:
                arrived.clear()
                found = await self._engine.read_mail(saga_id, name)
                if found is not None and found[1] <= until_us:
                    return found[0]
                left_us = until_us - self._engine.clock.now_us()
                if left_us <= 0:
                    return None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left_us / 1e6, TIMER_MAX_S)):
                        await arrived.wait()

    @contextlib.contextmanager
    def _waiting(self, entry: StepEntry, until_us: int, name: str) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._open[entry.key] = (until_us, name)
        self.tasks.add(task)
        self._began()
        try:
            yield
        finally:
            self._open.pop(entry.key, None)
            self.tasks.discard(task)

    async def _close(self, entry: StepEntry, status: StepStatus.ValueType, outcome: bytes = b"") -> None:
        entry.status, entry.outcome, entry.ended_us = status, outcome, self._engine.clock.now_us()
        self._engine.note(self._journal, entry)
        await self._engine.flushed()
