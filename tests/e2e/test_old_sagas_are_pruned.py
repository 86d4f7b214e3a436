"""Old sagas are pruned from a mesh that runs; what is young stays, the orders stay, and the books still add up."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest
import sqlalchemy as sql
from business import ENDED, mixed, run_all, set_stock, settled_books, status_of
from google.protobuf.duration_pb2 import Duration

from console import audit
from console.client import MeshClient
from ensemble.orchestrator.v1.orchestrator_pb2 import GetSagaRequest, PruneSagasRequest, SagaStatus
from mesh.databases import open_read_only, sqlite_path
from mesh.settings import DAY_S, Settings
from orchestrator import store
from services import SERVICES
from services.orders.tables import ORDERS
from services.participant.participant import LEDGER
from shop.orders.v1.order_pb2 import Order
from shop.orders.v1.orders_pb2 import Coordination, PlaceOrderRequest
from tests.builders import an_order
from tests.harness import RunningMesh, ensemble, running_mesh

BY_EVENTS, ORCHESTRATED = Coordination.COORDINATION_CHOREOGRAPHED, Coordination.COORDINATION_ORCHESTRATED
STYLES = (BY_EVENTS, ORCHESTRATED)
NINE_DAYS_US = 9 * DAY_S * 1_000_000

Orders = dict[Coordination.ValueType, list[Order]]


@dataclass(frozen=True)
class History:
    """A mesh that has pruned its old sagas, and what was before that."""

    mesh: RunningMesh
    old: Orders
    young: Orders
    rows: dict[str, int]  # of an order, in all ledgers
    books: audit.Books
    copy: Path  # the mesh's folder as it was then
    said: dict[str, int]

    @property
    def data(self) -> Path:
        return self.mesh.data


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    data, copy = tmp_path_factory.mktemp("history") / "mesh", tmp_path_factory.mktemp("copy") / "mesh"
    old, young = ({style: mixed(10) for style in STYLES} for _ in range(2))
    with running_mesh(data) as mesh:
        asyncio.run(_run(mesh, {style: old[style] + young[style] for style in STYLES}))
    _let_be_old(data, every(old))
    rows = in_ledgers(data)
    books = audit.audit(Settings(data=data))
    shutil.copytree(data, copy)
    with running_mesh(data) as mesh:
        yield History(mesh, old, young, rows, books, copy, prune(data))


@pytest.fixture
async def client(history: History) -> AsyncIterator[MeshClient]:
    async with MeshClient(history.mesh.settings) as connected:
        yield connected


async def _run(mesh: RunningMesh, orders: Orders) -> None:
    async with MeshClient(mesh.settings) as client:
        await set_stock(client, "sku-1", 1000)
        for style in STYLES:
            await run_all(client, orders[style], style, at_once=8)
    assert (await settled_books(mesh.data)).faults == []


def _change(data: Path, part: str, work: Callable[[sql.Connection], object]) -> None:
    """Changes the database of a part that does not run."""
    engine = sql.create_engine(f"sqlite:///{sqlite_path(Settings(data=data), part)}")
    with engine.begin() as tx:
        work(tx)
    engine.dispose()


def _let_be_old(data: Path, orders: list[Order]) -> None:
    """Lets nine days pass since the ends of these orders and of their sagas."""
    ids = [order.order_id for order in orders]

    def age(tx: sql.Connection) -> None:
        for saga_id in ids:
            journal = store.load(tx, saga_id)
            assert journal is not None
            assert journal.ended, SagaStatus.Name(journal.status)
            journal.ended_us -= NINE_DAYS_US
            store.put_saga(tx, journal)

    _change(data, "orchestrator", age)
    older = sql.update(ORDERS).where(ORDERS.c.order_id.in_(ids)).values(updated_us=ORDERS.c.updated_us - NINE_DAYS_US)
    _change(data, "orders", lambda tx: tx.execute(older))


def every(orders: Orders) -> list[Order]:
    return [order for style in STYLES for order in orders[style]]


def completed(orders: Orders) -> Order:
    """One of those that `mixed` lets nobody refuse."""
    return orders[ORCHESTRATED][1]


def in_ledgers(data: Path) -> Counter[str]:
    """How many rows each saga has in all ledgers together."""
    found: Counter[str] = Counter()
    for name in SERVICES:
        engine = open_read_only(Settings(data=data), name)
        with engine.connect() as connection:
            found.update(connection.execute(sql.select(LEDGER.c.saga_id)).scalars())
        engine.dispose()
    return found


def pruned_ones_in_ledgers(history: History) -> set[str]:
    return {order.order_id for order in every(history.old)} & set(in_ledgers(history.data))


async def is_known(client: MeshClient, order: Order) -> bool:
    """Whether the orchestrator knows an order's saga."""
    try:
        await client.orchestrator.GetSaga(GetSagaRequest(saga_id=order.order_id), timeout=5)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return False
    return True


