"""What is known of a saga: its state, and the answers of its steps.

A step is keyed by what it is, (method, step_key), and not by its position, so a workflow may be edited while sagas
run: steps added, removed, reordered or made parallel find their answers, or are called.

The journal may be lazy. Only a saga's start is durable before it is acknowledged, and a cancellation. An answer that
a crash forgets is asked for again, and the participant's ledger gives it again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from ensemble.orchestrator.v1 import orchestrator_pb2 as api

SagaStatus = api.SagaStatus
StepStatus = api.StepStatus
Style = api.Style

ENDED = (SagaStatus.SAGA_STATUS_COMPLETED, SagaStatus.SAGA_STATUS_COMPENSATED)
# States in which the engine drives an orchestrated saga.
GOING = (SagaStatus.SAGA_STATUS_RUNNING, SagaStatus.SAGA_STATUS_COMPENSATING)

StepKey = tuple[str, str]

M = TypeVar("M", bound=Message)


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def pack(message: Message) -> bytes:
    """A message as the bytes of an Any, as the journal keeps inputs and results."""
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed.SerializeToString()


@dataclass
class StepEntry:
    """One step, and its answer where there is one."""

    method: str
    step_key: str
    digest: bytes = b""
    status: api.StepStatus.ValueType = StepStatus.STEP_STATUS_RUNNING
    outcome: bytes = b""  # DONE: the response; REFUSED and FAILED: a google.rpc.Status
    attempts: int = 0
    started_us: int = field(default_factory=now_us)
    ended_us: int = 0
    last_error: str = ""

    @property
    def key(self) -> StepKey:
        """What the step is."""
        return (self.method, self.step_key)

    @property
    def refusal(self) -> status_pb2.Status | None:
        """The business refusal, where that is the answer."""
        refused = self.status == StepStatus.STEP_STATUS_REFUSED
        return status_pb2.Status.FromString(self.outcome) if refused else None

    def to_proto(self) -> api.Step:
        """As the API shows it."""
        step = api.Step(
            method=self.method,
            step_key=self.step_key,
            status=self.status,
            attempts=self.attempts,
            last_error=self.last_error,
        )
        step.started.FromMicroseconds(self.started_us)
        if self.ended_us:
            step.ended.FromMicroseconds(self.ended_us)
        return step


@dataclass
class Journal:
    """One saga."""

    saga_id: str
    process: str
    style: api.Style.ValueType
    input: bytes  # a google.protobuf.Any: the starting event; empty while a tracked saga's start was not seen
    status: api.SagaStatus.ValueType = SagaStatus.SAGA_STATUS_RUNNING
    cancelling: bool = False  # the no-go side was asked for from outside
    refusal: bytes = b""  # a google.rpc.ErrorInfo
    result: bytes = b""  # a google.protobuf.Any
    stalled_reason: str = ""
    stalled_help: str = ""
    started_us: int = field(default_factory=now_us)
    updated_us: int = field(default_factory=now_us)
    ended_us: int = 0
    steps: dict[StepKey, StepEntry] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in ENDED

    def input_as(self, message_class: type[M]) -> M:
        """The starting event."""
        return message_class.FromString(any_pb2.Any.FromString(self.input).value)

    def forget_refusals(self) -> None:
        """Leaves only successes: the pivot decided for the way forward, and the ledgers answer the rest again."""
        self.steps = {key: step for key, step in self.steps.items() if step.status == StepStatus.STEP_STATUS_DONE}

    def to_proto(self, *, with_steps: bool = True) -> api.Saga:
        """As the API shows it."""
        saga = api.Saga(
            saga_id=self.saga_id,
            process=self.process,
            status=self.status,
            style=self.style,
            stalled_reason=self.stalled_reason,
            stalled_help=self.stalled_help,
        )
        if with_steps:
            ordered = sorted(self.steps.values(), key=lambda step: step.started_us)
            saga.steps.extend(step.to_proto() for step in ordered)
        if self.input:
            saga.input.CopyFrom(any_pb2.Any.FromString(self.input))
        if self.refusal:
            saga.refusal.CopyFrom(error_details_pb2.ErrorInfo.FromString(self.refusal))
        saga.started.FromMicroseconds(self.started_us)
        saga.updated.FromMicroseconds(self.updated_us)
        if self.ended_us:
            saga.ended.FromMicroseconds(self.ended_us)
        return saga
