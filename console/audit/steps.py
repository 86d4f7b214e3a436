"""The ledgers against the contract: what must hold of a saga's steps, whatever they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from console.audit.cases import Case
from console.audit.ways import Way
from mesh.contract import Contract, Method, service_name
from services.participant.ledger import State


def the_pivot_decided_once(contract: Contract, case: Case) -> Iterator[str]:
    """Go or no-go, never both."""
    for method in _methods(contract, case):
        if method.pivot and method.full_name in case.done:
            for other in contract.aborting(method):
                if other.full_name in case.done:
                    yield f"saga {case.id}: both sides of the pivot are done, {method.label} and {other.label}"


def every_compensation_has_its_step(contract: Contract, case: Case) -> Iterator[str]:
    """A compensation reverses a step that has a row: one that came, or that it has kept from coming."""
    for (name, step_key), row in case.ledger.items():
        method = contract.methods.get(name)
        if method is None or not method.compensates or row.state != State.DONE:
            continue
        if (method.compensates, step_key) not in case.ledger:
            yield f"saga {case.id}: {method.label} is done, and its ledger has nothing of what it compensates"


def every_tombstone_has_its_compensation(contract: Contract, case: Case) -> Iterator[str]:
    """Only a compensation buries a step."""
    for (name, step_key), row in case.ledger.items():
        if row.state == State.TOMBSTONE and (method := contract.methods.get(name)) is not None:
            undoes = contract.compensation_of(method)
            undone = case.ledger.get((undoes.full_name, step_key)) if undoes else None
            if undone is None or undone.state != State.DONE:
                yield f"saga {case.id}: {method.label} has a tombstone, and no compensation has left it"


def every_full_join_has_run(contract: Contract, case: Case) -> Iterator[str]:
    """The last arrival and the step are one transaction."""
    for name, events in case.arrivals.items():
        method = contract.methods.get(name)
        if method is not None and events >= set(method.on) and (name, "") not in case.ledger:
            yield f"saga {case.id}: all that {method.label} waits for has arrived, and it has no row"


def an_ended_saga_went_one_way(contract: Contract, ways: Mapping[str, Way], case: Case) -> Iterator[str]:
    """One that completed has done all that its end follows from and undone nothing; one that was compensated has
    undone everything that can be, and done nothing that the pivot lets through."""
    for ending, end in ((row.event, method) for (method, _), row in case.ledger.items() if row.state == State.DONE):
        way = ways.get(ending)
        if way is None:
            continue
        ended = f"saga {case.id} has ended with {contract.methods[end].label}"
        for method in way.done:
            if method.full_name not in case.done and not case.is_forgotten_by(service_name(method.service)):
                yield f"{ended}, but {method.label} is not done"
        for method in way.never:
            if method.full_name in case.done:
                yield f"{ended}, but {method.label} is done"


def _methods(contract: Contract, case: Case) -> Iterator[Method]:
    for name, _ in case.ledger:
        if (method := contract.methods.get(name)) is not None:
            yield method
