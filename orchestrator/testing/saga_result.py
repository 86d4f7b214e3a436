"""How a saga ended, as a test asks for it, and where one stands that did not end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from google.protobuf import any_pb2
from google.protobuf.message import Message

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh import registry
from orchestrator.journal import Journal


class Status(StrEnum):
    """How a saga stands, as a test compares it."""

    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    COMPLETED = "COMPLETED"
    COMPENSATED = "COMPENSATED"
    STALLED = "STALLED"


@dataclass(frozen=True)
class SagaResult:
    """How a saga ended, or why it stalls."""

    saga_id: str
    status: Status
    reason: str  # of the refusal that turned it back; CANCELLED where it was asked to
    stalled: str  # why a person has to look; empty where it does not stall
    took: timedelta  # in virtual time, with the script
    result: Message | None = None  # what the workflow returned
    saga: api.Saga = field(default_factory=api.Saga, repr=False)  # all of it, as the orchestrator's API shows it


def result_of(journal: Journal, took: timedelta) -> SagaResult:
    """A saga that has ended or stalls."""
    saga = journal.to_proto()
    return SagaResult(
        saga_id=saga.saga_id,
        status=_status(saga),
        reason=saga.refusal.reason,
        stalled=saga.stalled_reason,
        took=took,
        result=_unpacked(journal.result),
        saga=saga,
    )


def _status(saga: api.Saga) -> Status:
    return Status(api.SagaStatus.Name(saga.status).removeprefix("SAGA_STATUS_"))


def _unpacked(packed: bytes) -> Message | None:
    if not packed:
        return None
    wrapped = any_pb2.Any.FromString(packed)
    return registry.message_class(wrapped.TypeName()).FromString(wrapped.value)


def story_of(journal: Journal, within_s: float) -> str:
    """Where a saga stands that should have ended."""
    saga = journal.to_proto()
    lines = [f"saga {saga.saga_id} is still {_status(saga)} after {timedelta(seconds=within_s)}; its steps:"]
    for step in saga.steps:
        status = api.StepStatus.Name(step.status).removeprefix("STEP_STATUS_")
        tries = f", tried {step.attempts} times, last: {step.last_error}" if step.last_error else ""
        lines.append(f"- {step.method} {status}{tries}")
    return "\n".join(lines)
