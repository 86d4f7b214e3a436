"""Who waits for a change does not miss one."""

from __future__ import annotations

import asyncio

from mesh.changes import Changes


async def test_a_change_between_reading_and_waiting_is_not_missed() -> None:
    changes = Changes()
    with changes.watch("saga-1") as changed:
        changes.changed("saga-1")  # after the state was read, before anybody waits
        async with asyncio.timeout(1):
            await changed.wait()


async def test_all_who_watch_a_key_are_woken() -> None:
    changes = Changes()
    with changes.watch("saga-1") as one, changes.watch("saga-1") as other:
        changes.changed("saga-1")
        assert one.is_set()
        assert other.is_set()


async def test_a_change_of_another_key_wakes_nobody() -> None:
    changes = Changes()
    with changes.watch("saga-1") as changed:
        changes.changed("saga-2")
        assert not changed.is_set()


async def test_a_waiting_task_is_woken() -> None:
    changes = Changes()
    with changes.watch("saga-1") as changed:
        waiting = asyncio.create_task(changed.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        changes.changed("saga-1")
        async with asyncio.timeout(1):
            assert await waiting


async def test_every_change_after_a_clear_is_seen() -> None:
    changes, state, seen = Changes(), 0, []
    with changes.watch("saga-1") as changed:
        for state in range(1, 6):
            changes.changed("saga-1")
            changes.changed("saga-1")  # faster than it is read: merged
            async with asyncio.timeout(1):
                await changed.wait()
            changed.clear()
            seen.append(state)
            assert not changed.is_set()
    assert seen == [1, 2, 3, 4, 5]


async def test_one_who_left_does_not_take_the_others_with_it() -> None:
    changes = Changes()
    with changes.watch("saga-1") as stays:
        with changes.watch("saga-1") as leaves:
            pass
        changes.changed("saga-1")
        assert stays.is_set()
        assert not leaves.is_set()


async def test_nothing_is_kept_of_those_who_left() -> None:
    changes = Changes()
    for number in range(100):
        with changes.watch(f"saga-{number}"):
            pass
        changes.changed(f"saga-{number}")
    assert not changes._waiting
