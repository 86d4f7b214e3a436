"""`ensemble up`: the broker and every part of the mesh, each its own process.

A part that dies is started again, with a line that says so: at once, then after growing delays where it dies young.
The end, on the first SIGINT or SIGTERM, is in order: the orchestrator, then the services, then the broker. A second
signal kills. Children run in sessions of their own, so that Ctrl-C reaches the supervisor alone; their standard
input is a pipe from it, so that they stop by themselves where it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from console import precedence
from console.child import Child
from eventbus import broker
from mesh.addresses import BROKER, MeshFile, Part
from mesh.backoff import Backoff
from mesh.ports import NoFreePort, free_port
from mesh.registry import UnknownName
from mesh.settings import Settings
from services import SERVICES

HOST = "127.0.0.1"
ORCHESTRATOR = "orchestrator"
PARTS = (*SERVICES, ORCHESTRATOR)
LOCK_NAME = "mesh.lock"

BROKER_START_S = 10.0
BROKER_LOOK_S = 1.0
MONITOR_PORT = 8222
# A part that lived this long is started again at once.
YOUNG_S = 5.0
RESTART = Backoff(first_s=0.2, max_s=5.0)
WRITE_AGAIN_S = 0.5

Say = Callable[[str], None]


class CannotStart(Exception):
    """The mesh cannot be started; the text says what to do."""


@dataclass
class Supervisor:
    """One mesh on this machine, in one data folder."""

    data: Path
    base_port: int  # the first port that is tried; 0: any free ones
    say: Say
    nats_url: str = ""  # a broker that runs elsewhere
    database_url: str = ""  # PostgreSQL; empty: SQLite
    contracts: Collection[str] = ()  # the generated packages of its services
    replicas: Mapping[str, int] = field(default_factory=dict)  # how many of each part; not named: one. Needs PostgreSQL
    _children: list[Child] = field(default_factory=list)
    _monitor: str = ""  # where the broker says how it is
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: bool = False

    async def run(self) -> None:
        """Starts the mesh, and keeps it going until a signal ends it. Raises CannotStart."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, stopping)
        self.data.mkdir(parents=True, exist_ok=True)
        with self._lock():
            await _end_leftovers(self.data)
            try:
                await self._start()
                async with asyncio.TaskGroup() as watchers:
                    works = [self._keep_going(child) for child in self._children]
                    works += [self._write_changes(), self._look_after_broker()]
                    tasks = [watchers.create_task(work) for work in works]
                    await stopping.wait()
                    self._ending = True
                    await self._end()
                    for task in tasks:
                        task.cancel()
            finally:
                self._ending = True
                for child in self._children:
                    await child.end(signal.SIGKILL)
                (self.data / "mesh.json").unlink(missing_ok=True)

    def _signalled(self, stopping: asyncio.Event) -> None:
        if stopping.is_set():
            for child in self._children:
                if child.process is not None and child.process.returncode is None:
                    child.process.kill()
        else:
            self._tell("stopping …")
        stopping.set()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk under its log ends no mesh
            self.say(line)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.data / LOCK_NAME).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.truncate(0)
                print(os.getpid(), file=lock, flush=True)  # whom `ensemble down` may signal: the holder, nobody else
            except BlockingIOError:
                raise CannotStart(
                    f"a mesh runs in {self.data} already; end it with `ensemble down --data {self.data}`, "
                    "or choose another folder with --data"
                ) from None
            yield

    async def _start(self) -> None:
        (self.data / "logs").mkdir(exist_ok=True)
        self._look_for_database()
        first = self._first()
        ports = _ports(self.base_port)
        if not self.nats_url:
            chosen = self.base_port == 0
            await self._start_broker(
                next(ports) if chosen else _port(4222), next(ports) if chosen else _port(MONITOR_PORT)
            )
        for service in PARTS:
            stands_back = 0 if service in first else precedence.STANDS_BACK
            for number in range(1, self.replicas.get(service, 1) + 1):
                self._children.append(self._part(service, number, f"{HOST}:{next(ports)}", stands_back))
        self._write()  # before the parts start: they read it
        for child in self._children:
            if child.process is None:
                await child.start()
        self._write()

    async def _start_broker(self, port: int, monitor_port: int) -> None:
        self._monitor = f"{HOST}:{monitor_port}"
        configuration = broker.write_configuration(self.data / "nats", f"{HOST}:{port}", monitor=self._monitor)
        command = [broker.executable(), "-c", str(configuration)]
        log = self.data / "logs" / f"{BROKER}.log"
        child = Child(BROKER, BROKER, command, dict(os.environ), log, f"{HOST}:{port}")
        self._children.append(child)
        self.nats_url = f"nats://{HOST}:{port}"
        await child.start()
        deadline = asyncio.get_running_loop().time() + BROKER_START_S
        while not _accepts(HOST, port):
            if child.process is None or child.process.returncode is not None:
                raise CannotStart(f"nats-server ended at once; {child.log} says why")
            if asyncio.get_running_loop().time() > deadline:
                raise CannotStart(f"nats-server accepts nothing after {BROKER_START_S:.0f} s; {child.log} may say why")
            await asyncio.sleep(0.05)

    def _look_for_database(self) -> None:
        """Tells of a server that cannot be reached now, rather than by parts that die one after the other."""
        if self.database_url:
            from mesh.database import DatabaseLost, DatabaseMissing
            from mesh.databases import open_read_only  # half a second, for those who wait

            try:
                with contextlib.suppress(DatabaseMissing):  # the parts make what is missing
                    open_read_only(Settings(data=self.data, database_url=self.database_url), ORCHESTRATOR).dispose()
            except DatabaseLost as error:
                raise CannotStart(str(error)) from None

    def _first(self) -> frozenset[str]:
        """The parts that have a processor before the others."""
        try:
            return precedence.entrances(self.contracts) | {ORCHESTRATOR}
        except UnknownName as error:
            raise CannotStart(f"ENSEMBLE_CONTRACTS: {error}") from None

    def _part(self, service: str, number: int, address: str, stands_back: int) -> Child:
        environment = {
            **os.environ,  # not in the command line, which everybody on the machine can read: the URL has a password
            "ENSEMBLE_DATABASE_URL": self.database_url,
            "ENSEMBLE_DATA": str(self.data.resolve()),
            "ENSEMBLE_LISTEN": address,
        }
        name = service if number == 1 else f"{service}-{number}"
        # -P: the folder that the user stands in must not be imported from.
        command = [sys.executable, "-P", "-m", *_module(service)]
        return Child(name, service, command, environment, self.data / "logs" / f"{name}.log", address, stands_back)

    async def _keep_going(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        tries = 0
        while child.process is not None:
            began = loop.time()
            status = await child.process.wait()
            if self._ending:
                return
            how = f"signal {-status}" if status < 0 else f"status {status}"
            tries = tries + 1 if loop.time() - began < YOUNG_S else 0
            delay_s = RESTART.bound_s(tries) if tries else 0.0
            self._tell(f"{child.name} ended ({how}) and is started again{f' in {delay_s:.1f} s' if delay_s else ''}")
            await asyncio.sleep(delay_s)
            if self._ending:
                return
            await self._start_again(child)
            self._changed.set()

    async def _start_again(self, child: Child) -> None:
        """Starts a process, as soon as the machine allows it: the disk of its log may be full, or no pid be free."""
        while not self._ending:
            try:
                await child.start()
                return
            except OSError as error:
                self._tell(f"{child.name} cannot be started again yet: {error}")
                await asyncio.sleep(RESTART.max_s)

    async def _write_changes(self) -> None:
        """Writes down where everything is now; while the disk is full the parts go on, and those who ask are late."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                self._write()
            except OSError as error:
                self._tell(f"where the parts are cannot be written down yet: {error}")
                await asyncio.sleep(WRITE_AGAIN_S)
                self._changed.set()

    async def _look_after_broker(self) -> None:
        """Starts a broker again that lives and can never store anything again, as after a full disk."""
        while self._monitor:
            await asyncio.sleep(BROKER_LOOK_S)
            if why := await asyncio.to_thread(broker.stuck, self._monitor):
                self._tell(f"{BROKER} stores nothing any more until it is started again ({why})")
                await next(child for child in self._children if child.name == BROKER).end()

    async def _end(self) -> None:
        for services in ((ORCHESTRATOR,), SERVICES, (BROKER,)):
            await asyncio.gather(*(child.end() for child in self._children if child.service in services))

    def _write(self) -> None:
        pids = {child.name: child.pid for child in self._children}
        parts = [
            Part(child.name, child.service, child.pid, child.address)
            for child in self._children
            if child.name != BROKER
        ]
        MeshFile(os.getpid(), self.nats_url, pids.get(BROKER, 0), parts).write(self.data)


def _module(service: str) -> list[str]:
    """What Python runs for a part, behind -m."""
    return [ORCHESTRATOR] if service == ORCHESTRATOR else ["services", service]


def _ports(base: int) -> Iterator[int]:
    """Free ports, from `base` on; with 0 any."""
    port = base
    while True:
        port = _port(port)
        yield port
        port = port + 1 if base else 0


def _port(wanted: int) -> int:
    try:
        return free_port(HOST, wanted)
    except NoFreePort as error:
        raise CannotStart(f"{error}; choose others with --base-port") from None


def _accepts(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, port)) == 0


async def _end_leftovers(data: Path) -> None:
    """Ends what a supervisor that was killed left behind: nothing else may hold the databases and streams."""
    mesh = MeshFile.read(data)
    if mesh is None:
        return
    marks = {part.pid: f"-m {' '.join(_module(part.service))}" for part in mesh.parts}
    marks[mesh.nats_pid] = str(data / "nats" / "nats-server.conf")
    ours = [pid for pid, mark in marks.items() if pid and mark in _command(pid)]
    for number in (signal.SIGTERM, signal.SIGKILL):
        ours = [pid for pid in ours if _command(pid)]
        for pid in ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        for _ in range(50):
            if not any(_command(pid) for pid in ours):
                return
            await asyncio.sleep(0.1)


def _command(pid: int) -> str:
    """The whole command line of a process; empty where it has ended. A pid alone may have gone to somebody else."""
    command = ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)]
    state, _, line = subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition(" ")
    return "" if state.startswith("Z") else line.strip()
