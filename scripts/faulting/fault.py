"""What a fault is: a name, what it does, how it is done to a mesh, and which counts show that it was done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from scripts.faulting.ground import Ground

# Orders that were under way when it was done. A fault that meets none shows nothing.
MET = "orders met under way"

# Stalled orders are healed, and unanswered events delivered again, within seconds instead of a quarter of a minute.
IMPATIENT = {"ENSEMBLE_STALLED_AFTER_S": "2", "ENSEMBLE_ACK_WAIT_S": "2"}


class NotPossible(Exception):
    """The fault cannot be done on this machine; the text says what is missing. Neither held nor failed."""


@dataclass(frozen=True)
class Place:
    """Where a mesh runs, and what its processes and its clients are told."""

    data: Path
    environment: Mapping[str, str] = field(default_factory=dict)  # over that of this process
    addresses: Mapping[str, str] = field(default_factory=dict)  # where clients find parts; not named: as they are


class Fault(ABC):
    """One fault, done once: `strike` runs beside the customers of a mesh, which began before and end after it."""

    name: ClassVar[str]  # as on the command line
    does: ClassVar[str]  # one line
    proof: ClassVar[tuple[str, ...]]  # counts of the ground; a run in which one of them is 0 has failed
    met: ClassVar[str] = MET  # the count of those that it met; likewise
    orders_each: ClassVar[int] = 16  # so many orders come between two strikes
    at_once: ClassVar[int] = 8  # so many customers at a time
    orders_short: ClassVar[int] = 32  # of the run in the default suite; 0: it has a test of its own there
    settings: ClassVar[Mapping[str, str]] = IMPATIENT  # of every process of the mesh
    logs_errors: ClassVar[bool] = False  # it breaks disks, of which processes may log a traceback and end

    @abstractmethod
    async def strike(self, ground: Ground) -> None:
        """Does it, at each of the ground's moments, and undoes it; counts what happened. Nothing is left broken."""

    @asynccontextmanager
    async def place(self, folder: Path) -> AsyncIterator[Place]:
        """Where the mesh is to run, under an empty folder. Raises NotPossible."""
        yield Place(folder / "mesh")
