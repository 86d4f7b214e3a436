"""A participant that does not answer is probed and not called; whoever waits for it goes on when it is back."""

from __future__ import annotations

import asyncio
import random

import pytest

from mesh.backoff import Backoff
from orchestrator.circuit import Circuit, State
from tests.unit.orchestrator.virtual_time import in_virtual_time, settle

DELAYS = Backoff(first_s=1.0, max_s=8.0)


class HighRolls(random.Random):
    """Draws the longest delay each time."""

    def uniform(self, a: float, b: float) -> float:
        return b


def a_circuit() -> Circuit:
    return Circuit("inventory", 5, DELAYS, HighRolls())


def an_open_circuit() -> Circuit:
    circuit = a_circuit()
    for _ in range(5):
        circuit.failed("UNAVAILABLE: gone")
    return circuit


def now() -> float:
    return asyncio.get_running_loop().time()


class Callers:
    """Sagas that call over one circuit; `entered` has those who may send, with the number of the probe."""

    def __init__(self, circuit: Circuit, count: int) -> None:
        self.entered: dict[int, int] = {}
        self.tasks = [asyncio.create_task(self._enter(circuit, one)) for one in range(count)]

    async def _enter(self, circuit: Circuit, one: int) -> None:
        self.entered[one] = await circuit.enter()


@in_virtual_time
async def test_it_opens_after_so_many_failures_in_a_row() -> None:
    circuit = a_circuit()
    for _ in range(4):
        circuit.failed("UNAVAILABLE: gone")
    assert circuit.closed
    circuit.failed("UNAVAILABLE: gone")
    assert (circuit.closed, circuit.state) == (False, State.OPEN)
    assert circuit.why == "inventory does not answer (UNAVAILABLE: gone)"


@in_virtual_time
async def test_an_answer_in_between_starts_the_count_again() -> None:
    circuit = a_circuit()
    for _ in range(20):
        for _ in range(4):
            circuit.failed("UNAVAILABLE: gone")
        circuit.answered()
    assert circuit.closed


@in_virtual_time
async def test_nothing_is_sent_while_it_is_open_and_then_one_probe() -> None:
    callers = Callers(an_open_circuit(), 100)
    await asyncio.sleep(0.9)
    assert callers.entered == {}
    await asyncio.sleep(3600)
    assert callers.entered == {0: 1}


@in_virtual_time
async def test_a_probe_without_an_answer_opens_it_for_longer_and_another_one_probes() -> None:
    circuit = an_open_circuit()
    probed: list[float] = []

    async def probe() -> None:
        number = await circuit.enter()
        probed.append(now())
        circuit.failed("UNAVAILABLE: gone", number)

    await asyncio.gather(*(probe() for _ in range(7)))
    assert probed == pytest.approx([1, 3, 7, 15, 23, 31, 39], abs=0.01)


@in_virtual_time
async def test_it_goes_on_telling_what_opened_it() -> None:
    circuit = an_open_circuit()
    await asyncio.sleep(1.1)
    circuit.failed("DEADLINE_EXCEEDED: Deadline Exceeded", await circuit.enter())
    assert circuit.why == "inventory does not answer (UNAVAILABLE: gone)"


@in_virtual_time
async def test_who_comes_when_the_probe_is_due_and_nobody_waits_is_the_probe() -> None:
    circuit = an_open_circuit()
    await asyncio.sleep(60)
    assert circuit.state is State.HALF_OPEN
    assert await circuit.enter() > 0
    other = asyncio.create_task(circuit.enter())
    await asyncio.sleep(60)
    assert not other.done()
    other.cancel()


@in_virtual_time
async def test_the_answer_to_the_probe_lets_all_go_on_twice_as_many_each_round_trip() -> None:
    circuit = an_open_circuit()
    round_trip_s, calls, most = 0.002, 0, 0

    async def a_saga() -> None:
        nonlocal calls, most
        await circuit.enter()
        calls += 1
        most = max(most, calls)
        await asyncio.sleep(round_trip_s)
        calls -= 1
        circuit.answered()

    await asyncio.gather(*(a_saga() for _ in range(1000)))
    assert circuit.closed
    assert now() - 1.0 == pytest.approx(10 * round_trip_s, abs=0.001)
    assert most == 1000 - 511


@in_virtual_time
async def test_failures_of_calls_from_before_do_not_open_it_for_longer() -> None:
    circuit = an_open_circuit()
    callers = Callers(circuit, 1)
    for _ in range(1000):
        circuit.failed("UNAVAILABLE: gone")
    await asyncio.sleep(1.1)
    assert callers.entered == {0: 1}
    circuit.failed("DEADLINE_EXCEEDED: late")
    assert circuit.state is State.HALF_OPEN


@in_virtual_time
async def test_an_answer_to_a_call_from_before_closes_it() -> None:
    circuit = an_open_circuit()
    callers = Callers(circuit, 3)
    await settle()
    circuit.answered()
    await settle()
    assert circuit.closed
    assert callers.entered == {0: 0, 1: 0}


