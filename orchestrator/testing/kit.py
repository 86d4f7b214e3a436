"""What a test of a workflow uses. See the example in this package's first lines."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

from mesh import identity, virtual_time
from mesh.clock import LoopClock
from mesh.contract import Contract, Method
from mesh.errors import Refused
from orchestrator.testing.fake_calls import FakeCalls, Faults
from orchestrator.testing.fake_participants import Fake, FakeParticipants
from orchestrator.testing.local_engine import LocalEngine, new_database
from orchestrator.testing.run import Action, Run
from orchestrator.testing.saga_result import SagaResult, result_of
from orchestrator.workflow import Function, Workflow, WorkflowError, Workflows, registered

# When virtual time begins: 2026-01-01T00:00:00Z, in microseconds since the epoch.
EPOCH_US = 1_767_225_600_000_000

# A duration: seconds, or a timedelta.
Duration = float | timedelta


class WorkflowTest:
    """Runs workflows over fake participants. Used from a plain test function, never inside a coroutine.

    Methods are named by the end of their full names: "ReserveStock", or "InventoryService.ReserveStock" where two
    services have one of that name. What is asked for after a start, by `at` and by the `after` of the others, comes
    that long after the start of the next `run`, in virtual time.
    """

    def __init__(self, *workflows: Workflow | Function, contracts: Sequence[str] = (), seed: int = 0) -> None:
        """Takes the workflow (as @workflow decorated it), and those of its children.

        `contracts` are the generated packages of the services; without any, those beside the starting events: the
        whole of `shop` for a `shop.orders.v1.OrderPlaced`. `seed` decides the jitter of retries.
        """
        self._workflows = Workflows(map(_workflow, workflows))
        starting = [one.input_class.DESCRIPTOR.full_name.partition(".")[0] for one in self._workflows]
        self._contract = _contract(*(contracts or sorted(set(starting))))
        self._participants = FakeParticipants(self._contract)
        self._faults: dict[str, Faults] = {}
        self._database = new_database()
        self._seed = seed
        self._now_s = 0.0
        self._script: list[tuple[float, Action]] = []
        self._run: Run | None = None

    # What the participants do

    def fake(self, method: str, function: Fake) -> None:
        """Lets a method answer what `function` returns of its request; it refuses by raising Refused.

        Called once a step, as a handler is: repeated calls are answered from the fakes' ledger. Any other exception
        fails the test.
        """
        self._participants.fake(self._method(method), function)

    def refuse(self, method: str, reason: str, **metadata: object) -> None:
        """Lets a method refuse for a business reason."""
        self._participants.refuse(self._method(method), Refused(reason, "", **metadata))

    def fail(self, method: str, times: int | None = 1) -> None:
        """Lets calls fail before they reach the participant: UNAVAILABLE, the step is not done. None: until mended."""
        self._faults_of(method).failing = math.inf if times is None else times

    def lose_answer(self, method: str, times: int | None = 1) -> None:
        """Lets answers get lost on the way back: UNAVAILABLE, though the step is done. None: until mended."""
        self._faults_of(method).losing = math.inf if times is None else times

    def delay(self, method: str, duration: Duration) -> None:
        """Lets each step of a method take so long; one that takes longer than the call's timeout happens late."""
        self._faults_of(method).delay_s = _seconds(duration)

    def break_(self, method: str, code: grpc.StatusCode = grpc.StatusCode.PERMISSION_DENIED, text: str = "no") -> None:
        """Lets a method answer with a definite technical error, which stalls the saga."""
        self._faults_of(method).broken = status_pb2.Status(code=code.value[0], message=text)

    def mend(self, method: str) -> None:
        """Takes back all of the above for a method: it answers with its empty response, at once."""
        known = self._method(method)
        self._participants.mend(known)
        self._faults.pop(known.full_name, None)

    # What happens meanwhile

    def at(self, after: Duration, action: Action) -> None:
        """Calls `action` so long after the start; a coroutine that it returns is awaited."""
        if self._run is None:
            self._script.append((_seconds(after), action))
        else:
            self._run.do(_seconds(after), action)

    def cancel(self, saga_id: str = "", *, after: Duration = 0) -> None:
        """Cancels the saga (without an id, the one that `run` starts)."""
        self.at(after, lambda: self._running.engine.engine.cancel(saga_id or self._running.saga_id))

    def retry(self, saga_id: str = "", *, after: Duration = 0) -> None:
        """Sets the saga going again, where it stalls then."""
        self.at(after, lambda: self._running.engine.engine.retry(saga_id or self._running.saga_id))

    def publish(self, event: Message, *, after: Duration = 0) -> None:
        """Publishes an event as the choreography does, for a workflow that waits for it (`saga.event`)."""
        self.at(after, lambda: self._running.engine.publish(event))

    def crash(self, *, after: Duration = 0) -> None:
        """Kills the orchestrator, and starts it again on what its journal had committed."""
        self.at(after, lambda: self._running.engine.crash())

    # What the test asks

    def run(self, event: Message, *, within: Duration = timedelta(days=30)) -> SagaResult:
        """Starts a saga by its event, and runs it until it has ended or stalls and the script is through.

        Raises NotEnded after `within` of virtual time (which comes at once, where the workflow waits for something
        that cannot come), Endless after 5,000 calls, and whatever a fake or an action of the script raises.
        """
        with virtual_time.runner(self._now_s) as runner, self._repeatable():
            try:
                return runner.run(self._to_the_end(event, _seconds(within)))
            finally:
                self._now_s = runner.get_loop().time()
                self._run = None

    @property
    def called(self) -> list[str]:
        """The short names of the methods whose participants were reached, repeated calls too, oldest first."""
        return [method.name for method, _ in self._participants.calls]

    def requests(self, method: str) -> list[Any]:
        """The requests that a method got, repeated calls too, oldest first."""
        known = self._method(method)
        return [request for called, request in self._participants.calls if called is known]

    @property
    def now(self) -> datetime:
        """Virtual time (UTC)."""
        now_s = self._running.loop.time() if self._run else self._now_s
        return datetime.fromtimestamp(EPOCH_US / 1e6, UTC) + timedelta(seconds=now_s)

    async def _to_the_end(self, event: Message, within_s: float) -> SagaResult:
        workflow = self._workflow_of(event)
        calls = FakeCalls(self._participants, self._faults, self._fail)
        engine = LocalEngine(self._contract, self._workflows, calls, self._database, LoopClock(EPOCH_US))
        run = self._run = Run(identity.saga_id(event), engine)
        began_s = run.loop.time()
        try:
            await engine.start(workflow.process, event)
            for after_s, action in self._script:
                run.do(after_s, action)
            self._script.clear()
            journal = await run.rests(within_s)
            await engine.close()
        finally:
            await run.end()
            await calls.close()
        return result_of(journal, timedelta(seconds=run.loop.time() - began_s))

    @contextmanager
    def _repeatable(self) -> Iterator[None]:
        state = random.getstate()
        random.seed(self._seed)
        try:
            yield
        finally:
            random.setstate(state)

    def _fail(self, error: Exception) -> None:
        self._running.fail(error)

    @property
    def _running(self) -> Run:
        assert self._run is not None, "only while `run` runs"
        return self._run

    def _method(self, name: str) -> Method:
        return self._participants.method(name)

    def _faults_of(self, method: str) -> Faults:
        return self._faults.setdefault(self._method(method).full_name, Faults())

    def _workflow_of(self, event: Message) -> Workflow:
        for workflow in self._workflows:
            if isinstance(event, workflow.input_class):
                return workflow
        known = ", ".join(one.input_class.DESCRIPTOR.full_name for one in self._workflows)
        raise TypeError(f"no workflow here starts with a {event.DESCRIPTOR.full_name}, but with {known}")


@cache
def _contract(*packages: str) -> Contract:
    return Contract.of_packages(*packages)


def _workflow(given: Workflow | Function) -> Workflow:
    if isinstance(given, Workflow):
        return given
    for known in registered():
        if known.run is given:
            return known
    raise WorkflowError(f"{given!r} is no workflow: decorate it with @workflow(…)")


def _seconds(duration: Duration) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
