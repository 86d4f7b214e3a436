"""One real mesh, shared by the tests of this folder; tests tell their orders apart by customer and article."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from console.client import MeshClient
from tests.harness import RunningMesh, running_mesh


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as running:
        yield running
        logs = {name: running.log_of(name) for name in (part.name for part in running.file.parts)}
    for name, log in logs.items():
        assert "too_many_pings" not in log, f"{name}: client and server disagree about keepalive"
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        unhandled = [line for line in lines if line["levelname"] in ("ERROR", "CRITICAL") and "exc_info" in line]
        assert unhandled == [], f"{name} logged what nobody handled"


@pytest.fixture
async def client(mesh: RunningMesh) -> AsyncIterator[MeshClient]:
    async with MeshClient(mesh.settings) as connected:
        yield connected
