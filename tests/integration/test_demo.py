"""`scripts/demo`, as somebody runs it who has just cloned the repository: without a terminal, from anywhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from foreground import processes_of

from tests.harness import eventually

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo"
FOLDER = re.compile(r"broker, in (\S+)")


class Demo:
    """A running demo, in a process group of its own as a shell gives it."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "demo.out"
        with self.log.open("wb") as output:
            self.popen = subprocess.Popen(
                [SCRIPT],
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    async def says(self, text: str) -> None:
        async def said() -> bool:
            assert self.popen.poll() is None or text in self.output, self.output
            return text in self.output

        await eventually(said, within_s=60, what=f"{text!r} in {self.output}")

    async def ended(self) -> int:
        async def gone() -> bool:
            return self.popen.poll() is not None

        await eventually(gone, within_s=90, what=f"the demo's end; it said {self.output}")
        return int(self.popen.returncode)

    @property
    def data(self) -> Path:
        found = FOLDER.search(self.output)
        assert found, self.output
        return Path(found[1])


@contextmanager
def running_demo(folder: Path) -> Iterator[Demo]:
    demo = Demo(folder)
    try:
        yield demo
    finally:
        left = [demo.popen.pid] if demo.popen.poll() is None else []
        if FOLDER.search(demo.output):
            left += processes_of(demo.data)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        demo.popen.wait(10)


async def test_the_demo_succeeds_from_another_folder_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        assert await demo.ended() == 0, demo.output
        assert "the books are right" in demo.output
        assert processes_of(demo.data) == {}
        assert not demo.data.exists()
        assert "\x1b" not in demo.output, "colours without a terminal"


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "Orchestrated: an order that completes"), (signal.SIGTERM, "The mesh starts")],
    ids=["ctrl-c in the middle", "sigterm at the start"],
)
async def test_the_demo_ends_every_process_when_it_is_interrupted(tmp_path: Path, number: int, moment: str) -> None:
    with running_demo(tmp_path) as demo:
        await demo.says(moment)
        if number == signal.SIGINT:
            os.killpg(demo.popen.pid, number)  # as a terminal does
        else:
            demo.popen.send_signal(number)
        assert await demo.ended() != 0
        assert processes_of(demo.data) == {}
        assert "interrupted" in demo.output
        assert "Traceback" not in demo.output
