"""Calls to fake participants, with the faults of a network. They stand below the engine's real retries.

A call whose time is over does not end at its participant: its step may still happen, late, as it does in life.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio
from google.rpc import status_pb2

from mesh import errors
from mesh.addresses import Addresses
from mesh.contract import Method
from mesh.errors import MeshError
from orchestrator.circuit import Circuit
from orchestrator.participants import Participants
from orchestrator.peer import Peer
from orchestrator.retry_budget import RetryBudget
from orchestrator.testing.fake_participants import FakeParticipants

CALL_TIMEOUT_S = 5.0
# Of one run. Retries without an end take no time in a test of virtual time, so something else has to end them.
CALLS_MAX = 5_000


class Endless(AssertionError):
    """The workflow calls, or the engine retries, and nothing ends it."""


@dataclass
class Faults:
    """What goes wrong with the calls of one method. Counts may be infinite."""

    failing: float = 0  # calls that do not reach it
    losing: float = 0  # answers that do not come back
    delay_s: float = 0.0  # that the step takes
    broken: status_pb2.Status | None = None


_NONE = Faults()
_NOWHERE = cast("Addresses", None)  # nobody is asked for one


class FakeCalls(Participants):
    """What the engine of one run calls. Only the call is faked; what follows from its answer is the engine's own."""

    def __init__(
        self,
        participants: FakeParticipants,
        faults: Mapping[str, Faults],
        failed: Callable[[Exception], None],
        rng: random.Random | None = None,
    ) -> None:
        """`faults` are by the methods' full names; `failed` is told what fails the test, and is no answer."""
        super().__init__(_NOWHERE, CALL_TIMEOUT_S, rng=rng or random.Random(random.random()))
        self._faults = faults
        self._participants = participants
        self._failed = failed
        self._travelling: set[asyncio.Task[bytes]] = set()
        self._calls_left = CALLS_MAX

    async def close(self) -> None:
        """Ends the calls that are still under way."""
        for call in self._travelling:
            call.cancel()
        await asyncio.gather(*self._travelling, return_exceptions=True)

    async def call(self, method: Method, request: bytes, within_s: float) -> bytes:
        """One call, as gRPC's: the response, or an AioRpcError."""
        call = asyncio.create_task(self._travel(method, request), name=f"call of {method.name}")
        self._travelling.add(call)
        call.add_done_callback(self._ended)
        done, _ = await asyncio.wait([call], timeout=within_s)
        if not done:
            raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time")
        return call.result()

    def _peer(self, name: str, circuit: Circuit, budget: RetryBudget) -> Peer:
        return _FakePeer(name, circuit, budget, self)

    def _ended(self, call: asyncio.Task[bytes]) -> None:
        self._travelling.discard(call)
        if not call.cancelled():
            call.exception()  # asked for, as nobody may wait for it any more, and asyncio would complain

    async def _travel(self, method: Method, request: bytes) -> bytes:
        self._count(method)
        faults = self._faults.get(method.full_name, _NONE)
        if faults.broken is not None:
            raise _error_of(faults.broken)
        if faults.failing > 0:
            faults.failing -= 1
            raise _error(grpc.StatusCode.UNAVAILABLE, "told to fail")
        answer = await self._perform(method, request, faults.delay_s)
        if faults.losing > 0:
            faults.losing -= 1
            raise _error(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
        return answer

    async def _perform(self, method: Method, request: bytes, delay_s: float) -> bytes:
        try:
            if delay_s and not self._participants.knows(method, request):
                await asyncio.sleep(delay_s)
            answer = self._participants.perform(method, request)
        except MeshError as error:
            raise _error_of(error.status(method.service.rpartition(".")[0])) from error
        except Exception as error:
            self._failed(error)
            raise _error(grpc.StatusCode.INTERNAL, f"the fake raised {type(error).__name__}") from error
        if isinstance(answer, status_pb2.Status):
            raise _error_of(answer)
        return answer.SerializeToString()

    def _count(self, method: Method) -> None:
        self._calls_left -= 1
        if not self._calls_left:
            self._failed(Endless(f"{CALLS_MAX} calls, the last of {method.full_name}: {Endless.__doc__}"))


class _FakePeer(Peer):
    """A participant whose calls go nowhere."""

    def __init__(self, name: str, circuit: Circuit, budget: RetryBudget, calls: FakeCalls) -> None:
        super().__init__(name, _NOWHERE, circuit, budget)
        self._fake = calls

    def call(self, method: Method) -> Any:
        """What calls a method."""

        def call(request: bytes, **options: Any) -> Awaitable[bytes]:
            return self._fake.call(method, request, options["timeout"])

        return call


def _error(code: grpc.StatusCode, text: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=text)


def _error_of(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(*errors.trailing_metadata(status))
    return grpc.aio.AioRpcError(errors.grpc_code(status), grpc.aio.Metadata(), trailing, details=status.message)
