"""A participant whose PostgreSQL is started again under it: calls are told, side tasks go on, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.errors import Unavailable
from services.inventory.service import InventoryService
from tests.builders import an_order
from tests.postgres import PostgresServer
from tests.unit.participant.participant_bench import Bench, an_event, until


@pytest.fixture
async def inventory(tmp_path: Path, postgres_url: str) -> AsyncIterator[Bench]:
    bench = Bench(InventoryService(), tmp_path, postgres_url)
    await bench.call("SetStock", sku="sku-1", on_hand=10)
    yield bench
    await bench.close()


async def test_the_sweep_goes_on_when_the_server_is_back(
    inventory: Bench, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    inventory.publisher.fails = True
    await inventory.event(an_event("orders.OrderPlaced", an_order()))
    sweeping = asyncio.create_task(inventory.participant.outbox.sweep_for_ever())
    postgres_server.end()
    try:
        await until(lambda: "the ledger cannot be read now" in caplog.text, "a sweep that found no server")
        with pytest.raises(Unavailable):
            await inventory.call("ReserveStock", order=an_order())
    finally:
        postgres_server.start()
    inventory.publisher.fails = False
    assert await inventory.call("ReserveStock", order=an_order())
    await until(lambda: inventory.publisher.envelopes, "the publication of what was due")
    assert not sweeping.done()
    sweeping.cancel()
