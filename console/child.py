"""One process of a mesh on this machine."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from console import precedence

END_S = 15.0


@dataclass
class Child:
    """How it is started, and its latest process."""

    name: str
    service: str  # which part of the mesh it is; several replicas have one
    command: list[str]
    environment: dict[str, str]
    log: Path
    address: str
    stands_back: int = 0  # see console.precedence
    process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The pid of its latest process."""
        return self.process.pid if self.process else 0

    async def start(self) -> None:
        """Starts a process, whose output goes to the end of its log."""
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if self.stands_back:
            await asyncio.to_thread(precedence.stand_back, self.pid, self.stands_back)

    async def end(self, number: int = signal.SIGTERM) -> None:
        """Asks the process to end, and kills it where it takes too long."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(number)
        try:
            async with asyncio.timeout(END_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
