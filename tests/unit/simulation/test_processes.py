"""A simulated process runs, stands still and dies as a real one does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from scripts.simulation.loop import SimulationLoop
from scripts.simulation.process import Process


def run(main: Coroutine[Any, Any, None]) -> None:
    loop = SimulationLoop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


async def count(seen: list[str], name: str, upto: int = 1_000) -> None:
    """Says a number every second."""
    try:
        for number in range(upto):
            seen.append(f"{name} {number}")
            await asyncio.sleep(1.0)
    finally:
        seen.append(f"{name} is cleaned up")


def test_a_killed_process_does_nothing_more_not_even_clean_up() -> None:
    seen: list[str] = []

    async def main() -> None:
        process = Process("orders", 1)
        process.start(count(seen, "orders"), "count")
        await asyncio.sleep(1.5)
        process.kill()
        await asyncio.sleep(5.0)

    run(main())
    assert seen == ["orders 0", "orders 1"]


def test_what_a_process_starts_is_part_of_it() -> None:
    seen: list[str] = []

    async def parent() -> None:
        child = asyncio.create_task(count(seen, "child"))
        asyncio.get_running_loop().call_later(2.5, seen.append, "a timer")
        await child

    async def main() -> None:
        process, other = Process("orders", 1), Process("inventory", 1)
        process.start(parent(), "parent")
        other.start(count(seen, "other", 3), "count")
        await asyncio.sleep(1.5)
        process.kill()
        await asyncio.sleep(5.0)

    run(main())
    assert [one for one in seen if not one.startswith("other")] == ["child 0", "child 1"]
    assert seen[-2:] == ["other 2", "other is cleaned up"]


def test_a_process_dies_at_the_callback_it_is_told_to() -> None:
    ends = set()
    for callback in range(2, 7):
        seen: list[str] = []

        async def main(dies_at: int, seen: list[str]) -> None:
            process = Process("orders", 1)
            process.dies_at = dies_at
            process.died = lambda: seen.append("told")
            process.start(count(seen, "orders", 10), "count")
            await asyncio.sleep(20.0)
            assert not process.alive

        run(main(callback, seen))
        assert seen[-1] == "told"
        ends.add(len(seen))
    assert len(ends) >= 3


def test_a_paused_process_goes_on_where_it_was_in_the_same_order() -> None:
    seen: list[str] = []

    async def main() -> None:
        process = Process("orders", 1)
        process.start(count(seen, "a", 3), "a")
        process.start(count(seen, "b", 3), "b")
        await asyncio.sleep(0.5)
        process.pause()
        await asyncio.sleep(10.0)
        assert seen == ["a 0", "b 0"]
        process.resume()
        await asyncio.sleep(10.0)

    run(main())
    assert seen[2:6] == ["a 1", "b 1", "a 2", "b 2"]


def test_a_timer_that_rang_in_a_paused_process_can_still_be_cancelled() -> None:
    seen: list[str] = []

    async def impatient() -> None:
        loop = asyncio.get_running_loop()
        late = loop.call_later(2.0, seen.append, "too late")
        loop.call_later(1.0, late.cancel)
        await asyncio.sleep(5.0)

    async def main() -> None:
        process = Process("orders", 1)
        process.start(impatient(), "impatient")
        await asyncio.sleep(0.5)
        process.pause()
        await asyncio.sleep(3.0)
        process.resume()
        await asyncio.sleep(10.0)

    run(main())
    assert seen == []


def test_tasks_have_hashes_that_are_the_same_in_each_run() -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(3)]
        first = hash(tasks[0])
        assert [hash(task) for task in tasks] == [first, first + 1, first + 2]
        assert first < 10
        await asyncio.gather(*tasks)

    run(main())
