"""Everything that must hold, put together: goes through all sagas once, and says what is wrong."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from console.audit import orders, sagas, steps, tables
from console.audit.books import Books
from console.audit.cases import Case, cases
from console.audit.reading import ORCHESTRATOR, NoBooks, databases_of
from console.audit.totals import Money, Stock
from console.audit.ways import ways_of
from mesh.contract import Contract, service_name
from mesh.settings import Settings
from services.orders.tables import ENDED

# A live mesh moves while it is read: an event that is due now is published a moment later. What looks wrong is looked
# at again, so many times.
LOOKS_MAX = 10
LOOK_AGAIN_S = 0.2

_OF_TABLES: tuple[Callable[[Case], Iterator[str]], ...] = (
    tables.the_order_is_where_its_steps_took_it,
    tables.the_payment_is_where_its_steps_took_it,
    tables.the_booking_is_where_its_steps_took_it,
    tables.the_customer_was_told_once_of_each_event,
    orders.an_ended_order_has_all_of_its_effects_or_none,
    orders.what_is_authorised_is_the_total,
    orders.what_is_reserved_is_what_was_ordered,
    orders.the_parcel_has_one_number,
)
_OF_CONTRACTS: tuple[Callable[[Contract, Case], Iterator[str]], ...] = (
    steps.the_pivot_decided_once,
    steps.every_compensation_has_its_step,
    steps.every_tombstone_has_its_compensation,
    steps.every_full_join_has_run,
    sagas.a_saga_has_ended_as_its_order,
    sagas.a_saga_has_ended_as_its_steps,
    sagas.a_journaled_step_is_what_its_ledger_says,
)


def audit(settings: Settings) -> Books:
    """Audits a mesh, live or stopped, by its databases; raises NoBooks. What is in flight is not judged."""
    books = _look(settings)
    for _ in range(LOOKS_MAX):
        if not books.faults:
            break
        time.sleep(LOOK_AGAIN_S)
        books = _look(settings)
    return books


async def settled(settings: Settings, within_s: float) -> Books:
    """Audits a mesh once nothing is under way; what still is after `within_s` seconds is a fault. Raises NoBooks."""
    deadline_s = time.monotonic() + within_s
    books = await asyncio.to_thread(_look, settings)
    while not books.at_rest and time.monotonic() < deadline_s:
        await asyncio.sleep(LOOK_AGAIN_S)
        books = await asyncio.to_thread(_look, settings)
    if books.faults:
        books = await asyncio.to_thread(audit, settings)
    books.judge_as_settled()
    return books


def _look(settings: Settings) -> Books:
    contract = Contract.of_packages(*settings.contract_packages)
    with databases_of(settings) as connections:
        try:
            return books_of(connections, time.time_ns() // 1000, contract)
        except DBAPIError as error:
            raise NoBooks(f"the databases cannot be read: {' '.join(str(error.orig).split())}") from None


@cache
def _shop() -> Contract:
    return Contract.of_packages("shop")


_ways = cache(ways_of)  # a simulation looks thousands of times


def books_of(connections: Mapping[str, Connection], now_us: int, contract: Contract | None = None) -> Books:
    """Judges databases, each as of one moment, by the names of their parts. Reads only.

    Those of the orchestrator and of observers may be left out. `now_us` (microseconds since the epoch) says which sagas
    may be pruned. Without a `contract`, the shop's.
    """
    contract = contract or _shop()
    books, stock, money, ways = Books(), Stock(), Money(), _ways(contract)
    by_status: Counter[str] = Counter()
    due: Counter[str] = Counter()
    for case in cases(connections, now_us):
        due.update(service_name(method.rpartition(".")[0]) for (method, _), row in case.ledger.items() if row.due)
        money.count(case)
        if stock.count(case) and case.order is None:
            books.strays.append(case.id)
        if case.order is not None:
            by_status[tables.name_of(case.order.status)] += 1
            if case.order.status not in ENDED:
                books.in_flight.append(case.id)
        if sagas.is_open_without_an_order(contract, case):
            books.open_sagas.append(case.id)
        if ORCHESTRATOR in connections and sagas.is_behind(contract, case):
            books.behind.append(case.id)
        books.faults += [fault for check in _OF_TABLES for fault in check(case)]
        books.faults += [fault for check in _OF_CONTRACTS for fault in check(contract, case)]
        books.faults += steps.an_ended_saga_went_one_way(contract, ways, case)
    if "inventory" in connections:
        books.faults += stock.judge(connections["inventory"])
    books.faults += money.judge()
    books.orders, books.unpublished = dict(sorted(by_status.items())), dict(sorted(due.items()))
    books.stock, books.money_nanos = stock.shown, money.shown
    if not books.in_flight:
        books.judge_unpublished()
    return books
