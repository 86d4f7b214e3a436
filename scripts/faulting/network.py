"""Bad links between two parts: late, reset, a black hole, one way. By a TCP proxy before each part and the broker."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import ClassVar

from console.supervisor import ORCHESTRATOR
from mesh.addresses import BROKER, MeshFile, UnknownAddress
from scripts.benchmarks.parts import Parts
from scripts.faulting.fault import IMPATIENT, Fault, Place
from scripts.faulting.ground import Ground
from scripts.faulting.proxy import Proxy

CUSTOMERS = "customers → orders"
CALLED = ("orders", "inventory", "payments", "shipping", ORCHESTRATOR)

LATE_S = 0.3
RESETS = 4
# Longer than a call may take here (2 s); and longer than keepalive and pings take to give a connection up (13 s).
HELD_S, HELD_LONG_S = 3.0, 16.0
LONG_EVERY = 12


class Network(Fault):
    """Two links at a time, of: the customers' to orders, all parts' to each part that is called, and to the broker."""

    name = "network"
    does = "two links at a time between parts, clients and nats-server are late, reset, a black hole, or one way"
    proof = ("bytes delayed", "connections reset", "bytes of requests held", "bytes of answers held")
    orders_each = 12
    orders_short = 48
    settings: ClassVar = {**IMPATIENT, "ENSEMBLE_CALL_TIMEOUT_S": "2"}

    def __init__(self) -> None:
        self._ground: Ground | None = None
        self._links: list[Proxy] = []

    @asynccontextmanager
    async def place(self, folder: Path) -> AsyncIterator[Place]:
        """See Fault."""
        data = folder / "mesh"
        async with AsyncExitStack() as stack:
            nats_url = stack.enter_context(Parts(folder)).nats_url

            async def link(name: str, part: str) -> str:
                proxy = Proxy(name, lambda: _address(data, part, nats_url), self._counts)
                self._links.append(await stack.enter_async_context(proxy.running()))
                return proxy.address

            called = {part: await link(f"parts → {part}", part) for part in CALLED}
            environment = {
                "ENSEMBLE_ADDRESSES": json.dumps(called),
                "ENSEMBLE_NATS_URL": f"nats://{await link(f'parts → {BROKER}', BROKER)}",
            }
            yield Place(data, environment, {"orders": await link(CUSTOMERS, "orders")})

    def _counts(self) -> Counter[str]:
        return self._ground.counts if self._ground is not None else Counter()

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        self._ground = ground
        left: list[Proxy] = []
        async for number in ground.moments(self.orders_each):
            if len(left) < 2:
                left += ground.rng.sample(self._links, len(self._links))
            some, left = left[:2], left[2:]
            held_s = HELD_LONG_S if number % LONG_EVERY == LONG_EVERY - 1 else HELD_S
            try:
                await WORSE[number % len(WORSE)](some, held_s)
            finally:
                for link in some:
                    link.heal()
                    ground.counts[f"times at {link.name}"] += 1


async def _late(links: list[Proxy], held_s: float) -> None:
    for link in links:
        link.delay_s = LATE_S
    await asyncio.sleep(held_s)


async def _resets(links: list[Proxy], held_s: float) -> None:
    for _ in range(RESETS):
        for link in links:
            link.reset()
        await asyncio.sleep(held_s / 10)


async def _black_hole(links: list[Proxy], held_s: float) -> None:
    for link in links:
        link.hold("requests", "answers")
    await asyncio.sleep(held_s)


async def _one_way(links: list[Proxy], held_s: float) -> None:
    for link in links:
        link.hold("answers")
    await asyncio.sleep(held_s)


WORSE = (_late, _resets, _black_hole, _one_way)


def _address(data: Path, part: str, nats_url: str) -> str:
    """Where a part is now; raises LookupError."""
    if part == BROKER:
        return nats_url.removeprefix("nats://")
    mesh = MeshFile.read(data)
    if mesh is None:
        raise UnknownAddress(part)
    return mesh.address_of(part)
