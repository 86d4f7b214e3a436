"""One run of one fault: a mesh, its customers, the fault among them, the end of all orders, the audit of the books."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from console import audit
from scripts.customers import PATIENCE_S
from scripts.faulting.fault import Fault, NotPossible
from scripts.faulting.ground import Ground, Stuck
from scripts.faulting.logs import unhandled
from scripts.faulting.result import Result


async def run(fault: Fault, folder: Path, *, orders: int, seed: int) -> Result:
    """Runs a fault on a mesh of its own in an empty folder. What it leaves there is for those who look."""
    try:
        async with fault.place(folder) as place:
            ground = Ground(place, fault.settings)
            try:
                await ground.up()
                return await run_on(ground, fault, orders=orders, seed=seed)
            finally:
                await ground.down()
    except NotPossible as error:
        return Result(fault.name, fault.does, seed, missing=str(error))
    except Stuck as error:
        return Result(fault.name, fault.does, seed, faults=[str(error)])


async def run_on(ground: Ground, fault: Fault, *, orders: int, seed: int) -> Result:
    """Runs a fault on a mesh that runs, and judges what came of it."""
    result = Result(fault.name, fault.does, seed)
    ground.begin(orders, fault.at_once, seed)
    try:
        await _orders_and_fault(fault, ground, result)
        await ground.all_serve()
    except Stuck as error:
        result.faults.append(str(error))
    books = await audit.settled(ground.books, PATIENCE_S)
    result.faults += judge(fault, ground, books)
    result.books = books.orders
    return result


async def _orders_and_fault(fault: Fault, ground: Ground, result: Result) -> None:
    began = time.monotonic()
    customers = asyncio.create_task(ground.orders.run(), name="customers")
    try:
        await fault.strike(ground)
        await customers
    finally:
        customers.cancel()
        await asyncio.gather(customers, return_exceptions=True)
        of = ground.orders
        result.seconds = round(time.monotonic() - began, 1)
        result.orders, result.acknowledged, result.delays_s = of.count, of.acknowledged, of.delays_s
        result.ends, result.verdicts, result.happened = of.ends, of.verdicts, ground.counts
        result.figures, result.faults = ground.figures, result.faults + of.faults


def judge(fault: Fault, ground: Ground, books: audit.Books) -> Iterator[str]:
    """What does not hold after a run."""
    yield from ground.faults
    yield from books.faults
    yield from (
        f"the fault did not happen: none {what}" for what in (fault.met, *fault.proof) if not ground.counts[what]
    )
    yield from (f"no order was {end.lower()}: too few of them" for end in _missing_ends(ground))
    if (known := sum(books.orders.values())) < ground.orders.acknowledged:
        yield f"{ground.orders.acknowledged} orders were acknowledged, and the books know {known}"
    if not fault.logs_errors:
        yield from unhandled(ground.logs())


def _missing_ends(ground: Ground) -> set[str]:
    return {"COMPLETED", "COMPENSATED"} - set(ground.orders.ends)
