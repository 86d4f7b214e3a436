"""One service as a real process, as the supervisor starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.harness import eventually

SERVES = re.compile(r"serves on (127\.0\.0\.1:\d+)")


class ServiceProcess:
    """A running `python -m services NAME`, or another program in its place, its log and its address."""

    def __init__(self, name: str, data: Path, program: Sequence[str] = (), **environment: str) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.log = data / f"{name}-{len(list(data.iterdir()))}.log"
        with self.log.open("wb") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-P", *(program or ("-m", "services", name))],
                env={**os.environ, "ENSEMBLE_DATA": str(data), "ENSEMBLE_LISTEN": "127.0.0.1:0", **environment},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    async def address(self) -> str:
        """Where it serves, once it does."""

        async def find() -> str:
            found = SERVES.search(self.log.read_text())
            return found[1] if found else ""

        return await eventually(find, what=f"serving; the log says {self.log.read_text()}")

    async def ended(self, within_s: float) -> int:
        """Its exit status, once it has ended."""

        async def gone() -> bool:
            return self.popen.poll() is not None

        await eventually(gone, within_s=within_s, every_s=0.01, what="its end")
        return int(self.popen.returncode)

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(10)
        assert self.popen.stdin is not None
        self.popen.stdin.close()


@contextmanager
def running_service(name: str, data: Path, program: Sequence[str] = (), **environment: str) -> Iterator[ServiceProcess]:
    """Starts a service, and ends it however the test ends."""
    service = ServiceProcess(name, data, program, **environment)
    try:
        yield service
    finally:
        service.end()
