"""A real PostgreSQL server for the tests: started by them, on a free port of the loopback, in a temporary folder."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from mesh.ports import free_port

START_S = 20.0
USER = "ensemble"
# A program under another user. Popen's own `user` forks, which a process with gRPC in it must not.
AS_USER = "import os, pwd, sys; os.setuid(pwd.getpwnam(sys.argv[1]).pw_uid); os.execv(sys.argv[2], sys.argv[2:])"
HOW_TO_GET_IT = (
    "no PostgreSQL server on this machine: `apt-get install postgresql` (Debian, Ubuntu) or "
    "`brew install postgresql@17` (macOS) brings one, which need not run"
)


def binary(name: str) -> str | None:
    """The path of a program of PostgreSQL, which Debian keeps off the PATH; the newest where there are several."""
    if found := shutil.which(name):
        return found
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return str(installed[-1]) if installed else None


class PostgresServer:
    """A server that can be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._as = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self.port = free_port("127.0.0.1")
        if self._as:
            shutil.chown(folder, self._as)
        initdb = [str(binary("initdb")), "-D", str(folder / "data"), "-U", USER, "-A", "trust", "-E", "UTF8"]
        self._run([*initdb, "--no-locale", "--no-sync"]).check_returncode()

    def start(self) -> None:
        """Starts it and waits until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",  # the tests kill processes and pull no plug, and others wait for this disk
        }
        command = [str(binary("postgres")), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(command), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(
                        f"no PostgreSQL: {error}; {(self.folder / 'server.log').read_text()}"
                    ) from None
            time.sleep(0.05)

    def end(self, number: int = signal.SIGINT) -> None:
        """Ends it: SIGINT cuts off who is connected, SIGQUIT does not even write what is in memory."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_S)
            self._process = None

    @property
    def pid(self) -> int:
        """Of the server that runs; its children are its connections."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def fresh_database(self) -> str:
        """The URL of a new database."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self._command(command), cwd="/", stdout=subprocess.DEVNULL, check=False)

    def _command(self, command: list[str]) -> list[str]:
        return [sys.executable, "-c", AS_USER, self._as, *command] if self._as else command


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Starts a server, and ends it."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        server = PostgresServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.end()


def _unprivileged() -> str | None:
    """Whom the server runs as, where we are root: PostgreSQL refuses root."""
    if os.getuid():
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
