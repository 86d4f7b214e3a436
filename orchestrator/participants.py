"""Calls a participant until its answer is definite.

answer                                            what follows
OK                                                done
FAILED_PRECONDITION with ErrorInfo                refused, for a business reason
ABORTED with STEP_COMPENSATED                     refused: it was compensated before it came
UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED,        in doubt: called again with the same key, after a growing,
UNKNOWN, INTERNAL                                 jittered delay
RESOURCE_EXHAUSTED, UNIMPLEMENTED                 a pause, then called again: overload and rolling deployments
                                                  pass, and are no reason to compensate
anything else                                     cannot be mended by calling again: a person has to look
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import grpc.aio
from google.rpc import status_pb2

from mesh import errors, telemetry
from mesh.addresses import Addresses, UnknownAddress
from mesh.backoff import Backoff
from mesh.channel import connect
from mesh.contract import Method, service_name

RETRY = Backoff(first_s=0.05, max_s=5.0)
PAUSE = Backoff(first_s=0.5, max_s=10.0)
_PAUSING = frozenset({grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED})


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


class Participants:
    """The services that sagas call, by their names in the mesh."""

    def __init__(self, addresses: Addresses, timeout_s: float) -> None:
        self._addresses = addresses
        self._timeout_s = timeout_s
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._calls: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {}

    async def ask(
        self, method: Method, request: bytes, timeout_s: float | None, on_failure: Callable[[str], None]
    ) -> Answer:
        """Calls a method until it answers definitely; raises Indefinite. Tells every failed try to `on_failure`."""
        tries = 0
        while True:
            tries += 1
            try:
                return Answer(response=await self._call(method, request, timeout_s))
            except UnknownAddress as error:
                on_failure(str(error))
                delay_s = RETRY.delay_s(tries)
            except grpc.aio.AioRpcError as error:
                status = errors.status_of(error)
                if _is_refusal(error.code(), status):
                    return Answer(refusal=status)
                on_failure(f"{error.code().name}: {error.details()}")
                delay_s = self._delay_s(error.code(), status, tries)
            await asyncio.sleep(delay_s)

    async def close(self) -> None:
        """Ends the connections; calls under way are then in doubt."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    async def _call(self, method: Method, request: bytes, timeout_s: float | None) -> bytes:
        call = self._calls.get(method.path)
        if call is None:
            call = self._calls[method.path] = self._channel(method).unary_unary(method.path)
        return await call(
            request,
            timeout=timeout_s or method.timeout_s or self._timeout_s,
            metadata=((telemetry.TRACEPARENT, telemetry.traceparent()),),
        )

    def _channel(self, method: Method) -> grpc.aio.Channel:
        name = service_name(method.service)
        if name not in self._channels:
            self._channels[name] = connect(self._addresses.of(name))
        return self._channels[name]

    def _delay_s(self, code: grpc.StatusCode, status: status_pb2.Status, tries: int) -> float:
        if code in errors.IN_DOUBT:
            return RETRY.delay_s(tries)
        if code in _PAUSING:
            return (errors.retry_delay_s(status) or 0.0) + PAUSE.delay_s(tries)
        raise Indefinite(status)


def _is_refusal(code: grpc.StatusCode, status: status_pb2.Status) -> bool:
    info = errors.error_info_of(status)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return info is not None
    return code is grpc.StatusCode.ABORTED and info is not None and info.reason == "STEP_COMPENSATED"
