"""One call on its way to a definite answer.

answer                                            what follows
OK                                                done
FAILED_PRECONDITION with ErrorInfo                refused, for a business reason
ABORTED with STEP_COMPENSATED                     refused: it was compensated before it came
UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED,        in doubt: called again with the same key, after a growing,
UNKNOWN, INTERNAL                                 jittered delay
RESOURCE_EXHAUSTED, UNIMPLEMENTED                 called again after a longer one: overload and rolling deployments
                                                  pass, and are no reason to compensate
RESOURCE_EXHAUSTED with RetryInfo                 nobody calls the participant for as long as it asks
a request over the limit of a message, and        cannot be mended by calling again: a person has to look
anything else
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import grpc.aio
from google.rpc import status_pb2

from mesh import errors, telemetry
from mesh.addresses import UnknownAddress
from mesh.backoff import Backoff
from mesh.contract import Method
from mesh.settings import MESSAGE_BYTES_MAX
from orchestrator.circuit import Circuit
from orchestrator.peer import Peer

RETRY = Backoff(first_s=0.05, max_s=5.0)
PAUSE = Backoff(first_s=0.5, max_s=10.0)

# Bounds of what an overloaded participant may ask for: less is a busy loop, more is for ever.
TOLD_S_MIN, TOLD_S_MAX = 0.05, 60.0

# After one of these nothing shows that the participant is there. All other errors were answered by somebody.
_UNANSWERED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
_PASSING = errors.IN_DOUBT | {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED}

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Answer:
    """A definite answer: a response, or a refusal."""

    response: bytes = b""
    refusal: status_pb2.Status | None = None


class Indefinite(errors.MeshError):
    """The participant's answer is an error that calling again does not mend. Passed on, it is that answer."""

    def __init__(self, answer: status_pb2.Status) -> None:
        super().__init__(f"{errors.grpc_code(answer).name}: {answer.message}")
        self.code = errors.grpc_code(answer)
        self.answer = answer

    def status(self, domain: str) -> status_pb2.Status:
        """The participant's own."""
        return self.answer


@dataclass(frozen=True)
class _Failure:
    """A try that has to be made again."""

    text: str
    delays: Backoff


@dataclass(slots=True)
class Asking:
    """Calls a method until its answer is definite. Cancelled at any point, it holds up nobody else."""

    peer: Peer
    method: Method
    request: bytes
    timeout_s: float  # of one try
    on_failure: Tell
    on_pause: Tell
    rng: random.Random
    _tries: int = 0
    _paused: bool = False
    _token: bool = False  # of the retry budget, for the try under way

    async def answer(self) -> Answer:
        """The definite answer; raises Indefinite."""
        if len(self.request) > MESSAGE_BYTES_MAX:
            raise Indefinite(_too_large(len(self.request)))
        try:
            while isinstance(outcome := await self._try(), _Failure):
                self._token = False  # spent
                self.on_failure(outcome.text)
                if self.peer.circuit.closed:  # else the wait for it is delay enough
                    await self._back_off(outcome.delays)
            return outcome
        finally:
            if self._token:
                self.peer.budget.give_back()

    async def _back_off(self, delays: Backoff) -> None:
        await asyncio.sleep(delays.delay_s(self._tries, self.rng))
        await self.peer.budget.withdraw(self._tries)
        self._token = True

    async def _try(self) -> Answer | _Failure:
        self._tries += 1
        circuit = self.peer.circuit
        probe = 0 if circuit.closed else await self._wait(circuit)
        try:
            response = await self._send(probe)
        except UnknownAddress as error:
            circuit.failed(str(error), probe)
            return _Failure(str(error), RETRY)
        except grpc.aio.AioRpcError as error:
            return self._judge(error, probe)
        except BaseException:
            circuit.abandoned(probe)
            raise
        circuit.answered()
        return Answer(response=response)

    async def _wait(self, circuit: Circuit) -> int:
        if not self._paused:
            self._paused = True
            self.on_pause(f"paused: {circuit.why}")
        return await circuit.enter()

    def _send(self, probe: int) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        return self.peer.call(self.method)(
            self.request,
            timeout=self.timeout_s,
            metadata=telemetry.metadata(),
            # A probe stays in the channel until there is a connection: a dead participant gets one call a timeout, and
            # one that is back is found as soon as gRPC has. Others fail at once, and with them the circuit opens.
            wait_for_ready=probe != 0,
        )

    def _judge(self, error: grpc.aio.AioRpcError, probe: int) -> Answer | _Failure:
        circuit = self.peer.circuit
        code, status = error.code(), errors.status_of(error)
        text = f"{code.name}: {error.details()}"
        if code in _UNANSWERED:
            circuit.failed(text, probe)
        elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and (told_s := errors.retry_delay_s(status)) is not None:
            circuit.overloaded(self._spread(told_s), text)
        else:  # overload that says no time may be of this call only, as an answer too large for gRPC is
            circuit.answered()
        if _is_refusal(code, status):
            return Answer(refusal=status)
        if code not in _PASSING:
            raise Indefinite(status)
        return _Failure(text, RETRY if code in errors.IN_DOUBT else PAUSE)

    def _spread(self, told_s: float) -> float:
        """What an overloaded participant asks for and up to half more: its other callers were told the same."""
        return min(max(told_s, TOLD_S_MIN), TOLD_S_MAX) * self.rng.uniform(1.0, 1.5)


def _too_large(size: int) -> status_pb2.Status:
    """What gRPC says of such a request, too, but not in a way that tells it from overload, which passes."""
    message = f"the request has {size} bytes; a message of the mesh has {MESSAGE_BYTES_MAX} at most"
    return status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message=message)


def _is_refusal(code: grpc.StatusCode, status: status_pb2.Status) -> bool:
    info = errors.error_info_of(status)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return info is not None
    return code is grpc.StatusCode.ABORTED and info is not None and info.reason == "STEP_COMPENSATED"
