"""A saga runs on the version of its workflow that it was started with; new ones on the newest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mesh.errors import NotFound
from orchestrator.workflow import Workflow, WorkflowError, Workflows
from shop.orders.v1.events_pb2 import OrderPlaced
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import COMPLETED, PROCESS, RUNNING, EngineBench, FakeParticipants
from tests.unit.orchestrator.test_workflow_code import one_by_one

Makes = Callable[..., EngineBench]


def versions(**steps: str) -> Workflows:
    """Versions v1, v2, … of the process, by the steps that each does."""
    made = Workflows()
    for name, text in steps.items():
        (one,) = one_by_one(*text.split())
        made.add(Workflow(PROCESS, one.run, OrderPlaced, int(name[1:])))
    return made


async def test_a_running_saga_stays_on_its_version_over_a_restart_and_new_ones_take_the_newest(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    participants.hold("ReserveStock")
    first, old, new = an_engine(workflows=versions(v1="ReserveStock RecordOrder")), an_order(), an_order()
    await first.start(old)
    await participants.reaches("ReserveStock")
    await first.crash()
    participants.release()
    second = an_engine(workflows=versions(v1="ReserveStock RecordOrder", v2="AuthorizePayment"))
    await second.recover()
    journal = await second.comes_to(old.order_id, COMPLETED)
    assert (journal.version, "AuthorizePayment" in participants.asked) == (1, False)
    assert (await second.run(new)).version == 2
    assert participants.asked[-1] == "AuthorizePayment"


async def test_a_saga_of_a_version_that_is_not_here_is_left_to_an_orchestrator_that_has_it(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    """As in a rolling deployment: the old one must not touch the new one's sagas, nor stall them."""
    participants.hold("ReserveStock")
    newer, order = an_engine(workflows=versions(v1="RecordOrder", v2="ReserveStock")), an_order()
    await newer.start(order)
    await participants.reaches("ReserveStock")
    await newer.crash()
    participants.release()
    older = an_engine(workflows=versions(v1="RecordOrder"))
    assert await older.recover() == 1
    other = an_order()
    await older.run(other)  # the claimer has looked meanwhile
    await asyncio.sleep(0)
    assert (await older.engine.get(order.order_id)).status == RUNNING
    assert not older.engine.runs(order.order_id)
    await older.close()
    third = an_engine(workflows=versions(v1="RecordOrder", v2="ReserveStock"))
    await third.recover()
    await third.comes_to(order.order_id, COMPLETED)


def test_a_version_is_registered_once() -> None:
    known = versions(v1="RecordOrder")
    with pytest.raises(WorkflowError, match="version=2"):
        known.add(Workflow(PROCESS, next(iter(known)).run, OrderPlaced))


def test_a_version_that_is_not_here_is_told() -> None:
    with pytest.raises(NotFound, match="no version 7"):
        versions(v1="RecordOrder").of(PROCESS, 7)
