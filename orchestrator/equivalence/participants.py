"""The services of a rehearsal: they answer with samples, refuse where they are told to, and remember what they did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mesh import errors, identity
from mesh.contract import Contract, Method
from mesh.errors import Refused, StepCompensated
from mesh.projection import matches, project
from mesh.refusal import refusal_event
from orchestrator.equivalence.conditions import Conditions
from orchestrator.equivalence.samples import sample
from orchestrator.testing.fake_participants import FakeParticipants

# Full name of the method, and step key.
Step = tuple[str, str]


@dataclass(frozen=True)
class Trace:
    """What came of one run. Messages are compared as they are."""

    outcome: str  # COMPLETED or COMPENSATED; else what keeps it from ending
    ran: set[str]  # full names of methods
    effects: set[Step]  # done, and not taken back
    requests: Mapping[Step, Message]
    published: Mapping[str, Message] = field(default_factory=dict)  # public events, by full name


class SampleParticipants(FakeParticipants):
    """All services of a contract."""

    def __init__(self, contract: Contract, conditions: Conditions) -> None:
        super().__init__(contract)
        self._requests: dict[Step, Message] = {}
        self._published: dict[str, Message] = {}
        for name in conditions.refusing:
            self.refuse(contract.methods[name], Refused("REFUSED", ""))

    def react(self, method: Method, request: Message) -> Message | None:
        """Does a step that an event triggers; the event that it emits then."""
        try:
            answer = self.perform(method, request.SerializeToString())
        except StepCompensated as error:
            answer = error.status(method.service)
        return self._event(method, request, answer)

    def perform(self, method: Method, data: bytes) -> Message | status_pb2.Status:
        """As FakeParticipants.perform; what it makes public is heard by those who observe it, in either style."""
        answer = super().perform(method, data)
        _, request = self.calls[-1]
        self._requests[method.full_name, identity.step_key(request)] = request
        event = self._event(method, request, answer)
        if event is not None and self._contract.events[event.DESCRIPTOR.full_name].public:
            self._publish(event)
        return answer

    def trace(self, outcome: str) -> Trace:
        """What was done, up to now."""
        done = {(method, key) for (_, method, key), row in self._rows.items() if row.response is not None}
        undone = {
            (self._contract.methods[method].compensates, key)
            for method, key in done
            if self._contract.methods[method].compensates
        }
        ran = {method for (_, method, _), row in self._rows.items() if row.digest is not None}
        return Trace(outcome, ran, done - undone, self._requests, self._published)

    def _publish(self, event: Message) -> None:
        name = event.DESCRIPTOR.full_name
        if name in self._published:
            return
        self._published[name] = event
        for method in self._contract.observing(name):
            self.perform(method, project(method.request_class, event).SerializeToString())

    def _event(self, method: Method, request: Message, answer: Message | status_pb2.Status) -> Message | None:
        if isinstance(answer, status_pb2.Status):
            info = errors.error_info_of(answer) or error_details_pb2.ErrorInfo()
            return refusal_event(self._contract, method, request, info) if method.refuses else None
        if not method.emits:
            return None
        return project(self._contract.events[method.emits].message_class, request, answer)

    def _check(self, request: Message) -> None:
        """Takes all: samples keep no rules."""

    def _unfaked(self, method: Method, request: Message) -> Message:
        """A sample, but for the fields that the request has too: who is asked for something answers about that."""
        answer = sample(method.response_class)
        for answered in method.descriptor.output_type.fields:
            if matches(answered, method.descriptor.input_type):
                answer.ClearField(answered.name)
        answer.MergeFrom(project(method.response_class, request))
        return answer
