"""The processes of a mesh that is measured: a broker, participants, an orchestrator, in a temporary folder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from eventbus import broker
from mesh.ports import free_port
from scripts.benchmarks.chain import CONTRACTS

HOST = "127.0.0.1"
START_S = 30.0
END_S = 15.0
# What is measured at hundreds in flight is not turned away.
QUEUED_MAX = 4096


class PartFailed(Exception):
    """A part of the mesh did not come up, or died; the text says why."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for databases, streams and logs; it goes at the end. TMPDIR says on which disk."""
    folder = Path(tempfile.mkdtemp(prefix="ensemble-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Parts:
    """What runs until the end of a `with`, the last first. Each part has a name, e.g. "ledger orders"."""

    def __init__(
        self,
        folder: Path,
        *,
        sync_interval: str = "always",
        database_url: str = "",
        contracts: str = CONTRACTS,
        import_path: Path | None = None,
    ) -> None:
        """`sync_interval`: the broker's. Databases are SQLite files in the folder, or PostgreSQL at a URL.

        `import_path`: where the generated code of the contracts is, if not among our own.
        """
        self.folder = folder
        self.nats_url = ""
        self._sync_interval = sync_interval
        self._environment = {"ENSEMBLE_CONTRACTS": contracts, "ENSEMBLE_DATABASE_URL": database_url}
        if import_path is not None:
            self._environment["PYTHONPATH"] = str(import_path)
        self._running: dict[str, _Process] = {}
        self._others: dict[str, int] = {}

    def __enter__(self) -> Parts:
        address = free_address()
        configuration = broker.write_configuration(self.folder / "nats", address, sync_interval=self._sync_interval)
        try:
            self._start("nats-server", [broker.executable(), "-c", str(configuration)], self.folder, address)
            self._running["nats-server"].until_listening()
        except BaseException:
            self.__exit__()
            raise
        self.nats_url = f"nats://{address}"
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._running)):
            self.end(name)

    def participants(self, module: str, names: Iterable[str], *, replicas: int = 1) -> dict[str, str]:
        """Starts processes of a module for each name; their addresses by name, of all replicas in one."""
        addresses = {name: [free_address() for _ in range(replicas)] for name in names}
        # All are started before any is waited for.
        started = [
            self._start(_label(module, name, number), _python(module, name), self.folder / module, address)
            for name, replicas_ in addresses.items()
            for number, address in enumerate(replicas_, 1)
        ]
        for process in started:
            process.until_listening()
        return {name: ones[0] if len(ones) == 1 else f"ipv4:{','.join(ones)}" for name, ones in addresses.items()}

    def orchestrator(self, name: str, addresses: Mapping[str, str], *, module: str = "conductor") -> str:
        """Starts the orchestrator with the workflow of a module, in a folder of its name; its address."""
        address = free_address()
        others = {"ENSEMBLE_ADDRESSES": json.dumps(dict(addresses))}
        self._start(name, _python(module, name), self.folder / name, address, others).until_listening()
        return address

    def end(self, name: str) -> None:
        """Ends a part."""
        self._running.pop(name).end()

    def pids(self) -> dict[str, int]:
        """The process of each part, by its name."""
        return {**self._others, **{name: process.pid for name, process in self._running.items()}}

    def watch(self, name: str, pid: int) -> None:
        """Counts a process as a part that somebody else has started, and ends."""
        self._others[name] = pid

    def _start(
        self, name: str, command: list[str], folder: Path, address: str, others: Mapping[str, str] | None = None
    ) -> _Process:
        environment = {
            **self._environment,
            **(others or {}),
            "ENSEMBLE_DATA": str(folder),
            "ENSEMBLE_LISTEN": address,
            "ENSEMBLE_NATS_URL": self.nats_url,
            "ENSEMBLE_LOG_LEVEL": "WARNING",
            "ENSEMBLE_SAGAS_QUEUED_MAX": str(QUEUED_MAX),
        }
        process = self._running[name] = _Process(name, command, folder, environment, address)
        return process


def free_address() -> str:
    """A port of this machine that nobody listens on now."""
    return f"{HOST}:{free_port(HOST)}"


class _Process:
    """A child process, and the log that its output goes to."""

    def __init__(
        self, name: str, command: list[str], folder: Path, environment: Mapping[str, str], address: str
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._name = name
        self._address = address
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,  # a part ends by itself where this one is killed
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches this one alone, which ends the others
            )
        self.pid = self._process.pid

    def until_listening(self) -> None:
        """Returns once it accepts connections; raises PartFailed."""
        deadline = time.monotonic() + START_S
        host, _, port = self._address.rpartition(":")
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise PartFailed(f"{self._name} ended at once; the end of its log says: {self._last_words()}")
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return
            time.sleep(0.02)
        raise PartFailed(f"{self._name} accepts nothing after {START_S:.0f} s; its log says: {self._last_words()}")

    def end(self) -> None:
        """Asks it to end, and kills it where it takes too long."""
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "nothing"


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"{__package__}.{module}", *arguments]


def _label(module: str, name: str, number: int) -> str:
    return f"{module} {name}" + (f"-{number}" if number > 1 else "")
