"""Who runs a saga: claimed by one, due again when its owner is gone, and left alone while that lives."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Connection

from orchestrator import leases, store
from orchestrator.journal import FOREVER_US
from orchestrator.leases import Claim
from tests.unit.journal.journal_bench import LATER_US, LIMIT_S, ME, NOW_US, OTHER, WORKFLOWS, JournalBench, a_saga


def ids(claim: Claim) -> list[str]:
    return [saga.saga_id for saga in claim.journals]


async def test_what_is_due_is_claimed_longest_due_first_and_comes_with_its_steps(bench: JournalBench) -> None:
    await bench.add(a_saga("b", due_us=5), a_saga("c", due_us=1), a_saga("a", due_us=5), a_saga("d", due_us=NOW_US))
    found = await bench.claim(limit=3)
    assert ids(found) == ["c", "a", "b"]
    assert all(saga.owner == ME and saga.due_us is None and saga.steps for saga in found.journals)
    assert found.next_due_us == NOW_US
    assert ids(await bench.claim()) == ["d"]
    assert await bench.where("a") == (ME, None)


async def test_what_is_due_later_or_is_owned_or_nobodys_is_not_claimed(bench: JournalBench) -> None:
    await bench.add(a_saga("later", due_us=LATER_US), a_saga("owned", owner=OTHER), a_saga("nobody's"))
    found = await bench.claim(now_us=LATER_US - 1)
    assert (ids(found), found.next_due_us) == ([], LATER_US)
    assert ids(await bench.claim(now_us=LATER_US)) == ["later"]


async def test_sagas_of_other_workflows_or_versions_are_left_to_others_and_never_announced(
    bench: JournalBench,
) -> None:
    await bench.add(
        a_saga("newer", due_us=1, version=2),
        a_saga("elsewhere", due_us=2, process="other-process"),
        a_saga("known", due_us=LATER_US),
    )
    found = await bench.claim(limit=1)
    assert (ids(found), found.next_due_us) == ([], LATER_US)
    both = [*WORKFLOWS, ("fulfil-order", 2)]
    assert ids(await bench.run(leases.claim, OTHER, NOW_US, 100, both)) == ["newer"]
    assert await bench.where("elsewhere") == (None, 2)


async def test_where_nothing_is_due_any_more_nothing_is_announced(bench: JournalBench) -> None:
    await bench.add(a_saga("only", due_us=1))
    assert (await bench.claim()).next_due_us is None


async def test_each_saga_is_claimed_by_one_of_those_who_look_at_once(bench: JournalBench) -> None:
    await bench.add(*(a_saga(f"saga-{number}", due_us=number) for number in range(200)))

    async def claim_all(owner: str) -> list[str]:
        claimed: list[str] = []
        while found := ids(await bench.claim(owner=owner, limit=7)):
            claimed += found
        return claimed

    claimed = await asyncio.gather(*(claim_all(f"owner-{number}") for number in range(8)))
    counts = Counter(saga_id for one in claimed for saga_id in one)
    # Who finds all that is due locked by others goes home early; what those roll back is due for its next look.
    assert set(counts.values()) == {1}
    assert len(counts) + len(ids(await bench.claim(limit=200))) == 200


async def test_who_claims_does_not_wait_for_another_who_does(concurrent: JournalBench) -> None:
    await concurrent.add(*(a_saga(name, due_us=1) for name in "abcd"))
    async with concurrent.before_its_commit(lambda tx: leases.claim(tx, OTHER, NOW_US, 2, WORKFLOWS)):
        assert ids(await concurrent.claim()) == ["c", "d"]
    assert await concurrent.where("a") == (OTHER, None)


async def test_the_sagas_of_an_owner_whose_lease_has_run_out_are_due_and_a_live_ones_are_not(
    bench: JournalBench,
) -> None:
    await bench.run(leases.beat, ME, LATER_US)
    await bench.run(leases.beat, "live", NOW_US)
    await bench.run(leases.beat, "dead", NOW_US - 1)
    await bench.add(*(a_saga(f"of {owner}", owner=owner) for owner in (ME, "live", "dead", "never seen")))
    assert await bench.run(leases.reap, ME, NOW_US) == 2
    assert sorted(ids(await bench.claim())) == ["of dead", "of never seen"]
    assert await bench.where("of live") == ("live", None)
    assert await bench.run(leases.reap, ME, NOW_US) == 0


async def test_who_reaps_does_not_wait_for_what_a_frozen_process_has_locked(concurrent: JournalBench) -> None:
    await concurrent.run(leases.beat, OTHER, NOW_US - 1)
    await concurrent.add(*(a_saga(name, owner=OTHER) for name in "abc"))

    def half_way(tx: Connection) -> None:
        leases.beat(tx, OTHER, NOW_US - 1)
        leases.owned(tx, OTHER, ["a"])

    async with asyncio.timeout(LIMIT_S), concurrent.before_its_commit(half_way):
        assert await concurrent.run(leases.reap, ME, NOW_US) == 2
        assert ids(await concurrent.claim()) == ["b", "c"]
    assert await concurrent.run(leases.reap, ME, NOW_US) == 1
    assert ids(await concurrent.claim()) == ["a"]


async def test_a_lease_that_is_renewed_does_not_run_out(bench: JournalBench) -> None:
    await bench.run(leases.beat, OTHER, NOW_US - 1)
    await bench.run(leases.beat, OTHER, LATER_US)
    await bench.add(a_saga("one", owner=OTHER))
    assert await bench.run(leases.reap, ME, NOW_US) == 0


async def test_who_is_alone_takes_what_any_other_has_left(bench: JournalBench) -> None:
    await bench.run(leases.beat, OTHER, LATER_US)
    await bench.add(a_saga("other's", owner=OTHER), a_saga("mine", owner=ME))
    assert await bench.run(leases.reap, ME, NOW_US, alone=True) == 1
    assert ids(await bench.claim()) == ["other's"]
    assert await bench.where("mine") == (ME, None)


async def test_who_joins_during_a_reap_is_not_taken_for_dead(
    concurrent: JournalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It joins at any point of the reap: before each of its statements, once."""
    before = 0
    loop = asyncio.get_running_loop()

    async def join(owner: str) -> None:
        await concurrent.run(leases.beat, owner, LATER_US)
        await concurrent.add(a_saga(f"of {owner}", owner=owner))

    def reap(tx: Connection) -> int:
        nonlocal before

        def execute(*args: Any) -> Any:
            nonlocal before
            before += 1
            asyncio.run_coroutine_threadsafe(join(f"new {before}"), loop).result(LIMIT_S)
            return real(*args)

        real = tx.execute
        with monkeypatch.context() as patching:
            patching.setattr(tx, "execute", execute)
            return leases.reap(tx, ME, NOW_US)

    assert await concurrent.database.run(reap) == 0
    assert await concurrent.run(leases.reap, ME, NOW_US) == 0
    for number in range(1, before + 1):
        assert await concurrent.where(f"of new {number}") == (f"new {number}", None)


