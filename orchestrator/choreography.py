"""What a choreographed saga has come to, as a function of what came for it (store.box), and of nothing else.

So it does not matter in which order its events are seen, how often, when, or by which process: the rows are the same,
and so they are when they are made anew from the stream. Every time in them is the broker's: when an event was first
stored. An event that is emitted again (a replay) says nothing new.

A saga that the engine drove before has rows of the engine's own. They are kept, and events add to them.

A step is seen by the event that it emits, so of several calls of one method in one saga the first is shown, and a step
that emits nothing is not (orchestrator.picture says what can be said of it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from google.protobuf import any_pb2
from google.rpc import error_details_pb2

from ensemble.coordination.v1 import coordination_pb2
from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh.contract import Contract, EventType, Method, service_name
from orchestrator.expectations import Expectation, describe, expectations
from orchestrator.journal import (
    CHOREOGRAPHED,
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    RUNNING,
    STALLED,
    STEP_DONE,
    STEP_REFUSED,
    Journal,
    SagaStatus,
    StepEntry,
)
from orchestrator.lateness import past_deadline
from orchestrator.letters import letters_in
from orchestrator.store import Mail

_ENDS = {
    coordination_pb2.OUTCOME_COMPLETED: COMPLETED,
    coordination_pb2.OUTCOME_COMPENSATED: COMPENSATED,
}


def journal_of(contract: Contract, saga_id: str, box: list[Mail], known: Journal | None = None) -> Journal:
    """The saga with its steps. `box` has the earliest first; `known` is what the tables have of the saga."""
    events = {mail.name: mail for mail in box if mail.name in contract.events}
    letters = letters_in(box)
    times = [mail.arrived_us for mail in events.values()] + [letter.died.ToMicroseconds() for letter in letters]
    journal = replace(known) if known else Journal(saga_id, "", CHOREOGRAPHED, b"", min(times, default=0))
    journal.steps = dict(journal.steps)
    for mail in events.values():
        _read(contract, journal, mail)
    journal.process = _process_of(contract, events) or journal.process
    journal.started_us = min([journal.started_us, *times])
    journal.updated_us = max([journal.updated_us, *times])
    journal.refusal = _cause(contract, events.values()) or journal.refusal
    journal.stalled_reason = journal.stalled_help = ""
    journal.status, journal.ended_us = _status(contract, journal, events)
    if not journal.ended:
        _stall(contract, journal, letters)
    return journal


def seen(contract: Contract, journal: Journal) -> dict[str, int]:
    """The events that a saga's steps, and its start, stand for, and when each came."""
    events: dict[str, int] = {}
    for step in journal.steps.values():
        method = contract.methods.get(step.method)
        event = (method.emits if step.done else method.refuses if step.status == STEP_REFUSED else "") if method else ""
        if event:
            events[event] = min(step.ended_us, events.get(event, step.ended_us))
    process = contract.processes.get(journal.process)
    if process is not None:
        events[process.start.full_name] = journal.started_us
    return events


def expected_of(contract: Contract, journal: Journal) -> list[Expectation]:
    """What follows for a saga, as its contract says; nothing where that knows no such process."""
    process = contract.processes.get(journal.process)
    if process is None:
        return []
    return expectations(contract, process, seen(contract, journal))


def stall(contract: Contract, journal: Journal, why: str) -> None:
    """Marks a saga that does not get on, and says what it waits for and what to do."""
    waits_for = describe(contract, expected_of(contract, journal)) or ["its contract does not say what should follow"]
    journal.status = STALLED
    journal.stalled_reason = f"{why}: {'; '.join(waits_for)}"
    journal.stalled_help = (
        "see that the services it waits for run (`ensemble status`): their next event sets it going by itself. "
        f"`ensemble saga retry {journal.saga_id}` lets the orchestrator finish it"
    )


def _read(contract: Contract, journal: Journal, mail: Mail) -> None:
    event = contract.events[mail.name]
    if event.starts:
        packed = any_pb2.Any(type_url=f"type.googleapis.com/{mail.name}", value=mail.body)
        journal.input = packed.SerializeToString()
    for source in contract.sources_of(mail.name)[:1]:
        _read_step(journal, source, event, mail)


