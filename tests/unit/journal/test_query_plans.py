"""What a saga costs does not grow with how many have ended: with a long history in the journal, every statement of
the store finds its rows by an index, and none sorts or passes by more than it returns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from mesh.databases import open_database
from mesh.paging import Cursor
from mesh.settings import Settings
from orchestrator import leases, listing, pruning, stalled, store, watching
from orchestrator.journal import Journal, Style
from orchestrator.listing import Filter
from orchestrator.stalled_listing import stalled_page
from orchestrator.tables import METADATA
from tests.unit.journal import history
from tests.unit.journal.history import ENDED, GOING, Undo
from tests.unit.journal.journal_bench import LATER_US, ME, NOW_US, OTHER, STEP, a_saga
from tests.unit.participant.participant_bench import BOTH, memory_folder

WORKFLOWS = [(f"process-{number}", 1) for number in range(3)]
MIDDLE = Cursor(NOW_US - ENDED // 2, f"saga-{ENDED // 2}")
SOME = [f"saga-{number}" for number in range(0, ENDED, ENDED // 100)]
OWNED = [f"owned-{number}" for number in range(100)]
# Enough that PostgreSQL has seen a statement's parameters often, and plans it once for all of them.
REPEATS = 12


def going() -> list[Journal]:
    """What is on its way beside them."""
    sagas = [a_saga(saga_id, owner=ME, process="process-0") for saga_id in OWNED]
    sagas += [a_saga(f"theirs-{number}", owner=OTHER, process="process-0") for number in range(GOING)]
    sagas += [a_saga(f"waits-{number}", due_us=LATER_US + number, process="process-1") for number in range(GOING)]
    followed = {"style": Style.STYLE_CHOREOGRAPHED, "process": "process-1"}
    sagas += [a_saga(f"followed-{number}", updated_us=NOW_US - number, **followed) for number in range(GOING)]
    return sagas + [a_saga(f"due-{number}", due_us=NOW_US - number, process="process-2") for number in range(GOING)]


def nobody(_: Journal) -> bool:
    return False


def a_page(after: Cursor | None = None, status: int = 0, process: str = "", style: int = 0) -> history.Work:
    return lambda tx: listing.page(tx, Filter(process, status, style), after=after, limit=50)


STATEMENTS: dict[str, history.Work] = {
    "add a saga": lambda tx: store.add_saga(tx, a_saga("new", owner=ME)),
    "add a saga that is there": lambda tx: store.add_saga(tx, a_saga("saga-7", owner=ME)),
    "load a saga": lambda tx: store.load(tx, OWNED[0]),
    "load a saga to change it": lambda tx: store.load(tx, OWNED[0], lock=True),
    "load many sagas": lambda tx: store.load_many(tx, OWNED),
    "which are owned": lambda tx: leases.owned(tx, ME, [*OWNED, *SOME]),
    "write sagas": lambda tx: store.put_sagas(tx, [store.saga_row(a_saga(one, owner=ME)) for one in OWNED]),
    "write steps": lambda tx: store.put_steps(tx, [store.step_row(one, STEP) for one in OWNED]),
    "forget steps": lambda tx: store.delete_steps(tx, OWNED),
    "claim": lambda tx: leases.claim(tx, ME, NOW_US, 64, WORKFLOWS),
    "claim all": lambda tx: leases.claim(tx, ME, NOW_US, 2 * GOING, WORKFLOWS),
    "claim where nothing is due": lambda tx: leases.claim(tx, ME, 1, 64, WORKFLOWS),
    "claim of one workflow": lambda tx: leases.claim(tx, ME, NOW_US, 64, WORKFLOWS[:1]),
    "beat": lambda tx: leases.beat(tx, ME, LATER_US),
    "reap": lambda tx: leases.reap(tx, ME, NOW_US),
    "resign": lambda tx: leases.resign(tx, ME, NOW_US),
    "release": lambda tx: leases.release(tx, ME, OWNED, NOW_US),
    "all that is owned": lambda tx: leases.owned_by(tx, ME),
    "park": lambda tx: leases.park(tx, ME, OWNED[0], LATER_US, ["a", "b"], NOW_US),
    "deliver": lambda tx: store.deliver(tx, OWNED[0], "a", b"", NOW_US),
    "deliver to who waits": lambda tx: store.deliver(tx, "waits-7", "a", b"", NOW_US),
    "deliver to nobody": lambda tx: store.deliver(tx, "nobody", "a", b"", NOW_US),
    "mail": lambda tx: store.mail(tx, OWNED[0], "a"),
    "all that came": lambda tx: store.box(tx, "saga-7"),
    "who makes no progress": lambda tx: stalled.QUIET.rows(tx, (NOW_US,)),
    "who is past a deadline": lambda tx: stalled.OVERDUE.rows(tx, ("process-1", 1, NOW_US)),
    "what does not get on": lambda tx: stalled_page(tx, bool, before_us=NOW_US + 1, after=None, limit=50),
    "what does not get on, on": lambda tx: stalled_page(tx, bool, before_us=NOW_US + 1, after=MIDDLE, limit=50),
    "who of many does not get on": lambda tx: stalled_page(tx, nobody, before_us=NOW_US + 1, after=None, limit=50),
    "what was updated": lambda tx: tx.execute(watching._UPDATED, {"saga_ids": [*OWNED, *SOME]}).all(),
    "the newest": a_page(),
    "the next page": a_page(MIDDLE),
    "the last page": a_page(Cursor(NOW_US - ENDED + 10, "saga-10")),
    "by status": a_page(status=3),
    "by status, on": a_page(MIDDLE, status=4),
    "by a status that few have": a_page(status=1),
    "by a status that none has": a_page(MIDDLE, status=5),
    "by process": a_page(process="process-1"),
    "by process, on": a_page(MIDDLE, process="process-1"),
    "by a process that none has": a_page(process="nobody's"),
    "by style": a_page(style=2),
    "by style, on": a_page(MIDDLE, style=2),
    "by all": a_page(status=3, process="process-1", style=2),
    "by all, on": a_page(MIDDLE, status=3, process="process-1", style=2),
    "the oldest, to prune": lambda tx: tx.execute(pruning._oldest(NOW_US, (0, ""))).all(),
    "the next, to prune": lambda tx: tx.execute(pruning._oldest(NOW_US, (MIDDLE.time_us, MIDDLE.id))).all(),
    "prune where nothing is old": lambda tx: tx.execute(pruning._oldest(1, (0, ""))).all(),
    "delete what is old": lambda tx: pruning._delete(tx, SOME, NOW_US),
}


@pytest.fixture(scope="module", params=BOTH)
def settings(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """A journal with a long history, which the tests leave as it is."""
    url = request.getfixturevalue("postgres_server").fresh_database() if request.param == "postgres" else ""
    with memory_folder() as folder:
        settings = Settings(data=folder, database_url=url)
        asyncio.run(_fill(settings))
        if url:
            history.vacuum(url, "orchestrator")
        yield settings


async def _fill(settings: Settings) -> None:
    schema = Filled()
    database = open_database(settings, "orchestrator", METADATA, schema)
    await database.close()


class Filled:
    """Fills the tables while the database is opened, when no statement has a limit of time."""

    def create_all(self, bind: Connection) -> None:
        history.fill(bind)
        sagas = going()
        store.put_sagas(bind, [store.saga_row(saga) for saga in sagas])
        store.put_steps(bind, [store.step_row(saga.saga_id, STEP) for saga in sagas])
        for owner, expires_us in ((ME, LATER_US), (OTHER, 1)):
            leases.beat(bind, owner, expires_us)


@pytest.mark.timeout(300)  # the first one fills the tables
@pytest.mark.parametrize("statement", STATEMENTS)
async def test_every_statement_finds_its_rows_by_an_index(
    settings: Settings, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[str] = []
    wrote = False

    def work(tx: Connection) -> None:
        nonlocal wrote
        with history.looked_at(tx, monkeypatch) as found:
            STATEMENTS[statement](tx)
            faults.extend(found)
        wrote = history.leaves_rows(tx)
        raise Undo

    database = open_database(settings, "orchestrator", METADATA)
    for _ in range(REPEATS if settings.database_url else 1):
        with pytest.raises(Undo):
            await database.run(work)
    await database.close()
    if wrote:
        history.vacuum(settings.database_url, "orchestrator")
    assert sorted(set(faults)) == []
