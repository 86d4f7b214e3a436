"""What is done to a mesh while orders come. All of it is real: signals to its processes.

A part that is killed is started again by the supervisor at once, which is the mesh's own remedy. Where it is to stay
dead for a while, the supervisor is stopped meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from console import control
from mesh.addresses import MeshFile

# A slow participant works for so long, and stands still for so long.
WORKS_S, STANDS_S = 0.02, 0.1


Apply = Callable[[MeshFile], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One fault."""

    name: str
    title: str
    apply: Apply


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _dead(part: str) -> Apply:
    @asynccontextmanager
    async def apply(mesh: MeshFile) -> AsyncIterator[None]:
        _send(mesh.supervisor_pid, signal.SIGSTOP)
        try:
            _send(mesh.pid_of(part), signal.SIGKILL)
            yield
        finally:
            _send(mesh.supervisor_pid, signal.SIGCONT)

    return apply


def _slow(part: str) -> Apply:
    @asynccontextmanager
    async def apply(mesh: MeshFile) -> AsyncIterator[None]:
        pid = mesh.pid_of(part)

        async def stutter() -> None:
            while True:
                _send(pid, signal.SIGSTOP)
                await asyncio.sleep(STANDS_S)
                _send(pid, signal.SIGCONT)
                await asyncio.sleep(WORKS_S)

        stuttering = asyncio.create_task(stutter(), name=f"slow {part}")
        try:
            yield
        finally:
            stuttering.cancel()
            _send(pid, signal.SIGCONT)

    return apply


def _restarted(part: str) -> Apply:
    @asynccontextmanager
    async def apply(mesh: MeshFile) -> AsyncIterator[None]:
        _send(mesh.pid_of(part), signal.SIGTERM)
        yield

    return apply


FAULTS = (
    Fault(
        "slow-participant",
        f"payments works {WORKS_S * 1000:.0f} ms of {(WORKS_S + STANDS_S) * 1000:.0f}",
        _slow("payments"),
    ),
    Fault("dead-participant", "payments is killed and stays dead", _dead("payments")),
    Fault("dead-orchestrator", "the orchestrator is killed and stays dead", _dead("orchestrator")),
    Fault("dead-broker", "nats-server is killed and stays dead", _dead("nats-server")),
    Fault(
        "new-workflow", "a step is added to the workflow: the orchestrator is started again", _restarted("orchestrator")
    ),
    Fault(
        "new-reaction",
        "a step is added to the choreography: orders, which joins it, is started again",
        _restarted("orders"),
    ),
)


async def all_serve(data: Path, within_s: float) -> None:
    """Returns once every part serves again; raises TimeoutError, which says which one does not."""
    deadline = time.monotonic() + within_s
    while True:
        states = await control.health(control.running(data))
        away = [one.part.name for one in states if one.state != control.SERVING]
        if not away:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{', '.join(away)} did not serve again within {within_s:.0f} s after a fault")
        await asyncio.sleep(0.1)
