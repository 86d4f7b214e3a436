"""What a check finds: what is wrong, with which thing of a contract, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mesh.places import Defined


class Severity(StrEnum):
    """Whether a contract with this may run."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One fault. `check` is the name of the rule that is broken."""

    check: str
    subject: Defined
    what: str
    help: str
    severity: Severity = Severity.ERROR


def short(full_name: str) -> str:
    """The last part of a full name, e.g. StockReserved."""
    return full_name.rpartition(".")[2]


def listed(full_names: list[str] | tuple[str, ...], last: str = "and") -> str:
    """Short names as a list in prose."""
    names = [short(name) for name in full_names]
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def agreeing(full_names: list[str] | tuple[str, ...], verb: str) -> str:
    """Short names and what they do, e.g. A refuses; A and B refuse. The verb is given as for one."""
    return f"{listed(full_names)} {verb if len(full_names) == 1 else verb.removesuffix('s')}"
