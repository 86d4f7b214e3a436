"""Pages of sagas: what a naive look at all of them would give, whatever the filters, across every boundary."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection

from mesh.databases import open_database
from mesh.paging import Cursor
from mesh.settings import Settings
from orchestrator import listing, store
from orchestrator.journal import Journal
from orchestrator.listing import Filter
from orchestrator.tables import METADATA
from tests.unit.journal.journal_bench import NOW_US, JournalBench, a_saga

PROCESSES, STATUSES, STYLES = ("fulfil-order", "ärger"), (1, 3, 99), (0, 1, 2)
# In the order of their bytes; a language has another one.
IDS = ("-", "0", "A", "B-1", "B1", "Z", "_", "a", "b", "ä")
Filters = tuple[int, str, int]


def some_sagas(count: int, seed: int = 1) -> list[Journal]:
    """Sagas of all kinds, many of them started in the same microsecond."""
    dice = random.Random(seed)
    return [
        replace(
            a_saga(f"{dice.choice(IDS)}{dice.choice(IDS)}{number}"),
            process=dice.choice(PROCESSES),
            status=dice.choice(STATUSES),
            style=dice.choice(STYLES),
            started_us=NOW_US + dice.randrange(12),
            steps={},
        )
        for number in range(count)
    ]


def naive(sagas: list[Journal], filters: Filters) -> list[Journal]:
    """All that the filters let through, newest first."""
    status, process, style = filters
    through = [
        one for one in sagas if status in (0, one.status) and process in ("", one.process) and style in (0, one.style)
    ]
    return sorted(through, key=lambda saga: (saga.started_us, saga.saga_id), reverse=True)


def pages(tx: Connection, filters: Filters, size: int) -> list[Journal]:
    """All pages one after the other."""
    status, process, style = filters
    found: list[Journal] = []
    after = None
    while page := listing.page(tx, Filter(process, status, style), after=after, limit=size):
        assert len(page) <= size
        found += page
        after = Cursor(page[-1].started_us, page[-1].saga_id)
    return found


EVERY_FILTER = list(product((0, *STATUSES, 2), ("", *PROCESSES, "nobody's"), STYLES))


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_every_combination_of_filters_gives_what_a_look_at_all_sagas_gives(
    bench: JournalBench, size: int
) -> None:
    sagas = some_sagas(60 if size == 1 else 150)
    await bench.add(*sagas)
    combinations = EVERY_FILTER[::7] if size == 1 else EVERY_FILTER
    for filters in combinations:
        assert await bench.run(pages, filters, size) == naive(sagas, filters), filters


async def test_what_was_started_after_a_page_was_read_does_not_move_the_pages_behind_it(bench: JournalBench) -> None:
    sagas = some_sagas(60)
    await bench.add(*sagas)
    expected = naive(sagas, (0, "", 0))
    first = await bench.run(listing.page, Filter(), after=None, limit=20)
    newer = [replace(one, saga_id=f"new {one.saga_id}", started_us=NOW_US + 100) for one in some_sagas(30, seed=2)]
    await bench.add(*newer)
    after = Cursor(first[-1].started_us, first[-1].saga_id)
    rest = await bench.run(listing.page, Filter(), after=after, limit=1000)
    assert first + rest == expected


async def test_a_cursor_whose_saga_is_gone_still_leads_on(bench: JournalBench) -> None:
    sagas = some_sagas(20)
    await bench.add(*sagas)
    expected = naive(sagas, (0, "", 0))
    after = Cursor(expected[4].started_us, expected[4].saga_id)
    await bench.run(lambda tx: tx.exec_driver_sql(f"DELETE FROM sagas WHERE saga_id = '{after.id}'"))
    assert await bench.run(listing.page, Filter(), after=after, limit=100) == expected[5:]


async def test_an_empty_journal_has_an_empty_page(bench: JournalBench) -> None:
    assert await bench.run(listing.page, Filter(), after=None, limit=10) == []


async def test_a_database_with_the_order_of_a_language_gives_the_same_pages(postgres_url: str, tmp_path: Path) -> None:
    """In English `b` stands before `B1` and after `A`; the pages go by bytes wherever the database was made."""
    base, _, name = postgres_url.rpartition("/")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        english = f"CREATE DATABASE {name}_en TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'"
        try:
            connection.execute(english.encode())
        except psycopg.Error as error:
            pytest.skip(f"this PostgreSQL has no ICU: {error}")
    database = open_database(Settings(data=tmp_path, database_url=f"{base}/{name}_en"), "orchestrator", METADATA)
    bench, sagas = JournalBench(database), some_sagas(300)
    await bench.run(store.put_sagas, [store.saga_row(saga) for saga in sagas])
    for filters in EVERY_FILTER[::5]:
        assert await bench.run(pages, filters, 7) == naive(sagas, filters), filters
    await database.close()
