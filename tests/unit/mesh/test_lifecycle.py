"""A process ends when it is told to, when its supervisor is gone, and when a part of it died."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from mesh.lifecycle import Lifecycle

PRELUDE = """
import asyncio
from mesh import lifecycle
def say(word): print(word, flush=True)
"""

ORDINARY = """
async def main(life):
    say("up")
    await life.stopped()
    say("ended in order")
lifecycle.run(main)
"""

DRAINS_FOR_EVER = """
async def main(life):
    say("up")
    await life.stopped()
    say("draining")
    await asyncio.Event().wait()
lifecycle.run(main)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(program: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PRELUDE + program]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_for_an_orderly_end(start: Start, number: signal.Signals) -> None:
    process = start(ORDINARY)
    assert read(process) == "up"
    process.send_signal(number)
    out, _ = process.communicate(timeout=10)
    assert out.strip() == "ended in order"
    assert process.returncode == 0


def test_the_second_signal_skips_the_wait(start: Start) -> None:
    process = start(DRAINS_FOR_EVER)
    assert read(process) == "up"
    process.terminate()
    assert read(process) == "draining"
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 1


def test_the_end_of_standard_input_asks_for_an_orderly_end(start: Start) -> None:
    process = start(ORDINARY, stdin=subprocess.PIPE)
    assert read(process) == "up"
    out, _ = process.communicate(timeout=10)  # closes its standard input, as a supervisor that dies does
    assert out.strip() == "ended in order"
    assert process.returncode == 0


def test_a_supervisor_that_writes_is_not_gone(start: Start) -> None:
    program = ORDINARY.replace("await life.stopped()", "await asyncio.sleep(0.2); say(life.stopping.is_set())")
    process = start(program, stdin=subprocess.PIPE)
    assert read(process) == "up"
    assert process.stdin is not None
    process.stdin.write("still here\n")
    process.stdin.flush()
    assert read(process) == "False"


def test_a_side_task_that_dies_ends_the_process(start: Start) -> None:
    process = start("""
async def dies():
    raise RuntimeError("the side task is ill")
async def main(life):
    life.spawn("side", dies())
    await life.stopped()
    say("not reached")
lifecycle.run(main)
""")
    out, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "not reached" not in out
    assert "task 'side' died" in err
    assert "the side task is ill" in err


def test_a_start_that_fails_ends_the_process_with_its_reason(start: Start) -> None:
    process = start("""
async def main(life):
    raise OSError("the port is taken")
lifecycle.run(main)
""")
    _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "the port is taken" in err


def test_side_tasks_are_cancelled_at_the_end(start: Start) -> None:
    process = start("""
async def works():
    try:
        await asyncio.Event().wait()
    finally:
        say("cleaned up")
async def main(life):
    life.spawn("side", works())
    await asyncio.sleep(0)
lifecycle.run(main)
""")
    out, _ = process.communicate(timeout=10)
    assert out.strip() == "cleaned up"
    assert process.returncode == 0


async def test_a_side_task_that_is_done_does_not_end_the_process() -> None:
    life = Lifecycle()

    async def short() -> None:
        pass

    life.spawn("short", short())
    stopped = asyncio.create_task(life.stopped())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not stopped.done()
    life.stopping.set()
    async with asyncio.timeout(1):
        await stopped


async def test_a_side_task_that_died_before_anybody_waited_is_not_forgotten() -> None:
    life = Lifecycle()

    async def dies() -> None:
        raise RuntimeError("ill")

    life.spawn("side", dies())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="ill"):
        async with asyncio.timeout(1):
            await life.stopped()
