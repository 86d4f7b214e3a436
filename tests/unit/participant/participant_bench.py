"""One participant on a bench: a real ledger on a real database, events and calls put in by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from eventbus.bus import Extent, Unpublished
from eventbus.envelope import CHOREOGRAPHED, Envelope
from mesh import errors
from mesh.databases import open_database
from mesh.registry import message_class
from mesh.settings import Settings
from services.participant.ledger import Row, StepId
from services.participant.local import LocalParticipant, Published, tables_of
from services.participant.participant import LEDGER
from shop.orders.v1.order_pb2 import Address, Order, OrderLine, OrderStatus

LIMIT_S = 5.0

# What a module says whose rules must be seen to hold on either database: `DATABASES = BOTH`.
BOTH = ("sqlite", "postgres")


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is one: nothing here is about power cuts, and waiting for a disk is slow."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def lines(*pieces: tuple[str, int]) -> list[OrderLine]:
    """Lines of an order: article and quantity."""
    return [OrderLine(sku=sku, quantity=quantity) for sku, quantity in pieces]


def ship_to(country: str) -> Address:
    """An address; AQ has no carrier."""
    return Address(country_code=country)


STATUSES = {
    "OrderCancelled": {"status": OrderStatus.ORDER_STATUS_CANCELLED},
    "OrderCompleted": {"status": OrderStatus.ORDER_STATUS_COMPLETED},
}


def an_event(name: str, order: Order, **fields: Any) -> Message:
    """An event by the short name of its package and its own: `orders.OrderPlaced`."""
    package, _, short = name.partition(".")
    event = message_class(f"shop.{package}.v1.{short}")(order=order, **{**STATUSES.get(short, {}), **fields})
    if "refusal" in event.DESCRIPTOR.fields_by_name and not fields:
        event.refusal.CopyFrom(error_details_pb2.ErrorInfo(reason="SOME_REASON", domain=f"shop.{package}.v1"))  # type: ignore[attr-defined]
    return event


def short(full_name: str) -> str:
    """The last part of a full name."""
    return full_name.rpartition(".")[2]


def reason(status: object) -> str:
    """The reason of a refusal; fails where the answer is none."""
    assert isinstance(status, status_pb2.Status), f"not refused but {status!r}"
    info = errors.error_info_of(status)
    return info.reason if info else ""


async def until(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Returns once the condition holds; fails after the limit."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # noqa: ASYNC110  # conditions of all kinds; few have an event
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true in {LIMIT_S} s") from None


class FakePublisher(Published):
    """Fails, on demand, as the broker does when it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = 0
        self.fails = False
        self.before: Callable[[Envelope], Any] | None = None
        self.stream: Extent | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return not self.fails

    async def publish(self, envelope: Envelope) -> None:
        self.tried += 1
        if self.before is not None:
            await self.before(envelope)
        if self.fails:
            raise Unpublished("told to fail")
        await super().publish(envelope)

    async def extent(self) -> Extent | None:
        return self.stream


class Bench(LocalParticipant):
    """One participant with a database of its own; on PostgreSQL benches of one service are replicas."""

    publisher: FakePublisher
    servicer: Any
    database: Any

    def __init__(self, servicer: Any, folder: Path, database_url: str = "") -> None:
        self.publisher = FakePublisher()
        settings = Settings(data=folder, database_url=database_url)
        database = open_database(settings, type(servicer).__name__, *tables_of(servicer))
        super().__init__(servicer, database, self.publisher)

    async def event(self, event: Message, *, style: str = CHOREOGRAPHED, replay: str = "") -> None:
        """Delivers an event, as the consumer does."""
        await self.deliver(event, style=style, replay=replay)

    async def call(self, method: str, replay: str = "", **fields: Any) -> Any:
        """Calls a method; its response, or the status of its refusal."""
        return await self.ask(method, self.method(method).request_class(**fields), replay=replay)

    async def published(self) -> list[Envelope]:
        """What was published, once nothing is under way any more."""
        await self.flush()
        return self.publisher.envelopes

    async def names(self) -> list[str]:
        """The short names of what was published; forgets them."""
        names = [short(envelope.event) for envelope in await self.published()]
        self.publisher.envelopes.clear()
        return names

    async def row(self, method: str, order: Order, step_key: str = "") -> Row | None:
        """The ledger's row of a step."""
        step = StepId(order.order_id, self.method(method).full_name, step_key)
        return await self.database.run(lambda tx: self.participant.ledger.find(tx, step))  # type: ignore[no-any-return]

    async def rows(self) -> list[sql.Row[Any]]:
        """The whole ledger."""
        return await self.query(sql.select(LEDGER).order_by(LEDGER.c.saga_id, LEDGER.c.method))

    async def query(self, statement: Any) -> list[sql.Row[Any]]:
        """Rows of the participant's database."""
        return await self.database.run(lambda tx: list(tx.execute(statement)))  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Ends it."""
        self.publisher.fails = False
        await super().close()


async def came(bench: Bench, method: str, event: Any, by_event: bool) -> None:
    """Triggers a step by its event, or calls it with that event's order."""
    if by_event:
        await bench.event(event)
    else:
        await bench.call(method, order=event.order)
