"""What differs from path to path: who refuses, who fails for technical reasons, and whether somebody cancels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mesh.contract import Contract, Process
from mesh.verification.finding import agreeing, short
from mesh.verification.flow import Flow


@dataclass(frozen=True)
class Conditions:
    """The conditions of one path. Methods are named in full."""

    refusing: frozenset[str] = frozenset()
    troubled: frozenset[str] = frozenset()  # a first call does not reach it, and its first answer is lost
    dead: str = ""  # never answers, so that the deadline of the process comes
    cancelled: bool = False  # before anything is done

    def __str__(self) -> str:
        refusing = agreeing(sorted(self.refusing), "refuses") if self.refusing else "nobody refuses"
        if self.cancelled:
            refusing = "it is cancelled at once"
        if self.dead:
            refusing = f"{short(self.dead)} never answers, until the deadline"
        if len(self.troubled) > 1:
            return f"{refusing}, and every call has to be repeated"
        return (
            f"{refusing}, and {short(next(iter(self.troubled)))} has to be called again" if self.troubled else refusing
        )


def with_faults(conditions: Conditions, ran: set[str]) -> Iterator[Conditions]:
    """The same refusals, with technical failures of the methods that ran: of all, and of each."""
    yield replace(conditions, troubled=frozenset(ran))
    for method in sorted(ran):
        yield replace(conditions, troubled=frozenset({method}))


def turned_back(flow: Flow, process: Process, ran: set[str]) -> Iterator[Conditions]:
    """A cancellation, and each step that the decision waits for and that lets the deadline come."""
    if process.aborting is None:
        return
    yield Conditions(cancelled=True)
    for name in sorted(ran) if process.start.deadline_s is not None else ():
        if process.pivot is not None and flow.needs_success(process.pivot, flow.contract.methods[name]):
            yield Conditions(dead=name)


def may_refuse(contract: Contract, ran: set[str]) -> list[str]:
    """The methods among those that ran whose refusal makes another path. The aborting one follows the pivot."""
    return sorted(name for name in ran if contract.methods[name].refuses and not contract.methods[name].aborts)
