"""What it costs that sagas wait: many sleep in one engine, out of memory, and wake on time.

One process, the real engine on a real SQLite file, no participants: what is measured is parking and waking. Prints the
process's memory before, with all of them parked, and while they wake; and how late they woke.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import click
from google.protobuf import any_pb2

from mesh.changes import Changes
from mesh.contract import Contract
from mesh.percentile import percentile
from mesh.sqlite import SqliteDatabase
from orchestrator.engine import Engine
from orchestrator.engine_port import Asks
from orchestrator.journal import COMPLETED
from orchestrator.migrations import JOURNAL
from orchestrator.saga import Saga
from orchestrator.workflow import Workflow, Workflows
from scripts.benchmarks.chain import an_order
from shop.orders.v1.events_pb2 import OrderPlaced

AT_ONCE = 128
LIMIT_MIB = 1024


class _Sleepers:
    """Starts sagas that sleep until a moment each, and sees how late they go on."""

    def __init__(self, engine: Engine, count: int, wake_s: float) -> None:
        self.engine = engine
        self.count = count
        self.late_ms: list[float] = []
        self._wake_s = wake_s
        self._begin_s = 0.0  # when the first may wake

    async def sleep(self, saga: Saga, placed: OrderPlaced) -> None:
        """The workflow: the moment stands in its input."""
        until_s = float(placed.order.customer_id)
        await saga.sleep(max(0.0, until_s - saga.now().timestamp()))
        self.late_ms.append((time.time() - until_s) * 1000)

    async def start_all(self, begin_s: float) -> None:
        """Starts them, some at a time."""
        numbers = iter(range(self.count))
        await asyncio.gather(*(self._start(numbers, begin_s) for _ in range(AT_ONCE)))

    async def _start(self, numbers: Any, begin_s: float) -> None:
        for number in numbers:
            until_s = begin_s + random.uniform(0, self._wake_s)
            event = OrderPlaced(order=an_order())
            event.order.order_id, event.order.customer_id = f"sleeper-{number}", f"{until_s:.6f}"
            packed = any_pb2.Any()
            packed.Pack(event)
            await self.engine.start("sleep", packed)


async def _measure(folder: Path, count: int, begin_after_s: float, wake_s: float) -> dict[str, Any]:
    database = SqliteDatabase(folder / "orchestrator.db", JOURNAL)
    workflows, participants = Workflows(), cast(Asks, None)  # nobody is asked
    engine = Engine(
        Contract([]),
        workflows,
        participants,
        database,
        Changes(),
        sagas_max=1024,
        queue_max=count,
    )
    sleepers = _Sleepers(engine, count, wake_s)
    workflows.add(Workflow("sleep", sleepers.sleep, OrderPlaced))
    await engine.join()
    tasks = [
        asyncio.create_task(one) for one in (engine.write_for_ever(), engine.beat_for_ever(), engine.claim_for_ever())
    ]
    before_mib, began_s = _resident_mib(), time.time()
    await sleepers.start_all(began_s + begin_after_s)
    started_s = time.time() - began_s
    if started_s > begin_after_s - 2:
        raise click.ClickException(f"to start them took {started_s:.0f} s; give --begin-after more than that")
    await asyncio.sleep(max(0.0, began_s + begin_after_s - 1 - time.time()))
    parked_mib, waiting_mib = _resident_mib(), 0.0
    while len(sleepers.late_ms) < count and time.time() < began_s + begin_after_s + wake_s + 60:
        await asyncio.sleep(1)
        waiting_mib = max(waiting_mib, _resident_mib())
    ended = await engine.get("sleeper-0")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await engine.close()
    await database.close()
    return {
        "sagas": count,
        "woken": len(sleepers.late_ms),
        "first_completed": ended.status == COMPLETED,
        "started_per_second": round(count / started_s),
        "woken_per_second": round(count / wake_s),
        "before_mib": round(before_mib),
        "parked_mib": round(parked_mib),
        "waking_mib": round(waiting_mib),
        "late_ms_p50": round(percentile(sleepers.late_ms, 0.5), 1),
        "late_ms_p99": round(percentile(sleepers.late_ms, 0.99), 1),
        "late_ms_max": round(max(sleepers.late_ms), 1),
    }


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@click.command()
@click.option("--count", default=100_000, show_default=True, type=click.IntRange(1), help="How many sagas sleep.")
@click.option("--begin-after", default=300.0, show_default=True, help="Seconds until the first wakes.")
@click.option("--wake", "wake_s", default=300.0, show_default=True, help="Seconds over which they wake, evenly.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def parked(count: int, begin_after: float, wake_s: float, as_json: bool) -> None:
    """Let many sagas sleep: the memory they take, and how late they wake. Exit 1 over 1 GiB, or if one is missing."""
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(_measure(Path(folder), count, begin_after, wake_s))
    if as_json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<20} {value}")
    if figures["woken"] < count or max(figures["parked_mib"], figures["waking_mib"]) > LIMIT_MIB:
        raise click.exceptions.Exit(1)