def prune(data: Path) -> dict[str, int]:
    """What `ensemble saga prune` says it did."""
    done = ensemble("saga", "prune", "--older-than", "8d", "--json", data=data)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


async def test_what_is_old_goes_from_every_ledger_and_from_the_orchestrator(
    history: History, client: MeshClient
) -> None:
    assert history.said["sagas"] == len(every(history.old))
    assert pruned_ones_in_ledgers(history) == set()
    assert [order.order_id for order in every(history.old) if await is_known(client, order)] == []


async def test_what_is_young_stays(history: History, client: MeshClient) -> None:
    rows = in_ledgers(history.data)
    for order in every(history.young):
        assert rows[order.order_id] == history.rows[order.order_id]
        assert await is_known(client, order)


def test_the_command_says_how_many_rows_went_arrivals_among_them(history: History) -> None:
    assert history.said["ledger_rows"] > sum(history.rows[order.order_id] for order in every(history.old))


def test_pruning_again_finds_nothing_and_tells_people_so(history: History) -> None:
    done = ensemble("saga", "prune", "--older-than", "8d", data=history.data)
    assert (done.returncode, done.stdout) == (0, "pruned: 0 sagas, 0 rows of ledgers\n")


def test_the_books_are_right_and_every_order_is_in_them(history: History) -> None:
    books = asyncio.run(settled_books(history.data))
    assert books.faults == []
    assert books.orders.items() >= {"COMPENSATED": history.books.orders["COMPENSATED"]}.items()
    assert books.orders["COMPLETED"] >= history.books.orders["COMPLETED"]
    assert books.strays == []


def test_the_audit_takes_nobody_at_his_word_who_cannot_have_been_pruned(history: History) -> None:
    old, young = completed(history.old), completed(history.young)
    for order in (old, young):
        forget = sql.delete(LEDGER).where(LEDGER.c.saga_id == order.order_id)
        _change(history.copy, "inventory", lambda tx, forget=forget: tx.execute(forget))
    faults = audit.audit(Settings(data=history.copy)).faults
    assert [fault for fault in faults if "is COMPLETED, but" in fault] == [
        f"order {young.order_id} is COMPLETED, but its reserved is False"
    ]


async def test_a_pruned_order_answers_as_before_and_no_second_case_begins(history: History, client: MeshClient) -> None:
    for style, orders in history.old.items():
        for order in orders:
            assert await status_of(client, order.order_id) in ENDED
            placed = await client.orders.PlaceOrder(PlaceOrderRequest(order=order, coordination=style), timeout=10)
            assert (placed.order_id, placed.coordination) == (order.order_id, style)
    # Had a second case begun, its first events would be before those of these, which are waited for.
    for style in STYLES:
        await run_all(client, [an_order()], style, at_once=1)
    assert pruned_ones_in_ledgers(history) == set()


async def test_the_orchestrator_refuses_an_age_that_the_stream_outlives(client: MeshClient) -> None:
    request = PruneSagasRequest(older_than=Duration(seconds=6 * DAY_S))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.orchestrator.PruneSagas(request, timeout=10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "must be 7 days or more" in str(refused.value.details())
