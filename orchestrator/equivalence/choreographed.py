"""Runs the choreography of a process: each event triggers what the contract says, until nothing happens any more."""

from __future__ import annotations

from collections import defaultdict, deque

from google.protobuf.message import Message

from ensemble.coordination.v1.coordination_pb2 import OUTCOME_COMPENSATED, OUTCOME_COMPLETED
from mesh.contract import Contract, Method, Process
from mesh.errors import StepMismatch
from mesh.projection import Disagreement, project
from orchestrator.equivalence.conditions import Conditions
from orchestrator.equivalence.participants import SampleParticipants, Trace
from orchestrator.equivalence.samples import sample

_OUTCOMES = {OUTCOME_COMPLETED: "COMPLETED", OUTCOME_COMPENSATED: "COMPENSATED"}


def choreograph(contract: Contract, process: Process, conditions: Conditions) -> Trace:
    """What the events of a process come to."""
    return _Choreography(contract, process, conditions).run()


class _Choreography:
    def __init__(self, contract: Contract, process: Process, conditions: Conditions) -> None:
        self._contract = contract
        self._process = process
        self._conditions = conditions
        self._participants = SampleParticipants(contract, conditions)
        self._arrived: dict[str, dict[str, Message]] = defaultdict(dict)
        self._waiting: deque[Message] = deque()
        self._seen: dict[tuple[str, bytes], int] = defaultdict(int)
        self._outcome = ""

    def run(self) -> Trace:
        start = sample(self._process.start.message_class)
        try:
            if self._conditions.cancelled:
                self._abort(start)
            self._waiting.append(start)
            self._drain()
            if self._conditions.dead and not self._outcome:  # somebody gives up waiting, as a deadline does
                self._abort(start)
                self._drain()
        except (StepMismatch, Disagreement) as error:
            self._outcome = f"STALLED ({error})"
        return self._participants.trace(self._outcome or "NO OUTCOME")

    def _abort(self, start: Message) -> None:
        aborting = self._process.aborting
        if aborting is not None:
            self._react(aborting, project(aborting.request_class, start))

    def _drain(self) -> None:
        # A failure is a redelivery here: of all events, as the broker may.
        deliveries = 2 if self._conditions.troubled else 1
        while self._waiting:
            event = self._waiting.popleft()
            seen = (event.DESCRIPTOR.full_name, event.SerializeToString(deterministic=True))
            if self._seen[seen] < deliveries:
                self._seen[seen] += 1
                if self._seen[seen] < deliveries:
                    self._waiting.append(event)
                self._deliver(event)

    def _deliver(self, event: Message) -> None:
        name = event.DESCRIPTOR.full_name
        self._outcome = self._outcome or _OUTCOMES.get(self._contract.events[name].outcome, "")
        for method in self._contract.triggered_by(name):
            self._arrive(method, event)

    def _arrive(self, method: Method, event: Message) -> None:
        arrived = self._arrived[method.full_name]
        arrived[event.DESCRIPTOR.full_name] = event
        if not method.join_all:
            self._react(method, project(method.request_class, event))
        elif set(arrived) == set(method.on):
            self._react(method, project(method.request_class, *arrived.values()))

    def _react(self, method: Method, request: Message) -> None:
        if method.full_name == self._conditions.dead:
            return
        emitted = self._participants.react(method, request)
        if emitted is not None:
            self._waiting.append(emitted)
