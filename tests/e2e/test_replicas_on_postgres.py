"""A mesh on PostgreSQL with replicas that die and drain in the middle of orders."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.client import MeshClient
from mesh.database import open_read_only
from services.participant.participant import LEDGER
from shop.orders.v1.orders_pb2 import Coordination
from tests.e2e.business import expected, mixed, run_all, set_stock, settled_books
from tests.harness import RunningMesh, check_logs, ensemble, eventually, running_mesh

REPLICAS = {"inventory": 2, "payments": 2}
ORDERS = 50  # in each style
AT_ONCE = 10


@pytest.fixture
def replicated(tmp_path: Path, postgres_url: str) -> Iterator[RunningMesh]:
    with running_mesh(tmp_path / "mesh", database_url=postgres_url, replicas=REPLICAS) as running:
        yield running


async def ledger_rows(mesh: RunningMesh) -> int:
    """How many steps inventory has done."""
    engine = open_read_only(mesh.settings, "inventory")
    with engine.connect() as connection:
        count = len(connection.execute(LEDGER.select()).all())
    engine.dispose()
    return count


async def test_a_killed_and_a_drained_replica_cost_no_order(replicated: RunningMesh) -> None:
    parts = {part.name: part for part in replicated.file.parts}
    assert {"inventory", "inventory-2", "payments", "payments-2"} < set(parts)
    async with MeshClient(replicated.settings) as client:
        await set_stock(client, "sku-1", 1_000_000)
        running = [
            asyncio.create_task(
                run_all(client, mixed(ORDERS), Coordination.Value(f"COORDINATION_{style}"), at_once=AT_ONCE)
            )
            for style in ("ORCHESTRATED", "CHOREOGRAPHED")
        ]

        async def in_the_middle() -> bool:
            return await ledger_rows(replicated) >= ORDERS // 2

        await eventually(in_the_middle, what="the first orders")
        replicated.kill("inventory-2")
        replicated.kill("payments", signal.SIGTERM)
        assert not any(task.done() for task in running), "the replicas were to go in the middle"
        assert [await task for task in running] == [expected(ORDERS)] * 2

        async def replaced() -> bool:
            now = {part.name: part.pid for part in replicated.file.parts}
            return all(now[name] not in (0, parts[name].pid) for name in ("inventory-2", "payments"))

        await eventually(replaced, what="other processes in their places")
    assert (await settled_books(replicated.data, database_url=replicated.database_url)).faults == []
    assert "payments stops" in replicated.log_of("payments")
    check_logs(replicated.logs())
    audit = ensemble("audit", "--json", "--database", replicated.database_url, data=replicated.data)
    assert json.loads(audit.stdout)["orders"] == dict(expected(ORDERS) + expected(ORDERS))
    assert ensemble("audit", data=replicated.data).returncode == 1, "there are no SQLite files"
