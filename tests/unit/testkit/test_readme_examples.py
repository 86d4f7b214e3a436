"""The README's section on testing, run as it stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).resolve().parents[3] / "README.md"
SECTION = README.read_text().split("## Testing your workflow and your handlers")[1].split("\n## ")[0]
EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


def claims_of(example: str) -> list[Callable[[], None]]:
    names: dict[str, Any] = {}
    exec(compile(example, str(README), "exec"), names)
    return [value for name, value in names.items() if name.startswith("test_")]


@pytest.mark.parametrize("example", EXAMPLES, ids=["a first test", "faults", "a handler"])
def test_an_example_of_the_readme_passes(example: str) -> None:
    claims = claims_of(example)
    assert claims
    for claim in claims:
        claim()


def test_a_first_test_takes_ten_lines() -> None:
    assert len([line for line in EXAMPLES[0].splitlines() if line]) <= 10
