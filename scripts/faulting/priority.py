"""Who has a processor first: the load, of what is a load and what it is a load on, so that it comes when it is due.

Whoever waits for a processor himself sends late, and then much at once, and hears late of answers that came in time.
The customers of a real mesh have processors of their own.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mesh.addresses import BROKER, MeshFile

# The nice value of the mesh, of 0 to 19. A thread of this process, at 0, has three times the share of one there.
STANDS_BACK = 5


def stand_back(mesh: MeshFile) -> None:
    """Lets this process have a processor before the parts of a mesh that run, and nats-server; on Linux only.

    For as long as these live: only a privileged user could take it back.
    """
    for pid in (*(part.pid for part in mesh.parts), mesh.pid_of(BROKER)):
        for thread in Path("/proc").glob(f"{pid}/task/*"):  # Linux has a nice value for each thread
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.setpriority(os.PRIO_PROCESS, int(thread.name), STANDS_BACK)
