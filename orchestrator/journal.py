"""What is known of a saga: its state, and the answers of its steps.

A step is keyed by what it is, (method, step_key), and not by its position, so a workflow may be edited while sagas
run: steps added, removed, reordered or made parallel find their answers, or are called.

The journal may be lazy. Only a saga's start is durable before it is acknowledged, and a cancellation. An answer that
a crash forgets is asked for again, and the participant's ledger gives it again. What no ledger knows (a time that the
workflow was told, an event that came too late, the steps of a process without a pivot) is durable before the workflow
goes on from it; orchestrator.saga and orchestrator.waits see to that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh import registry
from mesh.errors import OutOfOrder

SagaStatus = api.SagaStatus
StepStatus = api.StepStatus
Style = api.Style

# By short names: to ask an enum's wrapper for a value costs a microsecond, and a saga asks often.
RUNNING, COMPENSATING = SagaStatus.SAGA_STATUS_RUNNING, SagaStatus.SAGA_STATUS_COMPENSATING
COMPLETED, COMPENSATED = SagaStatus.SAGA_STATUS_COMPLETED, SagaStatus.SAGA_STATUS_COMPENSATED
STALLED = SagaStatus.SAGA_STATUS_STALLED
STEP_RUNNING, STEP_DONE = StepStatus.STEP_STATUS_RUNNING, StepStatus.STEP_STATUS_DONE
STEP_REFUSED, STEP_FAILED = StepStatus.STEP_STATUS_REFUSED, StepStatus.STEP_STATUS_FAILED
# Only shown, never journaled.
STEP_PLANNED, STEP_TRIGGERED = StepStatus.STEP_STATUS_PLANNED, StepStatus.STEP_STATUS_TRIGGERED
ORCHESTRATED, CHOREOGRAPHED = Style.STYLE_ORCHESTRATED, Style.STYLE_CHOREOGRAPHED

ENDED = (COMPLETED, COMPENSATED)
# States in which the engine drives an orchestrated saga.
GOING = (RUNNING, COMPENSATING)

# When a saga is due that waits for an event without a limit: the last moment that a Timestamp can show.
FOREVER_US = 253_402_300_799_000_000

StepKey = tuple[str, str]

# Entries of the journal that are no steps of participants: what the saga itself waited for, or was told.
OWN = "saga."


def pack(message: Message) -> bytes:
    """A message as the bytes of an Any, as the journal keeps inputs and results."""
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed.SerializeToString()


def unpack(packed: bytes) -> Message:
    """What was packed."""
    wrapped = any_pb2.Any.FromString(packed)
    return registry.message_class(wrapped.TypeName()).FromString(wrapped.value)


@dataclass
class StepEntry:
    """One step, and its answer where there is one."""

    method: str
    step_key: str
    started_us: int
    digest: bytes = b""
    request: bytes = b""  # kept where the way back needs it: without a pivot, and of children
    status: api.StepStatus.ValueType = STEP_RUNNING
    outcome: bytes = b""  # DONE: the response; REFUSED and FAILED: a google.rpc.Status
    attempts: int = 0
    ended_us: int = 0
    last_error: str = ""

    @property
    def key(self) -> StepKey:
        """What the step is."""
        return (self.method, self.step_key)

    @property
    def done(self) -> bool:
        """Whether it succeeded."""
        return self.status == STEP_DONE

    @property
    def refusal(self) -> status_pb2.Status | None:
        """The business refusal, where that is the answer."""
        refused = self.status == STEP_REFUSED
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
    started_us: int
    version: int = 1  # of its workflow
    parent: str = ""  # the saga that started it
    status: api.SagaStatus.ValueType = RUNNING
    cancelling: bool = False  # the no-go side was asked for, and no participant knows why: from outside, by the clock
    refusal: bytes = b""  # a google.rpc.ErrorInfo
    result: bytes = b""  # a google.protobuf.Any
    stalled_reason: str = ""
    stalled_help: str = ""
    updated_us: int = 0
    ended_us: int = 0
    owner: str | None = None  # the orchestrator that runs it
    due_us: int | None = None  # where nobody runs it: when somebody shall
    steps: dict[StepKey, StepEntry] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in ENDED

    @property
    def driven(self) -> bool:
        """Whether an orchestrator has to run it."""
        return self.status in GOING and self.style == ORCHESTRATED

    def starting_event(self) -> Message:
        """The starting event; raises OutOfOrder where it was not seen."""
        if not self.input:
            raise OutOfOrder(f"the starting event of saga {self.saga_id} was not seen yet; try again")
        return unpack(self.input)

    def forget_refusals(self) -> None:
        """Leaves only successes: the pivot decided for the way forward, and the ledgers answer the rest again."""
        self.steps = {key: step for key, step in self.steps.items() if step.done or step.method.startswith(OWN)}

    def steps_to_proto(self) -> list[api.Step]:
        """The steps as the API shows them, in the order in which they began."""
        return [step.to_proto() for step in sorted(self.steps.values(), key=lambda step: step.started_us)]

    def to_proto(self, *, with_steps: bool = True) -> api.Saga:
        """As the API shows it."""
        saga = api.Saga(
            saga_id=self.saga_id,
            process=self.process,
            status=self.status,
            style=self.style,
            stalled_reason=self.stalled_reason,
            stalled_help=self.stalled_help,
            version=self.version,
            parent=self.parent,
        )
        if with_steps:
            saga.steps.extend(self.steps_to_proto())
        if self.input:
            saga.input.CopyFrom(any_pb2.Any.FromString(self.input))
        if self.refusal:
            saga.refusal.CopyFrom(error_details_pb2.ErrorInfo.FromString(self.refusal))
        saga.started.FromMicroseconds(self.started_us)
        saga.updated.FromMicroseconds(self.updated_us)
        if self.ended_us:
            saga.ended.FromMicroseconds(self.ended_us)
        if self.due_us is not None:
            saga.wakes.FromMicroseconds(min(self.due_us, FOREVER_US))
        return saga
