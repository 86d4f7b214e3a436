"""docs/reliability.md names the tests that hold its promises: they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "reliability.md").read_text())
NAMED += re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "rules.md").read_text())


def test_every_test_that_a_promise_names_is_there() -> None:
    assert len(NAMED) > 20
    missing = [
        f"{path}::{name}"
        for path, name in NAMED
        if not (ROOT / path).is_file() or (name and f"def {name}(" not in (ROOT / path).read_text())
    ]
    assert missing == []


def test_every_promise_names_a_test() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text().partition("## What is not promised")[0]
    promises = re.split(r"^- \*\*", text, flags=re.MULTILINE)[1:]
    assert len(promises) > 10
    assert [promise for promise in promises if "`tests/" not in promise] == []
