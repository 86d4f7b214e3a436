"""Time that jumps: what sleeps, what waits for ever, and in which order things happen."""

from __future__ import annotations

import asyncio
import time

import pytest

from mesh import virtual_time
from mesh.clock import LoopClock
from mesh.virtual_time import Deadlock

WEEK_S = 7 * 24 * 3600.0


def test_a_weeks_sleep_takes_milliseconds() -> None:
    async def main() -> float:
        await asyncio.sleep(WEEK_S)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert virtual_time.run(main) == WEEK_S
    assert time.monotonic() - began < 1.0


def test_the_clock_moves_with_the_loop() -> None:
    async def main() -> int:
        clock = LoopClock()
        before_us = clock.now_us()
        await asyncio.sleep(1.5)
        return clock.now_us() - before_us

    assert virtual_time.run(main) == 1_500_000


def test_code_takes_no_time() -> None:
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert virtual_time.run(main) == 0.0


def test_a_timeout_strikes_when_it_is_due() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert virtual_time.run(main) == 30.0


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append(seconds)

    async def main() -> None:
        await asyncio.gather(*(sleeper(seconds) for seconds in (3, 1, 2, 0.5)))

    virtual_time.run(main)
    assert woken == [0.5, 1, 2, 3]


def test_far_in_the_future_short_sleeps_still_end() -> None:
    """A float that counts 300 years of seconds is coarser than a microsecond."""

    async def main() -> None:
        for _ in range(100):
            await asyncio.sleep(1e-6)

    with virtual_time.runner(start_s=1e10) as runner:
        runner.run(main())


def test_who_waits_for_ever_is_told_so_and_where() -> None:
    async def main() -> None:
        await asyncio.create_task(asyncio.Event().wait(), name="the one who waits")

    with pytest.raises(Deadlock) as caught:
        virtual_time.run(main)
    assert "the one who waits waits in Event.wait" in str(caught.value)
    assert "main, " in str(caught.value)


def test_what_waits_is_unwound_after_a_deadlock() -> None:
    unwound: list[str] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            unwound.append("main")

    with pytest.raises(Deadlock):
        virtual_time.run(main)
    assert unwound == ["main"]


def test_threads_are_refused() -> None:
    async def main() -> None:
        await asyncio.to_thread(time.sleep, 0)

    with pytest.raises(RuntimeError, match="no threads"):
        virtual_time.run(main)


def test_two_runs_of_one_program_are_alike() -> None:
    async def main() -> list[tuple[float, int]]:
        seen: list[tuple[float, int]] = []

        async def worker(number: int) -> None:
            for turn in range(5):
                await asyncio.sleep((number * 7 + turn) % 3)
                seen.append((asyncio.get_running_loop().time(), number))

        await asyncio.gather(*(worker(number) for number in range(20)))
        return seen

    assert virtual_time.run(main) == virtual_time.run(main)
