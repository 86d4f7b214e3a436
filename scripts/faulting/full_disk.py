"""The disk is full, under databases, streams and the supervisor's log; parts are killed meanwhile. Then it has room."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import nats.errors

from mesh.addresses import BROKER
from scripts.faulting.disk import Disk, mounted_disk
from scripts.faulting.fault import Fault, Place
from scripts.faulting.ground import PARTS, Ground

DISK_MIB = 256
FULL_S = 3.0
FILL_EVERY_S = 0.02
# What databases refuse is never published. So a program that has nothing but the broker goes on meanwhile, with an
# event of no contract, larger than what room is left in a block of the file system.
SUBJECT, BODY, PUBLISH_EVERY_S = "events.choreographed.canary.v1.Sung", bytes(16_384), 0.1
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
        async for number in ground.moments(self.orders_each):
            killed = ground.rng.choice(PARTS) if number % 2 == 0 else ""
            said = _said(ground)
            meanwhile = [
                asyncio.create_task(_publish(ground.mesh.nats_url), name="publish"),
                asyncio.create_task(self._fill(), name="fill the disk"),
            ]
            try:
                await asyncio.sleep(FULL_S / 2)
                pid = ground.send(killed, signal.SIGKILL) if killed else 0
                await asyncio.sleep(FULL_S / 2)
            finally:
                for task in meanwhile:
                    task.cancel()
                await asyncio.gather(*meanwhile, return_exceptions=True)
                self._disk.free()
            sqlite, broker = (after - before for after, before in zip(_said(ground), said, strict=True))
            ground.counts["times full"] += 1
            ground.counts["transactions that SQLite refused"] += sqlite
            ground.counts["writes that nats-server refused"] += broker
            if killed:
                await ground.replaced(killed, pid)
                ground.counts["parts killed"] += 1

    async def _fill(self) -> None:
        while True:
            self._disk.fill()
            await asyncio.sleep(FILL_EVERY_S)


async def _publish(url: str) -> None:
    client = await nats.connect(url, max_reconnect_attempts=-1, error_cb=_pass_over)
    try:
        while True:
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.jetstream().publish(SUBJECT, BODY, timeout=1)
            await asyncio.sleep(PUBLISH_EVERY_S)
    finally:
        await client.close()


async def _pass_over(_: Exception) -> None:
    """That the broker is away for a while is no news; nats-py would print a traceback each time it looks."""


def _said(ground: Ground) -> tuple[int, int]:
    logs = ground.logs()
    broker = logs.pop(BROKER)
    return sum(log.count(SQLITE_SAYS) for log in logs.values()), broker.count(BROKER_SAYS)
