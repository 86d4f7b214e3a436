"""An orchestrator writes the journal of what it owns, and of nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh.database import Database
from mesh.errors import Unavailable
from orchestrator import leases, store
from orchestrator.journal import Journal, SagaStatus, Style
from orchestrator.waits import child_mail
from orchestrator.write_behind import WriteBehind
from tests.unit.journal.journal_bench import LATER_US, LIMIT_S, ME, NOW_US, OTHER, STEP, JournalBench, a_saga

T = TypeVar("T")

AFTERWARDS = replace(STEP, step_key="afterwards")


class Writing:
    """What one orchestrator writes behind, and what it is told."""

    def __init__(self, database: Database) -> None:
        self.lost: set[str] = set()
        self.mailed: list[str] = []
        self.behind = WriteBehind(database, ME, self.lost.update, self.mailed.append)
        self.task = asyncio.create_task(self.behind.run())


@pytest.fixture
async def writing(bench: JournalBench) -> AsyncIterator[Writing]:
    writing = Writing(bench.database)
    yield writing
    writing.task.cancel()


def changed(saga: Journal) -> Journal:
    return replace(saga, stalled_reason="changed")


async def test_of_a_saga_that_was_taken_nothing_is_written_and_the_rest_of_the_batch_is(
    bench: JournalBench, writing: Writing
) -> None:
    mine, taken = a_saga("mine", owner=ME), a_saga("taken", owner=ME)
    await bench.add(mine, taken)
    await bench.add(replace(taken, owner=OTHER))
    for saga in (mine, taken):
        writing.behind.forget_steps(saga.saga_id)
        writing.behind.saga(changed(saga))
        writing.behind.step(saga.saga_id, AFTERWARDS)
    await writing.behind.flushed()
    assert writing.lost == {"taken"}
    assert await bench.load("taken") == replace(taken, owner=OTHER)
    assert await bench.load("mine") == replace(changed(mine), steps={AFTERWARDS.key: AFTERWARDS})


@pytest.mark.parametrize("place", [{"due_us": LATER_US}, {}])
async def test_of_a_saga_that_nobody_owns_nothing_is_written(
    bench: JournalBench, writing: Writing, place: dict[str, int]
) -> None:
    """It was freed by who took this orchestrator for dead."""
    saga = a_saga("one", **place)
    await bench.add(saga)
    writing.behind.step("one", AFTERWARDS)
    await writing.behind.flushed()
    assert writing.lost == {"one"}
    assert await bench.load("one") == saga


async def test_a_saga_that_ends_is_owned_by_nobody(bench: JournalBench, writing: Writing) -> None:
    saga = a_saga("one", owner=ME)
    await bench.add(saga)
    writing.behind.saga(replace(saga, status=SagaStatus.SAGA_STATUS_COMPLETED, ended_us=NOW_US))
    await writing.behind.flushed()
    assert await bench.where("one") == (None, None)
    assert writing.lost == set()


async def test_a_saga_is_not_taken_between_the_look_at_its_owner_and_the_commit(concurrent: JournalBench) -> None:
    """Whoever is first, the journal is in the end what the last owner wrote."""
    sagas = [a_saga(f"saga-{number}", owner=ME) for number in range(50)]
    await concurrent.add(*sagas)
    writing = Writing(concurrent.database)
    for saga in sagas:
        writing.behind.saga(changed(saga))

    def take(tx: Connection, saga_id: str) -> Journal:
        saga = store.load(tx, saga_id, lock=True)
        assert saga is not None
        saga.owner, saga.stalled_help = OTHER, "taken"
        store.put_saga(tx, saga)
        return saga

    flushing = asyncio.create_task(writing.behind.flushed())
    taken = await asyncio.gather(*(concurrent.run(take, saga.saga_id) for saga in reversed(sagas)))
    await flushing
    for saga in taken:
        assert await concurrent.load(saga.saga_id) == saga
    writing.task.cancel()


class RollsBackOnce:
    """A database whose first transaction is rolled back after its work was done."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.rolled_back = asyncio.Event()
        self.go_on = asyncio.Event()

    async def run(self, work: Callable[[Connection], T]) -> T:
        if self.rolled_back.is_set():
            await self.go_on.wait()
            return await self._database.run(work)

        def fail(tx: Connection) -> T:
            work(tx)
            raise Unavailable("told to fail")

        try:
            return await self._database.run(fail)
        finally:
            self.rolled_back.set()


def an_ended_child(**fields: object) -> Journal:
    return a_saga(
        "child", parent="parent", status=SagaStatus.SAGA_STATUS_COMPLETED, style=Style.STYLE_ORCHESTRATED, **fields
    )


async def test_the_end_of_a_child_and_the_mail_to_its_parent_are_one_transaction(bench: JournalBench) -> None:
    database = RollsBackOnce(bench.database)
    writing = Writing(database)  # type: ignore[arg-type]
    await bench.add(a_saga("parent", due_us=LATER_US), a_saga("child", owner=ME, parent="parent"))
    writing.behind.saga(an_ended_child(ended_us=NOW_US))
    async with asyncio.timeout(LIMIT_S):
        await database.rolled_back.wait()
    assert (await bench.load("child")).status == SagaStatus.SAGA_STATUS_RUNNING
    assert await bench.run(store.mail, "parent", child_mail("child")) is None
    assert writing.mailed == []
    database.go_on.set()
    await writing.behind.flushed()
    assert (await bench.load("child")).status == SagaStatus.SAGA_STATUS_COMPLETED
    body, _ = await bench.run(store.mail, "parent", child_mail("child"))
    assert api.RunSagaResponse.FromString(body).saga.saga_id == "child"
    assert await bench.where("parent") == (None, NOW_US)
    assert writing.mailed == ["parent"]
    writing.task.cancel()


async def test_the_end_of_a_child_that_was_taken_is_not_told(bench: JournalBench, writing: Writing) -> None:
    await bench.add(a_saga("parent", due_us=LATER_US), a_saga("child", owner=OTHER, parent="parent"))
    writing.behind.saga(an_ended_child(ended_us=NOW_US))
    await writing.behind.flushed()
    assert await bench.run(store.mail, "parent", child_mail("child")) is None
    assert await bench.where("parent") == (None, LATER_US)


async def test_what_its_owner_let_go_of_is_not_written_any_more(bench: JournalBench, writing: Writing) -> None:
    saga = a_saga("one", owner=ME)
    await bench.add(saga)
    await bench.run(leases.resign, ME, NOW_US)
    writing.behind.saga(changed(saga))
    await writing.behind.flushed()
    assert (await bench.load("one")).stalled_reason == ""
