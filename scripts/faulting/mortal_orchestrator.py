"""An orchestrator that kills itself at a point of a saga: `python -m scripts.faulting.mortal_orchestrator`.

Where to die stands in the file MORTAL_FILE, which the dying process takes away: a saga's id and a point of it,
"order-1 call ReserveStock" (the call is about to leave) or "order-1 reply ReserveStock" (its answer has come).
"""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path

from mesh import identity, lifecycle
from mesh.addresses import Addresses
from mesh.contract import Method
from mesh.lifecycle import Lifecycle
from mesh.settings import Settings
from orchestrator.__main__ import NAME, host
from orchestrator.asking import Tell
from orchestrator.participants import Answer, Participants

MORTAL_FILE = "MORTAL_FILE"


class MortalCalls:
    """The real participants, and a process that dies beside them."""

    def __init__(self, participants: Participants, where: Path) -> None:
        self._participants = participants
        self._where = where

    async def ask(
        self, method: Method, request: bytes, timeout_s: float | None, on_failure: Tell, on_pause: Tell
    ) -> Answer:
        """As orchestrator.participants.Participants.ask."""
        saga_id = identity.saga_id(method.request_class.FromString(request))
        self._reach(f"{saga_id} call {method.name}")
        answer = await self._participants.ask(method, request, timeout_s, on_failure, on_pause)
        self._reach(f"{saga_id} reply {method.name}")
        return answer

    def _reach(self, point: str) -> None:
        if self._where.exists() and self._where.read_text() == point:
            self._where.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


async def run(settings: Settings, life: Lifecycle) -> None:
    """Serves until it dies."""
    participants = Participants(Addresses(settings), settings.call_timeout_s)
    await host(settings, life, MortalCalls(participants, Path(os.environ[MORTAL_FILE])))


def main() -> None:
    """The command line."""
    importlib.import_module("orchestrator.workflows")  # registers them
    lifecycle.run_part(NAME, run)


if __name__ == "__main__":
    main()
