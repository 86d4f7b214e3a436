"""The disk is full, under databases, streams and the supervisor's log; parts are killed meanwhile. Then it has room."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.addresses import BROKER
from scripts.faulting.disk import Disk, mounted_disk
from scripts.faulting.fault import Fault, Place
from scripts.faulting.ground import PARTS, Ground

DISK_MIB = 256
FULL_S = 3.0
# The first time it stays full until both have said so: on a busy machine that takes longer.
LOOK_EVERY_S, LOOKS_MAX = 0.2, 60
FILL_EVERY_S = 0.02
# How SQLite and nats-server say it.
SQLITE_SAYS, BROKER_SAYS = "disk is full", "no space left on device"


class FullDisk(Fault):
    """What the parts log of it goes to another disk, so that it can be read."""

    name = "full-disk"
    does = (
        "the disk of databases and streams is full for a while and a part is killed meanwhile; then it has room again"
    )
    proof = ("times full", "transactions that SQLite refused", "writes that nats-server refused", "parts killed")
    orders_each = 12
    orders_short = 12
    logs_errors = True

    def __init__(self) -> None:
        self._disk: Disk

    @asynccontextmanager
    async def place(self, folder: Path) -> AsyncIterator[Place]:
        """See Fault."""
        async with mounted_disk(folder, DISK_MIB) as disk:
            self._disk = disk
            logs = disk.folder / "mesh" / "logs"
            logs.mkdir(parents=True)
            for part in PARTS:
                (elsewhere := folder / f"{part}.log").touch()
                (logs / elsewhere.name).symlink_to(elsewhere)
            yield Place(logs.parent)

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        began = _said(ground)
        async for number in ground.moments(self.orders_each):
            killed = ground.rng.choice(PARTS) if number % 2 == 0 else ""
            said = _said(ground)
            filling = asyncio.create_task(self._fill(), name="fill the disk")
            try:
                await asyncio.sleep(FULL_S / 2)
                pid = ground.send(killed, signal.SIGKILL) if killed else 0
                await asyncio.sleep(FULL_S / 2)
                for _ in range(LOOKS_MAX):
                    if all(_since(began, ground)):
                        break
                    await asyncio.sleep(LOOK_EVERY_S)
            finally:
                filling.cancel()
                await asyncio.gather(filling, return_exceptions=True)
                self._disk.free()
            sqlite, nats = _since(said, ground)
            ground.counts["times full"] += 1
            ground.counts["transactions that SQLite refused"] += sqlite
            ground.counts["writes that nats-server refused"] += nats
            if killed:
                await ground.replaced(killed, pid)
                ground.counts["parts killed"] += 1

    async def _fill(self) -> None:
        while True:
            self._disk.fill()
            await asyncio.sleep(FILL_EVERY_S)


def _since(said: tuple[int, int], ground: Ground) -> tuple[int, int]:
    sqlite, nats = _said(ground)
    return sqlite - said[0], nats - said[1]


def _said(ground: Ground) -> tuple[int, int]:
    logs = ground.logs()
    broker = logs.pop(BROKER)
    return sum(log.count(SQLITE_SAYS) for log in logs.values()), broker.count(BROKER_SAYS)
