"""The whole mesh in one process, by seed: `scripts/simulate`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 200
HALVES = (0, SEEDS // 2)
# What has to come of so many faults; else they do not really happen.
HARM = {
    "commits unanswered",
    "connections broken under a message",
    "deliveries late",
    "deliveries twice",
    "tries cut off",
    "messages held up",
    "messages of the broker lost",
    "processes started again",
    "transactions refused",
}


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.simulation", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)


def outcome(*arguments: str) -> Any:
    return json.loads(simulate(*arguments, "--json").stdout)


@cache
def half(first: int) -> Any:
    """What became of half of the seeds."""
    return outcome("--first", str(first), "--seeds", str(SEEDS // 2), "--jobs", "1")


@pytest.mark.parametrize("first", HALVES)
def test_whatever_goes_wrong_the_books_are_right_in_the_end(first: int) -> None:
    tally = half(first)
    assert tally["failed"] == {}
    assert tally["seeds"] == SEEDS // 2
    assert min(tally["orders"]["COMPLETED"], tally["orders"]["COMPENSATED"]) > SEEDS // 4
    assert len(tally["faults"]) > 15, "kinds of faults that were planned"


def test_what_is_planned_to_go_wrong_does() -> None:
    assert {what for first in HALVES for what in half(first)["harm"]} == HARM


def test_a_seed_replays_exactly_whatever_was_run_before_it() -> None:
    alone = [outcome("--seed", str(seed))["trace"] for seed in (3, 4)]
    assert [outcome("--seed", str(seed))["trace"] for seed in (4, 3)] == alone[::-1]
    assert alone[0] != alone[1]


def test_a_seed_that_fails_is_told_made_smaller_and_can_be_had_again() -> None:
    failed = simulate("--mutant", "no-inbox", "--seeds", "20", "--stop")
    assert failed.returncode == 1, failed.stdout
    assert "FAILED" in failed.stdout
    again = re.search(r"made smaller \(scripts/simulate (.*)\):", failed.stderr)
    assert again, failed.stderr
    replayed = simulate(*shlex.split(again[1]))
    assert replayed.returncode == 1
    assert "FAULT: " in replayed.stdout
    assert len(re.findall(r"^ +\d+\. ", replayed.stdout, re.MULTILINE)) <= 4, "items that are left of its plan"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seeds", "0"], "not in the range"),
        (["--seed", "1", "--only", "0,x"], "is no list of indexes such as 0,3,5"),
        (["--seed", "1", "--only", "999"], "the plan of seed 1 has the items 0 to"),
        (["--only", "0"], "--only belongs to --seed"),
        (["--mutant", "nobody"], "is not one of"),
    ],
)
def test_wrong_usage_says_what_is_right(arguments: list[str], says: str) -> None:
    wrong = simulate(*arguments)
    assert wrong.returncode == 2
    assert says in wrong.stderr
