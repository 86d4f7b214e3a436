"""Every fault of `scripts/faults`, in its short form: the same code with fewer orders."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.faulting.catalogue import FAULTS
from scripts.faulting.run import run


@pytest.mark.parametrize("name", FAULTS)
async def test_no_order_is_lost_or_doubled_and_the_books_are_exact_after(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]()
    result = await run(fault, tmp_path, orders=fault.orders_short, seed=1)
    if result.missing:
        pytest.skip(result.missing)
    assert result.faults == []
    assert all(result.happened[what] for what in fault.proof)
    assert sum(result.ends.values()) == fault.orders_short
