"""The power is cut: what was written and not synced is gone, of SQLite and of JetStream alike."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from eventbus.bus import EventBus
from mesh.addresses import MeshFile
from scripts.faulting.disk import Disk, mounted_disk
from scripts.faulting.fault import Fault, Place
from scripts.faulting.ground import Ground

DISK_MIB = 512
CUT = "orders under way at a cut"
CANARY = "canary"
CANARY_EVERY_S = 0.01


class PowerCut(Fault):
    """A canary writes without ever syncing: that its last words are lost shows that a cut loses what is not synced."""

    name = "power-cut"
    does = "the disk of the mesh loses what was not synced, and every process is killed, in the middle of orders"
    proof = ("power cuts", "unsynced bytes of the canary lost")
    met = CUT
    orders_each = 4
    orders_cut = 8  # so many more come right before a cut
    orders_short = 12
    logs_errors = True

    def __init__(self) -> None:
        self._disk: Disk

    @asynccontextmanager
    async def place(self, folder: Path) -> AsyncIterator[Place]:
        """See Fault."""
        async with mounted_disk(folder, DISK_MIB) as disk:
            self._disk = disk
            yield Place(disk.folder / "mesh")

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        async for _ in ground.moments(self.orders_each):
            stored = await _stored(ground)
            ground.orders.let_come(self.orders_cut)
            canary = asyncio.create_task(_sing(self._disk.folder / CANARY), name="canary")
            await asyncio.sleep(ground.rng.uniform(0.05, 0.2))
            ground.counts[CUT] += ground.orders.under_way
            mesh = ground.mesh  # as nobody can read it afterwards
            self._disk.cut_power()
            _kill_all(mesh)
            sung = await canary
            await self._disk.unmount()
            self._disk.mount()
            ground.counts["power cuts"] += 1
            ground.counts["unsynced bytes of the canary lost"] += sung - _heard(self._disk.folder / CANARY)
            await ground.up()
            if (left := await _stored(ground)) < stored:
                ground.faults.append(f"nats-server had stored {stored} events before a power cut, and {left} after it")


async def _stored(ground: Ground) -> int:
    """The sequence of the last event that the stream has."""

    bus = EventBus(ground.mesh.nats_url, "power-cut")
    await bus.run()
    try:
        extent = await ground.until(bus.extent, what="what the stream has")
        assert extent is not None
        return extent.last
    finally:
        await bus.close()


async def _sing(path: Path) -> int:
    """Writes and never syncs, until the disk takes nothing more; how many bytes it took."""
    sung = 0
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            while True:
                sung += os.write(descriptor, b"tweet\n")
                await asyncio.sleep(CANARY_EVERY_S)
        finally:
            os.close(descriptor)
    return sung


def _heard(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _kill_all(mesh: MeshFile) -> None:
    for pid in (mesh.supervisor_pid, mesh.nats_pid, *(part.pid for part in mesh.parts)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
