"""One real mesh, shared by the tests of this folder; tests tell their orders apart by customer and article."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from console.client import MeshClient
from tests.harness import RunningMesh, check_logs, running_mesh


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as running:
        yield running
        logs = running.logs()
    check_logs(logs)


@pytest.fixture
async def client(mesh: RunningMesh) -> AsyncIterator[MeshClient]:
    async with MeshClient(mesh.settings) as connected:
        yield connected
