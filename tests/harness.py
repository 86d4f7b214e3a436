"""What the tests over real parts share: a mesh, a broker, clients, and waiting for conditions with a limit."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from console import control
from eventbus import broker
from mesh.addresses import MeshFile
from mesh.ports import free_port
from mesh.settings import Settings
from scripts.faulting.logs import unhandled
from scripts.faulting.processes import GONE, STOPPED, ZOMBIE, state_of

T = TypeVar("T")

ENSEMBLE = str(Path(sys.executable).parent / "ensemble")


def ensemble(*arguments: str, data: Path | None = None, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Runs a command as a user does, without a terminal."""
    environment = dict(os.environ)
    if data is not None:
        environment["ENSEMBLE_DATA"] = str(data)
    return subprocess.run(
        [ENSEMBLE, *arguments], capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
    )


async def eventually(
    condition: Callable[[], Awaitable[T]], *, within_s: float = 20.0, every_s: float = 0.05, what: str = "it"
) -> T:
    """The first true value of a condition; fails with the last one after a limit."""
    deadline = time.monotonic() + within_s
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {within_s} s; last seen: {value!r}")
        await asyncio.sleep(every_s)


def send(pid: int, number: int) -> None:
    """Sends a signal; after SIGSTOP it returns once the process has come to a halt.

    On a busy machine that takes a while, and until then it answers: a thread of it must run to see the signal.
    """
    os.kill(pid, number)
    deadline = time.monotonic() + 10
    while number == signal.SIGSTOP and state_of(pid) not in (STOPPED, ZOMBIE, GONE):
        assert time.monotonic() < deadline, f"process {pid} did not stop within 10 s"
        time.sleep(0.002)


class RunningMesh:
    """A real mesh in a data folder of its own."""

    def __init__(self, data: Path, database_url: str = "") -> None:
        self.data = data
        self.database_url = database_url

    @property
    def file(self) -> MeshFile:
        """Where everything is, as of now."""
        return control.running(self.data)

    @property
    def settings(self) -> Settings:
        """What clients of this mesh use."""
        return Settings(data=self.data, database_url=self.database_url)

    def pid_of(self, name: str) -> int:
        """The pid of a part, or of nats-server."""
        return self.file.pid_of(name)

    def address_of(self, name: str) -> str:
        """The gRPC address of a part."""
        return self.file.address_of(name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Sends a signal to a part; returns the pid it had."""
        pid = self.pid_of(name)
        send(pid, number)
        return pid

    def log_of(self, name: str) -> str:
        """The log of a part so far."""
        return (self.data / "logs" / f"{name}.log").read_text()

    def logs(self) -> dict[str, str]:
        """The logs of all parts so far, by name."""
        return {part.name: self.log_of(part.name) for part in self.file.parts}


def check_logs(logs: Mapping[str, str]) -> None:
    """Fails where a part logged what nobody handled."""
    assert list(unhandled(logs)) == []


@contextmanager
def running_mesh(
    data: Path, *, database_url: str = "", replicas: Mapping[str, int] | None = None
) -> Iterator[RunningMesh]:
    """Starts a mesh on free ports, and ends it."""
    control.up_detached(data, base_port=0, database_url=database_url, replicas=replicas)
    try:
        yield RunningMesh(data, database_url)
    finally:
        control.down(data)


class Broker:
    """A real nats-server in a folder of its own, which can be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port("127.0.0.1")
        self._configuration = broker.write_configuration(folder, f"127.0.0.1:{self._port}")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts it and waits until it accepts connections."""
        self._process = subprocess.Popen(
            [broker.executable(), "-c", str(self._configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("nats-server did not start within 10 s")

    def send(self, number: int) -> None:
        """Sends it a signal."""
        assert self._process is not None
        send(self._process.pid, number)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Ends it by a signal."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None


@contextmanager
def running_broker(folder: Path) -> Iterator[Broker]:
    """Starts a broker, and ends it."""
    server = Broker(folder)
    server.start()
    try:
        yield server
    finally:
        server.end()
