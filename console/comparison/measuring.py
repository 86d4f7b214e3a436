"""The whole run, on a mesh of its own in a temporary folder.

Healthy: the styles in turns, round by round, so that what shakes the machine shakes all of them. Under a fault: all
styles at once, on the same mesh, under the very same fault; so they also share its parts, as they would.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from console import audit, control
from console.client import MeshClient
from console.comparison import coupling, traffic
from console.comparison.faults import Fault, all_serve
from console.comparison.flow import Flow
from console.comparison.result import STYLES, Comparison, Healthy, Round, Scenario, UnderFault
from console.orders import DEFAULT_SKU
from mesh import machine
from mesh.contract import Contract
from mesh.settings import Settings
from shop.inventory.v1.inventory_pb2 import SetStockRequest

PROCESS = "fulfil-order"
STOCK = 1_000_000_000
# Beyond the longest remedy of the mesh: a stalled order is started again after 15 s.
END_S = 60.0
SERVE_S = 60.0
BOOKS_S = 30.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long (seconds)."""

    warm_s: float
    rounds: int
    round_s: float
    at_once: int
    per_second: float  # orders of each style, under a fault
    before_s: float
    fault_s: float
    after_s: float
    within_s: float = math.inf  # of the whole run but its start and its end; what does not fit is left out, and said

    @property
    def scenario_s(self) -> float:
        """How long one fault takes, with as long again for its last orders to end."""
        return 2 * (self.before_s + self.fault_s + self.after_s)


FULL = Plan(warm_s=2.0, rounds=5, round_s=4.0, at_once=16, per_second=10.0, before_s=3.0, fault_s=12.0, after_s=8.0)
QUICK = Plan(
    warm_s=1.0,
    rounds=2,
    round_s=2.0,
    at_once=16,
    per_second=5.0,
    before_s=1.0,
    fault_s=4.0,
    after_s=2.0,
    within_s=100.0,
)


def compare(plan: Plan, faults: Sequence[Fault], say: Say) -> Comparison:
    """Measures; tells what it is at. Raises control.StartFailed, and TimeoutError where the mesh does not recover.

    For the main thread: what is started is ended, also on Ctrl-C.
    """
    with _own_mesh(say) as data:
        return asyncio.run(_compare(data, plan, faults, say))


async def _compare(data: Path, plan: Plan, faults: Sequence[Fault], say: Say) -> Comparison:
    ends = time.monotonic() + plan.within_s
    settings = Settings(data=data)
    contract = Contract.of_packages(*settings.contract_packages)
    process = contract.processes[PROCESS]
    comparison = Comparison(machine.describe(data), plan.at_once, joining=coupling.joining(process))
    by_calls, by_events = coupling.orchestrated(process), coupling.choreographed(contract, process)
    comparison.coupling = dict(zip(STYLES, (by_calls, by_events, coupling.both(by_calls, by_events)), strict=True))
    async with MeshClient(settings) as mesh:
        await mesh.inventory.SetStock(SetStockRequest(sku=DEFAULT_SKU, on_hand=STOCK), timeout=10)
        comparison.healthy = await _healthy(mesh, data, plan, say)
    for number, fault in enumerate(faults, 1):
        if time.monotonic() + plan.scenario_s > ends:
            comparison.left_out = [one.name for one in faults[number - 1 :]]
            say(f"no time is left for {', '.join(comparison.left_out)}")
            break
        say(f"fault {number} of {len(faults)}: {fault.title}")
        async with MeshClient(settings) as mesh:
            comparison.scenarios.append(await _under(fault, mesh, data, plan, ends))
        await all_serve(data, SERVE_S)
    say("the books of all services")
    comparison.faults = (await audit.settled(settings, BOOKS_S)).faults
    return comparison


@contextmanager
def _own_mesh(say: Say) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ensemble-compare-") as folder:
        data = Path(folder) / "mesh"
        say("a mesh of its own is started")
        control.up_detached(data, base_port=0)
        try:
            yield data
        finally:
            control.end(data)


async def _healthy(mesh: MeshClient, data: Path, plan: Plan, say: Say) -> dict[str, Healthy]:
    rounds: dict[str, list[Round]] = {style: [] for style in STYLES}
    for style in STYLES:
        await Flow(mesh, style, 0.0).at_once(plan.at_once, plan.warm_s, END_S)
    async with traffic.messages(control.running(data).nats_url) as messages:
        for number in range(1, plan.rounds + 1):
            for style in STYLES:
                say(f"healthy, round {number} of {plan.rounds}: {style.lower()}")
                before, began = await messages.settled(), time.monotonic()
                flow = Flow(mesh, style, began)
                await flow.at_once(plan.at_once, plan.round_s, END_S)
                seconds = time.monotonic() - began
                calls = await traffic.calls(mesh, [sample.order_id for sample in flow.samples])
                rounds[style].append(Round(flow.samples, seconds, await messages.settled() - before, calls))
    return {style: Healthy(of_style) for style, of_style in rounds.items()}


async def _under(fault: Fault, mesh: MeshClient, data: Path, plan: Plan, ends: float) -> Scenario:
    began = time.monotonic()
    flows = {style: Flow(mesh, style, began) for style in STYLES}
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for flow in flows.values():
            group.create_task(flow.at_a_pace(plan.per_second, stop))
        await asyncio.sleep(plan.before_s)
        wrong_s = time.monotonic() - began
        async with fault.apply(control.running(data)):
            await asyncio.sleep(plan.fault_s)
        right_s = time.monotonic() - began
        await asyncio.sleep(plan.after_s)
        stop.set()
    rest_s = max(0.0, min(END_S, ends - time.monotonic()))
    await asyncio.gather(*(flow.rest(rest_s) for flow in flows.values()))
    ended = {style: UnderFault(flow.samples, wrong_s, right_s) for style, flow in flows.items()}
    return Scenario(fault.name, fault.title, ended)
