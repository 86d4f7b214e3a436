"""Plain functions in the place of services, and a ledger before them, so that the rules of a participant hold:

- the same step, the same answer; the same step with another request is a mismatch;
- a compensation that comes before its step buries it, and the late step is refused; one whose step was refused has
  nothing to reverse, so its function is not called;
- pivot and abort are the two sides of one decision: the second one to come is refused.

A method without a function of its own answers with its empty response.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from google.rpc import status_pb2

from mesh import identity, validation
from mesh.contract import Contract, Method
from mesh.errors import Refused, StepCompensated, StepMismatch
from mesh.projection import missing_fields, project

# Takes the request, returns the response or raises Refused.
Fake = Callable[[Any], Message]
# Saga id, full name of the method, step key.
Key = tuple[str, str, str]


class WrongFake(AssertionError):
    """A fake does what no participant can do: the test is wrong, and not the workflow."""


@dataclass(frozen=True)
class Row:
    """What became of a step; without a digest it is a tombstone."""

    digest: bytes | None = None
    response: Message | None = None
    refusal: status_pb2.Status | None = None


class FakeParticipants:
    """All services of some contracts, with one ledger."""

    def __init__(self, contract: Contract) -> None:
        self.calls: list[tuple[Method, Message]] = []  # that reached a participant, oldest first
        self._contract = contract
        self._fakes: dict[str, Fake] = {}
        self._rows: dict[Key, Row] = {}

    def method(self, name: str) -> Method:
        """A method by the end of its full name: "ReserveStock", "InventoryService.ReserveStock"; raises LookupError."""
        found = [method for full, method in self._contract.methods.items() if f".{full}".endswith(f".{name}")]
        if len(found) == 1:
            return found[0]
        if found:
            raise LookupError(f"{name} may be {' or '.join(one.full_name for one in found)}: say which")
        known = ", ".join(sorted(method.name for method in self._contract.methods.values() if method.participates))
        raise LookupError(f"no method {name} in these contracts; there are {known}")

    def fake(self, method: Method, function: Fake) -> None:
        """Lets a method answer what the function returns, from now on; recorded answers stay."""
        self._fakes[method.full_name] = function

    def refuse(self, method: Method, refusal: Refused) -> None:
        """Lets a method refuse; raises WrongFake where its contract knows no refusal."""
        _check_may_refuse(method, refusal)

        def refuse(_: object) -> Message:
            raise refusal

        self.fake(method, refuse)

    def mend(self, method: Method) -> None:
        """Lets a method answer with its empty response again."""
        self._fakes.pop(method.full_name, None)

    def knows(self, method: Method, data: bytes) -> bool:
        """Whether the step has an answer already."""
        request = validation.parse(method.request_class, data)
        return self._key(method, request) in self._rows

    def perform(self, method: Method, data: bytes) -> Message | status_pb2.Status:
        """Does a step, or answers as it was done: the response, or the status of the refusal.

        Raises Invalid, StepMismatch and StepCompensated as a participant does, and whatever a function raises.
        """
        request = validation.parse(method.request_class, data)
        self._check(request)
        self.calls.append((method, request))
        key = self._key(method, request)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._do(method, request)
        elif row.digest is None:
            raise StepCompensated(_text(key))
        elif row.digest != identity.digest(request):
            raise StepMismatch(_text(key))
        return row.refusal or row.response or method.response_class()

    def _check(self, request: Message) -> None:
        """Raises Invalid where a request breaks the rules of its contract."""
        validation.validate(request)

    def _unfaked(self, method: Method, request: Message) -> Message:
        """What a method answers that no function is faked for."""
        return method.response_class()

    def _do(self, method: Method, request: Message) -> Row:
        digest = identity.digest(request)
        try:
            return Row(digest, response=self._respond(method, request))
        except Refused as refusal:
            _check_may_refuse(method, refusal)
            return Row(digest, refusal=refusal.status(method.service.rpartition(".")[0]))

    def _respond(self, method: Method, request: Message) -> Message:
        if method.compensates and not self._has_to_undo(method, request):
            return self._unfaked(method, request)
        fake = self._fakes.get(method.full_name)
        if fake is None:
            self._decide(method, request)
            return self._unfaked(method, request)
        response = fake(request)
        if not isinstance(response, method.response_class):
            expected = method.response_class.DESCRIPTOR.full_name
            raise WrongFake(f"the fake of {method.full_name} returned {response!r}, not a {expected}")
        return response

    def _has_to_undo(self, method: Method, request: Message) -> bool:
        """Whether the step that a compensation reverses was done; one that never came is buried."""
        undone = self._contract.methods[method.compensates]
        key = self._key(undone, request)
        row = self._rows.setdefault(key, Row())
        if row.response is None:
            return False
        says_less = missing_fields(undone.descriptor.input_type, [method.descriptor.input_type])
        if not says_less and identity.digest(project(undone.request_class, request)) != row.digest:
            raise StepMismatch(_text(key), f"{method.name} must say what its step said")
        return True

    def _decide(self, method: Method, request: Message) -> None:
        """Refuses the pivot, or its other side, where the decision was the other one."""
        methods = self._contract.methods.values()
        others = [one for one in methods if method.full_name == one.aborts or method.aborts == one.full_name]
        for other in others:
            row = self._rows.get((identity.saga_id(request), other.full_name, ""))
            if row is not None and row.response is not None:
                raise Refused("ALREADY_CONFIRMED" if method.aborts else "ALREADY_CANCELLED")

    def _key(self, method: Method, request: Message) -> Key:
        return (identity.saga_id(request), method.full_name, identity.step_key(request))


def _check_may_refuse(method: Method, refusal: Refused) -> None:
    if not method.refuses:
        raise WrongFake(
            f"{method.full_name} cannot refuse ({refusal.reason}): its contract names no event that it `refuses` with"
        )


def _text(key: Key) -> str:
    saga_id, method, step_key = key
    return f"{method}({saga_id}{', ' + step_key if step_key else ''})"
