"""What may be wrong with a contract when it is read, and who is told.

Whoever runs a contract takes none with faults: the first one is raised (`refuse`). mesh.verification collects them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from google.protobuf.descriptor import Descriptor, MethodDescriptor


class ContractError(ValueError):
    """A contract says something that cannot be; the text names the place and the mend."""

    def __init__(self, what: str, what_to_do: str) -> None:
        super().__init__(f"{what}; {what_to_do}")
        self.what = what
        self.help = what_to_do


class UnknownSibling(ContractError):
    """`compensates` or `aborts` names no method of the same service."""


class NotAnEvent(ContractError):
    """A message is used as an event, and is not marked as one."""


class KeyedJoin(ContractError):
    """A JOIN_ALL whose request has a step_key."""


# Told what is wrong, and with the descriptor of which message or method. Where it returns, reading goes on without.
Report = Callable[[Descriptor | MethodDescriptor, Exception], None]


def refuse(_: object, error: Exception) -> NoReturn:
    """The report of those who can only use a contract without faults."""
    raise error