@in_virtual_time
async def test_a_cancelled_probe_is_followed_by_another_at_once() -> None:
    circuit = an_open_circuit()
    callers = Callers(circuit, 2)
    await asyncio.sleep(1.1)
    circuit.abandoned(callers.entered[0])
    await settle()
    assert callers.entered == {0: 1, 1: 2}
    circuit.abandoned(callers.entered[0])  # it was told before, and is the probe no more
    circuit.failed("UNAVAILABLE: gone", callers.entered[0])
    assert circuit.state is State.HALF_OPEN


@in_virtual_time
async def test_who_is_cancelled_as_it_becomes_the_probe_passes_that_on() -> None:
    circuit = an_open_circuit()
    first, second = (asyncio.create_task(circuit.enter()) for _ in range(2))
    await settle()
    circuit._due()  # makes the first the probe, which has not run yet
    first.cancel()
    await settle()
    assert first.cancelled()
    assert second.result() == 2


@in_virtual_time
async def test_whoever_is_cancelled_waits_no_more_and_leaves_nothing_behind() -> None:
    circuit = an_open_circuit()
    callers = Callers(circuit, 1000)
    await settle()
    for task in callers.tasks:
        task.cancel()
    await asyncio.sleep(1.1)
    assert (len(circuit._waiting), circuit.state) == (0, State.HALF_OPEN)
    assert await circuit.enter() > 0


@in_virtual_time
async def test_calls_that_fail_or_are_cancelled_after_it_closed_still_let_others_go() -> None:
    circuit = an_open_circuit()
    callers = Callers(circuit, 20)
    await asyncio.sleep(1.1)
    circuit.answered()
    await settle()
    circuit.failed("UNAVAILABLE: gone")
    circuit.abandoned()
    await settle()
    assert len(callers.entered) == 5


@in_virtual_time
async def test_an_overloaded_participant_is_left_alone_for_as_long_as_it_asks() -> None:
    circuit = a_circuit()
    circuit.overloaded(2.0, "RESOURCE_EXHAUSTED: busy")
    circuit.overloaded(0.5, "RESOURCE_EXHAUSTED: busy")  # less, from a call before
    callers = Callers(circuit, 3)
    await asyncio.sleep(1.9)
    assert (circuit.state, callers.entered) == (State.PAUSED, {})
    assert circuit.why == "inventory is overloaded (RESOURCE_EXHAUSTED: busy)"
    await asyncio.sleep(0.2)
    assert (circuit.state, callers.entered) == (State.CLOSED, {0: 0})


@in_virtual_time
async def test_what_an_overloaded_participant_still_answers_does_not_end_its_pause() -> None:
    circuit = a_circuit()
    circuit.overloaded(2.0, "RESOURCE_EXHAUSTED: busy")
    circuit.answered()
    circuit.failed("DEADLINE_EXCEEDED: late")
    circuit.abandoned()
    assert circuit.state is State.PAUSED


@in_virtual_time
async def test_overload_is_a_sign_of_life() -> None:
    circuit = an_open_circuit()
    callers = Callers(circuit, 1)
    await asyncio.sleep(1.1)
    circuit.overloaded(0.5, "RESOURCE_EXHAUSTED: busy")  # says the probe
    assert (circuit.state, callers.entered) == (State.PAUSED, {0: 1})
    await asyncio.sleep(0.6)
    assert circuit.closed


@pytest.mark.parametrize("seed", range(20))
@in_virtual_time
async def test_in_any_order_of_events_there_is_one_probe_at_most_and_all_go_on_in_the_end(seed: int) -> None:
    chance = random.Random(seed)
    circuit = Circuit("inventory", 3, Backoff(first_s=0.1, max_s=1.0), chance)
    down, probes = True, set[int]()

    async def call() -> bool:
        """Whether there was an answer."""
        probe = await circuit.enter()
        if probe:
            probes.add(probe)
        assert len(probes) <= 1
        try:
            await asyncio.sleep(chance.choice([0.001, 0.1, 2.0]))
        except asyncio.CancelledError:
            probes.discard(probe)
            circuit.abandoned(probe)
            raise
        probes.discard(probe)
        kind = chance.random()
        if (down and kind < 0.9) or kind < 0.1:
            circuit.failed("UNAVAILABLE: gone", probe)
        elif kind < 0.93:
            probes.clear()  # a pause forgets the probe
            circuit.overloaded(chance.uniform(0, 0.5), "RESOURCE_EXHAUSTED: busy")
        else:
            probes.clear()
            circuit.answered()
            return True
        return False

    async def saga() -> None:
        while not await call():
            pass

    sagas = [asyncio.create_task(saga()) for _ in range(60)]
    for _ in range(60):
        await asyncio.sleep(chance.uniform(0, 0.5))
        chance.choice(sagas).cancel()
    down = False
    async with asyncio.timeout(600):
        await asyncio.gather(*sagas, return_exceptions=True)
    assert all(saga.cancelled() or saga.exception() is None for saga in sagas)
    assert len(circuit._waiting) == 0
