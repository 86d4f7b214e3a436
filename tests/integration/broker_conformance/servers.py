"""The two brokers that have to do the same: nats-server, and the model of it."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path
from typing import Protocol

from nats.aio.client import Client

from eventbus.testing import ModelledBroker, ModelledClient
from scripts.faulting.disk import Disk
from tests.harness import Broker


class Server(Protocol):
    """A broker, real or modelled."""

    late_s: float  # how late something may be

    def client(self) -> Client:
        """A client that is not connected yet."""

    def kill(self) -> None:
        """Ends it without a word."""

    def stop(self) -> None:
        """Ends it in peace."""

    def empty_disk(self) -> None:
        """Removes all that it has stored; after it was ended."""

    def start(self) -> None:
        """Starts it again."""

    def fill_disk(self) -> None:
        """Takes all the room that is left."""

    def free_disk(self) -> None:
        """Gives it back."""

    async def cut_power(self) -> None:
        """Ends it, with all that was not synced."""

    def freeze(self) -> None:
        """It holds its connections and answers nothing."""

    def thaw(self) -> None:
        """And goes on."""


class RealServer:
    """nats-server, as `ensemble up` runs it."""

    late_s = 1.0  # on a busy machine

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self._store = folder / "jetstream"
        self._disk = disk
        if disk is not None:
            (disk.folder / "jetstream").mkdir()
            self._store.symlink_to(disk.folder / "jetstream")
        self._server = Broker(folder)
        self.url = self._server.url

    def client(self) -> Client:
        return Client()

    def kill(self) -> None:
        self._server.end(signal.SIGKILL)

    def stop(self) -> None:
        self._server.end()

    def empty_disk(self) -> None:
        shutil.rmtree(self._store)

    def start(self) -> None:
        self._server.start()

    def fill_disk(self) -> None:
        assert self._disk is not None
        self._disk.fill()

    def free_disk(self) -> None:
        assert self._disk is not None
        self._disk.free()

    async def cut_power(self) -> None:
        assert self._disk is not None
        self._disk.cut_power()
        self.kill()
        await self._disk.unmount()
        self._disk.mount()

    def freeze(self) -> None:
        self._server.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._server.send(signal.SIGCONT)


class ModelledServer:
    """eventbus.testing, on the running event loop."""

    late_s = 0.05

    url = "nats://modelled"

    def __init__(self) -> None:
        self.broker = ModelledBroker(random.Random(1))
        self.kill, self.stop = self.broker.crash, self.broker.stop
        self.empty_disk, self.start = self.broker.empty_disk, self.broker.start
        self.fill_disk, self.free_disk = self.broker.fill_disk, self.broker.free_disk
        self._clients: list[ModelledClient] = []

    def client(self) -> Client:
        self._clients.append(ModelledClient(self.broker))
        return self._clients[-1]

    async def cut_power(self) -> None:
        self.broker.crash(power_cut=True)

    def freeze(self) -> None:
        """To its clients it is as if the network were partitioned."""
        for client in self._clients:
            client.partition()

    def thaw(self) -> None:
        for client in self._clients:
            client.heal()
