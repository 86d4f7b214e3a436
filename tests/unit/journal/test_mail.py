"""What comes for a saga from outside is kept, the first of each name, and wakes a saga that waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Connection

from orchestrator import leases, store
from tests.unit.journal.journal_bench import LATER_US, ME, NOW_US, OTHER, JournalBench, a_saga, waits_for_a_lock

PAID = "shop.Paid"


def park(tx: Connection) -> int | None:
    return leases.park(tx, ME, "one", LATER_US, [PAID], NOW_US)


def deliver(tx: Connection) -> bool:
    return store.deliver(tx, "one", PAID, b"paid", NOW_US)


def add(tx: Connection) -> bool:
    return store.add_saga(tx, a_saga("one", owner=ME))


async def test_the_first_mail_of_a_name_is_kept(bench: JournalBench) -> None:
    await bench.run(store.deliver, "one", PAID, b"first\x00", NOW_US)
    await bench.run(store.deliver, "one", PAID, b"second", LATER_US)
    await bench.run(store.deliver, "two", PAID, b"", LATER_US)
    assert await bench.run(store.mail, "one", PAID) == (b"first\x00", NOW_US)
    assert await bench.run(store.mail, "two", PAID) == (b"", LATER_US)
    assert await bench.run(store.mail, "one", "shop.Other") is None


async def test_mail_wakes_a_saga_that_waits_and_nobody_else(bench: JournalBench) -> None:
    await bench.add(
        a_saga("waits", due_us=LATER_US), a_saga("due", due_us=1), a_saga("owned", owner=OTHER), a_saga("ended")
    )
    woken = [await bench.run(store.deliver, name, PAID, b"", NOW_US) for name in ("waits", "due", "owned", "ended")]
    assert woken == [True, False, False, False]
    places = [await bench.where(name) for name in ("waits", "due", "owned", "ended")]
    assert places == [(None, NOW_US), (None, 1), (OTHER, None), (None, None)]


async def test_a_saga_is_not_parked_where_its_mail_has_come(bench: JournalBench) -> None:
    await bench.add(a_saga("one", owner=ME))
    await bench.run(deliver)
    assert await bench.run(park) == NOW_US
    assert await bench.where("one") == (None, NOW_US)


async def test_mail_that_nobody_waits_for_does_not_keep_a_saga_from_parking(bench: JournalBench) -> None:
    await bench.add(a_saga("one", owner=ME))
    await bench.run(store.deliver, "one", "shop.Other", b"", NOW_US)
    assert await bench.run(park) == LATER_US


@pytest.mark.parametrize("first", [park, deliver])
async def test_of_a_saga_that_parks_while_its_mail_comes_the_wake_up_is_not_lost(
    concurrent: JournalBench, postgres_url: str, first: Any
) -> None:
    await concurrent.add(a_saga("one", owner=ME))
    then = deliver if first is park else park
    async with concurrent.before_its_commit(first):
        second = asyncio.create_task(concurrent.run(then))
        await waits_for_a_lock(postgres_url)
    await second
    assert await concurrent.where("one") == (None, NOW_US)


async def test_mail_that_came_before_its_saga_wakes_it_where_it_parks_before_the_commit(
    concurrent: JournalBench, postgres_url: str
) -> None:
    async with concurrent.before_its_commit(deliver):
        assert await concurrent.run(add)
        parking = asyncio.create_task(concurrent.run(park))
        await waits_for_a_lock(postgres_url)
    assert await parking == NOW_US


async def test_of_sagas_that_park_while_their_mail_comes_none_is_left_waiting(bench: JournalBench) -> None:
    names = [f"saga-{number}" for number in range(100)]
    await bench.add(*(a_saga(name, owner=ME) for name in names))
    parks = (bench.run(leases.park, ME, name, LATER_US, [PAID], NOW_US) for name in names)
    mails = (bench.run(store.deliver, name, PAID, b"", NOW_US) for name in names)
    await asyncio.gather(*(work for pair in zip(parks, mails, strict=True) for work in pair))
    assert {saga.saga_id for saga in (await bench.claim(limit=100)).journals} == set(names)
