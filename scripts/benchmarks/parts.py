"""The processes of a mesh that is measured: participants, an orchestrator, a broker, in a temporary folder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from eventbus import broker
from mesh.ports import free_port
from scripts.benchmarks.chain import CONTRACTS

HOST = "127.0.0.1"
START_S = 30.0
END_S = 15.0


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


@contextmanager
def running_broker(folder: Path, *, sync_interval: str = "always") -> Iterator[str]:
    """Starts a nats-server and ends it; its URL."""
    address = free_address()
    configuration = broker.write_configuration(folder / "nats", address, sync_interval=sync_interval)
    with _running("nats-server", [broker.executable(), "-c", str(configuration)], folder, {}, address):
        yield f"nats://{address}"


@contextmanager
def running_participants(module: str, names: list[str], folder: Path, nats_url: str) -> Iterator[dict[str, str]]:
    """Starts a process of a module for each name and ends them; their addresses by name."""
    addresses = {name: free_address() for name in names}
    with ExitStack() as stack:
        # All are started before any is waited for.
        waits = [
            stack.enter_context(_started(name, _python(module, name), folder, _settings(folder, address, nats_url)))
            for name, address in addresses.items()
        ]
        for wait, address in zip(waits, addresses.values(), strict=True):
            wait.until_listening(address)
        yield addresses


@contextmanager
def running_orchestrator(folder: Path, nats_url: str, addresses: Mapping[str, str]) -> Iterator[str]:
    """Starts the orchestrator with the chain as its workflow, and ends it; its address."""
    address = free_address()
    environment = _settings(folder, address, nats_url) | {"ENSEMBLE_ADDRESSES": json.dumps(dict(addresses))}
    with _running("orchestrator", _python("conductor"), folder, environment, address):
        yield address


def free_address() -> str:
    """A port of this machine that nobody listens on now."""
    return f"{HOST}:{free_port(HOST)}"


class _Process:
    """A child process, and the log that its output goes to."""

    def __init__(self, name: str, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        self._name = name
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

    def until_listening(self, address: str) -> None:
        """Returns once it accepts connections; raises PartFailed."""
        deadline = time.monotonic() + START_S
        host, _, port = address.rpartition(":")
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


@contextmanager
def _started(name: str, command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[_Process]:
    process = _Process(name, command, folder, environment)
    try:
        yield process
    finally:
        process.end()


@contextmanager
def _running(
    name: str, command: list[str], folder: Path, environment: Mapping[str, str], address: str
) -> Iterator[None]:
    with _started(name, command, folder, environment) as process:
        process.until_listening(address)
        yield


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"{__package__}.{module}", *arguments]


def _settings(folder: Path, listen: str, nats_url: str) -> dict[str, str]:
    return {
        "ENSEMBLE_DATA": str(folder),
        "ENSEMBLE_CONTRACTS": CONTRACTS,
        "ENSEMBLE_LISTEN": listen,
        "ENSEMBLE_NATS_URL": nats_url,
        "ENSEMBLE_LOG_LEVEL": "WARNING",
    }
