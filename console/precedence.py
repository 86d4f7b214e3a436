"""Which parts of a mesh on one machine have a processor first: those through which work comes in.

Work is let in, or turned away, by the orchestrator and by the services that own a starting event; the other services
do what was let in. Where there is more to do than the machine can do, whoever calls at the door would wait behind all
of that, to be told at the end that there is no room. So the others stand back.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection
from pathlib import Path

from mesh.contract import Contract, service_name

# A process at nice 0 has three times the share of one at 5.
STANDS_BACK = 5
NICEST = 19

# Linux lets users without privileges change the nice value of one session in a tenth of a second, on a whole machine.
_AGAIN_S = 0.11
_TRIES = 20


def entrances(contracts: Collection[str]) -> frozenset[str]:
    """The services that own a starting event, by name. What is wrong with the contract its parts say.

    Raises mesh.registry.UnknownName where a package has no generated code.
    """
    contract = Contract.of_packages(*contracts, report=lambda *_: None)
    return frozenset(service_name(process.start.full_name) for process in contract.processes.values())


def stand_back(pid: int, by: int) -> None:
    """Makes a process, and its session, so much nicer than they are, where the machine lets it; until they end.

    Two values, since Linux shares a processor out among sessions before it does among threads (sched(7), autogroup);
    elsewhere, and where that is switched off, the nice values of its threads count. Blocks for up to two seconds.
    Nobody without privileges can take it back.
    """
    for thread in _threads(pid):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, _nicer(os.getpriority(os.PRIO_PROCESS, thread), by))
    session = Path(f"/proc/{pid}/autogroup")
    with contextlib.suppress(OSError):  # there is none, or it may not be written
        nice = int(session.read_text().rpartition(" ")[2])
        for _ in range(_TRIES):
            with contextlib.suppress(BlockingIOError):
                session.write_text(str(_nicer(nice, by)))
                return
            time.sleep(_AGAIN_S)


def _threads(pid: int) -> list[int]:
    """Linux has a nice value for each thread; elsewhere the process has one."""
    return [int(thread.name) for thread in Path("/proc").glob(f"{pid}/task/*")] or [pid]


def _nicer(nice: int, by: int) -> int:
    return min(nice + by, NICEST)
