"""A byte that changed by itself is found wherever it is, costs its own saga a rest, and no other saga anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sql
from sqlalchemy import Connection

from orchestrator import listing, store
from orchestrator.journal import Journal, SagaStatus
from orchestrator.listing import Filter
from orchestrator.store import Damaged
from orchestrator.tables import METADATA, SAGAS, STEPS
from tests.unit.journal.journal_bench import FULL, INPUT, ME, NOW_US, STEP, JournalBench, a_saga

PLACES = ("owner", "due_us")  # no part of the checksum: to be run by another does no harm
SAGA_COLUMNS = [column.name for column in SAGAS.columns if column.name not in PLACES]
STEP_COLUMNS = [column.name for column in STEPS.columns if column.name != "saga_id"]
# A saga that was flipped there is due, but of no workflow that anybody has.
OF_ANOTHER_WORKFLOW = ("process", "version")
ILL = replace(FULL, saga_id="ill", due_us=1, input=INPUT, refusal=b"", result=b"", steps={STEP.key: STEP})
SOUND = a_saga("sound", due_us=2)


def flipped(value: Any) -> Any:
    """A value whose lowest bit in some byte is another; of an empty one, that it is not empty any more."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, str):
        return chr(ord(value[0]) ^ 1) + value[1:] if value else "\x01"
    return bytes([value[0] ^ 1]) + value[1:] if value else b"\x01"


def flip(tx: Connection, table: str, column: str, saga_id: str = "ill") -> None:
    """Changes a byte as a bad disk does."""
    there = METADATA.tables[table]
    value = tx.execute(sql.select(there.c[column]).where(there.c.saga_id == saga_id)).scalar_one()
    tx.execute(sql.update(there).where(there.c.saga_id == saga_id).values({column: flipped(value)}))


async def status_of(bench: JournalBench, saga_id: str) -> int:
    """As the table has it."""
    return await bench.run(
        lambda tx: tx.execute(sql.select(SAGAS.c.status).where(SAGAS.c.saga_id == saga_id)).scalar_one()
    )


async def shown(bench: JournalBench) -> dict[str, Journal]:
    """The sagas of a page."""
    page = await bench.run(listing.page, Filter(), after=None, limit=10)
    return {saga.saga_id: saga for saga in page}


@pytest.mark.parametrize("column", SAGA_COLUMNS)
async def test_a_flipped_byte_of_a_saga_is_found_and_the_others_run_on(bench: JournalBench, column: str) -> None:
    await bench.add(ILL, SOUND)
    await bench.run(flip, "sagas", column)
    saga_id = flipped("ill") if column == "saga_id" else "ill"
    with pytest.raises(Damaged, match="the row of the saga does not match"):
        await bench.load(saga_id)
    claim = await bench.claim()
    assert [saga.saga_id for saga in claim.journals] == ["sound"]
    if column in OF_ANOTHER_WORKFLOW:
        assert claim.damages == []
        assert await bench.where(saga_id) == (None, 1)
    else:
        assert [damage.saga_id for damage in claim.damages] == [saga_id]
        assert await bench.where(saga_id) == (None, None)
        assert await status_of(bench, saga_id) == SagaStatus.SAGA_STATUS_STALLED
    page = await shown(bench)
    assert set(page) == {saga_id, "sound"}
    assert page[saga_id].status == SagaStatus.SAGA_STATUS_STALLED
    assert "is damaged" in page[saga_id].stalled_reason
    assert "start the saga again with its input" in page[saga_id].stalled_help
    page[saga_id].to_proto()


@pytest.mark.parametrize("column", STEP_COLUMNS)
async def test_a_flipped_byte_of_a_step_is_found_and_the_saga_stays_mendable(bench: JournalBench, column: str) -> None:
    await bench.add(ILL, SOUND)
    await bench.run(flip, "steps", column)
    with pytest.raises(Damaged, match=r"the row of step .* does not match"):
        await bench.load("ill")
    claim = await bench.claim()
    assert [saga.saga_id for saga in claim.journals] == ["sound"]
    assert [damage.saga_id for damage in claim.damages] == ["ill"]
    assert await bench.where("ill") == (None, None)
    page = await shown(bench)
    assert page["ill"].status == SagaStatus.SAGA_STATUS_STALLED
    assert "ConfirmOrder" in page["ill"].stalled_reason or column == "method"
    assert "ensemble saga retry ill" in page["ill"].stalled_help
    await bench.run(store.delete_steps, ["ill"])
    mended = await bench.load("ill")
    assert (mended.input, mended.cancelling, mended.refusal) == (ILL.input, ILL.cancelling, ILL.refusal)


