"""Who has a processor first: the load, of what is a load and what it is a load on, so that it comes when it is due.

Whoever waits for a processor himself sends late, and then much at once, and hears late of answers that came in time.
The customers of a real mesh have processors of their own.
"""

from __future__ import annotations

from console import precedence
from mesh.addresses import BROKER, MeshFile


def stand_back(mesh: MeshFile) -> None:
    """Lets this process have a processor before the parts of a mesh that run, and nats-server.

    For as long as these live. Their order among themselves stays (console.precedence).
    """
    for pid in (*(part.pid for part in mesh.parts), mesh.pid_of(BROKER)):
        precedence.stand_back(pid, precedence.STANDS_BACK)
