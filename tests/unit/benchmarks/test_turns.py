"""What a benchmark shows is what its rounds measured: in turns, counted after a ramp, as medians with ranges."""

from __future__ import annotations

import asyncio
import time

import pytest

from scripts.benchmarks import load
from scripts.benchmarks.figures import Spread, ratio
from scripts.benchmarks.turns import Subject, take_turns


@pytest.fixture(autouse=True)
def no_ramp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "RAMP_S", 0.0)


async def test_subjects_take_turns() -> None:
    order: list[str] = []

    def subject(name: str) -> Subject:
        async def once() -> None:
            if order[-1:] != [name]:
                order.append(name)
            await asyncio.sleep(0.001)

        return Subject(name, once)

    turns = await take_turns(
        [subject("floor"), subject("saga")],
        common={"participants": "noop"},
        in_flight=2,
        rounds=2,
        seconds=0.02,
        spent=dict,
    )
    assert order == ["floor", "saga", "floor", "saga"]
    shown = [(row["subject"], row["participants"], row["rounds"]) for row in turns.to_json()]
    assert shown == [("floor", "noop", 2), ("saga", "noop", 2)]


async def test_so_many_are_under_way_at_a_time() -> None:
    going = most = 0

    async def once() -> None:
        nonlocal going, most
        going += 1
        most = max(most, going)
        await asyncio.sleep(0.001)
        going -= 1

    await load.measure(once, in_flight=5, seconds=0.02, spent=dict)
    assert (most, going) == (5, 0)


async def test_a_call_that_fails_ends_the_measurement_with_its_own_error() -> None:
    async def once() -> None:
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        await load.measure(once, in_flight=3, seconds=1, spent=dict)


async def test_a_round_in_which_nothing_ends_in_time_lasts_until_something_has() -> None:
    async def once() -> None:
        await asyncio.sleep(0.05)

    measured = await load.measure(once, in_flight=3, seconds=0.001, spent=lambda: {"client": time.process_time()})
    assert measured.p50_ms >= 50
    assert 0 < measured.per_second <= 20
    assert measured.cpu_us["client"] > 0


def test_ratios_are_of_neighbours() -> None:
    assert ratio([10, 40, 90], [20, 40, 60]) == Spread(median=1.0, least=0.5, most=1.5)
