"""Processor time by process, as Linux counts it: what is left to say where one machine is too small for a figure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CLIENT = "client"  # the process that measures

# Seconds so far, by the name of a part.
Spent = Mapping[str, float]


def spent_s(pids: Mapping[str, int]) -> Spent:
    """What each part and its children have taken so far, and this process itself; nothing where there is no /proc."""
    return {name: seconds for name, pid in {**pids, CLIENT: os.getpid()}.items() if (seconds := _of(pid)) is not None}


def _of(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if pid != os.getpid() else []
    except OSError:  # it has ended, or this is no Linux
        return None
    return sum(map(int, fields[11:13])) / _TICKS_PER_S + sum(_of(int(child)) or 0.0 for child in children)