def _process_of(contract: Contract, events: Iterable[str]) -> str:
    """What the starting event says; where that was not seen, the process of the first step that was."""
    starts = [contract.events[name].starts for name in events]
    processes = [contract.process_of(source) for name in events for source in contract.sources_of(name)]
    return next(filter(None, [*starts, *(process.name for process in processes if process)]), "")


def _read_step(journal: Journal, source: Method, event: EventType, mail: Mail) -> None:
    refused = mail.name == source.refuses
    step = StepEntry(
        source.full_name,
        "",
        mail.arrived_us,
        status=STEP_REFUSED if refused else STEP_DONE,
        attempts=1,
        ended_us=mail.arrived_us,
        last_error=_refusal(event, mail).reason if refused else "",
    )
    known = journal.steps.get(step.key)
    if known is not None and known.digest:  # the engine's
        if known.ended_us:
            return
        step.started_us, step.digest, step.request = known.started_us, known.digest, known.request
        step.attempts = known.attempts
    journal.steps[step.key] = step


def _status(contract: Contract, journal: Journal, events: Mapping[str, Mail]) -> tuple[SagaStatus.ValueType, int]:
    for name, mail in events.items():
        if (status := _ENDS.get(contract.events[name].outcome)) is not None:
            return status, mail.arrived_us
    if journal.ended:
        return journal.status, journal.ended_us
    process = contract.processes.get(journal.process)
    turned_back = journal.status == COMPENSATING and not (process and _did(journal, process.pivot))
    return (COMPENSATING if turned_back or (process and _did(journal, process.aborting)) else RUNNING), 0


def _did(journal: Journal, method: Method | None) -> bool:
    step = journal.steps.get((method.full_name, "")) if method is not None else None
    return step is not None and step.done


def _stall(contract: Contract, journal: Journal, letters: list[api.DeadLetter]) -> None:
    """Where an event that it waits to be answered is a dead letter, or its last event came past its deadline."""
    expected = expected_of(contract, journal) if letters else []
    waiting = {expectation.method.full_name for expectation in expected}
    blocking = [(m, letter) for letter in letters for m in _kept_from(contract, letter) if m.full_name in waiting]
    if blocking:
        last = blocking[-1][1]
        cannot = {f"{m.full_name} cannot take {letter.event}": letter for m, letter in blocking}
        journal.status = STALLED
        journal.stalled_reason = "; ".join(f"{what}: {one.reason}: {one.message}" for what, one in cannot.items())
        journal.stalled_help = (
            f"mend the cause; then `ensemble dead-letters replay {last.id}` puts the message back (it is kept as "
            f"dead.{last.service}.{last.event}), and `ensemble saga retry {journal.saga_id}` lets the orchestrator "
            "finish the saga"
        )
    elif late := past_deadline(contract, journal, journal.updated_us):
        stall(contract, journal, late)


def _kept_from(contract: Contract, letter: api.DeadLetter) -> list[Method]:
    """The steps for which the choreography waits, and which a dead letter keeps from being done."""
    return [m for m in contract.triggered_by(letter.event) if service_name(m.service) == letter.service and m.emits]


def _cause(contract: Contract, events: Iterable[Mail]) -> bytes:
    """The first refusal. One by a tombstone is a consequence, and a lost race for the pivot no cause."""
    for event, mail in _refusals(contract, events):
        if (info := _refusal(event, mail)).reason != "STEP_COMPENSATED":
            return bytes(info.SerializeToString())
    return b""


def _refusals(contract: Contract, events: Iterable[Mail]) -> Iterator[tuple[EventType, Mail]]:
    for mail in events:
        for source in contract.sources_of(mail.name)[:1]:
            if mail.name == source.refuses and not (source.aborts or source.pivot):
                yield contract.events[mail.name], mail


def _refusal(event: EventType, mail: Mail) -> error_details_pb2.ErrorInfo:
    found = getattr(event.message_class.FromString(mail.body), "refusal", None)
    return found if isinstance(found, error_details_pb2.ErrorInfo) else error_details_pb2.ErrorInfo()
