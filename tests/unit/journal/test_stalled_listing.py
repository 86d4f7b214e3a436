"""Pages of sagas that do not get on, newest first: stalled ones, late ones that are held, and overdue ones."""

from __future__ import annotations

import pytest

from mesh.paging import Cursor
from orchestrator import stalled_listing
from orchestrator.journal import STALLED, Journal, SagaStatus, Style
from orchestrator.stalled_listing import stalled_page
from tests.unit.journal.journal_bench import ME, NOW_US, OTHER, JournalBench, a_saga

AGO_US = NOW_US - 15_000_000


def any_of_them(_: Journal) -> bool:
    return True


async def names(bench: JournalBench, limit: int) -> list[list[str]]:
    """The ids of all pages."""
    pages, after = [], None
    while True:
        found, after = await bench.run(stalled_page, any_of_them, before_us=AGO_US, after=after, limit=limit)
        pages.append([saga.saga_id for saga in found])
        if after is None:
            return pages


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_all_that_may_not_get_on_is_listed_once_newest_first(bench: JournalBench, limit: int) -> None:
    ended, by_events = {"status": SagaStatus.SAGA_STATUS_COMPLETED}, {"style": Style.STYLE_CHOREOGRAPHED}
    await bench.add(
        a_saga("young", owner=ME, started_us=NOW_US),
        a_saga("stalled, young", status=STALLED, started_us=NOW_US - 1),
        a_saga("held", owner=ME, started_us=AGO_US - 1),
        a_saga("overdue", due_us=AGO_US - 1, started_us=AGO_US - 2),
        a_saga("sleeps", due_us=NOW_US + 1, started_us=AGO_US - 3),
        a_saga("held elsewhere", owner=OTHER, started_us=AGO_US - 4),
        a_saga("stalled, followed", status=STALLED, started_us=AGO_US - 5, **by_events),
        a_saga("ended", started_us=AGO_US - 6, **ended),
        a_saga("overdue for longer", due_us=1, started_us=AGO_US - 7),
    )
    pages = await names(bench, limit)
    assert [name for page in pages for name in page] == [
        "stalled, young",
        "held",
        "overdue",
        "held elsewhere",
        "stalled, followed",
        "overdue for longer",
    ]
    assert max(map(len, pages)) <= limit


async def test_a_damaged_one_is_listed_and_says_so(bench: JournalBench) -> None:
    await bench.add(a_saga("one", owner=ME, started_us=AGO_US - 1))
    await bench.run(lambda tx: tx.exec_driver_sql("UPDATE sagas SET version = 7"))
    found, _ = await bench.run(stalled_page, any_of_them, before_us=AGO_US, after=None, limit=9)
    assert [(saga.status, "is damaged" in saga.stalled_reason) for saga in found] == [(STALLED, True)]


async def test_where_few_are_wanted_a_page_is_short_and_the_next_one_goes_on(
    bench: JournalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalled_listing, "BATCH_MAX", 2)
    monkeypatch.setattr(stalled_listing, "LOOKED_AT_MAX", 4)
    await bench.add(*(a_saga(f"saga-{number}", owner=ME, started_us=number) for number in range(9)))
    after: Cursor | None = None
    pages = []
    for _ in range(3):
        found, after = await bench.run(
            stalled_page, lambda saga: saga.saga_id == "saga-0", before_us=AGO_US, after=after, limit=5
        )
        pages.append([saga.saga_id for saga in found])
    assert (pages, after) == ([[], [], ["saga-0"]], None)
