"""A saga as it is shown, of either style: what was seen of it, and what its contract says will follow.

What follows is worked out when somebody looks, and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh.clock import Clock, WallClock
from mesh.contract import Contract
from mesh.database import Database
from orchestrator import letters, store
from orchestrator.choreography import expected_of, seen
from orchestrator.expectations import Expectation, describe, observers
from orchestrator.journal import (
    CHOREOGRAPHED,
    COMPENSATING,
    OWN,
    STEP_PLANNED,
    STEP_RUNNING,
    STEP_TRIGGERED,
    Journal,
    StepEntry,
)
from orchestrator.lateness import deadline_us, late


class Picture:
    """Shows the sagas of one mesh."""

    def __init__(
        self, contract: Contract, database: Database, stalled_after_s: float, clock: Clock | None = None
    ) -> None:
        self._contract = contract
        self._database = database
        self._stalled_after_s = stalled_after_s
        self._clock = clock or WallClock()

    async def of(self, journal: Journal) -> api.Saga:
        """The saga with its steps and all that is known beside them; raises Unavailable."""
        saga = self.line(journal)
        saga.steps.extend(journal.steps_to_proto())
        saga.steps.extend(_planned(self._contract, journal))
        if journal.style == CHOREOGRAPHED:

            def read(tx: Connection) -> list[api.DeadLetter]:
                return letters.letters_in(store.box(tx, journal.saga_id))

            saga.dead_letters.extend(await self._database.run(read))
        return saga

    def line(self, journal: Journal) -> api.Saga:
        """The saga without its steps, as a list shows it; the journal has them."""
        saga = journal.to_proto(with_steps=False)
        saga.waits_for.extend(waits_for(self._contract, journal))
        saga.late = self.late(journal)
        if (until_us := deadline_us(self._contract, journal)) is not None:
            saga.deadline.FromMicroseconds(until_us)
        return saga

    def late_before_us(self) -> int:
        """What has begun, or was due, later than this is not late yet, whatever its deadline says."""
        return self._clock.now_us() - int(self._stalled_after_s * 1e6)

    def late(self, journal: Journal) -> str:
        """Why a saga is late, where it is."""
        return late(self._contract, journal, self._clock.now_us(), self._stalled_after_s)


def waits_for(contract: Contract, journal: Journal) -> list[str]:
    """What a saga waits for, a line each."""
    if journal.ended:
        return []
    if journal.style == CHOREOGRAPHED:
        return describe(contract, expected_of(contract, journal))
    return [_open(contract, step) for step in journal.steps.values() if step.status == STEP_RUNNING]


def _open(contract: Contract, step: StepEntry) -> str:
    if step.method.startswith(OWN):
        return f"the workflow waits for its {step.method.removeprefix(OWN)} {step.step_key}"
    method = contract.methods.get(step.method)
    error = f" ({step.last_error})" if step.last_error else ""
    return f"{method.label if method else step.method} has not answered{error}"


def _planned(contract: Contract, journal: Journal) -> Iterator[api.Step]:
    """What was not seen: the steps that follow, then those outside the saga that its events have triggered."""
    known = {step.method for step in journal.steps.values()}
    events = seen(contract, journal)
    by_events = journal.style == CHOREOGRAPHED
    for expected in expected_of(contract, journal):
        if expected.method.full_name in known:
            continue
        if by_events:
            yield _triggered(expected, events) if expected.triggered else _to_come(expected)
        elif not journal.ended and (expected.method.emits or journal.status != COMPENSATING):
            yield _to_come(expected)
    for event, time_us in events.items():
        if by_events or contract.events[event].public:
            for method in observers(contract, [event]):
                step = StepEntry(method.full_name, f"event={event}", time_us, status=STEP_TRIGGERED)
                yield step.to_proto()


def _to_come(expected: Expectation) -> api.Step:
    return api.Step(method=expected.method.full_name, status=STEP_PLANNED, waits_for=expected.waits_for)


def _triggered(expected: Expectation, events: dict[str, int]) -> api.Step:
    times = [events[event] for event in expected.arrived]
    since_us = max(times) if expected.method.join_all else min(times)
    status = STEP_RUNNING if expected.method.emits else STEP_TRIGGERED
    return StepEntry(expected.method.full_name, "", since_us, status=status).to_proto()
