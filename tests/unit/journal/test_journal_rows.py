"""What is written into the journal is read from it, on every database."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from orchestrator import store
from orchestrator.journal import FOREVER_US
from tests.unit.journal.journal_bench import FULL, ME, OTHER, STEP, JournalBench, a_saga

HUGE = 3 * 2**20


def test_the_full_saga_and_the_full_step_have_no_field_at_its_default() -> None:
    """Else a field that the table forgets would go unnoticed."""
    for full in (FULL, STEP):
        empty = type(full)(*("?" for field in fields(full) if field.default is field.default_factory))  # type: ignore[arg-type]
        same = {field.name for field in fields(full) if getattr(full, field.name) == getattr(empty, field.name)}
        assert same - {"version", "status", "owner", "due_us", "steps"} == set()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"version": 7, "owner": ME},
        {"due_us": FOREVER_US, "cancelling": False},
        {"input": b"", "refusal": b"", "result": b"", "parent": "", "stalled_reason": "", "stalled_help": ""},
        {"input": bytes(range(256)) * (HUGE // 256), "stalled_reason": "ä" * HUGE},
        {"stalled_reason": "日本 🙂 \n\t'\"\\ %s {} :x", "process": "ärger", "parent": "💶" * 64},
        {"started_us": 0, "updated_us": -1, "ended_us": 2**63 - 1},
        {"status": 99, "style": 99},
    ],
)
async def test_every_field_of_a_saga_comes_back_as_it_was(bench: JournalBench, changes: dict[str, Any]) -> None:
    saga = replace(FULL, **changes)
    assert await bench.run(store.add_saga, saga)
    assert await bench.load(saga.saga_id) == saga


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"digest": b"", "request": b"", "outcome": b"", "last_error": "", "step_key": ""},
        {"request": b"\x00" * HUGE, "outcome": b"\xff" * HUGE, "last_error": "x" * HUGE},
        {"step_key": "ß 🙂 '", "last_error": "\n\\"},
        {"started_us": -1, "ended_us": 2**63 - 1, "attempts": 2**31 - 1},
    ],
)
async def test_every_field_of_a_step_comes_back_as_it_was(bench: JournalBench, changes: dict[str, Any]) -> None:
    step = replace(STEP, **changes)
    await bench.add(replace(FULL, steps={step.key: step}))
    assert (await bench.load(FULL.saga_id)).steps == {step.key: step}


async def test_a_text_from_outside_may_have_what_no_database_takes(bench: JournalBench) -> None:
    """A participant's error with a NUL must not keep the journal from being written."""
    step = replace(STEP, last_error="a\0b")
    await bench.add(replace(FULL, stalled_reason="\0", stalled_help="\0", steps={step.key: step}))
    loaded = await bench.load(FULL.saga_id)
    assert (loaded.stalled_reason, loaded.steps[step.key].last_error) == ("\ufffd", "a\ufffdb")


async def test_a_saga_is_added_once(bench: JournalBench) -> None:
    assert await bench.run(store.add_saga, FULL)
    assert not await bench.run(store.add_saga, replace(FULL, process="other"))
    assert (await bench.load(FULL.saga_id)).process == FULL.process


async def test_a_later_state_replaces_an_earlier_one_whole(bench: JournalBench) -> None:
    step = replace(STEP, outcome=b"later")
    await bench.add(replace(FULL, steps={STEP.key: STEP}))
    later = replace(FULL, owner=OTHER, cancelling=False, input=b"other", steps={step.key: step})
    await bench.add(later)
    assert await bench.load(FULL.saga_id) == later


async def test_steps_are_told_apart_by_method_and_key_and_saga(bench: JournalBench) -> None:
    steps = [replace(STEP, method=method, step_key=key) for method in ("A", "B") for key in ("", "1", "2")]
    sagas = [replace(FULL, saga_id=name, steps={step.key: step for step in steps}) for name in ("one", "two")]
    await bench.add(*sagas)
    await bench.run(store.delete_steps, ["one"])
    assert (await bench.load("one")).steps == {}
    assert (await bench.load("two")).steps == {step.key: step for step in steps}


async def test_many_sagas_come_in_the_order_they_were_asked_for(bench: JournalBench) -> None:
    sagas = {name: a_saga(name) for name in ("a", "c", "b")}
    await bench.add(*sagas.values())
    journals, damages = await bench.run(store.load_many, ["c", "a", "b"])
    assert journals == [sagas["c"], sagas["a"], sagas["b"]]
    assert damages == []


async def test_nothing_to_write_is_no_fault(bench: JournalBench) -> None:
    await bench.run(store.put_sagas, [])
    await bench.run(store.put_steps, [])
    await bench.run(store.delete_steps, [])


async def test_a_saga_that_is_not_there_is_none(bench: JournalBench) -> None:
    assert await bench.run(store.load, "nobody") is None
    assert await bench.run(store.load, "nobody", lock=True) is None