@pytest.mark.parametrize("column", PLACES)
async def test_where_a_saga_is_run_is_no_part_of_its_checksum(bench: JournalBench, column: str) -> None:
    await bench.add(replace(FULL, owner=ME, due_us=NOW_US))
    await bench.run(flip, "sagas", column, FULL.saga_id)
    assert (await bench.load(FULL.saga_id)).input == FULL.input


async def test_damaged_sagas_that_nobody_claims_are_shown_as_damaged_too(bench: JournalBench) -> None:
    ended = replace(FULL, saga_id="ill", status=SagaStatus.SAGA_STATUS_COMPLETED)
    await bench.add(ended, SOUND)
    await bench.run(flip, "sagas", "result")
    assert (await shown(bench))["ill"].status == SagaStatus.SAGA_STATUS_STALLED


async def test_a_saga_that_has_ended_is_not_stalled_by_a_step_of_its_that_is_damaged(bench: JournalBench) -> None:
    ended = replace(FULL, status=SagaStatus.SAGA_STATUS_COMPLETED, steps={STEP.key: STEP})
    await bench.add(ended)
    await bench.run(flip, "steps", "outcome", FULL.saga_id)
    with pytest.raises(Damaged) as caught:
        await bench.load(FULL.saga_id)
    journal = store.damaged_journal(caught.value)
    assert journal.status == SagaStatus.SAGA_STATUS_COMPLETED
    assert "is damaged" in journal.stalled_reason


@pytest.mark.parametrize("value", [-(2**63), -1, 2**63 - 1])
async def test_a_time_that_there_is_not_is_shown_as_one_that_there_is(bench: JournalBench, value: int) -> None:
    await bench.add(ILL, SOUND)
    await bench.run(lambda tx: tx.execute(sql.update(SAGAS).values(started_us=value)).rowcount)
    for saga in (await shown(bench)).values():
        assert saga.to_proto().status == SagaStatus.SAGA_STATUS_STALLED


ON_SQLITE = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)  # PostgreSQL refuses such values


# But for those that a list is in the order of, and for the key.
@pytest.mark.parametrize("column", [name for name in SAGA_COLUMNS if name not in ("saga_id", "style", "started_us")])
@pytest.mark.parametrize("value", ["x'ff'", "CAST(x'e1' AS TEXT)", "1.5", "-9223372036854775808"])
@ON_SQLITE
async def test_a_value_that_is_not_of_its_column_costs_the_others_nothing(
    bench: JournalBench, column: str, value: str
) -> None:
    """SQLite lets every column have every value, and does not look whether a text is one."""
    await _costs_the_others_nothing(bench, f"UPDATE sagas SET {column} = {value} WHERE saga_id = 'ill'")


@pytest.mark.parametrize("column", STEP_COLUMNS)
@pytest.mark.parametrize("value", ["CAST(x'e1' AS TEXT)", "1.5"])
@ON_SQLITE
async def test_a_value_of_a_step_that_is_not_of_its_column_costs_the_others_nothing(
    bench: JournalBench, column: str, value: str
) -> None:
    await _costs_the_others_nothing(bench, f"UPDATE steps SET {column} = {value} WHERE saga_id = 'ill'")


async def _costs_the_others_nothing(bench: JournalBench, statement: str) -> None:
    await bench.add(ILL, SOUND)
    await bench.run(lambda tx: tx.exec_driver_sql(statement).rowcount)
    assert "sound" in {saga.saga_id for saga in (await bench.claim()).journals}
    page = await shown(bench)
    assert page["sound"].status == SagaStatus.SAGA_STATUS_RUNNING
    assert all(saga.to_proto() for saga in page.values())
