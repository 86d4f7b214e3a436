"""A mesh that runs in the background: start it, look at it, end it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from console.supervisor import LOCK_NAME
from mesh.addresses import MeshFile, Part
from mesh.channel import connect

START_S = 60.0
END_S = 60.0
HEALTH_S = 2.0

SERVING = "SERVING"
UNREACHABLE = "UNREACHABLE"


class NotRunning(Exception):
    """There is no mesh in this folder."""

    def __init__(self, data: Path) -> None:
        super().__init__(f"no mesh runs in {data}; start one with `ensemble up --data {data}`")


class StartFailed(Exception):
    """The mesh did not come up."""


@dataclass(frozen=True)
class PartStatus:
    """One part, and what its health check says."""

    part: Part
    state: str


def up_detached(
    data: Path, base_port: int, *, database_url: str = "", replicas: Mapping[str, int] | None = None
) -> MeshFile:
    """Starts a mesh in the background and returns once every part is SERVING; raises StartFailed."""
    (data / "logs").mkdir(parents=True, exist_ok=True)
    log = data / "logs" / "supervisor.log"
    command = [sys.executable, "-P", "-m", "console.main", "up", "--data", str(data), "--base-port", str(base_port)]
    for service, count in (replicas or {}).items():
        command += ["--replicas", f"{service}={count}"]
    environment = dict(os.environ)
    if database_url:  # not in the command line, which everybody on the machine can read
        environment["ENSEMBLE_DATABASE_URL"] = database_url
    supervisor = None
    try:
        with log.open("wb") as output, _signals_held():
            supervisor = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        return _serving(data, supervisor, log)
    except BaseException:  # also Ctrl-C: what was started is ended
        if supervisor is not None:
            supervisor.terminate()
            supervisor.wait(END_S)
        raise


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """What is pressed meanwhile comes right afterwards: interrupted in the middle, nobody would know the process.

    In the main thread, where signals come; in others nothing has to be held.
    """
    came: list[int] = []
    here = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if here else ()
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for pressed in came:
        signal.raise_signal(pressed)


def _serving(data: Path, supervisor: subprocess.Popen[bytes], log: Path) -> MeshFile:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if supervisor.poll() is not None:
            said = log.read_text().strip().splitlines()
            raise StartFailed(said[-1].removeprefix("Error: ") if said else f"the supervisor ended; {log} may say why")
        mesh = MeshFile.read(data)
        if mesh is not None and mesh.supervisor_pid == supervisor.pid:
            states = asyncio.run(health(mesh))
            if states and all(status.state == SERVING for status in states):
                return mesh
        time.sleep(0.1)
    raise StartFailed(f"not every part was serving after {START_S:.0f} s; the logs in {data / 'logs'} say why")


def running(data: Path) -> MeshFile:
    """The mesh of a folder; raises NotRunning."""
    mesh = MeshFile.read(data)
    if mesh is None or not _locked(data):
        raise NotRunning(data)
    return mesh


def down(data: Path) -> None:
    """Ends a mesh, in order, and returns once all its processes are gone; raises NotRunning and TimeoutError."""
    if not _locked(data):
        raise NotRunning(data)
    supervisor = int((data / LOCK_NAME).read_text())
    os.kill(supervisor, signal.SIGTERM)
    deadline = time.monotonic() + END_S
    while _locked(data):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the mesh in {data} does not end; its supervisor has pid {supervisor}")
        time.sleep(0.05)


def end(data: Path) -> None:
    """Ends a mesh, where one runs, whatever is pressed meanwhile. For the main thread; raises TimeoutError."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.suppress(NotRunning):
            down(data)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def health(mesh: MeshFile) -> list[PartStatus]:
    """What the health check of each part says."""
    return list(await asyncio.gather(*(_health_of(part) for part in mesh.parts)))


async def _health_of(part: Part) -> PartStatus:
    async with connect(part.address) as channel:
        try:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in its types
            answer = await check(health_pb2.HealthCheckRequest(), timeout=HEALTH_S)
        except grpc.aio.AioRpcError:
            return PartStatus(part, UNREACHABLE)
        return PartStatus(part, health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _locked(data: Path) -> bool:
    """Whether a supervisor holds the folder."""
    try:
        with (data / LOCK_NAME).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
