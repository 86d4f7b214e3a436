"""A processor of its own for what makes a load, as its source is no part of what is measured.

Where the two share their processors, each call that is made is time that the mesh has less: at five times what it gets
through with, a fifth of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mesh.addresses import BROKER, MeshFile


@contextlib.contextmanager
def load_apart(mesh: MeshFile) -> Iterator[str]:
    """Keeps this process on the last processor, and the mesh on all others, in the block; says who has how many.

    For parts that run already; those that are started meanwhile have what their supervisor has, which is not moved.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield "the load and the mesh share all processors: this system cannot keep them apart"
        return
    everywhere = os.sched_getaffinity(0)
    *others, last = sorted(everywhere)
    if not others:
        yield "the load and the mesh share one processor"
        return
    parts = [*(part.pid for part in mesh.parts), mesh.pid_of(BROKER)]
    _keep_on([os.getpid()], {last})
    _keep_on(parts, set(others))
    try:
        yield f"the load is made on one processor, and the mesh has {len(others)} other(s)"
    finally:
        _keep_on([os.getpid(), *parts], everywhere)


def _keep_on(pids: list[int], processors: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), processors)
