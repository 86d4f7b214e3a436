"""What is wrong with the options themselves: names of nothing, saga ids missing or ambiguous.

unknown-event    an option names a message that is nowhere
not-an-event     an option names a message that is not marked as an event
unknown-method   `compensates` or `aborts` names no method of the service
saga-id          a request or an event reaches no saga_id field, or several
keyed-join       a JOIN_ALL whose request has a step_key
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from mesh.contract_faults import ContractError, KeyedJoin, NotAnEvent, UnknownSibling
from mesh.identity import NoSagaId
from mesh.registry import UnknownName
from mesh.verification.finding import Finding, short

_CHECKS: dict[type[Exception], str] = {
    UnknownName: "unknown-event",
    NotAnEvent: "not-an-event",
    UnknownSibling: "unknown-method",
    NoSagaId: "saga-id",
    KeyedJoin: "keyed-join",
}
_SAGA_ID = "mark the one field that identifies the saga, here or in a message that it contains"


class Collected:
    """A `report` for mesh.contract that collects what it is told, once for each thing."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Finding] = {}

    def __call__(self, subject: Descriptor | MethodDescriptor, error: Exception) -> None:
        """Is told of a fault; raises it again where it is none of a contract."""
        if type(error) not in _CHECKS:
            raise error
        finding = _finding(_CHECKS[type(error)], subject, error)
        self._found.setdefault((finding.check, subject.full_name, finding.what), finding)

    @property
    def findings(self) -> list[Finding]:
        """What was collected."""
        return list(self._found.values())


def _finding(check: str, subject: Descriptor | MethodDescriptor, error: Exception) -> Finding:
    if isinstance(error, ContractError):
        return Finding(check, subject, error.what, error.help)
    if isinstance(error, NoSagaId):
        return Finding(check, subject, str(error), _SAGA_ID)
    what, _, help_ = str(error).partition(": ")
    return Finding(check, subject, f"{short(subject.full_name)} names an event that does not exist: {what}", help_)
