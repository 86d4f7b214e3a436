"""More orders than a mesh gets through with: it takes what it can, in any style, and tells the others to come again.

That it ends as many as before, and no later, is for `scripts/faults overload`: times say nothing on a busy machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from console.client import MeshClient
from scripts.faulting.load import SHED, SKU, WAYS, Loader
from scripts.faulting.memory import grown, resident_mib
from tests.e2e.business import set_stock, settled_books
from tests.harness import RunningMesh, check_logs, running_mesh

SAGAS_MAX, SAGAS_QUEUED_MAX = 6, 6
SECONDS, A_SECOND = 0.8, 250.0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """A mesh that takes few orders at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENSEMBLE_SAGAS_MAX", str(SAGAS_MAX))
        patch.setenv("ENSEMBLE_SAGAS_QUEUED_MAX", str(SAGAS_QUEUED_MAX))
        with running_mesh(tmp_path_factory.mktemp("small")) as running:
            yield running
            logs = running.logs()
    check_logs(logs)


async def test_what_is_too_much_is_turned_away_before_it_is_work_and_what_is_taken_ends(small: RunningMesh) -> None:
    async with MeshClient(small.settings) as client:
        await set_stock(client, SKU, 10_000)
        accepted, held = 0, resident_mib(small.file)
        for way, call in WAYS.items():
            loader = Loader(client, small.settings, call)
            load = await loader.at_a_rate(SECONDS, A_SECOND)
            assert await loader.at_rest(within_s=30), way
            loader.close()
            assert set(load.turned_away) == {SHED}, way
            assert load.accepted, way
            accepted += len(load.accepted)
        assert grown(held, resident_mib(small.file)) == []
    books = await settled_books(small.data)
    assert (books.faults, books.orders) == ([], {"COMPLETED": accepted})
