"""Every fault of `scripts/faults`, in its short form: the same code with fewer orders. Those that can share a mesh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.faulting.catalogue import FAULTS
from scripts.faulting.fault import Fault, Place
from scripts.faulting.ground import Ground
from scripts.faulting.result import Result
from scripts.faulting.run import run, run_on
from tests.harness import running_mesh

SHORT = {name: fault for name, fault in FAULTS.items() if fault.orders_short}
SHARING = {
    name
    for name, fault in SHORT.items()
    if fault.settings == Fault.settings and fault.place is Fault.place and not fault.logs_errors
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a mesh with the settings that most faults ask for."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in Fault.settings.items():
            patch.setenv(name, value)
        with running_mesh(folder / "mesh"):
            yield folder


@pytest.mark.parametrize("name", [name for name in SHORT if name in SHARING])
async def test_no_order_is_lost_or_doubled_and_the_books_are_exact(name: str, folder: Path) -> None:
    fault = FAULTS[name]()
    ground = Ground(Place(folder / "mesh"), fault.settings)
    try:
        check(fault, await run_on(ground, fault, orders=fault.orders_short, seed=1))
    finally:
        await ground.close()


@pytest.mark.parametrize("name", [name for name in SHORT if name not in SHARING])
async def test_on_ground_of_its_own_the_same_holds(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]()
    check(fault, await run(fault, tmp_path, orders=fault.orders_short, seed=1))


def check(fault: Fault, result: Result) -> None:
    if result.missing:
        pytest.skip(result.missing)
    assert result.faults == []
    assert all(result.happened[what] for what in fault.proof)
    assert sum(result.ends.values()) == fault.orders_short
