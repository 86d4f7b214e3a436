"""The orchestrator's rows against the ledgers. What drives a saga, and who follows it, says the same as they do.

It may come later: the journal is written behind, and the tracker reads events when it comes to it. That is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator

from console.audit.cases import Case, Journaled, Recorded
from console.audit.tables import name_of
from ensemble.coordination.v1 import coordination_pb2
from mesh.contract import Contract, Method, service_name
from orchestrator.journal import COMPENSATED, COMPLETED, ENDED, STEP_DONE, STEP_REFUSED, SagaStatus
from services.participant.ledger import State
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import Coordination

_ENDS = {
    coordination_pb2.OUTCOME_COMPLETED: COMPLETED,
    coordination_pb2.OUTCOME_COMPENSATED: COMPENSATED,
}
_ENDS_OF_ORDERS = {
    OrderStatus.ORDER_STATUS_COMPLETED: COMPLETED,
    OrderStatus.ORDER_STATUS_COMPENSATED: COMPENSATED,
}


def a_saga_has_ended_as_its_order(contract: Contract, case: Case) -> Iterator[str]:
    """Whoever drove it: the saga ends last."""
    if case.saga is None or case.saga.status not in ENDED or not is_of_its_order(contract, case):
        return
    if case.saga.status != _end_of_order(case):
        status = name_of(case.order.status) if case.order is not None else "not there"
        yield f"order {case.id} is {status}, but its saga is {_status(case)}"


def a_saga_has_ended_as_its_steps(contract: Contract, case: Case) -> Iterator[str]:
    """The step whose event is an end has said which."""
    if case.saga is None or case.saga.status not in ENDED:
        return
    for (name, _), row in case.ledger.items():
        event, method = contract.events.get(row.event), contract.methods.get(name)
        if event is None or method is None or row.state != State.DONE or event.outcome not in _ENDS:
            continue
        process = contract.process_of(method)
        if process is not None and process.name == case.saga.process and _ENDS[event.outcome] != case.saga.status:
            yield f"saga {case.id} is {_status(case)}, but has ended with {method.label}"


def a_journaled_step_is_what_its_ledger_says(contract: Contract, case: Case) -> Iterator[str]:
    """An answer that the journal has is the one that the ledger would give again."""
    for step in case.journal:
        method = contract.methods.get(step.method)
        if method is None or case.is_forgotten_by(service_name(method.service)):
            continue
        if step.status in (STEP_DONE, STEP_REFUSED):
            yield from _differences(case, method, step)


def is_of_its_order(contract: Contract, case: Case) -> bool:
    """Whether the saga is the one that fulfils the order of its id, and not another one that goes by its side."""
    starting = contract.events.get(OrderPlaced.DESCRIPTOR.full_name)
    return case.saga is not None and starting is not None and case.saga.process == starting.starts


def is_behind(contract: Contract, case: Case) -> bool:
    """Whether the order has ended, and for the orchestrator not yet."""
    if case.order is None or _end_of_order(case) is None:
        return False
    if case.saga is None:
        # Of one that was never placed, and came by plain calls, it need not hear.
        heard = case.order.asked or case.order.taken == Coordination.COORDINATION_CHOREOGRAPHED
        return bool(heard) and not case.is_old
    return case.saga.status not in ENDED and is_of_its_order(contract, case)


def is_open_without_an_order(contract: Contract, case: Case) -> bool:
    """Whether a saga goes on that is not an order's, or of which no order is known yet."""
    if case.saga is None or case.saga.status in ENDED:
        return False
    return case.order is None or not is_of_its_order(contract, case)


def _differences(case: Case, method: Method, step: Journaled) -> Iterator[str]:
    recorded = _recorded(case, step)
    state = recorded.state if recorded else None
    known = "DONE" if step.status == STEP_DONE else "REFUSED"
    # A step that its tombstone refuses is refused for its caller, too.
    if state != known and not (step.status == STEP_REFUSED and state == State.TOMBSTONE):
        yield f"saga {case.id}: {method.label} is {known} for the orchestrator, but {state} in its ledger"
    elif recorded is not None and recorded.digest and step.digest and recorded.digest != step.digest:
        yield f"saga {case.id}: {method.label} has another request in the journal than in its ledger"
    elif recorded is not None and step.status == STEP_DONE and step.outcome not in (b"", recorded.outcome):
        yield f"saga {case.id}: {method.label} has another answer in the journal than in its ledger"


def _recorded(case: Case, step: Journaled) -> Recorded | None:
    """A step that was seen by its event has no digest and no key: of several calls of its method it is any."""
    exact = case.ledger.get((step.method, step.step_key))
    if step.digest or exact is not None:
        return exact
    states = [row for (name, _), row in case.ledger.items() if name == step.method]
    wanted = State.DONE if step.status == STEP_DONE else State.REFUSED
    return next((row for row in states if row.state == wanted), states[0] if states else None)


def _end_of_order(case: Case) -> SagaStatus.ValueType | None:
    return _ENDS_OF_ORDERS.get(case.order.status) if case.order is not None else None


def _status(case: Case) -> str:
    assert case.saga is not None
    return SagaStatus.Name(case.saga.status).removeprefix("SAGA_STATUS_")
