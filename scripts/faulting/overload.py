"""Five times as many orders as the mesh gets through with, measured in the same run; beside patient customers.

What must hold: nearly as many orders end as at the peak; whoever is let in waits not much longer than there; the
others are told when to come again; and nothing grows. The ways in which orders can come take turns. Each turn has a
peak of its own, and times are judged by the medians over the turns: those of a single one vary by a half.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import median
from typing import ClassVar

from mesh.percentile import percentile
from mesh.settings import Settings
from scripts.customers import CALL_S, patiently
from scripts.faulting.fault import Fault
from scripts.faulting.ground import Ground, Stuck
from scripts.faulting.load import P99, SHED, SKU, WAYS, Loaded, Loader
from scripts.faulting.memory import grown, resident_mib
from scripts.faulting.priority import stand_back
from shop.inventory.v1.inventory_pb2 import SetStockRequest

TIMES = 5
# In flight at the peak: more end no sooner, and the mesh has places for a few more.
AT_ONCE = 192
SECONDS = 14.0
RESTS_WITHIN_S = 120.0

GOODPUT = "goodput"
GOODPUT_MIN = 0.8
P99_MAX = 2.0

STOCK = 1_000_000_000


class Overload(Fault):
    """In each way in which an order can come."""

    name = "overload"
    does = f"{TIMES} times as many orders as the mesh gets through with, for {SECONDS:.0f} s in each way"
    proof = tuple(f"turned away by {way}" for way in WAYS)
    orders_each = 56
    orders_short = 0  # tests/e2e/test_overload.py: without times, which on a busy machine say nothing
    settings: ClassVar[Mapping[str, str]] = {}  # as it is shipped

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        stock = SetStockRequest(sku=SKU, on_hand=STOCK)
        await patiently(lambda: ground.client.inventory.SetStock(stock, timeout=CALL_S))
        stand_back(ground.mesh)
        ratios: dict[str, list[dict[str, float]]] = defaultdict(list)
        async for number in ground.moments(self.orders_each):
            way = list(WAYS)[number % len(WAYS)]
            ratios[way].append(await _overload(ground, way))
        for way, of_turns in ratios.items():
            ground.figures.append(f"{way}, ratios, {_medians_text(of_turns)}")
            ground.faults += [f"{way}: {fault}" for fault in broken(of_turns)]


async def _overload(ground: Ground, way: str) -> dict[str, float]:
    """One turn of a way; returns what it was in proportion to its peak."""
    loader = Loader(ground.client, Settings(data=ground.place.data), WAYS[way])
    try:
        peak = await loader.as_much_as_it_takes(SECONDS, AT_ONCE)
        await _rest(loader, peak)
        before = await asyncio.to_thread(resident_mib, ground.mesh)
        load = await loader.at_a_rate(SECONDS, TIMES * peak.goodput)
        await _rest(loader, load)
        after = await asyncio.to_thread(resident_mib, ground.mesh)
    finally:
        loader.close()
    ground.counts[f"turned away by {way}"] += load.turned_away[SHED]
    ground.figures += [f"{way}, peak: {peak.text()}", f"{way}, overload: {load.text()}"]
    ground.faults += [f"{way}: {fault}" for fault in (*_otherwise(load), *grown(before, after))]
    return ratios_of(peak, load)


async def _rest(loader: Loader, load: Loaded) -> None:
    if not await loader.at_rest(RESTS_WITHIN_S):
        raise Stuck(
            f"of {len(load.accepted)} orders that were let in some have not ended within {RESTS_WITHIN_S:.0f} s"
        )
    loader.ends(load)


def ratios_of(peak: Loaded, load: Loaded) -> dict[str, float]:
    """Of a load to the peak."""
    return {
        GOODPUT: load.goodput / peak.goodput,
        "p99 to the answer": percentile(load.answers_s, P99) / percentile(peak.answers_s, P99),
        "p99 to the end": percentile(load.delays_s, P99) / percentile(peak.delays_s, P99),
    }


def _medians_text(of_turns: list[dict[str, float]]) -> str:
    figures = []
    for what, middle in _medians(of_turns).items():
        values = [turn[what] for turn in of_turns]
        figures.append(f"{what} {middle:.2f} [{min(values):.2f} … {max(values):.2f}]")
    return f"medians of {len(of_turns)} turn(s): {', '.join(figures)}"


def broken(of_turns: list[dict[str, float]]) -> Iterator[str]:
    """Which of their medians do not hold."""
    for what, ratio in _medians(of_turns).items():
        holds = ratio >= GOODPUT_MIN if what == GOODPUT else ratio <= P99_MAX
        if not holds:  # nor does it where nothing was measured, and the ratio is nan
            yield f"{what} is {ratio:.2f} of the peak's"


def _medians(of_turns: list[dict[str, float]]) -> dict[str, float]:
    return {what: median(turn[what] for turn in of_turns) for what in of_turns[0]}


def _otherwise(load: Loaded) -> Iterator[str]:
    if others := {answer: count for answer, count in load.turned_away.items() if answer != SHED}:
        yield f"was answered otherwise than by {SHED}: {others}"
