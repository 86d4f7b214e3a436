"""One bench for each service of the shop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from services.inventory.service import InventoryService
from services.notifications.service import NotificationsService
from services.orders.service import OrdersService
from services.participant import outbox
from services.payments.service import PaymentsService
from services.shipping.service import ShippingService
from tests.unit.participant.participant_bench import Bench, memory_folder


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder


@pytest.fixture(autouse=True)
def quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "SWEEP_EVERY_S", 0.01)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    databases = getattr(metafunc.module, "DATABASES", ())
    if databases and "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", databases, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """Empty for SQLite, which it is unless the test's module names its DATABASES."""
    return str(request.getfixturevalue("postgres_url")) if getattr(request, "param", "") == "postgres" else ""


async def stocked(folder: Path, database_url: str) -> Bench:
    """Inventory with ten pieces of sku-1."""
    bench = Bench(InventoryService(), folder, database_url)
    await bench.call("SetStock", sku="sku-1", on_hand=10)
    return bench


@pytest.fixture
async def inventory(tmp_path: Path, database_url: str) -> AsyncIterator[Bench]:
    bench = await stocked(tmp_path, database_url)
    yield bench
    await bench.close()


@pytest.fixture
async def payments(tmp_path: Path, database_url: str) -> AsyncIterator[Bench]:
    bench = Bench(PaymentsService(), tmp_path, database_url)
    yield bench
    await bench.close()


@pytest.fixture
async def shipping(tmp_path: Path, database_url: str) -> AsyncIterator[Bench]:
    bench = Bench(ShippingService(), tmp_path, database_url)
    yield bench
    await bench.close()


@pytest.fixture
async def notifications(tmp_path: Path, database_url: str) -> AsyncIterator[Bench]:
    bench = Bench(NotificationsService(), tmp_path, database_url)
    yield bench
    await bench.close()


@pytest.fixture
async def orders(tmp_path: Path, database_url: str) -> AsyncIterator[Bench]:
    bench = Bench(OrdersService(), tmp_path, database_url)
    yield bench
    await bench.close()


@pytest.fixture
async def a_service(tmp_path: Path, database_url: str) -> AsyncIterator[Callable[[str], Awaitable[Bench]]]:
    """The bench of a service by its name, for tests that take the service as a parameter."""
    made: list[Bench] = []
    servicers = {"payments": PaymentsService, "shipping": ShippingService, "orders": OrdersService}

    async def make(name: str) -> Bench:
        if name == "inventory":
            made.append(await stocked(tmp_path, database_url))
        else:
            made.append(Bench(servicers[name](), tmp_path, database_url))
        return made[-1]

    yield make
    for bench in made:
        await bench.close()
