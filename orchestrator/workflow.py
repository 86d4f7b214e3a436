"""Workflows: plain `async def`s over plain generated stubs, by the name of their process.

    @workflow("fulfil-order")
    async def fulfil_order(saga: Saga, placed: OrderPlaced) -> None: ...

A workflow says only the way forward. It may be run again from its start at any time (after a crash, after a long wait,
after a lost cancellation): finished steps answer from the journal or from their ledgers. So what it decides it decides
from its input, from the answers of its steps, and from what the saga tells it (`saga.now()`, `saga.event(…)`); never
from a clock, a random number, a global, or from which of two parallel steps happened to answer first.

It may be edited while sagas run: steps are known by what they are. Where running sagas shall stay on the old code all
the same, register both, `@workflow("fulfil-order", version=2)`: a saga runs on the version that it was started with,
new ones on the newest.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from mesh.errors import NotFound
from orchestrator.saga import Saga

Function = Callable[[Saga, Any], Awaitable[Message | None]]


class WorkflowError(ValueError):
    """A workflow is not written as one has to be."""


@dataclass(frozen=True)
class Workflow:
    """One version of a process's workflow."""

    process: str
    run: Function
    input_class: type[Message]
    version: int = 1


class Workflows:
    """The workflows that an engine can run."""

    def __init__(self, workflows: Iterable[Workflow] = ()) -> None:
        self._known: dict[tuple[str, int], Workflow] = {}
        for one in workflows:
            self.add(one)

    def add(self, new: Workflow) -> None:
        """Adds one; raises WorkflowError where there is one of this process and version."""
        known = self._known.setdefault((new.process, new.version), new)
        if known is not new:
            name = getattr(known.run, "__qualname__", repr(known.run))
            raise WorkflowError(
                f"{new.process!r} has a workflow already, {name}; give the new one another version, "
                f"@workflow({new.process!r}, version={new.version + 1})"
            )

    def keys(self) -> list[tuple[str, int]]:
        """Processes and versions."""
        return list(self._known)

    def newest(self, process: str) -> Workflow:
        """What new sagas of a process run on; raises NotFound."""
        versions = [version for name, version in self._known if name == process]
        if not versions:
            known = ", ".join(sorted({name for name, _ in self._known})) or "none"
            raise NotFound(f"no workflow for process {process!r}; there are: {known}")
        return self._known[process, max(versions)]

    def of(self, process: str, version: int) -> Workflow:
        """What a saga runs on that was started with this version; raises NotFound."""
        if (process, version) not in self._known:
            raise NotFound(
                f"no version {version} of the workflow {process!r} here; start an orchestrator that still has it"
            )
        return self._known[process, version]

    def __iter__(self) -> typing.Iterator[Workflow]:
        return iter(self._known.values())


_registered = Workflows()


def workflow(process: str, *, version: int = 1) -> Callable[[Function], Function]:
    """Registers the decorated function as a version of the workflow of a process."""

    def register(function: Function) -> Function:
        _registered.add(Workflow(process, function, _input_class(function), version))
        return function

    return register


def registered() -> Workflows:
    """The workflows of this process of the operating system."""
    return Workflows(_registered)


def _input_class(function: Function) -> type[Message]:
    name = getattr(function, "__qualname__", repr(function))
    parameters = list(inspect.signature(function).parameters)
    if not inspect.iscoroutinefunction(function) or len(parameters) != 2:
        raise WorkflowError(f"{name} must be written `async def {name}(saga: Saga, event: EventMessage)`")
    annotated = typing.get_type_hints(function).get(parameters[1])
    if not (isinstance(annotated, type) and issubclass(annotated, Message)):
        raise WorkflowError(f"{name}: annotate {parameters[1]!r} with the message class of the starting event")
    return annotated
