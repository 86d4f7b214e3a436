"""The saga is a gRPC channel: stubs made on it are durable.

`InventoryServiceStub(saga).ReserveStock(request)` calls the participant until its answer is definite, writes the
answer down, and gives it again whenever the same step is asked for. A refusal raises StepRefused, an AioRpcError
like any failed call's; where it leaves the workflow, the saga takes the no-go side. An error that calling again
cannot mend never reaches the workflow: the saga stalls, and a person has to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mesh import errors, identity
from mesh.contract import Contract, Method
from orchestrator.journal import Journal, StepEntry, StepKey, StepStatus, now_us
from orchestrator.participants import Indefinite, Participants

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


class Saga(grpc.aio.Channel):
    """One run of one saga. Not thread-safe; every call belongs to the engine's event loop."""

    def __init__(
        self,
        journal: Journal,
        contract: Contract,
        participants: Participants,
        changed: Callable[[StepEntry], None],
    ) -> None:
        self.saga_id = journal.saga_id
        self.stalled: asyncio.Future[Stall] = asyncio.get_running_loop().create_future()
        self._journal = journal
        self._contract = contract
        self._participants = participants
        self._changed = changed
        self._calling: dict[StepKey, asyncio.Task[StepEntry]] = {}

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
        self._journal.steps[method.full_name, identity.step_key(request)].status = StepStatus.STEP_STATUS_FAILED
        self._changed(self._journal.steps[method.full_name, identity.step_key(request)])

    async def abandon(self) -> None:
        """Lets go of the calls under way: they are in doubt, and whoever runs the saga on settles them."""
        calls = dict(self._calling)
        for call in calls.values():
            call.cancel()
        await asyncio.gather(*calls.values(), return_exceptions=True)
        for key in calls:
            entry = self._journal.steps[key]
            if entry.status == StepStatus.STEP_STATUS_RUNNING:
                entry.last_error = "abandoned, in doubt"
                self._close(entry, StepStatus.STEP_STATUS_FAILED, b"")

    async def _settle(self, method: Method, request: Message, timeout_s: float | None) -> StepEntry:
        key = (method.full_name, identity.step_key(request))
        digest = identity.digest(request)
        entry = self._journal.steps.get(key)
        if entry is not None and entry.digest != digest:
            raise Stall(
                f"{method.full_name} was called with two different requests in this saga",
                "if these are two steps, mark the field that tells them apart with "
                "(ensemble.coordination.v1.step_key) = true; if it is one, let it build the same request; then",
            )
        if entry is not None and entry.status in (StepStatus.STEP_STATUS_DONE, StepStatus.STEP_STATUS_REFUSED):
            return entry
        if key not in self._calling:
            if entry is None:
                entry = self._journal.steps[key] = StepEntry(*key, digest=digest)
            call = asyncio.create_task(
                self._ask(method, request, entry, timeout_s), name=f"{self.saga_id} {method.name}"
            )
            self._calling[key] = call
            call.add_done_callback(lambda _: self._calling.pop(key, None))
        # One call for all who ask for the step; none of them ends it for the others.
        return await asyncio.shield(self._calling[key])

    async def _ask(self, method: Method, request: Message, entry: StepEntry, timeout_s: float | None) -> StepEntry:
        def failed(error: str) -> None:
            entry.attempts += 1
            entry.last_error = error
            self._changed(entry)

        entry.status = StepStatus.STEP_STATUS_RUNNING
        self._changed(entry)
        try:
            answer = await self._participants.ask(method, request.SerializeToString(), timeout_s, failed)
        except Indefinite as error:
            self._close(entry, StepStatus.STEP_STATUS_FAILED, error.answer.SerializeToString())
            raise Stall(
                f"{method.full_name} answered {error}",
                "mend the cause, then",
            ) from error
        entry.attempts += 1
        if answer.refusal is not None:
            entry.last_error = _reason(answer.refusal)
            self._close(entry, StepStatus.STEP_STATUS_REFUSED, answer.refusal.SerializeToString())
        else:
            self._close(entry, StepStatus.STEP_STATUS_DONE, answer.response)
        return entry

    def _close(self, entry: StepEntry, status: StepStatus.ValueType, outcome: bytes) -> None:
        entry.status, entry.outcome, entry.ended_us = status, outcome, now_us()
        self._changed(entry)

    async def _stall(self, stall: Stall) -> NoReturn:
        if not self.stalled.done():
            self.stalled.set_result(stall)
        await asyncio.Event().wait()  # the engine ends the workflow; its code must not see this, nor catch it
        raise AssertionError("never set")

    # What grpc.aio.Channel asks for.

    def unary_unary(  # type: ignore[override]  # the base class lists serialisers that a saga has no use for
        self, method: str, *_: Any, **__: Any
    ) -> DurableCall[Any, Any]:
        """A durable method; raises ValueError for one that no contract of this mesh defines."""
        known = self._contract.by_path.get(method)
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
