"""The saga is a gRPC channel: stubs made on it are durable.

`InventoryServiceStub(saga).ReserveStock(request)` calls the participant until its answer is definite, writes the
answer down, and gives it again whenever the same step is asked for. A refusal raises StepRefused, an AioRpcError
like any failed call's; where it leaves the workflow, the saga takes the no-go side. An error that calling again
cannot mend never reaches the workflow: the saga stalls, and a person has to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, NoReturn, TypeVar
from uuid import UUID, uuid5

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mesh import errors, identity, registry
from mesh.contract import Method
from orchestrator.engine_port import EnginePort
from orchestrator.journal import (
    COMPENSATED,
    STEP_DONE,
    STEP_FAILED,
    STEP_REFUSED,
    STEP_RUNNING,
    Journal,
    StepEntry,
    StepKey,
    StepStatus,
    pack,
    unpack,
)
from orchestrator.mismatch import fields_to_mark
from orchestrator.participants import Indefinite
from orchestrator.waits import CHILD, NOW, Duration, Event, Waits

# A saga that has only waited for so long, and has to wait for so long still, leaves memory. Shorter, and running it
# again would cost more than keeping it.
PARK_AFTER_S = 0.05
PARKED_MIN_S = 1.0

# Of the ids that workflows are given; a constant for ever, like any uuid5 namespace.
_NAMESPACE = UUID("0d3f6a54-6a0e-5c1b-8f43-2f1f7b1f5c0e")

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class StepRefused(grpc.aio.AioRpcError):
    """A participant refused a step for a business reason; `info.reason` says which."""

    def __init__(self, method: str, status: status_pb2.Status) -> None:
        trailing = grpc.aio.Metadata(*errors.trailing_metadata(status))
        super().__init__(errors.grpc_code(status), grpc.aio.Metadata(), trailing, details=status.message)
        self.method = method
        self.info = errors.error_info_of(status) or error_details_pb2.ErrorInfo()


class Stall(Exception):
    """The saga cannot go on by itself. Handled by the engine, never by a workflow."""

    def __init__(self, reason: str, what_to_do: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.help = what_to_do  # goes on with "run `ensemble saga retry …`"


@dataclass(frozen=True)
class Park:
    """The saga only waits, and for long: it may leave memory until then."""

    until_us: int
    names: list[str]  # mail that it waits for


class Saga(grpc.aio.Channel):
    """One run of one saga. Not thread-safe; every call belongs to the engine's event loop."""

    def __init__(self, journal: Journal, engine: EnginePort, leave: Callable[[Stall | Park], None]) -> None:
        """`leave` is told, once, that the workflow cannot go on, or has nothing to do for long."""
        self.saga_id = journal.saga_id
        self._journal = journal
        self._engine = engine
        self._leave = leave
        self._waits = Waits(journal, engine, self._consider_parking)
        self._requests: dict[StepKey, Message] = {}
        self._calling: dict[StepKey, asyncio.Future[None]] = {}
        self._callers: set[asyncio.Task[Any]] = set()
        self._told = self._told_durably = 0  # times that the workflow knows, and those of them that a crash keeps
        self._closed = False
        # A process that no pivot decides is reversed by what was started, so that is written down first.
        process = engine.contract.processes.get(journal.process)
        self._intends = process is not None and process.aborting is None

    async def sleep(self, duration: Duration) -> None:
        """Waits for a timedelta, or so many seconds, durably: a restart makes it no longer, and it takes no memory."""
        self._check_open()
        await self._waits.sleep(duration)

    async def event(self, event_class: type[Event], timeout: Duration | None = None) -> Event:  # noqa: ASYNC109  # durable
        """Waits for a choreographed event with this saga's id, which may have come before. Raises TimeoutError.

        The first event of a type that comes for a saga is the one; `timeout` counts from the first call.
        """
        self._check_open()
        return await self._waits.event(event_class, timeout)

    async def child(self, process: str, event: Message) -> Message | None:
        """Runs another saga to its end, under the id in `event`; returns what its workflow returned.

        Raises StepRefused where it was compensated. A child that has completed is not undone when its parent turns
        back; one that still runs is cancelled.
        """
        self._check_open()
        child_id = identity.saga_id(event)
        entry = self._waits.entry(CHILD, f"{process}/{child_id}")
        if entry.status == STEP_RUNNING:
            entry.request = pack(event)
            self._engine.note(self._journal, entry)
            # First that it is started, and all that went into its event: a parent that turns back after a crash looks
            # for its children here, and one that goes on must not start this one with another time.
            await self._engine.flushed()
            try:
                await self._engine.start_child(process, event, self.saga_id)
            except errors.MeshError as error:
                await self._stall(Stall(f"the child {process}/{child_id} cannot be started: {error}", "mend it, then"))
        end = await self._waits.child_end(entry, child_id)
        if end.saga.status == COMPENSATED:
            status = status_pb2.Status(code=grpc.StatusCode.FAILED_PRECONDITION.value[0], message="compensated")
            status.details.add().Pack(end.refusal)
            raise StepRefused(f"{CHILD} {process}/{child_id}", status)
        return registry.message_class(end.result.TypeName()).FromString(end.result.value) if end.result.value else None

    async def cancel_children(self) -> None:
        """Asks the children that still run to turn back, and waits for their ends."""
        for entry in [entry for entry in self._journal.steps.values() if entry.method == CHILD and not entry.done]:
            process, _, child_id = entry.step_key.rpartition("/")
            try:
                await self._engine.cancel(child_id)
            except errors.NotFound:
                if not entry.request:  # written down by an older orchestrator
                    continue
                # Written down, and not started, or not committed yet: it may still come, so it is started and turned
                # back, which is a tombstone like any other.
                await self._engine.start_child(process, unpack(entry.request), self.saga_id)
                await self._engine.cancel(child_id)
            await self._waits.child_end(entry, child_id)

    def now(self, key: str = "") -> datetime:
        """The time (UTC), the same in every run of the workflow. In parallel branches give each call a key."""
        self._check_open()
        known = len(self._journal.steps)
        entry = self._waits.entry(NOW, key or self._waits.nth("now"))
        if len(self._journal.steps) > known:
            entry.status, entry.ended_us = STEP_DONE, entry.started_us
            self._told += 1  # it may go into a request, and must then be the same after a crash
        return datetime.fromtimestamp(entry.started_us / 1e6, UTC)

    def uuid(self, key: str = "") -> UUID:
        """An id, the same in every run of the workflow. In parallel branches give each call a key."""
        self._check_open()
        return uuid5(_NAMESPACE, f"{self.saga_id}/{key or self._waits.nth('uuid')}")

    async def step(self, method: Method, request: Message, timeout_s: float | None = None) -> Message:
        """Does a step, or answers as it was done. Raises StepRefused; where the saga stalls it never returns."""
        try:
            entry = await self._settle(method, request, timeout_s)
        except Stall as stall:
            await self._stall(stall)
        if (refusal := entry.refusal) is not None:
            raise StepRefused(method.full_name, refusal)
        return method.response_class.FromString(entry.outcome)

    def ask_again(self, method: Method, request: Message) -> None:
        """Forgets the answer of a step, so that the next run asks for it."""
        entry = self._journal.steps[method.full_name, identity.step_key(request)]
        entry.status = STEP_FAILED
        self._engine.note(self._journal, entry)

    async def abandon(self) -> None:
        """Lets go of all that is under way: calls are in doubt, and whoever runs the saga on settles them.

        From now on every use of the saga is a cancellation, also in code that catches the first one.
        """
        self._closed = True
        if left := [task for task in self._callers | self._waits.tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _settle(self, method: Method, request: Message, timeout_s: float | None) -> StepEntry:
        self._check_open()
        key = (method.full_name, identity.step_key(request))
        digest = identity.digest(request)
        while (calling := self._calling.get(key)) is not None:  # one call for all who ask for the step
            self._check_same(method, request, self._journal.steps[key], digest)
            await asyncio.wait([calling])
        entry = self._journal.steps.get(key)
        if entry is None:
            entry = self._journal.steps[key] = StepEntry(*key, self._engine.clock.now_us(), digest)
        else:
            self._check_same(method, request, entry, digest)
        if entry.done or entry.status == STEP_REFUSED:
            return entry
        self._requests[key] = request
        return await self._call(method, request, entry, timeout_s)

    def _check_same(self, method: Method, request: Message, entry: StepEntry, digest: bytes) -> None:
        if entry.digest == digest:
            return
        known = self._requests.get(entry.key)
        field = fields_to_mark(request, known) if known is not None else "the field that tells them apart"
        raise Stall(
            f"{method.full_name} was called with two different requests in this saga",
            f"if these are two steps, mark {field} in {method.descriptor.input_type.full_name} with "
            "[(ensemble.coordination.v1.step_key) = true]; if it is one, let it build the same request; then",
        )

    async def _call(self, method: Method, request: Message, entry: StepEntry, timeout_s: float | None) -> StepEntry:
        task = asyncio.current_task()
        assert task is not None
        settled = self._calling[entry.key] = asyncio.get_running_loop().create_future()
        self._callers.add(task)
        try:
            return await self._ask(method, request.SerializeToString(), entry, timeout_s)
        except asyncio.CancelledError:
            entry.last_error = "abandoned, in doubt"
            self._answered(entry, STEP_FAILED, b"")
            raise
        finally:
            del self._calling[entry.key]
            settled.set_result(None)
            self._callers.discard(task)
            if self._waits.next_us is not None:
                self._consider_parking()

    async def _ask(self, method: Method, request: bytes, entry: StepEntry, timeout_s: float | None) -> StepEntry:
        def failed(error: str) -> None:
            entry.attempts += 1
            entry.last_error = error
            self._engine.note(self._journal, entry)

        def paused(why: str) -> None:
            entry.last_error = why
            self._engine.note(self._journal, entry)

        entry.status = STEP_RUNNING
        if self._intends:
            entry.request = request
        self._engine.note(self._journal, entry)
        told = self._told
        if self._intends or told > self._told_durably:
            await self._engine.flushed()
            self._told_durably = max(self._told_durably, told)
        try:
            answer = await self._engine.participants.ask(method, request, timeout_s, failed, paused)
        except Indefinite as error:
            self._answered(entry, STEP_FAILED, error.answer.SerializeToString())
            raise Stall(f"{method.full_name} answered {error}", "mend the cause, then") from error
        entry.attempts += 1
        if answer.refusal is not None:
            entry.last_error = _reason(answer.refusal)
            self._answered(entry, STEP_REFUSED, answer.refusal.SerializeToString())
        else:
            self._answered(entry, STEP_DONE, answer.response)
        return entry

    def _answered(self, entry: StepEntry, status: StepStatus.ValueType, outcome: bytes) -> None:
        entry.status, entry.outcome, entry.ended_us = status, outcome, self._engine.clock.now_us()
        self._engine.note(self._journal, entry)

    def _check_open(self) -> None:
        if self._closed:
            raise asyncio.CancelledError("this run of the saga is over")

    def _consider_parking(self) -> None:
        # A little later: whatever else the workflow begins in the same breath shall have begun.
        asyncio.get_running_loop().call_later(PARK_AFTER_S, self._park)

    def _park(self) -> None:
        next_us = self._waits.next_us
        if self._closed or self._calling or next_us is None:
            return
        if next_us - self._engine.clock.now_us() > PARKED_MIN_S * 1e6:
            self._leave(Park(next_us, self._waits.names))

    async def _stall(self, stall: Stall) -> NoReturn:
        task = asyncio.current_task()
        assert task is not None
        self._callers.add(task)
        self._leave(stall)
        await asyncio.Event().wait()  # the engine ends the workflow; its code must not see this, nor catch it
        raise AssertionError("never set")

    # What grpc.aio.Channel asks for.

    def unary_unary(  # type: ignore[override]  # what it returns is no UnaryUnaryMultiCallable, but called like one
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> DurableCall[Any, Any]:
        """A durable method; raises ValueError for one that no contract of this mesh defines.

        Every run of a workflow makes its stubs anew, with all methods of each: this has to be cheap.
        """
        known = self._engine.contract.by_path.get(method)
        if known is None:
            raise ValueError(
                f"{method} is in no contract of this mesh; add its package to ENSEMBLE_CONTRACTS "
                "and mark the method with the option `participation`"
            )
        return DurableCall(self, known)

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """Refuses when it is called: a stream has no one answer to write down."""
        return _no_stream(method)

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        """Refuses when it is called."""
        return _no_stream(method)

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """Refuses when it is called."""
        return _no_stream(method)

    async def __aenter__(self) -> Saga:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def close(self, grace: float | None = None) -> None:
        """Nothing to close: the connections are the engine's."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Always ready: a participant that is away is waited for."""
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Never returns from READY."""
        if last_observed_state is grpc.ChannelConnectivity.READY:
            await asyncio.Event().wait()

    async def channel_ready(self) -> None:
        """At once."""


class DurableCall(Generic[Request, Response]):
    """One method on a saga. Calling it gives a coroutine, so `await`, `gather` and `TaskGroup` all take it."""

    __slots__ = ("_method", "_saga")

    def __init__(self, saga: Saga, method: Method) -> None:
        self._saga = saga
        self._method = method

    def __call__(
        self, request: Request, *, timeout: float | None = None, **unused: Any
    ) -> Coroutine[Any, Any, Response]:
        """Does the step. `timeout`, in seconds, bounds one try, not the step."""
        if not self._method.participates:
            raise ValueError(
                f"{self._method.full_name} takes part in no process, so its answer may differ from call to call; "
                "mark it with the option `participation`"
            )
        if any(value is not None for value in unused.values()):
            raise ValueError(f"a step takes a request and a timeout, not {', '.join(unused)}")
        return self._saga.step(self._method, request, timeout)  # type: ignore[return-value]  # by the descriptor


def _no_stream(method: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise ValueError(f"{method} streams; a saga calls unary methods only, whose one answer it can write down")

    return refuse


def _reason(status: status_pb2.Status) -> str:
    info = errors.error_info_of(status)
    return f"{info.reason}: {status.message}" if info else status.message
