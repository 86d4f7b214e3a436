"""What the system says of a process."""

from __future__ import annotations

import subprocess

STOPPED, ZOMBIE, GONE = "T", "Z", ""


def state_of(pid: int) -> str:
    """One letter, as `ps` has it: STOPPED, ZOMBIE, or one of those of a process that runs; GONE where there is none."""
    said = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return said[:1]
