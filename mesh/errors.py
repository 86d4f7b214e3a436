"""One error type for both transports: a canonical code, a reason, and a text that says what to do.

On gRPC it travels as google.rpc.Status with ErrorInfo; on NATS its reason and text stand in the headers of a dead
letter. What a handler raises beyond these is a technical error: its text stays in our log.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

Detail = TypeVar("Detail", bound=Message)

STATUS_DETAILS_KEY = "grpc-status-details-bin"

# A status travels in trailing metadata, of which peers take 8 KiB. More, and the caller would get another error than
# the one that was meant.
MESSAGE_BYTES_MAX = 500
DETAILS_MAX = 10
DETAIL_BYTES_MAX = 150

# After one of these nobody knows whether the step happened: it is called again with the same key.
IN_DOUBT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)


class MeshError(Exception):
    """An error whose code, reason and text may be shown to whoever called."""

    code = grpc.StatusCode.INTERNAL

    def __init__(self, message: str, *, reason: str = "", metadata: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = _cut(message, MESSAGE_BYTES_MAX)
        self.reason = reason
        pairs = list((metadata or {}).items())[:DETAILS_MAX]
        self.metadata = {key: _cut(value, DETAIL_BYTES_MAX) for key, value in pairs}

    def details(self) -> list[Message]:
        """Further google.rpc details for the status."""
        return []

    def error_info(self, domain: str) -> error_details_pb2.ErrorInfo:
        """The machine-readable part."""
        return error_details_pb2.ErrorInfo(reason=self.reason, domain=domain, metadata=self.metadata)

    def status(self, domain: str) -> status_pb2.Status:
        """The whole error as it goes over the wire; `domain` is the service's proto package."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in ([self.error_info(domain)] if self.reason else []) + self.details():
            status.details.add().Pack(detail)
        return status


class Refused(MeshError):
    """A step refuses for a business reason. Recorded: asked again, it refuses in the same words."""

    code = grpc.StatusCode.FAILED_PRECONDITION

    def __init__(self, reason: str, message: str = "", **metadata: object) -> None:
        text = message or reason.replace("_", " ").lower()
        super().__init__(text, reason=reason, metadata={key: str(value) for key, value in metadata.items()})


class StepCompensated(MeshError):
    """The step was compensated before it came; it will never happen."""

    code = grpc.StatusCode.ABORTED

    def __init__(self, step: str) -> None:
        super().__init__(f"{step} was compensated before it came", reason="STEP_COMPENSATED")


class StepMismatch(MeshError):
    """The same step came before with another request."""

    code = grpc.StatusCode.ALREADY_EXISTS

    def __init__(self, step: str, hint: str = "send what was sent before, or use another saga id") -> None:
        super().__init__(f"{step} came before with another request; {hint}", reason="STEP_MISMATCH")


class AlreadyExists(MeshError):
    """Something of this name exists and is different."""

    code = grpc.StatusCode.ALREADY_EXISTS


class NotFound(MeshError):
    """Nothing is known of what was asked for."""

    code = grpc.StatusCode.NOT_FOUND


class OutOfOrder(MeshError):
    """The step came before one that has to precede it. Not an outcome, so never recorded."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Unavailable(MeshError):
    """Cannot be done now; in doubt, so try again."""

    code = grpc.StatusCode.UNAVAILABLE


class Overloaded(MeshError):
    """More than the process has room for; try again after a while."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, reason="OVERLOADED")
        self.retry_after_s = retry_after_s

    def details(self) -> list[Message]:
        """When to try again."""
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromTimedelta(timedelta(seconds=self.retry_after_s))
        return [info]


class Invalid(MeshError):
    """A message breaks the rules of its contract."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        shown = violations[:DETAILS_MAX]
        self.violations = [(_cut(field, DETAIL_BYTES_MAX), _cut(fault, DETAIL_BYTES_MAX)) for field, fault in shown]
        text = "; ".join(f"{field}: {fault}" if field else fault for field, fault in self.violations)
        super().__init__(text, reason="INVALID_MESSAGE")

    def details(self) -> list[Message]:
        """Which field is wrong, and how."""
        found = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in self.violations]
        return [error_details_pb2.BadRequest(field_violations=found)]


def _cut(text: str, bytes_max: int) -> str:
    return text.encode(errors="replace")[:bytes_max].decode(errors="ignore")


def trailing_metadata(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """The status as gRPC's trailing metadata carries it."""
    return ((STATUS_DETAILS_KEY, status.SerializeToString()),)


def grpc_code(status: status_pb2.Status) -> grpc.StatusCode:
    """The gRPC code of a status."""
    name = code_pb2.Code.Name(status.code)
    return grpc.StatusCode[name]


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The status of a failed call, with its details where the server sent any."""
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # works on aio errors, typed for sync ones
    except (ValueError, DecodeError):  # details that contradict the code, or are none: believe the code
        status = None
    return status or status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def error_info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    """The ErrorInfo among a status's details."""
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            return _unpacked(detail, error_details_pb2.ErrorInfo())
    return None


def retry_delay_s(status: status_pb2.Status) -> float | None:
    """How long the server asks to wait before the next try, in seconds."""
    for detail in status.details:
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            info = _unpacked(detail, error_details_pb2.RetryInfo())
            # Not by a timedelta: a peer can send more than fits one.
            return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9) if info is not None else None
    return None


def _unpacked(detail: any_pb2.Any, message: Detail) -> Detail | None:
    """A peer's detail; None where it is not what it says."""
    try:
        detail.Unpack(message)
    except DecodeError:
        return None
    return message
