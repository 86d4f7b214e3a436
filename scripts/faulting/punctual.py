"""A load that comes when it is due, on processors that it shares with what it is a load on.

Whoever waits for a processor himself sends late, and then much at once, and hears late of answers that came in time.
The customers of a real mesh have processors of their own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mesh.addresses import BROKER, MeshFile

# Of 19. With 5 a mesh that would take all has three quarters of a processor less, for as long as the load wants one.
STANDS_BACK = 5


def stand_back(mesh: MeshFile) -> None:
    """Lets this process have a processor before the mesh whenever it wants one; on Linux, and for parts that run.

    For as long as these live: only a privileged user could take it back.
    """
    for pid in (*(part.pid for part in mesh.parts), mesh.pid_of(BROKER)):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for thread in _threads(pid):
                os.setpriority(os.PRIO_PROCESS, thread, STANDS_BACK)


def _threads(pid: int) -> Iterator[int]:
    tasks = Path(f"/proc/{pid}/task")
    yield from (int(task.name) for task in tasks.iterdir()) if tasks.exists() else ()
