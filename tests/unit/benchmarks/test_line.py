"""A line of services is a process like any other: its contracts are read, and its hops follow from each other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mesh.contract import Contract
from scripts.benchmarks.line import Line, of_package
from scripts.benchmarks.mixed import in_turn


def test_every_hop_sets_off_the_next_and_the_first_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = of_package("line3")
    line.generate(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    process = Contract.of_packages(line.name).processes[line.name]
    assert [method.label for method in process.methods] == ["hop1.Pass", "hop2.Pass", "hop1.Stop", "hop3.Pass"]
    assert process.pivot is not None
    assert process.aborting is not None
    assert (process.pivot.label, process.aborting.label) == ("hop1.Pass", "hop1.Stop")


def test_a_line_of_one_begins_and_ends() -> None:
    assert Line(1).services == ["hop1"]


async def test_styles_take_turns_whoever_asks() -> None:
    done: list[str] = []

    async def by_calls() -> None:
        done.append("calls")

    async def by_events() -> None:
        done.append("events")

    once = in_turn(by_calls, by_events)
    for _ in range(4):
        await once()
    assert done == ["calls", "events"] * 2