async def test_who_resigns_leaves_all_that_it_owns_due_at_once(bench: JournalBench) -> None:
    await bench.run(leases.beat, OTHER, LATER_US)
    await bench.add(a_saga("other's", owner=OTHER), a_saga("mine", owner=ME), a_saga("parked", due_us=LATER_US))
    await bench.run(leases.resign, OTHER, NOW_US)
    assert ids(await bench.claim()) == ["other's"]
    assert await bench.where("mine") == (ME, None)
    assert await bench.where("parked") == (None, LATER_US)


async def test_a_parked_saga_is_nobodys_until_it_is_due(bench: JournalBench) -> None:
    await bench.add(a_saga("one", owner=ME), a_saga("for ever", owner=ME))
    assert await bench.run(leases.park, ME, "one", LATER_US, [], NOW_US) == LATER_US
    assert await bench.run(leases.park, ME, "for ever", FOREVER_US, ["x"], NOW_US) == FOREVER_US
    assert ids(await bench.claim()) == []
    assert ids(await bench.claim(now_us=LATER_US)) == ["one"]


async def test_only_its_owner_parks_a_saga(bench: JournalBench) -> None:
    await bench.add(a_saga("taken", owner=OTHER), a_saga("parked", due_us=LATER_US))
    for saga_id in ("taken", "parked", "nobody"):
        assert await bench.run(leases.park, ME, saga_id, 1, [], NOW_US) is None
    assert await bench.where("taken") == (OTHER, None)
    assert await bench.where("parked") == (None, LATER_US)


async def test_only_its_owner_releases_a_saga(bench: JournalBench) -> None:
    await bench.add(a_saga("mine", owner=ME), a_saga("other's", owner=OTHER))
    assert await bench.run(leases.release, ME, ["mine", "other's", "nobody"], NOW_US) == 1
    assert await bench.run(leases.release, ME, [], NOW_US) == 0
    assert await bench.where("mine") == (None, NOW_US)
    assert await bench.where("other's") == (OTHER, None)


async def test_who_owns_what_is_told(bench: JournalBench) -> None:
    await bench.add(a_saga("a", owner=ME), a_saga("b", owner=ME), a_saga("c", owner=OTHER), a_saga("d", due_us=1))
    assert await bench.run(leases.owned_by, ME) == {"a", "b"}
    assert await bench.run(leases.owned, ME, ["b", "c", "d", "nobody"]) == {"b"}


async def test_what_is_found_to_be_owned_is_not_taken_before_the_end_of_the_transaction(
    concurrent: JournalBench,
) -> None:
    await concurrent.add(a_saga("one", owner=ME))
    taking: asyncio.Task[int]
    async with concurrent.before_its_commit(lambda tx: leases.owned(tx, ME, ["one"])):
        taking = asyncio.create_task(concurrent.run(leases.release, ME, ["one"], NOW_US))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.shield(taking)
    assert await taking == 1


async def test_a_saga_keeps_its_owner_where_another_orchestrator_adds_it_again(bench: JournalBench) -> None:
    await bench.run(store.add_saga, a_saga("one", owner=ME))
    assert not await bench.run(store.add_saga, a_saga("one", owner=OTHER))
    assert await bench.where("one") == (ME, None)
