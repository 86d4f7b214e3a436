"""The mesh of a simulation: its processes, and what is between and below them.

The processes run what real ones run (`host` of the services and of the orchestrator), on a network, a broker and disks
that are modelled. Whatever dies is started again after a while, as a supervisor does.
"""

from __future__ import annotations

import asyncio
import importlib
import random
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orchestrator.workflows  # noqa: F401  # registers them
from eventbus.testing import ModelledBroker, ModelledClient
from mesh.clock import WallClock
from mesh.lifecycle import Lifecycle
from mesh.outside import Outside
from mesh.settings import Settings
from orchestrator.__main__ import host as host_orchestrator
from scripts.simulation.disk import Disks
from scripts.simulation.links import BrokerLink, Losses
from scripts.simulation.network import Network
from scripts.simulation.plan import ORCHESTRATOR, PARTS, Plan
from scripts.simulation.process import NOBODY, Process
from scripts.simulation.rpc import Rpc
from services import SERVICES
from services.participant.host import host as host_service

# A supervisor starts again what ended, after so long.
RESTART_S = 0.2
# Only a name: databases of this kind are shared by replicas, which the modelled ones are.
SHARED = "postgresql://simulated/mesh"


@dataclass
class Seat:
    """A process's place in the mesh; the process that sits there may be dead."""

    part: str
    address: str
    process: Process | None = None
    life: Lifecycle | None = None
    client: ModelledClient | None = None  # its connection to the broker
    lives: int = 0
    rests_s: float = RESTART_S  # how long it is down when it dies next


class World:
    """Everything beyond the customers."""

    def __init__(self, plan: Plan, rng: random.Random) -> None:
        self.plan = plan
        self.rng = rng
        self.network = Network(rng)
        self.rpc = Rpc(self.network)
        self.disks = Disks(rng)
        self.broker = ModelledBroker(rng, WallClock(), sync_every_s=plan.sync_every_s)
        self.losses = Losses()
        self.ended: list[str] = []  # processes that ended without being told to
        counts = {ORCHESTRATOR: plan.orchestrators, plan.replicas: 2}
        self.seats = [Seat(part, f"{part}:{number}") for part in PARTS for number in range(1, counts.get(part, 1) + 1)]
        self.targets = {
            part: "ipv4:" + ",".join(seat.address for seat in self.seats if seat.part == part) for part in PARTS
        }
        self._settings = Settings(
            data=Path("nowhere"),
            database_url=SHARED if len(self.seats) > len(PARTS) else "",
            nats_url="nats://broker",
            addresses=self.targets,
            call_timeout_s=2.0,
            drain_s=0.5,
            ack_wait_s=1.0,
            stalled_after_s=2.0,
        )

    def start(self) -> None:
        """Starts every process."""
        for seat in self.seats:
            self._start(seat)

    def seats_of(self, part: str) -> list[Seat]:
        """The processes of a part."""
        return [seat for seat in self.seats if seat.part == part]

    def harm(self) -> Counter[str]:
        """What came of all that went wrong: shows that it did."""
        again = sum(seat.lives - 1 for seat in self.seats)
        return self.network.harm + self.disks.harm + self.losses.harm + Counter({"processes started again": again})

    def stop(self, seat: Seat) -> None:
        """SIGTERM."""
        if seat.life is not None and seat.process is not None and seat.process.alive:
            seat.life.stopping.set()

    def _start(self, seat: Seat) -> None:
        seat.lives += 1
        seat.process = process = Process(seat.part, seat.lives)
        process.died = partial(self._notice, seat)
        process.start(self._run(seat, process), f"{seat.address} runs")

    async def _run(self, seat: Seat, process: Process) -> None:
        seat.life = life = Lifecycle()
        outside = Outside(
            database=self.disks.open,
            server=self.rpc.server,
            channel=self.rpc.channel,
            broker=partial(self._connect, seat),
        )
        try:
            try:
                await _host(seat.part, self._settings.model_copy(update={"listen": seat.address}), life, outside)
            finally:
                await life.end_tasks()
        except Exception as error:
            self.ended.append(f"{seat.address}: {type(error).__name__}: {error}")
        process.kill()
        self._notice(seat)

    def _notice(self, seat: Seat) -> None:
        """A process has ended by itself; what follows is none of its doing."""
        asyncio.get_running_loop().call_soon(self._died, seat, context=NOBODY)

    def _died(self, seat: Seat) -> None:
        assert seat.process is not None
        self.rpc.died(seat.process)
        if seat.client is not None:
            seat.client.abandon()
        asyncio.get_running_loop().call_later(max(seat.rests_s, RESTART_S), self._start, seat, context=NOBODY)
        seat.rests_s = RESTART_S

    def client(self, part: str) -> ModelledClient:
        """A connection to the broker, from a part of the mesh or from outside."""
        return ModelledClient(self.broker, BrokerLink(part, self.network, self.losses, self.rng))

    def _connect(self, seat: Seat) -> ModelledClient:
        seat.client = self.client(seat.part)
        return seat.client


async def _host(part: str, settings: Settings, life: Lifecycle, outside: Outside) -> None:
    if part == ORCHESTRATOR:
        await host_orchestrator(settings, life, outside=outside)
    else:
        module, _, servicer = SERVICES[part].partition(":")
        await host_service(getattr(importlib.import_module(module), servicer)(), settings, life, outside)
