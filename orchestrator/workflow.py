"""Workflows: plain `async def`s over plain generated stubs, by the name of their process.

    @workflow("fulfil-order")
    async def fulfil_order(saga: Saga, placed: OrderPlaced) -> None: ...

A workflow says only the way forward. It may be run again from its start at any time (after a crash, after a lost
cancellation): finished steps answer from the journal or from their ledgers. So what it decides it decides from its
input and from the answers of its steps, never from a clock, a random number or a global.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from orchestrator.saga import Saga

Function = Callable[[Saga, Any], Awaitable[Message | None]]


class WorkflowError(ValueError):
    """A workflow is not written as one has to be."""


@dataclass(frozen=True)
class Workflow:
    """One registered workflow."""

    process: str
    run: Function
    input_class: type[Message]


_registered: dict[str, Workflow] = {}


def workflow(process: str) -> Callable[[Function], Function]:
    """Registers the decorated function as the workflow of a process."""

    def register(function: Function) -> Function:
        if process in _registered:
            raise WorkflowError(f"{process!r} has a workflow already: {_registered[process].run.__qualname__}")
        _registered[process] = Workflow(process, function, _input_class(function))
        return function

    return register


def registered() -> dict[str, Workflow]:
    """The workflows of this process of the operating system, by the names of their processes."""
    return dict(_registered)


def _input_class(function: Function) -> type[Message]:
    name = getattr(function, "__qualname__", repr(function))
    parameters = list(inspect.signature(function).parameters)
    if not inspect.iscoroutinefunction(function) or len(parameters) != 2:
        raise WorkflowError(f"{name} must be written `async def {name}(saga: Saga, event: EventMessage)`")
    annotated = typing.get_type_hints(function).get(parameters[1])
    if not (isinstance(annotated, type) and issubclass(annotated, Message)):
        raise WorkflowError(f"{name}: annotate {parameters[1]!r} with the message class of the starting event")
    return annotated
