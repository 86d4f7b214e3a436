"""One call on its way to a definite answer.

answer                                            what follows
OK                                                done
FAILED_PRECONDITION with ErrorInfo                refused, for a business reason
ABORTED with STEP_COMPENSATED                     refused: it was compensated before it came
UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED,        in doubt: called again with the same key, after a growing,
UNKNOWN, INTERNAL                                 jittered delay
UNIMPLEMENTED                                     a rolling deployment, which passes: called again, after a longer one
RESOURCE_EXHAUSTED                                overload, no reason to compensate: nobody calls the participant for
                                                  as long as it asks, then this is called again
anything else                                     cannot be mended by calling again: a person has to look
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
    on_pause: Tell | None
    rng: random.Random
    _tries: int = 0
    _paused: bool = False
    _token: bool = False  # of the retry budget, for the try under way

    async def answer(self) -> Answer:
        """The definite answer; raises Indefinite."""
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
            if self.on_pause is not None:
                self.on_pause(f"paused: {circuit.why}")
            elif self._tries == 1:  # else its last failure says as much
                self.on_failure(f"paused: {circuit.why}")
        return await circuit.enter()

    def _send(self, probe: int) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        return self.peer.call(self.method)(
            self.request,
            timeout=self.timeout_s,
            metadata=((telemetry.TRACEPARENT, telemetry.traceparent()),),
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
        elif code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            circuit.overloaded(self._told_s(status), text)
        else:
            circuit.answered()
        if _is_refusal(code, status):
            return Answer(refusal=status)
        if code not in _PASSING:
            raise Indefinite(status)
        return _Failure(text, PAUSE if code is grpc.StatusCode.UNIMPLEMENTED else RETRY)

    def _told_s(self, status: status_pb2.Status) -> float:
        """What an overloaded participant asks for and up to half more: its other callers were told the same."""
        told_s = errors.retry_delay_s(status)
        if told_s is None:
            return PAUSE.delay_s(self._tries, self.rng)
        return min(max(told_s, TOLD_S_MIN), TOLD_S_MAX) * self.rng.uniform(1.0, 1.5)


def _is_refusal(code: grpc.StatusCode, status: status_pb2.Status) -> bool:
    info = errors.error_info_of(status)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return info is not None
    return code is grpc.StatusCode.ABORTED and info is not None and info.reason == "STEP_COMPENSATED"
