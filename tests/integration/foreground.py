"""`ensemble up` in the foreground, and the processes of a mesh as the operating system sees them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mesh.addresses import MeshFile
from tests.harness import ENSEMBLE, RunningMesh, eventually


def processes_of(data: Path) -> dict[int, str]:
    """Every process that has the data folder in its command line or (where that can be seen) its environment."""
    # -ww: cut off at 80 columns, the folder would not be seen
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for line in listed.splitlines():
        pid, _, command = line.strip().partition(" ")
        if int(pid) != os.getpid() and (str(data) in command or _has_in_environment(int(pid), data)):
            found[int(pid)] = command
    return found


def _has_in_environment(pid: int, data: Path) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"ENSEMBLE_DATA={data}".encode() in environment.split(b"\0")


class Foreground(RunningMesh):
    """A mesh whose supervisor is a process of this test."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.log = data.with_suffix(".out")
        with self.log.open("wb") as output:
            self.supervisor = subprocess.Popen(
                [ENSEMBLE, "up", "--data", str(data), "--base-port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    async def says(self, text: str, within_s: float = 40.0) -> None:
        """Waits until the supervisor has printed something."""

        async def said() -> bool:
            assert self.supervisor.poll() is None or text in self.output, self.output
            return text in self.output

        await eventually(said, within_s=within_s, what=f"{text!r} in {self.output}")

    async def started(self) -> None:
        """Waits until the first of the parts is started."""

        async def any_part() -> bool:
            found = MeshFile.read(self.data) if self.data.exists() else None
            return found is not None and any(part.pid for part in found.parts)

        await eventually(any_part, every_s=0.01, what="a first part")

    async def ended(self, number: int, within_s: float = 30.0) -> int:
        """Sends a signal to the supervisor; its exit status, once it has ended."""
        self.supervisor.send_signal(number)

        async def gone() -> bool:
            return self.supervisor.poll() is not None

        await eventually(gone, within_s=within_s, what=f"the supervisor's end; it said {self.output}")
        return int(self.supervisor.returncode)

    async def gone(self, within_s: float = 15.0, *, besides: tuple[int, ...] = ()) -> None:
        """Waits until no process of the mesh is left, besides some."""

        async def none_left() -> bool:
            return not set(processes_of(self.data)) - set(besides)

        await eventually(none_left, within_s=within_s, every_s=0.2, what=f"the end of {processes_of(self.data)}")


@contextmanager
def foreground(data: Path) -> Iterator[Foreground]:
    """Starts `ensemble up`, and ends whatever of it is left."""
    mesh = Foreground(data)
    try:
        yield mesh
    finally:
        if mesh.supervisor.poll() is None:
            mesh.supervisor.terminate()
            with suppress(subprocess.TimeoutExpired):
                mesh.supervisor.wait(30)
        for pid in processes_of(data):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        mesh.supervisor.kill()
        mesh.supervisor.wait(5)


def file_of(data: Path) -> MeshFile:
    """What stands in the folder, whether a mesh runs or not."""
    found = MeshFile.read(data)
    assert found is not None
    return found
