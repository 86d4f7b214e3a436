"""Bad input on both transports, of every kind: each is answered, or told apart, and the mesh goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator

from console.client import MeshClient
from scripts.faulting.memory import grown, resident_mib
from scripts.faulting.poison import an_order_that_completed, give_all
from tests.e2e.business import settled_books
from tests.harness import RunningMesh


async def test_whatever_comes_is_answered_and_a_good_order_goes_through_afterwards(
    mesh: RunningMesh, client: MeshClient
) -> None:
    logs, pids, held = mesh.logs(), {part.name: part.pid for part in mesh.file.parts}, resident_mib(mesh.file)
    given, wrong = await give_all(mesh.settings, await an_order_that_completed(client))
    assert wrong == []
    assert min(given.values()) > 40
    assert given.total() > 1000
    assert {part.name: part.pid for part in mesh.file.parts} == pids
    assert grown(held, resident_mib(mesh.file)) == []
    await an_order_that_completed(client)
    assert (await settled_books(mesh.data)).faults == []
    assert list(_tracebacks(mesh.logs(), logs)) == []


def _tracebacks(logs: dict[str, str], before: dict[str, str]) -> Iterator[str]:
    """What parts logged with a traceback meanwhile: of bad input there is nothing to be traced."""
    for name, log in logs.items():
        for line in log.removeprefix(before[name]).splitlines():
            if line.startswith("{") and "exc_info" in (said := json.loads(line)):
                yield f"{name}: {said['message']}: {said['exc_info'][-500:]}"
