"""The calls of a saga carry the trace of whoever started it, and of nobody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mesh import telemetry
from orchestrator.journal import COMPLETED
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import EngineBench, FakeParticipants

TRACES = {name: f"00-{name * 32}-b7ad6b7169203331-00" for name in "abc"}


@pytest.fixture
def carried(participants: FakeParticipants, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Which traces the calls of each saga carried."""
    found: dict[str, set[str]] = {}
    ask = participants.ask

    async def traced(method, request, *others):  # type: ignore[no-untyped-def]
        order_id = method.request_class.FromString(request).order.order_id
        found.setdefault(order_id, set()).add(telemetry.current_trace().partition("-")[0][:1])
        return await ask(method, request, *others)

    monkeypatch.setattr(participants, "ask", traced)
    return found


async def test_it_is_passed_on(engine: EngineBench, carried: dict[str, set[str]]) -> None:
    orders = {name: an_order() for name in TRACES}
    for name, order in orders.items():
        telemetry.enter_trace(TRACES[name])
        await engine.start(order)
    for order in orders.values():
        await engine.comes_to(order.order_id, COMPLETED)
    assert carried == {order.order_id: {name} for name, order in orders.items()}


async def test_a_saga_that_waits_for_its_turn_does_not_get_that_of_another(
    an_engine: Callable[..., EngineBench], carried: dict[str, set[str]]
) -> None:
    engine = an_engine(sagas_max=1, queue_max=2)
    first, waits = an_order(), an_order()
    telemetry.enter_trace(TRACES["a"])
    await engine.start(first)
    telemetry.enter_trace("")
    await engine.start(waits)
    await engine.comes_to(waits.order_id, COMPLETED)
    assert carried == {first.order_id: {"a"}, waits.order_id: {""}}
